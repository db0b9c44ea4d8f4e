"""Optimizers: updates against their formulas, clipping, schedules, state."""

from __future__ import annotations

import copy
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
    lr = get("learning_rate", 0.01 if kind == "sgd" else 0.001)
    decay = get("weight_decay", 0.004 if kind == "adamw" else 0.0)
    result = []
    for index, w in enumerate(start()):
        slots = [np.zeros_like(w) for _ in range(3)]
        average = np.zeros_like(w)
        if kind == "adagrad":
            slots[0] += get("initial_accumulator_value", 0.1)
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
            elif kind == "adagrad":
                slots[0] = slots[0] + g * g
                w = w - lr * g / np.sqrt(slots[0] + get("epsilon", 1e-7))
            elif kind == "adadelta":
                rho, epsilon = get("rho", 0.95), get("epsilon", 1e-7)
                slots[0] = rho * slots[0] + (1 - rho) * g * g
                change = np.sqrt(slots[1] + epsilon) / np.sqrt(slots[0] + epsilon) * g
                slots[1] = rho * slots[1] + (1 - rho) * change**2
                w = w - lr * change
            elif kind == "lion":
                b1, b2 = get("beta_1", 0.9), get("beta_2", 0.99)
                w = w - lr * np.sign(b1 * slots[0] + (1 - b1) * g)
                slots[0] = b2 * slots[0] + (1 - b2) * g
            elif kind == "adamax":
                b1, b2 = get("beta_1", 0.9), get("beta_2", 0.999)
                slots[0] = b1 * slots[0] + (1 - b1) * g
                slots[1] = np.maximum(b2 * slots[1], np.abs(g))
                w = w - lr / (1 - b1 ** (step + 1)) * slots[0] / (slots[1] + get("epsilon", 1e-7))
            elif kind == "nadam":
                b1, b2 = get("beta_1", 0.9), get("beta_2", 0.999)
                momenta = [b1 * (1 - 0.5 * 0.96**k) for k in range(1, step + 3)]
                slots[0] = b1 * slots[0] + (1 - b1) * g
                slots[1] = b2 * slots[1] + (1 - b2) * g * g
                ahead = momenta[-1] * slots[0] / (1 - math.prod(momenta))
                ahead = ahead + (1 - momenta[-2]) * g / (1 - math.prod(momenta[:-1]))
                w = w - lr * ahead / (np.sqrt(slots[1] / (1 - b2 ** (step + 1))) + get("epsilon", 1e-7))
            else:
                b1, b2 = get("beta_1", 0.9), get("beta_2", 0.999)
                slots[0] = b1 * slots[0] + (1 - b1) * g
                slots[1] = b2 * slots[1] + (1 - b2) * g * g
                slots[2] = np.maximum(slots[2], slots[1]) if get("amsgrad") else slots[1]
                rate = lr * math.sqrt(1 - b2 ** (step + 1)) / (1 - b1 ** (step + 1))
                w = w - rate * slots[0] / (np.sqrt(slots[2]) + get("epsilon", 1e-7))
            if get("use_ema"):
                share = get("ema_momentum", 0.99) if step else 0.0
                average = share * average + (1 - share) * w
                if (step + 1) % (get("ema_overwrite_frequency") or STEPS + 1) == 0:
                    w = average
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
    ("nadam", {}),
    ("nadam", {"beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-5, "weight_decay": 0.1, "clipvalue": 0.3}),
    ("adamax", {}),
    ("adamax", {"beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-3, "clipnorm": 0.7}),
    ("adagrad", {}),
    ("adagrad", {"initial_accumulator_value": 0.0, "epsilon": 1e-3, "weight_decay": 0.1}),
    ("adadelta", {"learning_rate": 1.0}),
    ("adadelta", {"learning_rate": 0.5, "rho": 0.8, "epsilon": 1e-4, "clipvalue": 0.3}),
    ("lion", {}),
    ("lion", {"beta_1": 0.5, "beta_2": 0.8, "weight_decay": 0.1}),
    ("sgd", {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2}),
    ("adam", {"use_ema": True, "ema_momentum": 0.7, "amsgrad": True}),
    ("lion", {"use_ema": True, "ema_momentum": 0.7, "ema_overwrite_frequency": 1}),
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


def test_learning_rate_as_a_variable_of_keras() -> None:
    optimizer = optimizers.Adam(0.5)
    rate = optimizer.learning_rate
    rate.assign(0.25)
    assert (rate, rate.numpy(), optimizer.learning_rate) == (0.5, 0.5, 0.25)
    assert type(copy.deepcopy(rate)) is float
    optimizer.learning_rate = schedules.ExponentialDecay(0.1, 10, 0.5)
    for value in (0.1, optimizer.learning_rate):
        with pytest.raises(TypeError, match=r"^learning_rate: expected a schedule, as Exp"):
            optimizer.learning_rate = value
    assert optimizer.learning_rate == 0.1


def test_older_arguments() -> None:
    with pytest.warns(UserWarning, match="^lr: deprecated, use learning_rate instead"):
        assert optimizers.Adam(lr=0.125).learning_rate == 0.125
    with pytest.warns(UserWarning, match="^decay: no longer supported, and ignored"):
        assert optimizers.SGD(0.125, decay=1e-6).get_config() == optimizers.SGD(0.125).get_config()


def test_moving_averages() -> None:
    """They start from the first update's weights and take their place when a training ends."""
    optimizer = optimizers.SGD(1.0, use_ema=True, ema_momentum=0.5)
    variable = Variable(np.zeros(1), "w")
    optimizer.finalize_variable_values([variable])
    assert variable.value.tolist() == [0.0]
    for _ in range(3):
        optimizer.apply([np.full(1, -2.0)], [variable])
    assert variable.value.tolist() == [6.0]
    (average,) = optimizer.variables
    assert (average.path, average.value.tolist()) == ("w/average", [4.5])  # of 2, 3 and then 6
    optimizer.finalize_variable_values([variable])
    assert variable.value.tolist() == [4.5]
    with pytest.raises(ValueError, match=r"^variables: expected those that this optimizer was built for"):
        optimizer.finalize_variable_values([Variable(np.zeros(1), "w")])


def test_left_out_of_weight_decay() -> None:
    kernel, bias, other = (Variable(np.ones(3), name) for name in ("kernel", "bias", "scale"))
    targets = [kernel, bias, other]
    optimizer = optimizers.SGD(0.5, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_list=[other], var_names=["bias"])
    optimizer.apply([np.zeros(3)] * 3, targets)
    assert [variable.value[0] for variable in targets] == [0.75, 1.0, 1.0]
    optimizer.exclude_from_weight_decay()
    optimizer.apply([np.zeros(3)] * 3, targets)
    assert [variable.value[0] for variable in targets] == [0.5625, 0.75, 0.75]


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
    inverse = schedules.InverseTimeDecay(1.0, 10, 0.5)
    assert [inverse(0), inverse(10), inverse(20)] == pytest.approx([1, 1 / 1.5, 1 / 2])
    assert schedules.InverseTimeDecay(1.0, 10, 0.5, staircase=True)(19) == pytest.approx(1 / 1.5)
    line = schedules.PolynomialDecay(1.0, 10, 0.5)
    assert [line(0), line(5), line(10), line(99)] == pytest.approx([1, 0.75, 0.5, 0.5])
    waves = schedules.PolynomialDecay(1.0, 10, 0.0, cycle=True)
    assert [waves(10), waves(11), waves(15), waves(20)] == pytest.approx([0, 0.45, 0.25, 0])
    again = schedules.CosineDecayRestarts(1.0, 5, t_mul=3.0, m_mul=0.5)
    # Rounds begin at 0, 5, 20, 65 and 200.
    assert [again(n) for n in (0, 5, 20, 65, 200)] == pytest.approx([1, 0.5, 0.25, 0.125, 0.0625])
    even = schedules.CosineDecayRestarts(1.0, 10, t_mul=1.0, alpha=0.1)
    assert [even(0), even(5), even(10), even(25)] == pytest.approx([1, 0.55, 1, 0.55])


@pytest.mark.parametrize("name", sorted(schedules.REGISTRY.classes))
def test_schedules_are_saved(name: str) -> None:
    arguments = ([3], [0.5, 0.1]) if name == "PiecewiseConstantDecay" else (0.5, 3, 1.25)
    schedule = getattr(schedules, name)(*arguments)
    optimizer = optimizers.SGD(schedule)
    again = optimizers.SGD.from_config(optimizer.get_config())
    for step in range(8):
        again.iterations = optimizer.iterations = step
        assert again.learning_rate == optimizer.learning_rate == schedule(step)
    assert schedules.deserialize(schedules.serialize(schedule)).get_config() == schedule.get_config()


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


@pytest.mark.parametrize(
    "name", ["adam", "ADAMW", "SGD", "RMSprop", "Nadam", "adamax", "adagrad", "Adadelta", "lion"]
)
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
        (lambda: optimizers.Lion(beta_1=0.0), "beta_1: expected a positive number, got 0.0"),
        (
            lambda: optimizers.Adam(use_ema=True, ema_momentum=2.0),
            r"ema_momentum: expected a number in \[0, 1\]",
        ),
        (lambda: optimizers.Adam(ema_overwrite_frequency=0), "ema_overwrite_frequency: expected a positive"),
        (lambda: schedules.CosineDecayRestarts(0.1, 5, t_mul=0.5), "t_mul: expected a number >= 1, got 0.5"),
        (lambda: schedules.PiecewiseConstantDecay([5, 5], [1, 1, 1]), "boundaries: expected rising"),
        (lambda: schedules.PiecewiseConstantDecay([5], [1.0]), "values: expected 2 numbers, got 1"),
        (lambda: schedules.ExponentialDecay(0.1, 0, 0.5), "decay_steps: expected a positive number, got 0"),
    ],
)
def test_errors(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_type_errors() -> None:
    with pytest.raises(TypeError, match="learning_rate: expected a number, got 'fast'"):
        optimizers.Adam("fast")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^momentun: no argument of optimizers"):
        optimizers.SGD(momentun=0.1)
