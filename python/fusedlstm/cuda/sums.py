"""Sums over the rows of device arrays, by a kernel of fixed order (csrc/cuda/column_sums.h)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fusedlstm.cuda.checks import Call


def column_sums(call: Call, x: Any, *, wide: bool = False) -> Any:
    """Return the sums (N,) of a matrix (M, N) in C order, which are made in the type of cell states.

    Parameters
    ----------
    call : Call
        Of the matrix's number type.
    x : device array (M, N)
    wide : bool
        Whether the result has the type of cell states too: a sum that more is added to.
    """
    M, N = x.shape
    sums = (call.states if wide else call).empty(N)
    ranges = call.extension.column_sum_ranges(call.number, M, N)
    partials = call.states.empty(ranges, N) if ranges > 1 else None
    call.extension.column_sums(
        number=call.number,
        rows=M,
        columns=N,
        wide=wide,
        x=call.address(x),
        sums=call.address(sums),
        partials=call.address(partials),
        stream=call.device.stream(),
    )
    return sums
