"""The default number type and the small constant that Keras keeps in ``keras.config``."""

from __future__ import annotations

__all__ = ["epsilon", "floatx", "set_floatx"]

_EPSILON = 1e-7
_FLOAT_TYPES = ("float32", "float64")
_floatx = "float32"


def check_float_type(value: object, name: str) -> str:
    """Return ``value`` as ``"float32"`` or ``"float64"``.

    Parameters
    ----------
    value : str or numpy.dtype or type
        What the caller gave.
    name : str
        The argument's name, for the message.

    Raises
    ------
    ValueError
        If it is anything else: the kernels know these two types.
    """
    text = getattr(value, "__name__", None) or str(value)
    if text not in _FLOAT_TYPES:
        raise ValueError(f"{name}: expected one of {list(_FLOAT_TYPES)}, got {value!r}")
    return text


def floatx() -> str:
    """Return the number type of layers made without a ``dtype``: ``"float32"`` unless changed."""
    return _floatx


def set_floatx(value: str) -> None:
    """Set the number type of layers made from now on.

    Parameters
    ----------
    value : {"float32", "float64"}
        The type.

    Raises
    ------
    ValueError
        If it is neither.
    """
    global _floatx
    _floatx = check_float_type(value, "floatx")


def epsilon() -> float:
    """Return 1e-7: probabilities are clipped to [epsilon, 1 - epsilon] before a logarithm, as in Keras."""
    return _EPSILON
