"""The weights of LSTMs that ``torch.ao.quantization.quantize_dynamic`` has quantized."""

from __future__ import annotations

import sys
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from fusedlstm.exchange.integers import check_scale, dequantized

if TYPE_CHECKING:
    from fusedlstm.base.types import Array

# PyTorch's modules are there once a module of them is.
_MODULES = "torch.ao.nn.quantized.dynamic"
# What reads weights that someone has damaged.
_ERRORS = (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)


def quantized_tensors(source: Any, prefix: str) -> tuple[dict[str, Any], bool] | None:
    """Return the weights of a quantized LSTM under the names of ``torch.nn.LSTM``, None if it is none.

    They are read by the module's `get_weight` and `get_bias`, as its state_dict has them packed.

    Parameters
    ----------
    source : object
        A module, or anything else.
    prefix : str
        What the LSTM's keys begin with in a larger module.

    Returns
    -------
    tensors : dict
        Biases as they are, and matrices in float32: dequantized, or those that were rounded to float16.
    quantized : bool
        Whether the matrices were integers.

    Raises
    ------
    TypeError, ValueError
        If its weights are of another kind, or not there.
    """
    modules = sys.modules.get(_MODULES)
    if modules is None or (prefix and not prefix.endswith(".")):
        return None
    try:
        module = attrgetter(prefix[:-1])(source) if prefix else source
    except AttributeError:
        return None
    if not isinstance(module, modules.LSTM):
        return None
    try:
        weights, biases = dict(module.get_weight()), dict(module.get_bias())
    except _ERRORS as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{prefix}get_weight: expected the weights of a quantized LSTM: {reason}") from error
    for name, bias in biases.items():
        if bias is None:
            raise ValueError(f"{prefix}{name}: expected a tensor, got none")
    kinds = {str(tensor.dtype) for tensor in weights.values()}
    if kinds == {"torch.float32"}:
        return {**weights, **biases}, False
    if kinds != {"torch.qint8"}:
        raise TypeError(f"{prefix}get_weight: expected weights of qint8 or float16, got {sorted(kinds)}")
    return {
        **{name: _matrix(tensor, prefix + name) for name, tensor in weights.items()},
        **biases,
    }, True


def _matrix(tensor: Any, name: str) -> Array:
    """Return a matrix (4H, I) of integers in float32."""
    kind = str(tensor.qscheme())
    scale: Any
    zero: Any
    if kind.startswith("torch.per_tensor"):
        scale, zero = tensor.q_scale(), tensor.q_zero_point()
    elif kind.startswith("torch.per_channel") and tensor.q_per_channel_axis() == 0:
        scale = tensor.q_per_channel_scales().numpy()
        zero = tensor.q_per_channel_zero_points().numpy()
    else:
        raise TypeError(f"{name}: expected a scale for the tensor or for each of its rows, got {kind}")
    if tensor.ndim != 2 or not tensor.numel():
        raise ValueError(f"{name}: expected a matrix, got shape {tuple(tensor.shape)}")
    check_scale(scale, f"{name}: scale")
    return dequantized(tensor.int_repr().numpy().T, scale, zero).T
