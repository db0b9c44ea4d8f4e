"""Pictures of what an LSTM does: that what they draw is what there is."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fusedlstm import Input, Sequential, layers, ops, plots, testing

if TYPE_CHECKING:
    from pathlib import Path

B, T, F, H = 4, 7, 3, 5
RANDOM = np.random.default_rng(6)
X = RANDOM.normal(size=(B, T, F))
WORDS = ["it", "was", "the", "best", "of", "times", "$5"]


def layer(**options: Any) -> layers.LSTM:
    made = layers.LSTM(H, dtype="float64", **options)
    made(X)
    made.set_weights([w + RANDOM.normal(size=w.shape, scale=0.3) for w in made.get_weights()])
    return made


def maps(figure: Any) -> dict[str, Any]:
    """Return the heat maps by their titles."""
    return {axes.get_title(loc="left"): axes for axes in figure.axes if axes.images}


# ---- gates ----


def test_gates_are_those_of_the_layer(tmp_path: Path) -> None:
    mask = np.arange(T) < 5
    states = layer().trace(X, mask=np.tile(mask, (B, 1)))
    parts: Any = ("h", "c", "i", "f", "g", "o")
    figure = plots.gates(states, "What it says", "where from", over=WORDS, row=2, parts=parts)
    found = maps(figure)
    names = ["hidden state", "cell state", "input gate", "forget gate (1 keeps)", "candidate", "output gate"]
    assert list(found) == names
    for part, axes in zip(parts, found.values(), strict=True):
        drawn = axes.images[0].get_array()
        expected = getattr(states, part)[2].T
        np.testing.assert_array_equal(np.isnan(expected), np.ma.getmaskarray(drawn))
        np.testing.assert_array_equal(drawn.compressed(), expected[~np.isnan(expected)])
        low, high = axes.images[0].get_clim()
        assert (low, high) == (0, 1) if part in "ifo" else low == -high < 0
        assert axes.get_ylabel() == "unit"
    last = found["output gate"]
    assert [label.get_text() for label in last.get_xticklabels()] == WORDS
    assert last.get_xlabel() == "token"
    assert figure.get_suptitle() == "What it says"
    plots.save(figure, tmp_path / "a.png")


def test_gates_of_some_units_over_a_series() -> None:
    states = layer().trace(X)
    series = X[0]
    figure = plots.gates(states, "", "", over=series, units=[4, 1], parts=["f"])
    top, heat = figure.axes[:2]
    for line, values in zip(top.lines, series.T, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), values)
    np.testing.assert_array_equal(heat.images[0].get_array(), states.f[0, :, [4, 1]])
    assert [label.get_text() for label in heat.get_yticklabels()] == ["4", "1"]
    assert heat.get_xlabel() == "step"
    one = plots.gates(states, "", "", over=series[:, 0].tolist())
    np.testing.assert_array_equal(one.axes[0].lines[0].get_ydata(), series[:, 0])


def test_gates_that_leave_the_unit_interval() -> None:
    states = layer(recurrent_activation="linear").trace(X)
    axes = plots.gates(states, "", "", parts=["i"]).axes[0]
    low, high = axes.images[0].get_clim()
    assert low <= states.i[0].min() < 0 < states.i[0].max() <= high


def test_labels_of_a_long_text_do_not_touch() -> None:
    steps = 290
    states = layers.LSTM(2).trace(RANDOM.normal(size=(1, steps, 2)))
    axes: Any = plots.gates(states, "", "", over=["word"] * steps, parts=["c"]).axes[0]
    axes.figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert 50 < len(boxes) < steps
    assert all(one.x1 <= two.x0 for one, two in itertools.pairwise(boxes))
    assert axes.get_xlabel() == "token (1 of 3 is named)"


def test_a_text_is_its_letters() -> None:
    axes = plots.gates(layer().trace(X), "", "", over="a b\ncde", parts=["c"]).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "\u2423", "b", "\u21b5", *"cde"]


def test_gates_of_something_else() -> None:
    states = layer().trace(X)
    for wrong, message in (
        ({"row": B}, "row: expected a number from 0 to 3, got 4"),
        ({"over": WORDS[1:]}, "over: expected 7 tokens, one for each step, got 6"),
        ({"over": X[0, 1:]}, r"over: expected shape \(7,\) or \(7, features\)"),
        ({"units": [0, 5]}, "units: expected numbers from 0 to 4, got 5"),
        ({"units": []}, "units: expected numbers from 0 to 4, got none"),
        ({"parts": ["x"]}, "parts: expected some of i, f, g, o, c, h"),
    ):
        with pytest.raises(ValueError, match=message):
            plots.gates(states, "", "", **wrong)
    with pytest.raises(ValueError, match="states: expected at least one step"):
        plots.gates(layer().trace(X[:, :0]), "", "")
    with pytest.raises(TypeError, match=r"states: expected what layer.trace\(x\) returns: one of them"):
        plots.gates(layers.Bidirectional(layers.LSTM(2)).trace(X), "", "")
    with pytest.raises(TypeError, match=r"states: expected what layer.trace\(x\) returns, got ndarray"):
        plots.saturation(X, "", "")  # type: ignore[arg-type]


# ---- saturation ----


def made_states(**parts: Any) -> ops.LSTMStates:
    """Return states of one sequence with four steps and three units."""
    usual = np.full((1, 4, 3), 0.5)
    return ops.LSTMStates(**{name: np.array(parts.get(name, usual)) for name in ops.LSTMStates._fields})


def test_saturation_in_numbers() -> None:
    i = [[[0.05, 0.95, 0.5], [0.05, 0.95, 0.5], [0.5, 0.05, 0.5], [0.05, np.nan, np.nan]]]
    h = [[[0.0, 0.3, 0.1], [0.0, -0.3, 0.105], [0.0, 0.0, 0.1], [0.0, 9.0, 9.0]]]
    found = plots.measure_saturation(made_states(i=i, h=h))
    # The last step is not real, whatever it has.
    np.testing.assert_allclose(found.closed[0], [2 / 3, 1 / 3, 0])
    np.testing.assert_allclose(found.open[0], [0, 2 / 3, 0])
    np.testing.assert_array_equal(found.closed[1:], 0)
    np.testing.assert_allclose(found.ranges, [0, 0.6, 0.005])
    np.testing.assert_array_equal(found.dead, [0, 2])
    strict = plots.measure_saturation(made_states(i=i, h=h), low=0.01, high=0.99, dead_below=0.001)
    np.testing.assert_array_equal((strict.closed, strict.open), 0)
    np.testing.assert_array_equal(strict.dead, [0])


def test_saturation_as_drawn(tmp_path: Path) -> None:
    states = layer().trace(3 * X)
    found = plots.measure_saturation(states)
    figure: Any = plots.saturation(states, "Some gates are shut", "seed 6")
    for axes, closed, opened in zip(figure.axes, found.closed, found.open, strict=False):
        np.testing.assert_allclose(axes.collections[0].get_offsets(), 100 * np.stack([closed, opened], 1))
    ranges = figure.axes[3]
    drawn = np.concatenate([np.asarray(group.get_offsets()) for group in ranges.collections])
    np.testing.assert_allclose(np.sort(drawn[:, 1]), np.sort(found.ranges))
    assert ranges.get_title(loc="left") == f"{len(found.dead)} of {H} units dead (< 0.01)"
    plots.save(figure, tmp_path / "a.png")


def test_dead_units_are_drawn_apart() -> None:
    h = np.zeros((1, 4, 3))
    h[0, :, 1] = [0, 1, 0, 1]
    panel: Any = plots.saturation(made_states(h=h), "", "").axes[3]
    living, dead = panel.collections
    np.testing.assert_array_equal(living.get_offsets(), [[3, 1]])
    np.testing.assert_allclose(dead.get_offsets(), [[1, 0.001], [2, 0.001]])


def test_saturation_of_something_else() -> None:
    with pytest.raises(ValueError, match="states: expected at least one real step, got none"):
        plots.measure_saturation(layer().trace(X, mask=np.zeros((B, T), bool)))
    with pytest.raises(ValueError, match=r"low: expected a number in \[0, 1\]"):
        plots.measure_saturation(made_states(), low=-1)


# ---- gradients ----

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "backwards": {"go_backwards": True},
    "peepholes": {"use_peepholes": True, "peephole_initializer": "random_normal"},
    "layer norm": {"layer_norm": True},
    "projection": {"projection_units": 2},
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_shorter_sequences(kind: str, masked: bool) -> None:
    """The gradients of the states after a step are those of what comes behind as a sequence of its own."""
    made = layer(**KINDS[kind], return_sequences=True)
    mask = RANDOM.random((B, T)) < 0.7 if masked else None
    dy = RANDOM.normal(size=(B, T, made.outputs))
    states = [RANDOM.normal(size=(B, n)) for n in (made.outputs, H)]
    found = plots.measure_gradients(made, X, dy=dy, initial_state=states, mask=mask)
    order = range(T)[:: -1 if made.go_backwards else 1]
    traced = made.trace(X, initial_state=states, mask=mask)
    for place, t in enumerate(order):
        rest = list(order[place + 1 :])
        tape = ops.lstm_forward(
            X[:, rest],
            made.packed(),
            np.ascontiguousarray(traced.h[:, t]),
            np.ascontiguousarray(traced.c[:, t]),
            mask=None if mask is None else np.ascontiguousarray(mask[:, rest]),
            options=made.options,
            training=True,
        ).tape
        assert tape is not None
        expected = ops.lstm_backward(tape, np.ascontiguousarray(dy[:, rest]))
        for one, other in ((found.dh[:, t], expected.dh0 + dy[:, t]), (found.dc[:, t], expected.dc0)):
            testing.assert_close(one, other, dtype=np.float64, terms=4 * H, steps=T, scale=10.0)


def test_gradients_of_an_error_at_the_end() -> None:
    for made in (layer(), layer(go_backwards=True)):
        found = plots.measure_gradients(made, X, seed=3)
        last = 0 if made.go_backwards else -1
        np.testing.assert_allclose(np.linalg.norm(found.dh[:, last], axis=1), 1)
        np.testing.assert_array_equal(found.dc[:, last], 0)
        again = plots.measure_gradients(made, X, seed=3)
        np.testing.assert_array_equal(found.dh, again.dh)
        assert (found.dh != plots.measure_gradients(made, X, seed=4).dh).all()


def test_gradient_norms_as_drawn(tmp_path: Path) -> None:
    made = layer()
    found = plots.measure_gradients(made, X)
    figure: Any = plots.gradient_norms(made, X, "They vanish", "seed 6")
    axes = figure.axes[0]
    for line, array in zip(axes.lines, (found.dh, found.dc), strict=True):
        middle = np.median(np.linalg.norm(array, axis=-1), axis=0)
        middle[middle == 0] = np.nan
        np.testing.assert_allclose(line.get_ydata(), middle)
    assert [text.get_text() for text in axes.texts] == ["dL/dh", "dL/dc"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "length of the gradient")
    assert axes.get_yscale() == "log"
    plots.save(figure, tmp_path / "a.png")
    # Without any gradient there is nothing to draw, and no warning.
    plots.gradient_norms(made, X, "", "", dy=np.zeros((B, T, H)))
    plots.gradient_norms(made, X[:, :1], "", "")


def test_gradients_of_something_else() -> None:
    with pytest.raises(TypeError, match="layer: expected an LSTM, got Dense"):
        plots.measure_gradients(layers.Dense(2), X)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"dy: expected shape \(4, 7, 5\), got \(4, 7\)"):
        plots.measure_gradients(layer(), X, dy=np.ones((B, T)))
    with pytest.raises(ValueError, match=r"mask: expected shape \(4, 7\), got \(4, 6\)"):
        plots.measure_gradients(layer(), X, mask=np.ones((B, T - 1), bool))
    with pytest.raises(ValueError, match="x: expected at least one row and step"):
        plots.gradient_norms(layer(), X[:, :0], "", "")


# ---- training curves ----

HISTORY = {
    "accuracy": [0.7, 0.9],
    "loss": [0.9, 0.4],
    "val_accuracy": [0.85, 0.92],
    "val_loss": [0.5, 0.3],
    "mae": [0.3, float("nan")],
}


def test_training_curves(tmp_path: Path) -> None:
    figure = plots.training_curves(HISTORY, "It learns", "seed 0")
    panels = {axes.get_ylabel(): axes for axes in figure.axes}
    assert list(panels) == ["loss", "accuracy (%)", "mae"]
    for name, factor, keys in (
        ("loss", 1, ("loss", "val_loss")),
        ("accuracy (%)", 100, ("accuracy", "val_accuracy")),
        ("mae", 1, ("mae",)),
    ):
        for line, key in zip(panels[name].lines, keys, strict=True):
            np.testing.assert_array_equal(line.get_ydata(), factor * np.asarray(HISTORY[key]))
            np.testing.assert_array_equal(line.get_xdata(), [1, 2])
        assert panels[name].get_xlabel() == "epoch"
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert texts == [
        "training 0.4000",
        "validation 0.3000",
        "training 90.00 %",
        "validation 92.00 %",
        "training nan",
    ]
    plots.save(figure, tmp_path / "a.png")


@pytest.mark.parametrize("count", [0, 1, 100])
def test_training_curves_of_any_length(tmp_path: Path, count: int) -> None:
    history = {"loss": np.linspace(0.9, 0.1, count).tolist()}
    plots.save(plots.training_curves(history, "", ""), tmp_path / "a.png")
    plots.save(plots.training_curves({}, "", ""), tmp_path / "b.png")


def test_training_curves_of_what_fit_returns() -> None:
    model = Sequential([Input((F,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    history = model.fit(X[:, 0], X[:, 0, :1], epochs=2, verbose=0)
    line = plots.training_curves(history, "", "").axes[0].lines[0]
    np.testing.assert_array_equal(line.get_ydata(), history.history["loss"])
    with pytest.raises(TypeError, match="history: expected what fit returns, or its history, got list"):
        plots.training_curves([1.0], "", "")
