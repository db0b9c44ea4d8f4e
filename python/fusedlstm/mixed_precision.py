"""Keras's names for layers that multiply shorter numbers than they keep: `config.DTypePolicy`."""

from fusedlstm.config import DTypePolicy, dtype_policy, set_dtype_policy

__all__ = ["DTypePolicy", "dtype_policy", "global_policy", "set_dtype_policy", "set_global_policy"]

global_policy = dtype_policy
set_global_policy = set_dtype_policy
