"""Optimizers: updates against their formulas, clipping, schedules, state."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from fusedlstm import Variable, optimizers
from fusedlstm.optimizers import schedules
from fusedlstm.testing import assert_close

SHAPES = ((3, 5), (5,))
STEPS = 5
Arrays = list[npt.NDArray[Any]]


def gradients(step: int) -> Arrays:
    random = np.random.default_rng(100 + step)
    return [random.normal(size=shape) for shape in SHAPES]


def start() -> Arrays:
    random = np.random.default_rng(1)
    return [random.normal(size=shape) for shape in SHAPES]


def variables(dtype: str) -> list[Variable]:
    return [Variable(value.astype(dtype), f"w{i}") for i, value in enumerate(start())]


def train(optimizer: optimizers.Optimizer, targets: list[Variable], steps: range = range(STEPS)) -> None:
    for step in steps:
        optimizer.apply([g.astype(targets[0].dtype) for g in gradients(step)], targets)


def expected(kind: str, settings: dict[str, Any]) -> Arrays:
    """Do the same training in float64 NumPy, written from the formulas in the classes' docstrings."""
    get = settings.get
    lr = {"sgd": 0.01, "rmsprop": 0.001, "adam": 0.001, "adamw": 0.001}[kind]
    lr = get("learning_rate", lr)
    decay = get("weight_decay", 0.004 if kind == "adamw" else 0.0)
    result = []
    for index, w in enumerate(start()):
        slots = [np.zeros_like(w) for _ in range(3)]
        for step in range(STEPS):
            everything = gradients(step)
            g = everything[index]
            if "clipvalue" in settings:
                g = np.clip(g, -settings["clipvalue"], settings["clipvalue"])
            if "clipnorm" in settings:
                g = g * min(1, settings["clipnorm"] / np.linalg.norm(g))
            if "global_clipnorm" in settings:
                norm = math.sqrt(sum(float((a * a).sum()) for a in everything))
                g = g * min(1, settings["global_clipnorm"] / norm)
            w = w - lr * decay * w
            if kind == "sgd":
                momentum = get("momentum", 0.0)
                slots[0] = momentum * slots[0] - lr * g
                w = w + (momentum * slots[0] - lr * g if get("nesterov") else slots[0])
            elif kind == "rmsprop":
                rho, momentum = get("rho", 0.9), get("momentum", 0.0)
                slots[0] = rho * slots[0] + (1 - rho) * g * g
                slots[1] = rho * slots[1] + (1 - rho) * g
                variance = slots[0] - slots[1] ** 2 if get("centered") else slots[0]
                slots[2] = momentum * slots[2] + lr * g / np.sqrt(variance + get("epsilon", 1e-7))
                w = w - slots[2]
            else:
                b1, b2 = get("beta_1", 0.9), get("beta_2", 0.999)
                slots[0] = b1 * slots[0] + (1 - b1) * g
                slots[1] = b2 * slots[1] + (1 - b2) * g * g
                slots[2] = np.maximum(slots[2], slots[1]) if get("amsgrad") else slots[1]
                rate = lr * math.sqrt(1 - b2 ** (step + 1)) / (1 - b1 ** (step + 1))
                w = w - rate * slots[0] / (np.sqrt(slots[2]) + get("epsilon", 1e-7))
        result.append(w)
    return result


