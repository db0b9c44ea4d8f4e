"""`fusedlstm.ops` on device arrays: what kernel tests over devices do not show."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest

import fusedlstm
from fusedlstm import ops, testing
from fusedlstm.cuda.lstm import DeviceTape
from fusedlstm.cuda.weights import DeviceWeights
from tests.interrupting import each
from tests.kernels.problems import assert_same_bits, make_problem
from tests.kernels.updates import UPDATES, run_update
from tests.simulated_gpu.device import SimArray

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulated_gpu.device import SimDevice

SHAPE = (3, 5, 4, 9)


def arrays(device: SimDevice, dtype: Any = np.float32, shape: tuple[int, int, int, int] = SHAPE) -> Any:
    """Return a problem whose arrays are the device's."""
    p = make_problem(shape, np.float64)
    names = ("x", "kernel", "recurrent_kernel", "bias", "h0", "c0", "dy", "dh", "dc")
    states = np.float32 if np.dtype(dtype).itemsize == 2 else dtype
    types = {name: states if name in ("c0", "dc") else dtype for name in names}
    made = {name: device.put(getattr(p, name).astype(types[name])) for name in names}
    return type("Arrays", (), {**made, "weights": tuple(made[name] for name in names[1:4]), "host": p})


def test_types(device: SimDevice) -> None:
    """Results and objects are the device's, and attributes those of the CPU's."""
    p = arrays(device)
    weights: Any = ops.LSTMWeights(*p.weights)
    kind: type[object] = type(weights)
    assert kind is DeviceWeights
    for name in ("inputs", "units", "outputs", "version", "use_bias", "storage", "dtype"):
        assert getattr(weights, name) == getattr(ops.LSTMWeights(*p.host.weights), name) or name == "dtype"
    for part, given in zip(weights.unpack(), p.weights, strict=False):
        assert_same_bits(part.get(), given.get())
    result: Any = ops.lstm_forward(p.x, weights, training=True)
    assert all(isinstance(array, SimArray) for array in result[:3])
    assert type(result.tape) is DeviceTape
    B, T, _, H = SHAPE
    assert result.tape.nbytes == 4 * (B * T * 4 * H + (T + 1) * B * H)
    assert ops.last_kernel() == (
        "simt:0 float32 lstm_forward, small kernel: a multiprocessor keeps all recurrent weights of 9 units, "
        "so that no block waits for another"
    )
    ops.lstm_step(p.host.x[:, 0].copy(), p.host.h0, p.host.c0, p.host.weights)
    assert ops.last_kernel().startswith("cpu ")
    # One after the other, whichever ran last.
    ops.dropout(p.x, 0.5, 1)
    assert ops.last_kernel() == "simt:0 float32 dropout"


def test_the_kernel_for_many_units(device: SimDevice) -> None:
    p = arrays(device, shape=(2, 2, 3, 130))
    y = ops.lstm_forward(p.x, p.weights, training=True).y
    assert "grid kernel" in ops.last_kernel()
    want = testing.lstm_forward_reference(*(array.get() for array in (p.x, *p.weights)))
    assert y is not None
    testing.assert_close(y.get(), want.y, dtype=np.float32, terms=134, steps=2)  # type: ignore[attr-defined]


