"""Which instructions multiply shorter numbers, for `compute` of `ops.LSTMWeights` and of dense layers."""

from __future__ import annotations

from fusedlstm import _core


def product_sets(compute: str = "bfloat16") -> tuple[str, ...]:
    """Return the sets of instructions that can multiply such numbers for the instruction set in use.

    Parameters
    ----------
    compute : {"bfloat16", "int8"}
        The numbers.

    Returns
    -------
    tuple of str
        Best first. The last one is the instruction set itself, which multiplies wider numbers instead.

    Raises
    ------
    TypeError, ValueError
        There are no such numbers.
    """
    return _core.product_sets(compute)


def get_product_set(compute: str = "bfloat16") -> str:
    """Return the one in use: the best one, or what `set_product_set` has chosen.

    Parameters
    ----------
    compute : {"bfloat16", "int8"}
        The numbers.

    Raises
    ------
    TypeError, ValueError
        There are no such numbers.
    """
    return _core.get_product_set(compute)


def set_product_set(name: str | None, compute: str = "bfloat16") -> None:
    """Choose the instructions that multiply such numbers in this process.

    Parameters
    ----------
    name : str or None
        One of `product_sets`; None for the best one.
    compute : {"bfloat16", "int8"}
        The numbers.

    Raises
    ------
    TypeError, ValueError
        The name or `compute` is none of the choices.
    """
    _core.set_product_set(name, compute)
