"""Tangents and second derivatives of the LSTM, by a complex step of the reference's first ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fusedlstm.testing.reference import (
    LSTMReference,
    LSTMReferenceGradients,
    lstm_backward_reference,
    lstm_forward_reference,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

# Its square vanishes beside one, and products of many numbers with it are far from underflow.
_STEP = 2.0**-100


class LSTMSecondReference(NamedTuple):
    """Derivatives along a direction.

    Attributes
    ----------
    results : LSTMReference
        Of y, h and c.
    gradients : LSTMReferenceGradients
        Of dx, dkernel, ...: the Hessian times the direction.
    """

    results: LSTMReference
    gradients: LSTMReferenceGradients


def lstm_second_reference(
    arguments: Mapping[str, npt.ArrayLike],
    direction: Mapping[str, npt.ArrayLike],
    *,
    dy: npt.ArrayLike | None = None,
    dh: npt.ArrayLike | None = None,
    dc: npt.ArrayLike | None = None,
    go_backwards: bool = False,
) -> LSTMSecondReference:
    """Differentiate the results and the gradients of the reference along a direction.

    A function that is computed at ``x + i s v`` with a tiny ``s`` has the derivative along ``v`` in its
    imaginary part, without cancellation (W. Squire and G. Trapp, "Using Complex Variables to Estimate
    Derivatives of Real Functions", SIAM Review 40(1), 1998). No equation of second derivatives is written
    down here.

    Parameters
    ----------
    arguments : mapping of str to array_like
        x, kernel, recurrent_kernel and, where there are some, bias, h0 and c0, as for
        :func:`lstm_forward_reference`.
    direction : mapping of str to array_like
        How much each of the arguments moves; those that are missing do not.
    dy, dh, dc, go_backwards
        As for :func:`lstm_backward_reference`.

    Returns
    -------
    LSTMSecondReference

    Raises
    ------
    ValueError
        If `direction` has a name that `arguments` lack.
    """
    moved: dict[str, Any] = {name: np.asarray(array, np.float64) for name, array in arguments.items()}
    for name, array in direction.items():
        if name not in moved:
            raise ValueError(f"direction: expected names among {sorted(moved)}, got {name!r}")
        moved[name] = moved[name] + 1j * _STEP * np.asarray(array, np.float64)
    results = lstm_forward_reference(**moved, go_backwards=go_backwards)
    gradients = lstm_backward_reference(**moved, dy=dy, dh=dh, dc=dc, go_backwards=go_backwards)
    return LSTMSecondReference(
        LSTMReference(*(array.imag / _STEP for array in results)),
        LSTMReferenceGradients(*(array.imag / _STEP for array in gradients)),
    )