@pytest.mark.parametrize("number", ["float16", "bfloat16", "tf32"])
def test_short_numbers(device: SimDevice, number: str) -> None:
    """Against the reference, which computes with the same rounded inputs.

    h, gates and their gradients are stored with a relative error of u; per step at most 16 of them meet in a
    result, as in tests/simulated_gpu/sequences.py.
    """
    dtype = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "tf32": np.float32}[number]
    u = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "tf32": 2.0**-11}[number]
    device.tf32 = number == "tf32"
    p = arrays(device, dtype)
    B, T = SHAPE[:2]
    result = ops.lstm_forward(p.x, p.weights, p.h0, p.c0, training=True)
    kernel = "grid" if number == "tf32" else "small"
    assert f"simt:0 {number} lstm_forward, {kernel} kernel" in ops.last_kernel()
    assert result.tape is not None
    gradients = ops.lstm_backward(result.tape, p.dy, p.dh, p.dc)
    given = [array.get().astype(np.float64) for array in (p.x, *p.weights, p.h0, p.c0)]
    upstream = [array.get().astype(np.float64) for array in (p.dy, p.dh, p.dc)]
    want = testing.lstm_forward_reference(*given)
    d = testing.lstm_backward_reference(*given, *upstream)
    for source, names in ((want, "y h c"), (d, "dx dkernel drecurrent_kernel dbias dh0 dc0")):
        for name in names.split():
            got: Any = getattr(result if source is want else gradients, name)
            expected = getattr(source, name)
            assert got.dtype == (np.float32 if name in ("c", "dc0") else dtype), name
            # Gradients of weights are sums over rows and steps.
            count = B * T if name in ("dkernel", "drecurrent_kernel", "dbias") else 1
            scale = np.abs(expected).max() + np.sqrt(count)
            error = np.abs(got.get().astype(np.float64) - expected).max() / scale
            assert error <= 16 * u * T, f"{name}: {error / u:.3g} u"


@pytest.mark.parametrize("number", ["float16", "bfloat16"])
def test_dropout_of_short_numbers(device: SimDevice, number: str) -> None:
    """The CPU's masks, and products that are rounded once."""
    dtype = np.dtype(getattr(ml_dtypes, number, number))
    x = np.random.default_rng(0).standard_normal((4, 3, 9)).astype(dtype)
    for share_steps in (False, True):
        y: Any = ops.dropout(device.put(x), 0.4, 5, share_steps=share_steps)
        kept = ops.dropout(np.ones(x.shape, np.float32), 0.4, 5, share_steps=share_steps) != 0
        want = (x.astype(np.float32) * np.float32(1 / 0.6)).astype(dtype)
        np.testing.assert_array_equal(y.get(), np.where(kept, want, dtype.type(0)))


def test_the_masks_of_the_cpu(device: SimDevice) -> None:
    x = np.ones((5, 7, 33), np.float32)
    for share_steps in (False, True):
        got: Any = ops.dropout(device.put(x), 0.3, 2**63 + 9, share_steps=share_steps)
        assert_same_bits(got.get(), ops.dropout(x, 0.3, 2**63 + 9, share_steps=share_steps))


def test_windows_with_options(device: SimDevice) -> None:
    """Zoneout's draws, holes, peepholes and recurrent dropout do not notice where windows begin."""
    p = arrays(device, np.float64, (3, 11, 4, 9))
    random = np.random.default_rng(1)
    peepholes = device.put(0.3 * random.standard_normal((3, 9)))
    more: dict[str, Any] = {
        "options": ops.CellOptions(peepholes=peepholes, zoneout_h=0.3, zoneout_c=0.2),
        "zoneout_seed": 8,
        "recurrent_mask": device.put((random.random((3, 9)) < 0.7) / 0.7),
        "mask": device.put(random.random((3, 11)) < 0.6),
    }

    def run(every: int, **changes: Any) -> dict[str, Any]:
        options = {**more, **changes}
        result = ops.lstm_forward(
            p.x, p.weights, p.h0, p.c0, training=True, checkpoint_every=every, **options
        )
        assert result.tape is not None
        results = {**result._asdict(), **ops.lstm_backward(result.tape, p.dy, p.dh, p.dc)._asdict()}
        return {name: array.get() for name, array in results.items() if hasattr(array, "get")}

    for changes in ({}, {"go_backwards": True}, {"zoneout_seed": None}):
        expected = run(0, **changes)
        assert "dpeepholes" in expected
        for every in (1, 4, 20):
            for name, array in run(every, **changes).items():
                np.testing.assert_allclose(array, expected[name], rtol=1e-12, atol=1e-12, err_msg=name)


