"""The kernels that ``fusedlstm bench --kernel`` knows: arguments, work, check against the reference."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fusedlstm import ops, testing

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusedlstm.benchmark.workloads import Array


@dataclass(frozen=True)
class KernelJob:
    """A kernel with arguments.

    Attributes
    ----------
    setup : callable
        Makes what `run` takes; not timed.
    run : callable
        What is timed.
    check : callable
        Compares with the reference; returns the worst difference in units of the tolerance, or raises
        AssertionError.
    work : int
        How much a call does, in `unit`.
    unit : str
        ``"operations"`` (multiplications and additions) or ``"elements"``.
    formula : str
        How operations are counted.
    setup_each : bool
        Whether every call needs a setup of its own.
    """

    setup: Callable[[], Any]
    run: Callable[[Any], object]
    check: Callable[[], float]
    work: int
    unit: str
    formula: str = ""
    setup_each: bool = False


class Kernel(NamedTuple):
    """A kernel's name, the letters of its sizes, sizes to use by default, and how to make its job."""

    name: str
    letters: tuple[str, ...]
    usual: tuple[int, ...]
    make: Callable[[tuple[int, ...], str], KernelJob]


class _Maker:
    """Random arrays of one type."""

    def __init__(self, shape: tuple[int, ...], dtype: str) -> None:
        self.random, self.dtype = np.random.default_rng(shape), dtype

    def __call__(self, *shape: int, scale: float = 1.0) -> Array:
        return (scale * self.random.standard_normal(shape)).astype(self.dtype)

    def weights(self, inputs: int, units: int) -> tuple[Array, Array, Array]:
        """Return an LSTM's weights, of spectral norms about one, which the tolerance presumes."""
        return (
            self(inputs, 4 * units, scale=0.5 / math.sqrt(inputs)),
            self(units, 4 * units, scale=0.33 / math.sqrt(units)),
            self(4 * units),
        )


def _worst(actual: Any, expected: Any, names: tuple[str, ...], **options: Any) -> float:
    return max(
        testing.assert_close(getattr(actual, name), getattr(expected, name), name=name, **options)
        for name in names
    )


def _forward(shape: tuple[int, ...], dtype: str, *, training: bool = False) -> KernelJob:
    B, T, I, H = shape  # noqa: E741
    make = _Maker(shape, dtype)
    x, parts = make(B, T, I), make.weights(I, H)
    weights = ops.LSTMWeights(*parts)

    def run(_: None) -> ops.LSTMResult:
        return ops.lstm_forward(x, weights, training=training)

    def check() -> float:
        expected = testing.lstm_forward_reference(x, *parts)
        return _worst(run(None), expected, ("y", "h", "c"), dtype=dtype, terms=I + H + 1, steps=T)

    work = 8 * B * H * (T * I + (T - 1) * H)
    return KernelJob(lambda: None, run, check, work, "operations", "8 B H (T I + (T-1) H)")


def _forward_training(shape: tuple[int, ...], dtype: str) -> KernelJob:
    return _forward(shape, dtype, training=True)


def _backward(shape: tuple[int, ...], dtype: str) -> KernelJob:
    B, T, I, H = shape  # noqa: E741
    make = _Maker(shape, dtype)
    x, parts, dy = make(B, T, I), make.weights(I, H), make(B, T, H)
    weights = ops.LSTMWeights(*parts)

    def setup() -> ops.Tape:
        tape = ops.lstm_forward(x, weights, training=True).tape
        assert tape is not None
        return tape

    def run(tape: ops.Tape) -> ops.LSTMGradients:
        return ops.lstm_backward(tape, dy)

    def check() -> float:
        got, expected = run(setup()), testing.lstm_backward_reference(x, *parts, dy=dy)
        options: dict[str, Any] = {"dtype": dtype, "terms": I + 4 * H + B * T, "steps": T}
        sums = ("dkernel", "drecurrent_kernel", "dbias")
        # Sums over all rows and steps have partial sums of about the root of their number.
        largest = max(math.sqrt(B * T), *(float(np.abs(getattr(expected, name)).max()) for name in sums))
        return max(
            _worst(got, expected, ("dx", "dh0", "dc0"), **options),
            _worst(got, expected, sums, scale=largest, **options),
        )

    work = 16 * B * H * (T * I + (T - 1) * H)
    formula = "2 x 8 B H (T I + (T-1) H)"
    return KernelJob(setup, run, check, work, "operations", formula, setup_each=True)


