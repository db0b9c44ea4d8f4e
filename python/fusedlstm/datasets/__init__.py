"""Data sets to train on."""

from . import mnist
from .mnist import SubsetWarning, load_mnist

__all__ = ["SubsetWarning", "load_mnist", "mnist"]