def test_stacks_run_on_the_device(device: SimDevice) -> None:
    p = make_problem(SHAPE, np.float32)
    weights = [p.weights, p.weights]
    host: Any = ops.lstm_stack_forward(p.x, weights, bidirectional=True, training=True)
    own = [tuple(device.put(array) for array in parts) for parts in weights]
    there: Any = ops.lstm_stack_forward(device.put(p.x), own, bidirectional=True, training=True)
    np.testing.assert_allclose(there.y.get(), host.y, rtol=1e-5, atol=1e-6)
    dy = np.ones_like(host.y)
    assert host.tape is not None
    d_there: Any = ops.lstm_stack_backward(there.tape, device.put(dy))
    d_host: Any = ops.lstm_stack_backward(host.tape, dy)
    np.testing.assert_allclose(d_there.dx.get(), d_host.dx, rtol=1e-4, atol=1e-5)


CALLS: dict[str, Callable[[Any], object]] = {
    "weights of x": lambda p: ops.lstm_forward(p.host.x.astype(np.float32), p.weights),
    "weights": lambda p: ops.lstm_forward(p.x, p.host.weights),
    "recurrent_kernel": lambda p: ops.LSTMWeights(p.kernel, p.host.recurrent_kernel),
    "bias": lambda p: ops.LSTMWeights(p.kernel, p.recurrent_kernel, p.host.bias),
    "h0": lambda p: ops.lstm_forward(p.x, p.weights, p.host.h0),
    "lengths": lambda p: ops.lstm_forward(p.x, p.weights, lengths=np.ones(3, int)),
    "mask": lambda p: ops.lstm_forward(p.x, p.weights, mask=np.ones((3, 5), bool)),
    "recurrent_mask": lambda p: ops.lstm_forward(p.x, p.weights, recurrent_mask=p.host.h0),
    "peepholes": lambda p: ops.lstm_forward(
        p.x, p.weights, options=ops.CellOptions(peepholes=np.ones((3, 9), np.float32))
    ),
    "h": lambda p: ops.lstm_step(p.x[:, 0], p.host.h0, p.c0, p.weights),
    r"out\[1\]": lambda p: ops.lstm_step(
        p.x[:, 0], p.h0, p.c0, p.weights, out=(p.h0, np.ones((3, 9), np.float32))
    ),
    "c_prev": lambda p: ops.cell_forward(p.x[:, 0], p.host.c0),
    "bias of dense": lambda p: ops.dense_forward(p.x[:, 0], p.kernel, p.host.bias),
    "gamma": lambda p: ops.layer_norm_forward(p.x[:, 0], np.ones(4, np.float32)),
    "ids": lambda p: ops.embedding_forward(np.array([0]), p.kernel),
    "grad": lambda p: ops.sgd_update(p.kernel, p.host.kernel, None, learning_rate=1.0),
    "out": lambda p: ops.dropout(p.x, 0.5, 1, out=np.empty(p.x.shape, np.float32)),
    # The other way round.
    "h0 there": lambda p: ops.lstm_forward(p.host.x, p.host.weights, p.h0),
    "weights there": lambda p: ops.lstm_forward(p.host.x, ops.LSTMWeights(*p.weights)),
    "recurrent_kernel there": lambda p: ops.LSTMWeights(p.host.kernel, p.recurrent_kernel),
    "c_prev there": lambda p: ops.cell_forward(np.ones((3, 36), np.float32), p.c0),
    "ids there": lambda p: ops.embedding_forward(p.x[:, 0, 0], p.host.kernel),
}


@pytest.mark.parametrize("name", CALLS)
def test_mixed_with_numpy(device: SimDevice, name: str) -> None:
    p = arrays(device)
    before = {key: getattr(p, key).get() for key in ("x", "kernel", "h0", "c0")}
    argument = name.partition(" ")[0]
    with pytest.raises(TypeError, match=rf"^{argument}: expected .*, got ") as error:
        CALLS[name](p)
    assert "incompatible" not in str(error.value)
    for key, array in before.items():
        assert_same_bits(getattr(p, key).get(), array, key)


