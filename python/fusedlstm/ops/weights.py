"""`LSTMWeights`: weights as the kernels read them, on the CPU or on a device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray

from fusedlstm import _core
from fusedlstm.ops.dispatch import weights_class

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]


class LSTMWeights(_core.LSTMWeights):
    """Weights packed for the kernels, kept until they change.

    The constructor and `update` copy: later changes of the arrays are not seen. Made of device arrays it is a
    `fusedlstm.cuda.weights.DeviceWeights`, with the same methods.

    Parameters
    ----------
    kernel : array (I, 4H)
    recurrent_kernel : array (H, 4H), or (R, 4H) with a projection
    bias : array (4H,), optional
    projection : array (H, R), optional
        ``h = (o tanh(c)) projection`` (LSTMP: Sak, Senior and Beaufays 2014). Hidden states have R numbers
        then, cell states still H.
    storage : {None, "bfloat16", "int8"}
        Keep float32 weights in fewer bits, for inference: a small batch takes as long as reading them does.
        bfloat16 rounds each weight to 8 significant bits; int8 to a multiple of 1/127 of the largest weight
        in its column, and each row of x and of h, as it is used, to multiples of 1/32767 of its largest
        element, so that sums are exact integers; a row with NaN or infinity makes its gates NaN. Everything
        else is float32. `unpack` returns the rounded weights, ``(kernel, recurrent_kernel)`` and the
        projection, if there is one; ``bias`` is a copy of the bias or None, and ``factors`` what the integers
        of each column are multiplied by, for each of these matrices, or None.
    compute : {None, "bfloat16", "int8"}
        Multiply shorter numbers. Processors that have instructions for them (`ops.product_sets`) use those,
        others do the same by wider ones. It decides how weights are kept, so that there is no `storage`
        beside it.

        ``"bfloat16"``, for inference and training: float32 weights, each x and h as it is used, and on the
        way back the gates' gradients, are rounded to 8 significant bits, to nearest and ties to even, and
        their products added up in float32; numbers below 2^-126 count as zero. Cell states, the tape, sums
        over rows and steps, and everything else stay float32. There are no second derivatives.

        ``"int8"``, for inference: weights as with ``storage="int8"``, and each row of x and of h, as it is
        used, rounded to multiples of 1/127 of its largest element, so that sums are exact integers, the same
        on every processor. That is a quarter of the bytes and, by instructions for it, of the time of
        products; ``storage="int8"`` keeps 8 bits more of x and h, and is as fast at one row.

    Copies and pickles hold the weights in the bits in which they are stored.

    Raises
    ------
    TypeError, ValueError
        A dtype or shape does not fit, `storage` or `compute` is unknown or given for float64, int8 weights
        are not finite, a sum of `compute` ``"int8"`` has more than 131,072 products, or `update` is given a
        projection where there was none, or none where there was one.
    """

    def __new__(cls, kernel: Array, *args: Any, **kwargs: Any) -> LSTMWeights:
        """Make the object that belongs to the kernel's type."""
        kind = weights_class(kernel)
        made: LSTMWeights
        made = super().__new__(cls) if kind is _core.LSTMWeights else kind(kernel, *args, **kwargs)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how copies and pickles make the same weights, from as few bytes as are stored here."""
        stored = self.unpack()
        storage = _COMPUTED.get(self.compute or "", self.storage)
        factors = self.factors or [None] * len(stored)
        matrices = [
            _narrow(matrix, self.storage, scale) for matrix, scale in zip(stored, factors, strict=True)
        ]
        return _restored, (type(self), storage, self.bias, *matrices), vars(self) or None


# What pickles call weights that `compute` has packed, so that others are told from them.
_COMPUTED = {"bfloat16": "operands", "int8": "bytes"}


def _narrow(matrix: Array, storage: str, factors: Array | None) -> Any:
    """Return a matrix that `unpack` gave in the bits that it is stored in."""
    if storage == "bfloat16":
        # The other half of the bits is zero.
        return (matrix.view(np.uint32) >> 16).astype(np.uint16)
    if factors is None:
        return matrix
    integers = np.rint(matrix / np.where(factors == 0, 1, factors)).astype(np.int8)
    return integers, factors


def _widened(stored: Any, storage: str) -> Array:
    """Return the matrix that is packed to what `_narrow` was given."""
    if storage in ("bfloat16", "operands"):
        widened: Array = (stored.astype(np.uint32) << 16).view(np.float32)
        return widened
    if storage == "full":
        full: Array = stored
        return full
    integers, factors = stored
    # A column's factor is its largest weight over 127, rounded, and comes back from 127 times itself: so does
    # every quotient by 127 of a float32 number.
    matrix: Array = integers * factors
    return matrix


def _restored(
    cls: type[LSTMWeights],
    storage: str,
    bias: Array | None,
    kernel: Any,
    recurrent: Any,
    projection: Any = None,
) -> LSTMWeights:
    return cls(
        _widened(kernel, storage),
        _widened(recurrent, storage),
        bias,
        projection=None if projection is None else _widened(projection, storage),
        storage=storage if storage in ("bfloat16", "int8") else None,
        compute=next((name for name, kept in _COMPUTED.items() if kept == storage), None),
    )


def packed(weights: LSTMWeights | Sequence[Array | None], x: object) -> LSTMWeights:
    """Return weights as the kernels for `x` take them; `TypeError` if there is no such thing."""
    if isinstance(weights, LSTMWeights) and type(x) is ndarray:
        return weights
    made: Any = weights
    if isinstance(weights, (tuple, list)) and len(weights) in (2, 3, 4):
        made = LSTMWeights(*weights[:3], projection=weights[3] if len(weights) == 4 else None)
    kind = weights_class(x)
    if isinstance(made, kind):
        fitting: LSTMWeights = made
        return fitting
    expected = "LSTMWeights or (kernel, recurrent_kernel[, bias[, projection]])"
    if isinstance(made, LSTMWeights):
        raise TypeError(f"weights: expected {expected} of arrays on x's device, got NumPy arrays")
    if (made is not weights or hasattr(made, "parts")) and not isinstance(x, ndarray):
        raise TypeError(f"x: expected an array on {made.device.name}, as weights, got {type(x).__name__}")
    if made is not weights or hasattr(made, "parts"):
        raise TypeError(
            f"weights: expected {expected} of NumPy arrays, as x is, got arrays on {made.device.name}"
        )
    got = f"{len(weights)} items" if isinstance(weights, (tuple, list)) else type(weights).__name__
    raise TypeError(f"weights: expected {expected}, got {got}")
