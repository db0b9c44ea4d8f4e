"""Keras's older home of `pad_sequences` and `timeseries_dataset_from_array`."""

from fusedlstm.preprocessing import sequence
from fusedlstm.utils.timeseries import timeseries_dataset_from_array

__all__ = ["sequence", "timeseries_dataset_from_array"]
