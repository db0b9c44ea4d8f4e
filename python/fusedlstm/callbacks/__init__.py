"""Callbacks with Keras's names: what happens during `fit`, `evaluate` and `predict`."""

from __future__ import annotations

from fusedlstm.callbacks.base import Callback, CallbackList, History
from fusedlstm.callbacks.progress import ProgressBar
from fusedlstm.callbacks.training import (
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    TerminateOnNaN,
)

__all__ = [
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ProgressBar",
    "TerminateOnNaN",
]