def test_arrays_of_another_device(device: SimDevice) -> None:
    p = arrays(device)
    weights = ops.LSTMWeights(*p.weights)
    result: Any = ops.lstm_forward(p.x, weights, training=True)
    device.place = 1
    other = device.put(np.ones((3, 9), np.float32))
    named = r": expected an array on the current device, simt:{}, got one on simt:{}$"
    calls: dict[str, Callable[[], object]] = {
        "x": lambda: ops.dropout(p.x, 0.5, 1),
        "weights": lambda: ops.lstm_forward(device.put(np.ones(p.x.shape, np.float32)), weights),
        "tape": lambda: ops.lstm_backward(result.tape),
    }
    for argument, call in calls.items():
        with pytest.raises(ValueError, match=argument + named.format(1, 0)):
            call()
    device.place = 0
    with pytest.raises(ValueError, match="h0" + named.format(0, 1)):
        ops.lstm_forward(p.x, weights, other)


def test_strict_mode(device: SimDevice) -> None:
    """Copies that the caller could avoid are errors; those that are part of the work are not."""
    p = arrays(device)
    wide = device.put(np.ones((3, 5, 8), np.float32))
    weights = ops.LSTMWeights(*p.weights)
    with fusedlstm.strict():
        for call in (
            lambda: ops.lstm_forward(wide[:, :, ::2], weights),
            lambda: ops.lstm_forward(p.x, weights, p.h0[::-1]),
            lambda: ops.dropout(wide[:, ::2], 0.5, 1),
        ):
            with pytest.raises(fusedlstm.FallbackError, match=r"expected an aligned .* must be copied"):
                call()
        ops.lstm_forward(wide[:, ::-1, :4], weights, go_backwards=True)
    ops.lstm_forward(wide[:, :, ::2], weights)


def test_what_is_not_there_yet(device: SimDevice) -> None:
    p = arrays(device)
    tape = ops.lstm_forward(p.x, p.weights, training=True).tape
    assert tape is not None
    calls: dict[str, Callable[[], object]] = {
        "storage": lambda: ops.LSTMWeights(*p.weights, storage="int8"),
        "keep": lambda: ops.lstm_backward(tape, keep=True),
    }
    for name, call in calls.items():
        with pytest.raises(NotImplementedError, match=rf"^{name}: expected .* simt:0, .* yet, got "):
            call()
    # A refused call has not used the tape.
    assert ops.lstm_backward(tape).dx is not None
    with pytest.raises(RuntimeError, match="tape: expected one that no backward pass has used yet"):
        ops.lstm_backward(tape)


def test_second_derivatives_refuse_the_tape(device: SimDevice) -> None:
    p = arrays(device)
    tape: Any = ops.lstm_forward(p.x, p.weights, training=True).tape
    with pytest.raises((TypeError, NotImplementedError), match=r"^tape: expected "):
        ops.lstm_jvp(tape, x=p.x)


def test_embedding_backward_keeps_the_order(device: SimDevice) -> None:
    """Of numbers whose sum depends on it, the bits are the CPU's."""
    random = np.random.default_rng(2)
    ids = random.integers(0, 3, 200)
    dy = (random.standard_normal((200, 5)) * 10.0 ** random.integers(-4, 5, (200, 1))).astype(np.float32)
    got: Any = ops.embedding_backward(device.put(ids), device.put(dy), 4)
    assert_same_bits(got.get(), ops.embedding_backward(ids, dy, 4))


@pytest.mark.parametrize("name", UPDATES)
def test_updates_have_the_bits_of_the_cpu(device: SimDevice, name: str) -> None:
    names = UPDATES[name].arrays
    random = np.random.default_rng(3)
    arrays = dict(
        zip(names, np.abs(random.standard_normal((len(names), 4, 33))).astype(np.float32), strict=True)
    )
    there: dict[str, Any] = {key: device.put(array) for key, array in arrays.items()}
    settings: dict[str, Any] = {"weight_decay": 0.01, "clipvalue": 0.7, "scale": 0.5, "ema_overwrites": True}
    for of_device in (there, arrays):
        run_update(ops, name, of_device, **settings)
    for key, own in there.items():
        assert_same_bits(own.get(), arrays[key], key)


