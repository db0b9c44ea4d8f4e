"""Several weights at a time, and weights that must not have changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusedlstm.base import checks, versions

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from fusedlstm.base.types import Array
    from fusedlstm.base.variable import Variable


def assign_all(variables: Sequence[Variable], values: Sequence[npt.ArrayLike]) -> None:
    """Assign to several variables; nothing is changed if one value does not fit.

    Calls of other threads see all of the old values or all of the new ones (`versions`).

    Parameters
    ----------
    variables : sequence of Variable
        Targets.
    values : sequence of array_like
        One value of the same shape for each.

    Raises
    ------
    TypeError, ValueError
        If number, dtype or a shape is wrong.
    """
    if len(values) != len(variables):
        raise ValueError(f"weights: expected {len(variables)} arrays, got {len(values)}")
    arrays = [checks.numeric(value, v.path) for v, value in zip(variables, values, strict=True)]
    for variable, array in zip(variables, arrays, strict=True):
        if array.shape != variable.shape:
            raise ValueError(
                f"weights: expected shape {variable.shape} for {variable.path}, got {array.shape}"
            )
    with versions.writing(variables):
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)


def unchanged(variable: Variable, version: int) -> Array:
    """Return the value for a backward pass; `RuntimeError` if it is not the one that `forward` saw."""
    value, now = variable.seen()
    if now != version:
        raise RuntimeError(
            f"{variable.path}: expected the weights that forward saw, which have changed since: "
            "a backward pass comes before the update"
        )
    return value
