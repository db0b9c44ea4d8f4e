"""Callbacks with Keras's names: what happens during `fit`, `evaluate` and `predict`."""

from __future__ import annotations

from fusedlstm.callbacks.backup import BackupAndRestore
from fusedlstm.callbacks.base import Callback, History
from fusedlstm.callbacks.checkpoint import ModelCheckpoint
from fusedlstm.callbacks.list import CallbackList
from fusedlstm.callbacks.monitors import EarlyStopping, ReduceLROnPlateau
from fusedlstm.callbacks.progress import ProgressBar
from fusedlstm.callbacks.pruning import OptunaPruning
from fusedlstm.callbacks.tensorboard import TensorBoard
from fusedlstm.callbacks.training import (
    CSVLogger,
    LambdaCallback,
    LearningRateScheduler,
    TerminateOnNaN,
)

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "OptunaPruning",
    "ProgressBar",
    "ReduceLROnPlateau",
    "TensorBoard",
    "TerminateOnNaN",
]