CASES: list[tuple[str, dict[str, Any]]] = [
    ("sgd", {}),
    ("sgd", {"learning_rate": 0.1, "momentum": 0.9}),
    ("sgd", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("sgd", {"clipvalue": 0.3}),
    ("rmsprop", {}),
    ("rmsprop", {"momentum": 0.5, "centered": True, "rho": 0.8, "epsilon": 1e-3}),
    ("rmsprop", {"clipnorm": 0.7, "weight_decay": 0.01}),
    ("adam", {}),
    ("adam", {"amsgrad": True, "beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-5}),
    ("adam", {"global_clipnorm": 0.5}),
    ("adam", {"clipnorm": 100.0}),
    ("adamw", {}),
    ("adamw", {"weight_decay": 0.1, "learning_rate": 0.01}),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("kind", "settings"), CASES)
def test_updates(kind: str, settings: dict[str, Any], dtype: str) -> None:
    optimizer = type(optimizers.get(kind))(**settings)
    targets = variables(dtype)
    train(optimizer, targets)
    assert optimizer.iterations == STEPS
    for variable, want in zip(targets, expected(kind, settings), strict=True):
        # Elementwise formulas, each step adding to the errors before it.
        assert_close(variable.value, want, dtype=dtype, terms=0, steps=STEPS)
        assert variable.version == STEPS


def test_learning_rate_may_be_set() -> None:
    optimizer = optimizers.SGD(0.5)
    variable = Variable(np.ones(3), "w")
    optimizer.apply([np.ones(3)], [variable])
    optimizer.learning_rate = 0.25
    assert optimizer.learning_rate == 0.25
    optimizer.apply([np.ones(3)], [variable])
    assert variable.value.tolist() == [0.25] * 3


def test_schedule_counts_updates_from_zero() -> None:
    optimizer = optimizers.SGD(schedules.PiecewiseConstantDecay([1], [1.0, 0.5]))
    variable = Variable(np.zeros(1), "w")
    rates = []
    for _ in range(4):
        rates.append(optimizer.learning_rate)
        optimizer.apply([np.ones(1)], [variable])
    assert rates == [1.0, 1.0, 0.5, 0.5]
    assert variable.value.tolist() == [-3.0]


def test_schedules() -> None:
    decay = schedules.ExponentialDecay(0.1, 10, 0.5)
    assert [decay(0), decay(10), decay(20)] == [0.1, 0.05, 0.025]
    assert decay(5) == pytest.approx(0.1 * math.sqrt(0.5))
    assert schedules.ExponentialDecay(0.1, 10, 0.5, staircase=True)(9) == 0.1
    cosine = schedules.CosineDecay(1.0, 100, alpha=0.1)
    assert [cosine(0), cosine(100), cosine(1000)] == pytest.approx([1.0, 0.1, 0.1])
    assert cosine(50) == pytest.approx(0.55)
    warm = schedules.CosineDecay(0.0, 100, warmup_target=1.0, warmup_steps=10)
    assert [warm(0), warm(5), warm(10), warm(60), warm(110)] == pytest.approx([0, 0.5, 1, 0.5, 0])


@pytest.mark.parametrize(("kind", "settings"), CASES)
def test_state_resumes_bit_for_bit(kind: str, settings: dict[str, Any]) -> None:
    cls = type(optimizers.get(kind))
    straight, interrupted = variables("float32"), variables("float32")
    train(cls(**settings), straight)

    first = cls(**settings)
    train(first, interrupted, range(3))
    state = first.get_state()
    second = cls.from_config(first.get_config())
    second.set_state(state, interrupted)
    train(second, interrupted, range(3, STEPS))
    for ours, theirs in zip(straight, interrupted, strict=True):
        assert np.array_equal(ours.value, theirs.value)


def test_state_of_an_unused_optimizer() -> None:
    targets = variables("float32")
    state = optimizers.Adam().get_state()
    optimizer = optimizers.Adam()
    optimizer.set_state(state, targets)
    assert optimizer.iterations == 0
    assert [slot.path for slot in optimizer.variables] == [
        "w0/momentum",
        "w0/velocity",
        "w1/momentum",
        "w1/velocity",
    ]


def test_gradient_norm_of_zero_and_nan() -> None:
    variable = Variable(np.ones(2), "w")
    optimizer = optimizers.SGD(1.0, clipnorm=1.0)
    optimizer.apply([np.zeros(2)], [variable])
    assert variable.value.tolist() == [1, 1]
    optimizer.apply([np.array([np.nan, 1.0])], [variable])
    assert np.isnan(variable.value).all()


@pytest.mark.parametrize(
    ("grads", "message"),
    [
        ([np.ones((3, 5))], "grads: expected 2 arrays, one per variable, got 1"),
        ([np.ones((3, 5)), None], "grads: expected a gradient of w1, got None"),
        ([np.ones((3, 5)), np.ones(4)], r"grads: expected float64 \(5,\) for w1, got float64 \(4,\)"),
        ([np.ones((3, 5)), np.ones(5, "f")], r"grads: expected float64 \(5,\) for w1, got float32"),
    ],
)
def test_wrong_gradients_change_nothing(grads: list[Any], message: str) -> None:
    targets, optimizer = variables("float64"), optimizers.Adam()
    with pytest.raises(ValueError, match=message):
        optimizer.apply(grads, targets)
    assert optimizer.iterations == 0
    for variable, before in zip(targets, start(), strict=True):
        assert np.array_equal(variable.value, before)


def test_other_variables_are_refused() -> None:
    optimizer = optimizers.SGD()
    train(optimizer, variables("float64"))
    with pytest.raises(ValueError, match=r"variables: expected those .*make a new optimizer"):
        train(optimizer, variables("float64"))


def test_wrong_state() -> None:
    targets = variables("float32")
    optimizer = optimizers.Adam()
    train(optimizer, targets)
    state = optimizer.get_state()
    with pytest.raises(ValueError, match="state: expected the keys"):
        optimizers.SGD(momentum=0.9).set_state(state, targets)
    wrong = {**state, "w1/velocity": np.zeros(4)}
    with pytest.raises(ValueError, match=r"state: expected shape \(5,\) for w1/velocity, got \(4,\)"):
        optimizer.set_state(wrong, targets)
    assert all(np.array_equal(value, optimizer.get_state()[key]) for key, value in state.items())


@pytest.mark.parametrize("name", ["adam", "Adam", "ADAMW", "sgd", "SGD", "rmsprop", "RMSprop"])
def test_names(name: str) -> None:
    assert type(optimizers.get(name)).__name__.lower() == name.lower()


def test_get_takes_objects_and_classes() -> None:
    one = optimizers.SGD()
    assert optimizers.get(one) is one
    assert type(optimizers.get(optimizers.AdamW)) is optimizers.AdamW


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optimizers.get("adm"), r"optimizer: expected one of \['sgd', .*got 'adm'"),
        (lambda: optimizers.Adam(-1.0), "learning_rate: expected a number >= 0, got -1.0"),
        (lambda: optimizers.Adam(math.nan), "learning_rate: expected a finite number, got nan"),
        (lambda: optimizers.Adam(beta_1=1.0), r"beta_1: expected a number in \[0, 1\), got 1.0"),
        (lambda: optimizers.Adam(clipnorm=0.0), "clipnorm: expected a positive number or None, got 0.0"),
        (lambda: optimizers.SGD(clipnorm=1.0, clipvalue=1.0), "clipvalue: expected at most one kind"),
        (lambda: optimizers.SGD(momentum=2.0), r"momentum: expected a number in \[0, 1\], got 2.0"),
        (lambda: optimizers.SGD(weight_decay=-0.1), "weight_decay: expected a number >= 0"),
        (lambda: optimizers.AdamW(weight_decay=None), "weight_decay: expected a number, got None"),  # type: ignore[arg-type]
        (lambda: schedules.PiecewiseConstantDecay([5, 5], [1, 1, 1]), "boundaries: expected rising"),
        (lambda: schedules.PiecewiseConstantDecay([5], [1.0]), "values: expected 2 numbers, got 1"),
        (lambda: schedules.ExponentialDecay(0.1, 0, 0.5), "decay_steps: expected a positive integer, got 0"),
    ],
)
def test_errors(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_type_errors() -> None:
    with pytest.raises(TypeError, match="learning_rate: expected a number, got 'fast'"):
        optimizers.Adam("fast")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="lr"):
        optimizers.Adam(lr=0.1)  # type: ignore[call-arg]
