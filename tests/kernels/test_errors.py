"""Wrong arguments: an error that names the argument, what was expected and what came, before any work."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from .devices import ops
from .updates import UPDATES, run_update

if TYPE_CHECKING:
    from collections.abc import Callable

    from .problems import Array

DEVICES = True

B, T, I, H = 3, 4, 5, 6  # noqa: E741
GOOD: dict[str, Array] = {
    name: np.full(shape, 0.5, np.float32)
    for name, shape in {
        "x": (B, T, I),
        "kernel": (I, 4 * H),
        "recurrent_kernel": (H, 4 * H),
        "bias": (4 * H,),
        "h0": (B, H),
        "c0": (B, H),
        "dy": (B, T, H),
        "dh": (B, H),
        "dc": (B, H),
        "x_step": (B, I),
        "h": (B, H),
        "c": (B, H),
        "z": (B, 4 * H),
        "gates": (B, 4 * H),
        "c_prev": (B, H),
        "x_dense": (B, I),
        "kernel_dense": (I, H),
        "bias_dense": (H,),
        "dy_dense": (B, H),
    }.items()
}


def forward(**a: Any) -> object:
    return ops.lstm_forward(a["x"], (a["kernel"], a["recurrent_kernel"], a["bias"]), a["h0"], a["c0"])


def weights(**a: Any) -> object:
    return ops.LSTMWeights(a["kernel"], a["recurrent_kernel"], a["bias"])


def backward(**a: Any) -> object:
    result = ops.lstm_forward(
        GOOD["x"], (GOOD["kernel"], GOOD["recurrent_kernel"], GOOD["bias"]), training=True
    )
    assert result.tape is not None
    return ops.lstm_backward(result.tape, a["dy"], a["dh"], a["dc"])


def step(**a: Any) -> object:
    packed = ops.LSTMWeights(GOOD["kernel"], GOOD["recurrent_kernel"], GOOD["bias"])
    return ops.lstm_step(a["x_step"], a["h"], a["c"], packed)


def cell_forward(**a: Any) -> object:
    return ops.cell_forward(a["z"], a["c_prev"])


def cell_backward(**a: Any) -> object:
    return ops.cell_backward(a["gates"], a["c_prev"], a["c"], a["dh"], a["dc"])


def dense_forward(**a: Any) -> object:
    return ops.dense_forward(a["x_dense"], a["kernel_dense"], a["bias_dense"])


def dense_backward(**a: Any) -> object:
    return ops.dense_backward(a["x_dense"], a["kernel_dense"], a["dy_dense"])


# Each operation, the arrays it takes, and which of those may be None.
CALLS: list[tuple[Callable[..., object], tuple[str, ...], tuple[str, ...]]] = [
    (forward, ("x", "kernel", "recurrent_kernel", "bias", "h0", "c0"), ("bias", "h0", "c0")),
    (weights, ("kernel", "recurrent_kernel", "bias"), ("bias",)),
    (backward, ("dy", "dh", "dc"), ("dy", "dh", "dc")),
    (step, ("x_step", "h", "c"), ()),
    (cell_forward, ("z", "c_prev"), ()),
    (cell_backward, ("gates", "c_prev", "c", "dh", "dc"), ("dc",)),
    (dense_forward, ("x_dense", "kernel_dense", "bias_dense"), ("bias_dense",)),
    (dense_backward, ("x_dense", "kernel_dense", "dy_dense"), ()),
]
CASES = [
    pytest.param(call, name, name in optional, id=f"{call.__name__}-{name}")
    for call, names, optional in CALLS
    for name in names
]
# A call whose first argument has the wrong dtype cannot know whether the first or the others are wrong.
ANY_NAME = r"[a-z_0-9]+: expected .*, got .*"


def message(name: str) -> str:
    return rf"^{name.removesuffix('_step').removesuffix('_dense')}: expected .*, got .*"


@pytest.mark.parametrize(("call", "name", "optional"), CASES)
def test_wrong_rank(call: Callable[..., object], name: str, optional: bool) -> None:
    del optional
    for wrong in (GOOD[name][None], np.asarray(GOOD[name][0]), np.array(1.0, np.float32)):
        with pytest.raises(ValueError, match=message(name)) as error:
            call(**{**GOOD, name: wrong})
        assert str(wrong.ndim) in str(error.value) or str(wrong.shape) in str(error.value)


@pytest.mark.parametrize(("call", "name", "optional"), CASES)
def test_wrong_dtype(call: Callable[..., object], name: str, optional: bool) -> None:
    del optional
    for wrong_dtype in (np.int32, np.float16, np.complex64, np.bool_, np.dtype(">f4"), object):
        wrong = GOOD[name].astype(wrong_dtype)
        with pytest.raises((TypeError, ValueError), match=ANY_NAME):
            call(**{**GOOD, name: wrong})


@pytest.mark.parametrize(("call", "name", "optional"), CASES)
def test_mixed_dtypes(call: Callable[..., object], name: str, optional: bool) -> None:
    del optional
    with pytest.raises((TypeError, ValueError), match=ANY_NAME) as error:
        call(**{**GOOD, name: GOOD[name].astype(np.float64)})
    assert "float32" in str(error.value)
    assert "float64" in str(error.value)


@pytest.mark.parametrize(("call", "name", "optional"), CASES)
def test_wrong_shapes(call: Callable[..., object], name: str, optional: bool) -> None:
    """Each axis one too long, in each array. The message may name the array it is compared with instead."""
    del optional
    for axis in range(GOOD[name].ndim):
        wrong = np.concatenate([GOOD[name], np.take(GOOD[name], [0], axis)], axis)
        if (call, name, axis) in FREE_AXES:
            continue
        with pytest.raises(ValueError, match=ANY_NAME):
            call(**{**GOOD, name: wrong})


# Lengths that nothing else in the call fixes.
FREE_AXES = {(forward, "x", 1), (weights, "kernel", 0), (dense_forward, "x_dense", 0)}


@pytest.mark.parametrize(("call", "name", "optional"), CASES)
def test_not_arrays(call: Callable[..., object], name: str, optional: bool) -> None:
    wrong_values: list[Any] = [GOOD[name].tolist(), "text", 1.0, object()]
    if not optional:
        wrong_values.append(None)
    for wrong in wrong_values:
        with pytest.raises(TypeError, match=message(name)) as error:
            call(**{**GOOD, name: wrong})
        assert type(wrong).__name__ in str(error.value)


def test_wrong_weights() -> None:
    x, good = GOOD["x"], (GOOD["kernel"], GOOD["recurrent_kernel"])
    for wrong in (None, GOOD["kernel"], (), good[:1], (*good, GOOD["bias"], None, 1), "text"):
        with pytest.raises((TypeError, ValueError), match=r"^weights: expected .*, got "):
            ops.lstm_forward(x, wrong)  # type: ignore[arg-type]


def test_not_a_tape() -> None:
    for wrong in (None, 1, GOOD["x"]):
        with pytest.raises(TypeError, match=r"^tape: expected .*, got "):
            ops.lstm_backward(wrong, GOOD["dy"])  # type: ignore[arg-type]


@pytest.mark.parametrize("training", [False, True])
def test_more_than_fits_in_memory(training: bool) -> None:
    """A batch without memory behind it (stride zero) whose results no address space could hold."""
    x = np.broadcast_to(GOOD["x"][:1, :1], (2**50, 2, I))
    with pytest.raises((MemoryError, ValueError)):
        ops.lstm_forward(x, (GOOD["kernel"], GOOD["recurrent_kernel"]), training=training)


def test_units_must_be_positive() -> None:
    none = np.zeros((I, 0), np.float32)
    with pytest.raises(ValueError, match=r"^(kernel|recurrent_kernel): expected .*, got "):
        ops.LSTMWeights(none, np.zeros((0, 0), np.float32))


@pytest.mark.not_gpu
@pytest.mark.parametrize("position", [0, 1])
def test_step_out(position: int) -> None:
    packed = ops.LSTMWeights(GOOD["kernel"], GOOD["recurrent_kernel"])
    read_only = np.zeros((B, H), np.float32)
    read_only.flags.writeable = False
    for wrong in (
        np.zeros((B, H + 1), np.float32),
        np.zeros((B, H)),
        np.zeros((B, H), np.float32)[:, ::-1],
        read_only,
        None,
    ):
        out: list[Any] = [np.zeros((B, H), np.float32), np.zeros((B, H), np.float32)]
        out[position] = wrong
        with pytest.raises((TypeError, ValueError), match=r"^out(\[\d\])?: expected .*, got |^[a-z_]*out"):
            ops.lstm_step(GOOD["x_step"], GOOD["h"], GOOD["c"], packed, out=(out[0], out[1]))


UPDATE_CASES = [
    pytest.param(update, name, id=f"{update}-{name}") for update in UPDATES for name in UPDATES[update].arrays
]


@pytest.mark.not_gpu
@pytest.mark.parametrize(("update", "name"), UPDATE_CASES)
def test_updates_with_wrong_arrays(update: str, name: str) -> None:
    """A slot that does not fit is refused, and nothing was updated by then."""
    read_only = np.ones((4, 6), np.float32)
    read_only.flags.writeable = False
    wrongs: list[Any] = [
        np.ones((4, 7), np.float32),
        np.ones((4, 6)),
        np.ones((4, 6), np.int32),
        np.ones((4, 12), np.float32)[:, ::2],
        np.ones((6, 4), np.float32).T,
        [1.0],
    ]
    if name != "grad":
        wrongs.append(read_only)
    for wrong in wrongs:
        slots: dict[str, Any] = {each: np.ones((4, 6), np.float32) for each in UPDATES[update].arrays}
        slots[name] = wrong
        with pytest.raises((TypeError, ValueError), match=ANY_NAME):
            run_update(ops, update, slots)
        for each, array in slots.items():
            if each != name:
                np.testing.assert_array_equal(array, np.ones((4, 6), np.float32), each)


@pytest.mark.parametrize(("update", "name"), UPDATE_CASES)
def test_lists_of_updates_with_one_wrong_array(update: str, name: str) -> None:
    """The message says which one it is, and none of them was updated by then."""
    slots: dict[str, Any] = {
        each: [np.ones(6, np.float32) for _ in range(3)] for each in UPDATES[update].arrays
    }
    slots[name][1] = np.ones(7, np.int32)
    with pytest.raises((TypeError, ValueError), match=rf"^{name}\[1\]: expected .*, got "):
        run_update(ops, update, slots)
    for each, arrays in slots.items():
        for place in (0, 2):
            np.testing.assert_array_equal(arrays[place], np.ones(6, np.float32), each)


@pytest.mark.parametrize("update", UPDATES)
def test_lists_of_updates_that_do_not_fit(update: str) -> None:
    names = UPDATES[update].arrays
    for wrong in ([np.ones(6, np.float32)], np.ones((2, 6), np.float32)):
        slots: dict[str, Any] = {
            each: [np.ones(6, np.float32) for _ in range(2)] for each in UPDATES[update].arrays
        }
        slots[names[-1]] = wrong
        with pytest.raises((TypeError, ValueError), match=rf"^{names[-1]}: expected a list of 2, .*, got "):
            run_update(ops, update, slots)
    twice = np.ones(6, np.float32)
    slots = {each: [np.ones(6, np.float32) for _ in range(2)] for each in UPDATES[update].arrays} | {
        "param": [twice, twice]
    }
    with pytest.raises(
        ValueError,
        match=r"^param\[1\]: expected memory apart from that of the other arrays, got .* param\[0\]",
    ):
        run_update(ops, update, slots)
    np.testing.assert_array_equal(twice, np.ones(6, np.float32))


WRONG_NUMBERS: list[tuple[str, str, Any]] = [
    (update, name, value)
    for update in UPDATES
    for name in (
        *(name for name in UPDATES[update].numbers if name != "nesterov"),
        *("learning_rate", "weight_decay", "clipvalue", "scale", "ema_momentum"),
    )
    for value in ("0.1", None, 1j, [0.1], float("nan"), -float("inf"), -1)
    # Steps may go up, a factor of the gradient is any finite number, and decays may be listed.
    if not (name in ("learning_rate", "scale") and value == -1)
    and not (name == "weight_decay" and value == [0.1])
]


@pytest.mark.parametrize(("update", "name", "value"), WRONG_NUMBERS)
def test_wrong_numbers_of_updates(update: str, name: str, value: Any) -> None:
    """Text, complex, NaN, infinite and negative numbers; nothing is updated."""
    arrays = {each: np.ones(5, np.float32) for each in UPDATES[update].arrays}
    with pytest.raises((TypeError, ValueError), match=rf"^{name}: expected .*, got "):
        run_update(ops, update, arrays, **{name: value})
    for array in arrays.values():
        np.testing.assert_array_equal(array, 1.0)


def test_wrong_numbers_of_other_calls() -> None:
    x, weights = GOOD["x"], (GOOD["kernel"], GOOD["recurrent_kernel"])
    calls: list[tuple[str, Callable[[Any], object]]] = [
        ("checkpoint_every", lambda n: ops.lstm_forward(x, weights, training=True, checkpoint_every=n)),
        ("rate", lambda n: ops.dropout(x, n, 1)),
        ("epsilon", lambda n: ops.layer_norm_forward(GOOD["dh"], epsilon=n)),
        ("epsilon", lambda n: ops.layer_norm_backward(GOOD["dh"], None, GOOD["dh"], epsilon=n)),
        ("rows", lambda n: ops.embedding_backward(np.zeros(1, np.int64), np.ones((1, 2), np.float32), n)),
        ("cell_clip", lambda n: ops.CellOptions(cell_clip=n)),
        ("gate_clip", lambda n: ops.CellOptions(gate_clip=n)),
        ("zoneout_h", lambda n: ops.CellOptions(zoneout_h=n)),
        (
            "epsilon",
            lambda n: ops.LayerNorm(GOOD["bias"], GOOD["bias"], GOOD["bias"], GOOD["bias"], epsilon=n),
        ),
    ]
    for name, call in calls:
        wrongs: list[Any] = ["1", 1j, [1], float("nan"), -1, -0.5]
        for wrong in wrongs:
            with pytest.raises((TypeError, ValueError), match=rf"^{name}: expected .*, got "):
                call(wrong)
    seeds: list[Any] = ["1", 1.5, None]
    for wrong in seeds:
        with pytest.raises(TypeError, match=r"^seed: expected an integer.*, got "):
            ops.dropout(x, 0.5, wrong)


@pytest.mark.cpu
@pytest.mark.parametrize(("call", "name", "optional"), CASES)
def test_arrays_with_masks(call: Callable[..., object], name: str, optional: bool) -> None:
    """The numbers under a mask of NumPy's would be taken for real ones."""
    del optional
    masked = np.ma.masked_array(GOOD[name], mask=np.zeros(GOOD[name].shape, bool))
    with pytest.raises(TypeError, match=ANY_NAME):
        call(**{**GOOD, name: masked})


