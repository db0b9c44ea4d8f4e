"""Data sets to train on."""

from fusedlstm.datasets import mnist
from fusedlstm.datasets.mnist import SubsetWarning, load_mnist

__all__ = ["SubsetWarning", "load_mnist", "mnist"]