def _step(shape: tuple[int, ...], dtype: str) -> KernelJob:
    B, I, H = shape  # noqa: E741
    make = _Maker(shape, dtype)
    x, h, c, parts = make(B, I), make(B, H, scale=0.5), make(B, H), make.weights(I, H)
    weights = ops.LSTMWeights(*parts)
    out = np.empty_like(h), np.empty_like(c)

    def run(_: None) -> tuple[Array, Array]:
        return ops.lstm_step(x, h, c, weights, out=out)

    def check() -> float:
        _, *expected = testing.lstm_forward_reference(x[:, None], *parts, h0=h, c0=c)
        return _worst_of(run(None), expected, ("h", "c"), dtype=dtype, terms=I + H + 1)

    return KernelJob(lambda: None, run, check, 8 * B * H * (I + H), "operations", "8 B H (I + H)")


def _cell_forward(shape: tuple[int, ...], dtype: str) -> KernelJob:
    B, H = shape
    make = _Maker(shape, dtype)
    z, c_prev = make(B, 4 * H), make(B, H)

    def run(_: None) -> tuple[Array, ...]:
        return ops.cell_forward(z, c_prev)

    def check() -> float:
        expected = testing.cell_forward_reference(z, c_prev)
        return _worst_of(run(None), expected, ("h", "c", "gates"), dtype=dtype, terms=0)

    return KernelJob(lambda: None, run, check, B * H, "elements")


def _cell_backward(shape: tuple[int, ...], dtype: str) -> KernelJob:
    B, H = shape
    make = _Maker(shape, dtype)
    c_prev, dh, dc = make(B, H), make(B, H), make(B, H)
    _, c, gates = (array.astype(dtype) for array in testing.cell_forward_reference(make(B, 4 * H), c_prev))

    def run(_: None) -> tuple[Array, ...]:
        return ops.cell_backward(gates, c_prev, c, dh, dc)

    def check() -> float:
        expected = testing.cell_backward_reference(gates, c_prev, c, dh, dc)
        return _worst_of(run(None), expected, ("dz", "dc_prev"), dtype=dtype, terms=0)

    return KernelJob(lambda: None, run, check, B * H, "elements")


def _dense_forward(shape: tuple[int, ...], dtype: str) -> KernelJob:
    M, K, N = shape
    make = _Maker(shape, dtype)
    x, kernel, bias = make(M, K), make(K, N), make(N)

    def run(_: None) -> Array:
        return ops.dense_forward(x, kernel, bias)

    def check() -> float:
        expected = testing.dense_forward_reference(x, kernel, bias)
        return testing.assert_close(run(None), expected, dtype=dtype, terms=K + 1, name="y")

    return KernelJob(lambda: None, run, check, 2 * M * K * N, "operations", "2 M K N")


def _dense_backward(shape: tuple[int, ...], dtype: str) -> KernelJob:
    M, K, N = shape
    make = _Maker(shape, dtype)
    x, kernel, dy = make(M, K), make(K, N), make(M, N)

    def run(_: None) -> tuple[Array | None, Array, Array | None]:
        return ops.dense_backward(x, kernel, dy)

    def check() -> float:
        expected = testing.dense_backward_reference(x, kernel, dy)
        return _worst_of(run(None), expected, ("dx", "dkernel", "dbias"), dtype=dtype, terms=M + N)

    return KernelJob(lambda: None, run, check, 4 * M * K * N, "operations", "2 x 2 M K N")


