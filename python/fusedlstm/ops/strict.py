"""Strict mode: an error in the place of a slower way that a call would take by itself."""

from __future__ import annotations

from fusedlstm import _core
from fusedlstm.base import checks
from fusedlstm.base.held import Setting


def set_strict(on: bool) -> None:
    """Switch strict mode on or off for the process, which FUSEDLSTM_STRICT=1 in its environment starts with.

    In strict mode a call raises `FallbackError`, which names the reason, where it would otherwise

    - copy an array whose memory the kernels cannot read as it lies: one whose last dimension is not
      contiguous, that is not aligned, or, for states and biases, not in C order;
    - run the scalar kernels because this process can run no others, although nobody asked for them with
      `ops.set_instruction_set` or FUSEDLSTM_INSTRUCTION_SET;
    - multiply bfloat16 or int8 (`compute` of `ops.LSTMWeights`) by instructions for wider numbers because
      there are no others, although nobody asked for them with `ops.set_product_set`.

    Nothing has been computed then. What layers say that they convert, such as integers to their dtype, they
    convert in strict mode too.

    Parameters
    ----------
    on : bool
        Whether calls are strict, except in threads inside of `strict`.
    """
    _core.set_strict(checks.flag(on, "on"))


def get_strict() -> bool:
    """Return whether calls of this thread are strict."""
    return _core.get_strict()


def strict(on: bool = True) -> Setting[None]:
    """Make the calls of this thread strict, or not, in a ``with`` block; see `set_strict`.

    Parameters
    ----------
    on : bool
        False allows slower ways in the block, whatever holds outside.
    """
    return Setting(_core.set_strict_here, _core.set_strict_here, checks.flag(on, "on"))
