"""Random problems for the kernel tests, and the sizes they are tried with."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fusedlstm import ops, testing

Array: TypeAlias = npt.NDArray[Any]
Number: TypeAlias = type[np.float32] | type[np.float64]
Shape: TypeAlias = tuple[int, int, int, int]

# Set by tests/cross/neon.sh and tests/sanitize.sh, where instructions are emulated or watched and cost many
# times as much: fewer shapes are tried there.
REDUCED = os.environ.get("FUSEDLSTM_TEST_REDUCED") == "1"

# Around every vector width and tile height in use: 4, 8 and 16 numbers, 3 and 6 rows.
SIZES = (1, 3, 7, 8, 9, 15, 16, 17, 31, 33)


def _shapes() -> list[Shape]:
    # A Latin square: every pair (B, H), (B, I) and (I, H) of sizes occurs once.
    count = len(SIZES)
    shapes = [(SIZES[j], 3, SIZES[(j + k) % count], SIZES[k]) for j in range(count) for k in range(count)]
    return shapes[::9] if REDUCED else shapes


SHAPES = _shapes()
# More than one panel of everything, more than one block of K, shapes for both ways of sharing work.
LARGE_SHAPES: list[Shape] = (
    [(4, 2, 70, 50)]
    if REDUCED
    else [
        (5, 3, 700, 130),
        (2, 4, 28, 257),
        (65, 3, 28, 128),
        (33, 2, 257, 40),
        (1, 30, 17, 65),
        (130, 2, 9, 7),
    ]
)
ONE_STEP_SHAPES: list[Shape] = [(1, 1, 1, 1), (9, 1, 17, 8), (1, 1, 33, 31), (17, 1, 3, 16)]
EMPTY_SHAPES: list[Shape] = [(0, 3, 5, 9), (7, 0, 5, 9), (0, 0, 5, 9)]


def shape_id(shape: Shape) -> str:
    return "B{}-T{}-I{}-H{}".format(*shape)


@dataclass(frozen=True)
class Problem:
    """Everything an LSTM operation takes, for one shape (B, T, I, H) and number type."""

    shape: Shape
    dtype: Number
    x: Array
    kernel: Array
    recurrent_kernel: Array
    bias: Array
    h0: Array
    c0: Array
    dy: Array
    dh: Array
    dc: Array
    # Weights already packed, to be used instead of the three arrays.
    packed: ops.LSTMWeights | None = None

    @property
    def weights(self) -> tuple[Array, Array, Array]:
        return self.kernel, self.recurrent_kernel, self.bias

    @property
    def terms(self) -> int:
        """Length of the longest sum behind a forward result."""
        return self.shape[2] + self.shape[3] + 1

    @property
    def backward_terms(self) -> int:
        """The same for a gradient: back through the gates, or over all rows and steps."""
        B, T, I, H = self.shape  # noqa: E741
        return I + 4 * H + B * T

    def reference(self, **options: Any) -> testing.LSTMReference:
        return testing.lstm_forward_reference(self.x, *self.weights, **options)


def make_problem(shape: Shape, dtype: Number, seed: int = 0) -> Problem:
    """Make random arrays; the weights' spectral norms are about one, as :func:`tolerance` presumes."""
    B, T, I, H = shape  # noqa: E741
    random = np.random.default_rng([seed, *shape])

    def normal(*size: int, scale: float = 1.0) -> Array:
        return (scale * random.standard_normal(size)).astype(dtype)

    return Problem(
        shape=shape,
        dtype=dtype,
        x=normal(B, T, I),
        # The largest singular value of an (n, 4 n) matrix of standard normal numbers is about 3 sqrt(n).
        kernel=normal(I, 4 * H, scale=0.5 / np.sqrt(max(I, 1))),
        recurrent_kernel=normal(H, 4 * H, scale=0.33 / np.sqrt(H)),
        bias=normal(4 * H),
        h0=normal(B, H, scale=0.5),
        c0=normal(B, H),
        dy=normal(B, T, H),
        dh=normal(B, H),
        dc=normal(B, H),
    )


def with_arrays(p: Problem, **arrays: Array) -> Problem:
    """Make the problem that has the given arrays instead of its own."""
    changes: dict[str, Any] = arrays
    return replace(p, **changes)


def bits(array: Array) -> Array:
    """View numbers as integers, so that comparing them compares every bit, NaNs and signed zeros too."""
    contiguous = np.ascontiguousarray(array)
    return contiguous.view(f"u{contiguous.dtype.itemsize}")


def assert_same_bits(actual: Array | None, expected: Array | None, name: str = "result") -> None:
    """Compare two arrays; None, for a result that there is not, equals None."""
    if actual is None or expected is None:
        assert actual is expected, name
        return
    assert actual.dtype == expected.dtype, name
    assert actual.shape == expected.shape, name
    different = np.argwhere(bits(actual) != bits(expected))
    if different.size:
        first = tuple(different[0])
        raise AssertionError(
            f"{name}: {len(different)} of {actual.size} elements differ, the first at "
            f"{[int(k) for k in first]}: expected {expected[first]!r}, got {actual[first]!r}"
        )


def assert_all_same_bits(actual: dict[str, Array], expected: dict[str, Array], name: str) -> None:
    assert actual.keys() == expected.keys()
    for key, value in actual.items():
        assert_same_bits(value, expected[key], f"{name}: {key}")
