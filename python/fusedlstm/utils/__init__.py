"""Keras's `utils`: seeds, labels, batches of sequences, and pictures of models."""

from fusedlstm.base.names import clear_session
from fusedlstm.base.seeds import SeedGenerator, set_random_seed
from fusedlstm.utils.categorical import to_categorical
from fusedlstm.utils.datasets import PyDataset
from fusedlstm.utils.padding import pad_sequences
from fusedlstm.utils.plotting import plot_model
from fusedlstm.utils.timeseries import timeseries_dataset_from_array

# Keras's older name.
Sequence = PyDataset

__all__ = [
    "PyDataset",
    "SeedGenerator",
    "Sequence",
    "clear_session",
    "pad_sequences",
    "plot_model",
    "set_random_seed",
    "timeseries_dataset_from_array",
    "to_categorical",
]
