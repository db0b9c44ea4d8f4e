"""Optimizers with Keras's names, defaults and formulas; each update is one pass in C++."""

from __future__ import annotations

from fusedlstm.base.registry import Registry, serialize
from fusedlstm.optimizers import schedules
from fusedlstm.optimizers.adam import Adam, Adamax, AdamW, Nadam
from fusedlstm.optimizers.base import Optimizer
from fusedlstm.optimizers.plain import SGD, Adadelta, Adagrad, Lion, RMSprop

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "Nadam",
    "Optimizer",
    "RMSprop",
    "get",
    "schedules",
    "serialize",
]

REGISTRY = Registry(
    Optimizer,
    {
        cls.__name__.lower(): cls
        for cls in (SGD, RMSprop, Adam, AdamW, Nadam, Adamax, Adagrad, Adadelta, Lion)
    },
)


def get(identifier: object, name: str = "optimizer") -> Optimizer:
    """Return the optimizer that ``identifier`` means.

    Parameters
    ----------
    identifier : str or dict or Optimizer or type
        Keras's name in any case, a description as of `serialize`, an optimizer, or a class of one.
    name : str
        The argument's name, for the message.

    Raises
    ------
    TypeError, ValueError
        If it is unknown; the message lists the known names.
    """
    return REGISTRY.get(identifier.lower() if isinstance(identifier, str) else identifier, name)
