"""Derivatives along a direction and second derivatives, as part of `fusedlstm.ops`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from fusedlstm import _core
from fusedlstm._core import GradientTape, Tape
from fusedlstm.base import checks
from fusedlstm.base.copying import TAPE, refuse

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


for _kind in (Tape, GradientTape):
    refuse(_kind, TAPE)


class LSTMTangents(NamedTuple):
    """What `lstm_jvp` returns: tangents of the results of `lstm_forward`.

    Attributes
    ----------
    y : array (B, T, H)
    h, c : array (B, H)
    """

    y: Array
    h: Array
    c: Array


class LSTMSecondGradients(NamedTuple):
    """What `lstm_second_backward` returns: gradients of ``s = sum of <dd..., d...>``.

    Attributes
    ----------
    ddy : array (B, T, H)
    ddh, ddc : array (B, H)
        With respect to the ``dy``, ``dh`` and ``dc`` that `lstm_backward` was given.
    dx : array (B, T, I) or None
        With respect to x, and so on; None with ``need_dx=False``.
    dkernel : array (I, 4H)
    drecurrent_kernel : array (H, 4H)
    dbias : array (4H,) or None
        None when there was no bias.
    dh0, dc0 : array (B, H)
    dpeepholes : array (3, H) or None
        None without peepholes.
    """

    ddy: Array
    ddh: Array
    ddc: Array
    dx: Array | None
    dkernel: Array
    drecurrent_kernel: Array
    dbias: Array | None
    dh0: Array
    dc0: Array
    dpeepholes: Array | None


def lstm_jvp(
    tape: Tape,
    *,
    x: Array | None = None,
    kernel: Array | None = None,
    recurrent_kernel: Array | None = None,
    bias: Array | None = None,
    h0: Array | None = None,
    c0: Array | None = None,
    peepholes: Array | None = None,
) -> LSTMTangents:
    """Differentiate forward along a direction: the Jacobian of the sequence that left `tape` times it.

    Parameters
    ----------
    tape : Tape
        From ``lstm_forward(..., training=True)``, not used up and without checkpoints. It stays as it is.
    x : array (B, T, I), optional
    kernel, recurrent_kernel, bias : array (I, 4H), (H, 4H), (4H,), optional
    h0, c0 : array (B, H), optional
    peepholes : array (3, H), optional
        How much each argument of `lstm_forward` moves; None is zero, and then costs nothing.

    Returns
    -------
    LSTMTangents
        ``(y, h, c)``, how much each result moves, in about the time of `lstm_forward`, and a little more for
        each kernel that moves.

    Raises
    ------
    RuntimeError
        A backward pass has used the tape.
    TypeError, ValueError
        An array's dtype or shape does not fit, it belongs to a weight that there is not, or the tape has
        checkpoints.
    """
    if not isinstance(tape, Tape):
        raise TypeError(
            f"tape: expected the Tape of lstm_forward(..., training=True), got {type(tape).__name__}"
        )
    return LSTMTangents(*_core.lstm_jvp(tape, x, kernel, recurrent_kernel, bias, h0, c0, peepholes))


def lstm_second_backward(
    tape: GradientTape,
    ddx: Array | None = None,
    ddkernel: Array | None = None,
    ddrecurrent_kernel: Array | None = None,
    ddbias: Array | None = None,
    ddh0: Array | None = None,
    ddc0: Array | None = None,
    ddpeepholes: Array | None = None,
    *,
    need_dx: bool = True,
) -> LSTMSecondGradients:
    """Backpropagate through `lstm_backward`, which includes the forward pass before it.

    Let ``L`` be the number whose gradients ``dx, dkernel, ...`` the first backward pass has computed, as a
    function of x, the weights and the initial states. Their gradients, given a direction ``(ddx, ddkernel,
    ...)``, are the Hessian of ``L`` times the direction, and ``ddy, ddh, ddc`` are what `lstm_jvp` gives.
    The direction may be a loss's gradient with respect to the first gradients, as for a gradient penalty,
    or any one, for Hessian-vector products.

    Parameters
    ----------
    tape : GradientTape
        ``lstm_backward(..., keep=True).tape``. It serves any number of times.
    ddx : array (B, T, I), optional
    ddkernel, ddrecurrent_kernel, ddbias : array (I, 4H), (H, 4H), (4H,), optional
    ddh0, ddc0 : array (B, H), optional
    ddpeepholes : array (3, H), optional
        Gradients of the results of `lstm_backward`; None is zero, and then costs nothing.
    need_dx : bool
        Compute ``dx``.

    Returns
    -------
    LSTMSecondGradients
        ``(ddy, ddh, ddc, dx, dkernel, drecurrent_kernel, dbias, dh0, dc0, dpeepholes)``.

    Raises
    ------
    TypeError, ValueError
        An array's dtype or shape does not fit, or it belongs to a weight that there is not.

    Notes
    -----
    This is the tangent of both passes along the direction (R-operator; B. A. Pearlmutter, "Fast Exact
    Multiplication by the Hessian", Neural Computation 6(1), 1994), in the kernels of both. Where an
    activation's slope jumps, its second derivative is that of one side.
    """
    if not isinstance(tape, GradientTape):
        raise TypeError(
            "tape: expected the GradientTape of lstm_backward(..., keep=True).tape, "
            f"got {type(tape).__name__}"
        )
    checks.flag(need_dx, "need_dx")
    return LSTMSecondGradients(
        *_core.lstm_second_backward(
            tape, ddx, ddkernel, ddrecurrent_kernel, ddbias, ddh0, ddc0, ddpeepholes, need_dx
        )
    )