def _adam_update(shape: tuple[int, ...], dtype: str) -> KernelJob:
    make = _Maker(shape, dtype)
    grad = make(*shape)
    usual = {"learning_rate": 1e-3, "step": 3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
    state = make(*shape), make(*shape), make(*shape) ** 2

    def run(arrays: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        param, m, v = arrays
        ops.adam_update(param, grad, m, v, None, **usual)  # type: ignore[arg-type]
        return arrays

    def check() -> float:
        param, m, v, g = (array.astype(np.float64) for array in (*state, grad))
        m = m + 0.1 * (g - m)
        v = v + 0.001 * (g * g - v)
        alpha = 1e-3 * math.sqrt(1 - 0.999**3) / (1 - 0.9**3)
        param = param - alpha * m / (np.sqrt(v) + 1e-7)
        got = run((state[0].copy(), state[1].copy(), state[2].copy()))
        # An element is judged by the size of the terms it is made of.
        sizes = (np.abs(param) + alpha, np.abs(m) + np.abs(g), v + g * g)
        return max(
            testing.assert_close(array, want, dtype=dtype, terms=0, scale=size, name=name)
            for name, array, want, size in zip(("param", "m", "v"), got, (param, m, v), sizes, strict=True)
        )

    arrays = state[0].copy(), state[1].copy(), state[2].copy()
    return KernelJob(lambda: arrays, run, check, math.prod(shape), "elements")


def _ctc_loss(shape: tuple[int, ...], dtype: str) -> KernelJob:
    B, T, L, C = shape
    make = _Maker(shape, dtype)
    logits, labels = make(B, T, C), make.random.integers(1, max(2, C), (B, L))

    def run(_: None) -> ops.CTCResult:
        return ops.ctc_loss(logits, labels)

    def check() -> float:
        expected = testing.ctc_loss_reference(logits, labels)
        scale = 1 + np.where(np.isfinite(expected.losses), expected.losses, 0) / T
        options: dict[str, Any] = {"dtype": dtype, "terms": C, "steps": math.isqrt(T) + 1}
        got = run(None)
        assert got.dlogits is not None
        return max(
            testing.assert_close(got.losses, expected.losses, scale=scale, name="losses", **options),
            testing.assert_close(
                got.dlogits, expected.dlogits, scale=scale[:, None, None], name="dlogits", **options
            ),
        )

    # Each logit once, and each state forward and backward.
    return KernelJob(lambda: None, run, check, B * T * (C + 2 * (2 * L + 1)), "elements")


def _worst_of(actual: Any, expected: Any, names: tuple[str, ...], **options: Any) -> float:
    return max(
        testing.assert_close(got, want, name=name, **options)
        for name, got, want in zip(names, actual, expected, strict=True)
    )


_SEQUENCE = ("B", "T", "I", "H")
KERNELS = {
    kernel.name: kernel
    for kernel in (
        Kernel("lstm_forward", _SEQUENCE, (64, 28, 128, 128), _forward),
        Kernel("lstm_forward_training", _SEQUENCE, (64, 28, 128, 128), _forward_training),
        Kernel("lstm_backward", _SEQUENCE, (64, 28, 128, 128), _backward),
        Kernel("lstm_step", ("B", "I", "H"), (1, 128, 128), _step),
        Kernel("cell_forward", ("B", "H"), (64, 128), _cell_forward),
        Kernel("cell_backward", ("B", "H"), (64, 128), _cell_backward),
        Kernel("dense_forward", ("M", "K", "N"), (256, 256, 256), _dense_forward),
        Kernel("dense_backward", ("M", "K", "N"), (256, 256, 256), _dense_backward),
        Kernel("ctc_loss", ("B", "T", "L", "C"), (64, 150, 40, 28), _ctc_loss),
        Kernel("adam_update", ("N",), (100_000,), _adam_update),
    )
}