def test_updates_are_whole(device: SimDevice) -> None:
    """An interrupt comes before all parameters and their count, or after all."""
    iterations = np.zeros((), np.int64)
    params = [device.put(np.zeros(5, np.float32)) for _ in range(3)]
    grads = [device.put(np.ones(5, np.float32)) for _ in range(3)]

    def update() -> None:
        ops.sgd_update(params, grads, None, learning_rate=1.0, iterations=iterations)

    outcomes = set()
    for _ in each(update, {str(path) for path in Path(fusedlstm.__file__).parent.rglob("*.py")}):
        (done,) = {float(-value) for param in params for value in param.get()} | {float(iterations)}
        outcomes.add(done)
    assert len(outcomes) > 1


def test_later_changes_are_not_seen(device: SimDevice) -> None:
    """Neither of weights nor of what a tape needs besides x, h0, y and the recurrent mask."""
    p = arrays(device)
    weights = ops.LSTMWeights(*p.weights)
    peepholes = device.put(np.ones((3, 9), np.float32))
    lengths = device.put(np.array([5, 2, 0]))
    more: dict[str, Any] = {"lengths": lengths, "options": ops.CellOptions(peepholes=peepholes)}
    runs: list[Any] = [ops.lstm_forward(p.x, weights, training=True, **more) for _ in range(2)]
    expected: Any = ops.lstm_backward(runs[0].tape, p.dy)
    for array in (*p.weights, peepholes, lengths):
        array[...] = 0
    gradients: Any = ops.lstm_backward(runs[1].tape, p.dy)
    for name in ("dx", "dkernel", "dpeepholes"):
        assert_same_bits(getattr(gradients, name).get(), getattr(expected, name).get(), name)
    more = {"lengths": device.put(np.array([5, 2, 0])), "options": ops.CellOptions(peepholes=peepholes)}
    again: Any = ops.lstm_forward(p.x, weights, **more)
    first: Any = ops.lstm_forward(p.x, p.weights, **more)
    assert (again.y.get() != first.y.get()).any()
    unpacked: Any = weights.unpack()
    assert unpacked[0].get().any()


@pytest.mark.parametrize(("dtype", "tf32"), [(np.float32, False), (np.float32, True), (np.float16, False)])
def test_arrays_that_a_call_makes(
    device: SimDevice, dtype: Any, tf32: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a call costs besides its kernels: one array for each result, nothing copied or added up apart."""
    device.tf32 = tf32
    p = arrays(device, dtype)
    weights: Any = ops.LSTMWeights(*p.weights)
    counts: Counter[str] = Counter()

    def count(kind: type, name: str) -> None:
        original = getattr(kind, name)

        def counted(*given: Any, **options: Any) -> Any:
            counts[name] += 1
            return original(*given, **options)

        monkeypatch.setattr(kind, name, counted)

    for name in ("empty", "matmul"):
        count(type(device), name)
    for name in ("copy", "astype", "__array_ufunc__", "__array_function__", "__getitem__", "reshape"):
        count(SimArray, name)
    # Products are arrays too, and so is a workspace, which the small kernels do without.
    space = 1 if tf32 else 0
    ops.lstm_forward(p.x, weights)
    assert counts == {"empty": 3 + 1 + space, "matmul": 1, "reshape": 1}
    counts.clear()
    tape = ops.lstm_forward(p.x, weights, training=True).tape
    assert tape is not None
    assert counts == {"empty": 4 + 1 + space, "matmul": 1, "reshape": 1}
    counts.clear()
    ops.lstm_backward(tape, p.dy)
    # dh0, dc0, the states before each step and dbias; dx, dkernel, drecurrent_kernel.
    assert counts == {"empty": 4 + 3 + space, "matmul": 3, "reshape": 2}
