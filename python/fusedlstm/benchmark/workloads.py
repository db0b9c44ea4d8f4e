"""The workloads: their names, sizes, operation counts and arrays.

Letters: ``B`` batch rows, ``T`` steps, ``I`` input features, ``H`` units.
"""

from __future__ import annotations

import importlib
import math
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

Array: TypeAlias = npt.NDArray[Any]

# Arrays are seeded by a kind's place here.
KINDS = ("forward", "training", "step", "mnist", "lengths", "checkpoint")
INFERENCE = ("forward", "step")
FORMS = "forward-BxTxIxH, training-BxTxIxH, lengths-BxTxIxH, checkpoint-BxTxIxH, step-BxIxH, mnist-B"
_SIZES = {"step": 3, "mnist": 1}  # in a name; 4 for the others
_DESCRIPTIONS = {
    "forward": "forward for inference: y, last h and last c",
    "training": "forward and backward: gradients of x, kernel, recurrent kernel and bias from that of y",
    "step": "one step from given states, called from Python",
    "mnist": "training step of the MNIST model, called from Python: loss, accuracy, dropout, Adam",
    "lengths": "forward and backward over sequences of different lengths, padded to one",
    "checkpoint": "forward and backward over a long sequence, with the whole tape or checkpoints",
}
_REAL_SHARE = 0.48  # of the padded steps of `lengths`
MNIST_STEPS, MNIST_INPUTS, MNIST_UNITS, MNIST_HIDDEN, MNIST_CLASSES = 28, 28, 128, 32, 10