def test_slots_that_options_require() -> None:
    ones = np.ones(5, np.float32)
    with pytest.raises((TypeError, ValueError), match=r"^velocity: expected .*, got None"):
        ops.sgd_update(ones, ones.copy(), None, learning_rate=0.1, momentum=0.9)
    with pytest.raises((TypeError, ValueError), match=r"^velocity: expected .*, got None"):
        ops.rmsprop_update(
            ones, ones.copy(), ones.copy(), None, None, learning_rate=0.1, rho=0.9, momentum=0.5, epsilon=1e-7
        )
    for update, (slots, numbers) in UPDATES.items():
        arrays = {each: np.ones(5, np.float32) for each in UPDATES[update].arrays}
        for name in set(slots) - {"mean_grad", "velocity", "vhat"}:
            with pytest.raises((TypeError, ValueError), match=rf"^{name}: expected .*, got None"):
                run_update(ops, update, {**arrays, name: None})
        if "step" in numbers:
            with pytest.raises(ValueError, match=r"^step: expected .*, got 0"):
                run_update(ops, update, arrays, step=0)


def test_squared_norm_of_other_things() -> None:
    for wrong in (None, [1.0], np.ones(3, np.int64), np.ones((4, 6), np.float32)[:, ::2]):
        try:
            value = ops.squared_norm(wrong)  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:
            assert re.match(r"a: expected .*, got ", str(error))  # noqa: PT017
        else:
            assert isinstance(wrong, np.ndarray)
            assert value == 12.0