@dataclass(frozen=True)
class Workload:
    """One thing to time.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    B, T, I, H : int
        Sizes; a step has T = 1, and the MNIST model its own T, I and H.
    """

    kind: str
    B: int
    T: int
    I: int  # noqa: E741  (the letter of the contract)
    H: int

    @property
    def name(self) -> str:
        """The name that ``--workload`` takes."""
        if self.kind == "mnist":
            return f"mnist-{self.B}"
        if self.kind == "step":
            return f"step-{self.B}x{self.I}x{self.H}"
        return f"{self.kind}-{self.B}x{self.T}x{self.I}x{self.H}"

    @property
    def description(self) -> str:
        """What one call does."""
        return _DESCRIPTIONS[self.kind]

    @classmethod
    def parse(cls, name: str) -> Workload:
        """Make the workload of any name like ``forward-64x28x128x128``, ``step-1x128x128`` or ``mnist-64``.

        Raises
        ------
        ValueError
            If the name is not of such a form.
        """
        kind, _, sizes = name.partition("-")
        numbers = [int(size) for size in sizes.split("x")] if re.fullmatch(r"\d+(x\d+)*", sizes) else []
        if kind not in KINDS or len(numbers) != _SIZES.get(kind, 4) or min(numbers) < 1:
            raise ValueError(
                f"expected {FORMS} with positive integers, or a pattern that fits a listed name, got {name!r}"
            )
        if kind == "mnist":
            return cls(kind, numbers[0], MNIST_STEPS, MNIST_INPUTS, MNIST_UNITS)
        if kind == "step":
            return cls(kind, numbers[0], 1, *numbers[1:])
        return cls(kind, *numbers)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Real steps of each row, (B,): all T, except for the kind `lengths`.

        There one row has T, and the others are spread evenly, in some order, such that the mean is 48 % of T,
        or a little more where rows would be empty, as none is.
        """
        B, T = self.B, self.T
        if self.kind != "lengths" or B == 1:
            return np.full(B, T, np.int64)
        others = 2 * max(_REAL_SHARE * B - 1, 0) * T / (B - 1) ** 2 * (np.arange(B - 1) + 0.5)
        # Rounding the running sum, not its terms, keeps the mean.
        rounded = np.diff(np.rint(np.cumsum(others)), prepend=0).astype(np.int64)
        return np.random.default_rng([B, T]).permutation(np.append(np.maximum(rounded, 1), T))

    @property
    def real_steps(self) -> int:
        """Steps of all rows together, without padding."""
        return int(self.lengths.sum())

    @property
    def operations(self) -> int:
        """Multiplications and additions that the matrix products need; the cells are not counted.

        Forward takes ``8 B H (T I + (T - 1) H)``: without initial states the first step has no recurrent
        product. Backward takes twice that, a product for each of a product's two gradients. What padding
        takes, or running forward again from checkpoints, is not counted.
        """
        B, T, I, H = self.B, self.T, self.I, self.H  # noqa: E741
        if self.kind == "step":
            return 8 * B * H * (I + H)
        if self.kind == "forward":
            return _forward_operations(B, T, I, H)
        if self.kind in ("training", "checkpoint"):
            return 3 * _forward_operations(B, T, I, H)
        if self.kind == "lengths":
            return 3 * 8 * H * (self.real_steps * I + (self.real_steps - B) * H)
        dense = 2 * B * (H * MNIST_HIDDEN + MNIST_HIDDEN * MNIST_CLASSES)
        forward = _forward_operations(B, T, I, H) + _forward_operations(B, T, H, H) + dense
        return 3 * forward - 8 * B * T * I * H

    @property
    def operations_text(self) -> str:
        """How `operations` is counted, in letters."""
        return {
            "step": "8 B H (I + H)",
            "forward": "8 B H (T I + (T-1) H)",
            "training": "3 x 8 B H (T I + (T-1) H)",
            "lengths": f"3 x 8 H (S I + (S-B) H), S = {self.real_steps} real steps",
            "checkpoint": "3 x 8 B H (T I + (T-1) H)",
            "mnist": "3 x (both LSTMs as for forward + 2 B (128 x 32 + 32 x 10)) - 8 B T I H (no dx)",
        }[self.kind]

    def bytes_moved(self, itemsize: int) -> int:
        """Bytes that must come from or go to memory when nothing but registers is reused across steps.

        The weights once a step in forward and once in backward, every input, output, tape and gradient array
        once for each time it is written or read. It places a workload on the roofline picture.
        """
        B, T, I, H = self.B, self.T, self.I, self.H  # noqa: E741
        if self.kind == "step":
            return itemsize * (4 * H * (I + H + 1) + B * (I + 4 * H))
        if self.kind == "forward":
            return itemsize * _forward_numbers(B, T, I, H)
        if self.kind in ("training", "lengths", "checkpoint"):
            return itemsize * _training_numbers(self.real_steps, T, I, H)
        parameters = sum(math.prod(shape) for shape in mnist_shapes())
        layers = _training_numbers(B * T, T, I, H) + _training_numbers(B * T, T, H, H)
        return itemsize * (layers + 7 * parameters)  # Adam reads four arrays and writes three


def _forward_operations(B: int, T: int, I: int, H: int) -> int:  # noqa: E741
    return 8 * B * H * (T * I + (T - 1) * H)


def _forward_numbers(B: int, T: int, I: int, H: int) -> int:  # noqa: E741
    return T * 4 * H * (I + H) + B * T * (I + H) + 2 * B * H


def _training_numbers(steps: int, T: int, I: int, H: int) -> int:  # noqa: E741
    """Count for the given number of steps of all rows together, up to T each."""
    weights = 4 * H * (I + H)
    tape = 2 * 5 * steps * H  # gates and cell states, written and read
    return (2 * T + 1) * weights + tape + steps * (3 * I + 3 * H)


def mnist_shapes() -> list[tuple[int, ...]]:
    """Return the shapes of the MNIST model's weights, in Keras's order."""
    I, H, D, C = MNIST_INPUTS, MNIST_UNITS, MNIST_HIDDEN, MNIST_CLASSES  # noqa: E741
    lstms = [(I, 4 * H), (H, 4 * H), (4 * H,), (H, 4 * H), (H, 4 * H), (4 * H,)]
    return [*lstms, (H, D), (D,), (D, C), (C,)]


_SHAPES = (
    "64x28x28x128",
    "64x28x128x128",
    "256x28x128x128",
    "32x100x256x256",
    "64x50x512x512",
    "16x50x1024x1024",
)
CATALOGUE = tuple(
    Workload.parse(name)
    for name in (
        *(f"forward-{shape}" for shape in _SHAPES),
        *(f"training-{shape}" for shape in _SHAPES),
        "lengths-64x100x128x128",
        "checkpoint-1x10000x256x256",
        "forward-1x100x128x128",
        "forward-1x100x512x512",
        "step-1x128x128",
        "step-1x512x512",
        "mnist-64",
        "mnist-128",
        "mnist-256",
    )
)
QUICK = tuple(
    Workload.parse(name)
    for name in (
        "forward-64x28x128x128",
        "training-64x28x128x128",
        "forward-1x100x128x128",
        "step-1x128x128",
        "mnist-64",
    )
)


def select(patterns: Sequence[str]) -> list[Workload]:
    """Return the workloads that names or shell-style patterns mean, each once, in the order given.

    Raises
    ------
    ValueError
        If a pattern fits no listed workload and is not a workload's name itself.
    """
    chosen: dict[Workload, None] = {}
    for pattern in patterns:
        found = [workload for workload in CATALOGUE if fnmatchcase(workload.name, pattern)]
        chosen.update(dict.fromkeys(found or [Workload.parse(pattern)]))
    return list(chosen)


def number_type(name: str) -> np.dtype[Any]:
    """Return a number type by its name; ImportError for bfloat16 without the package ml_dtypes."""
    if name == "bfloat16":
        importlib.import_module("ml_dtypes")
    return np.dtype(name)


def make_host_arrays(workload: Workload, dtype: str) -> dict[str, Array]:
    """Make the arrays of contenders on a CPU: of shorter types float32, of bfloat16 numbers that it has."""
    if dtype != "bfloat16":
        return make_arrays(workload, "float32" if dtype == "int8" else dtype)
    return {
        name: _rounded(array) if array.dtype == np.float32 else array
        for name, array in make_arrays(workload, "float32").items()
    }


def _rounded(array: Array) -> Array:
    """Round to 8 significant bits, ties to even."""
    mantissa, exponent = np.frexp(array)
    return np.ldexp(np.round(mantissa * 256) / 256, exponent)


def make_arrays(workload: Workload, dtype: str, seed: int = 0) -> dict[str, Array]:
    """Make the arrays of a workload, the same for every contender.

    Returns
    -------
    dict
        For an LSTM ``x``, ``kernel``, ``recurrent_kernel``, ``bias`` in Keras's layout, and ``dy`` for
        training or ``h0`` and ``c0`` for a step, whose ``x`` is (B, I). Sequences of different lengths have
        ``lengths`` (B,); ``dy`` is zero in the padding, as nobody uses what was computed there, and ``x`` is
        not. For the MNIST model ``x`` (B, 28, 28) in [0, 1), ``labels`` (B,) and ``w0`` to ``w9``.
        Floating-point arrays have the given type.
    """
    B, T, I, H = workload.B, workload.T, workload.I, workload.H  # noqa: E741
    number = number_type(dtype)
    random = np.random.default_rng([seed, KINDS.index(workload.kind), B, T, I, H])

    def normal(*shape: int, scale: float = 1.0) -> Array:
        return (scale * random.standard_normal(shape)).astype(number)

    if workload.kind == "mnist":
        arrays = {
            "x": random.random((B, T, I)).astype(number),
            "labels": random.integers(0, MNIST_CLASSES, B).astype(np.int64),
        }
        for index, shape in enumerate(mnist_shapes()):
            # Weights whose activations neither vanish nor saturate, and biases around zero.
            arrays[f"w{index}"] = normal(*shape, scale=1 / math.sqrt(shape[0]) if len(shape) == 2 else 0.1)
        return arrays
    arrays = {
        "x": normal(B, I) if workload.kind == "step" else normal(B, T, I),
        # Spectral norms of about one, as fusedlstm.testing.tolerance presumes: the largest singular value of
        # an (n, 4 n) matrix of standard normal numbers is about 3 sqrt(n).
        "kernel": normal(I, 4 * H, scale=0.5 / math.sqrt(I)),
        "recurrent_kernel": normal(H, 4 * H, scale=0.33 / math.sqrt(H)),
        "bias": normal(4 * H),
    }
    if workload.kind in ("training", "lengths", "checkpoint"):
        arrays["dy"] = normal(B, T, H)
    if workload.kind == "lengths":
        arrays["lengths"] = workload.lengths
        arrays["dy"][np.arange(T) >= workload.lengths[:, None]] = 0
    if workload.kind == "step":
        arrays |= {"h0": normal(B, H, scale=0.5), "c0": normal(B, H)}
    return arrays
