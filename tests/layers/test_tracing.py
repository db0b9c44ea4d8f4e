"""`trace`: states and gates of every step, from the tape, against the float64 reference and against calls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fusedlstm import Sequential, layers, ops, testing

B, T, F, H = 3, 6, 4, 19
NAMES = ("h", "c", "i", "f", "g", "o")
MASK = np.array([[1, 1, 0, 1, 0, 1], [0, 0, 0, 0, 0, 0], [0, 1, 1, 1, 0, 0]], bool)
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no bias": {"use_bias": False},
    "peepholes": {"use_peepholes": True, "peephole_initializer": "random_normal"},
    "coupled": {"coupled": True},
    "clip": {"cell_clip": 0.2},
    "activations": {"activation": "softsign", "recurrent_activation": "hard_sigmoid"},
    "projection": {"projection_units": 5},
    "layer norm": {"layer_norm": True},
    "layer norm and all": {
        "layer_norm": True,
        "use_peepholes": True,
        "peephole_initializer": "random_normal",
        "coupled": True,
        "cell_clip": 0.2,
        "projection_units": 5,
        "zoneout_h": 0.2,
        "zoneout_c": 0.3,
    },
    "layer norm without bias": {"layer_norm": True, "use_bias": False},
    "zoneout": {"zoneout_h": 0.2, "zoneout_c": 0.3},
    "dropouts, which training alone has": {"dropout": 0.5, "recurrent_dropout": 0.5},
}
RANDOM = np.random.default_rng(4)


def made(dtype: str = "float64", **options: Any) -> tuple[layers.LSTM, Any, Any]:
    """Return a layer with random weights, an input and initial states."""
    layer = layers.LSTM(H, return_sequences=True, dtype=dtype, **options)
    x = RANDOM.normal(size=(B, T, F)).astype(dtype)
    layer(x)
    # Biases and factors away from their start values, so that none of them can be forgotten.
    layer.set_weights([w + RANDOM.normal(size=w.shape, scale=0.1) for w in layer.get_weights()])
    return layer, x, [RANDOM.normal(size=(B, n), scale=0.5) for n in (layer.outputs, H)]


def reference(layer: layers.LSTM, x: Any, states: Any, mask: Any) -> testing.LSTMStatesReference:
    weights = {w.name: w.numpy() for w in layer.weights}
    order = slice(None, None, -1 if layer.go_backwards else 1)
    norm = [weights[n] for n in ("gamma_input", "gamma_recurrent", "gamma_cell", "beta_cell") if n in weights]
    found = testing.lstm_states_reference(
        x[:, order],
        weights["kernel"],
        weights["recurrent_kernel"],
        weights.get("bias", np.zeros(4 * H)),
        *states,
        options=layer.options or ops.CellOptions(),
        peepholes=weights.get("peepholes"),
        projection=weights.get("projection"),
        mask=None if mask is None else mask[:, order],
        layer_norm=norm or None,
    )
    return testing.LSTMStatesReference(*(array[:, order] for array in found))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("masked", [False, True], ids=["all steps", "masked"])
@pytest.mark.parametrize("options", OPTIONS)
def test_every_step_is_that_of_the_reference(options: str, masked: bool, backwards: bool, dtype: str) -> None:
    layer, x, states = made(dtype, go_backwards=backwards, **OPTIONS[options])
    mask = MASK if masked else None
    found = layer.trace(x, initial_state=states, mask=mask)
    assert isinstance(found, ops.LSTMStates)
    real = np.ones((B, T), bool) if mask is None else mask
    for name, array, expected in zip(NAMES, found, reference(layer, x, states, mask), strict=True):
        assert array.shape == (B, T, layer.outputs if name == "h" else H)
        assert array.dtype == dtype
        chosen = real if name in "ifgo" else np.ones_like(real)
        assert np.isnan(array[~chosen]).all()
        number = np.dtype(dtype).type
        testing.assert_close(
            array[chosen], expected[chosen], dtype=number, terms=F + 2 * H, steps=2 * T, name=name
        )


@pytest.mark.parametrize("options", OPTIONS)
def test_states_are_the_bits_of_a_call(options: str) -> None:
    layer, x, states = made("float32", **OPTIONS[options])
    for mask in (None, MASK):
        y = layer(x, initial_state=states, mask=mask)
        found = layer.trace(x, initial_state=states, mask=mask)
        np.testing.assert_array_equal(found.h, y)


def test_without_initial_states() -> None:
    layer, x, _ = made()
    zeros = [np.zeros((B, H)), np.zeros((B, H))]
    for one, other in zip(layer.trace(x), layer.trace(x, initial_state=zeros), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_layer_that_is_not_built_and_returns_the_last_output() -> None:
    layer = layers.LSTM(H)
    x = RANDOM.normal(size=(B, T, F))
    found = layer.trace(x)
    np.testing.assert_array_equal(found.h[:, -1], layer(x))


@pytest.mark.parametrize("shape", [(0, T, F), (B, 0, F), (B, 1, F)])
@pytest.mark.parametrize("norm", [False, True], ids=["plain", "layer norm"])
def test_small_inputs(shape: tuple[int, ...], norm: bool) -> None:
    layer, _, _ = made(layer_norm=norm)
    for array in layer.trace(np.ones(shape)):
        assert array.shape == (*shape[:2], H)


def test_stateful_layers_stay_where_they_are() -> None:
    layer = layers.LSTM(H, return_sequences=True, stateful=True)
    x = RANDOM.normal(size=(B, T, F)).astype("float32")
    layer(x)
    before = layer.states
    found = layer.trace(x)
    assert before is not None
    assert layer.states is not None
    for one, other in zip(before, layer.states, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(found.h, layer(x))


@pytest.mark.parametrize("mode", ["concat", "sum", "mul", "ave", None])
@pytest.mark.parametrize("masked", [False, True], ids=["all steps", "masked"])
def test_both_directions(mode: str | None, masked: bool) -> None:
    layer = layers.Bidirectional(layers.LSTM(H, return_sequences=True), mode)
    x, mask = RANDOM.normal(size=(B, T, F)).astype("float32"), MASK if masked else None
    y = layer(x, mask=mask)
    one, two = layer.trace(x, mask=mask)
    if mask is not None:
        one, two = (part._replace(h=part.h * mask[..., None]) for part in (one, two))
    halves = {"concat": np.concatenate([one.h, two.h], -1), "sum": one.h + two.h, "mul": one.h * two.h}
    halves["ave"] = halves["sum"] / np.float32(2)
    if mode is None:
        np.testing.assert_array_equal([one.h, two.h], y)
    else:
        np.testing.assert_array_equal(halves[mode], y)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("zero", [False, True])
def test_stacks(bidirectional: bool, zero: bool) -> None:
    stack = layers.StackedLSTM(
        [H, 5, 7],
        bidirectional=bidirectional,
        zero_output_for_mask=zero,
        return_sequences=True,
        between_dropout=0.5,
    )
    x = RANDOM.normal(size=(B, T, F)).astype("float32")
    states = [RANDOM.normal(size=(B, n)) for n in (H, 5, 7) for _ in range(4 if bidirectional else 2)]
    found = stack.trace(x, mask=MASK, initial_state=states)
    assert len(found) == 3
    y: Any = x
    for number, (layer, steps) in enumerate(zip(stack.layers, found, strict=True)):
        size = 4 if bidirectional else 2
        own = states[size * number : size * (number + 1)]
        expected = layer.trace(y, mask=MASK, initial_state=own)
        pairs = zip(expected, steps, strict=True) if bidirectional else [(expected, steps)]
        for one, other in pairs:
            for a, b in zip(one, other, strict=True):
                np.testing.assert_array_equal(a, b)
        y = layer(y, mask=MASK, initial_state=own)
    if not bidirectional and not zero:
        np.testing.assert_array_equal(found[-1].h, stack(x, mask=MASK, initial_state=states))


def test_a_layer_of_a_model() -> None:
    model = Sequential([layers.Input((T,), dtype="int64"), layers.Embedding(9, F), layers.LSTM(H)])
    ids = RANDOM.integers(0, 9, (B, T))
    layer: Any = model.layers[1]
    found = layer.trace(model.layers[0](ids))
    np.testing.assert_array_equal(found.h[:, -1], model.predict(ids, verbose=0))


def test_wrong_arguments() -> None:
    layer, x, states = made()
    with pytest.raises(ValueError, match="initial_state: expected a pair"):
        layer.trace(x, initial_state=states[0])
    with pytest.raises(ValueError, match=r"mask: expected shape"):
        layer.trace(x, mask=MASK[:, 1:])
    with pytest.raises(ValueError, match=r"x: expected 3 axes"):
        layer.trace(x[0])


def test_a_tape_stays_as_it_is() -> None:
    layer, x, states = made()
    weights = [w.numpy() for w in layer.weights]
    dy = RANDOM.normal(size=(B, T, H))
    gradients: list[Any] = []
    for read in (False, True):
        tape = ops.lstm_forward(x, weights, *states, training=True).tape
        assert tape is not None
        if read:
            first, second = ops.lstm_states(tape), ops.lstm_states(tape)
            for one, other in zip(first, second, strict=True):
                np.testing.assert_array_equal(one, other)
        gradients.append(ops.lstm_backward(tape, dy).dkernel)
        with pytest.raises(RuntimeError, match="expected one that no backward pass has used yet"):
            ops.lstm_states(tape)
    np.testing.assert_array_equal(gradients[0], gradients[1])


def test_lengths_and_drawn_zoneout() -> None:
    """What layers do not have: rows' lengths, and a tape of training."""
    layer, x, states = made()
    weights = [w.numpy() for w in layer.weights]
    lengths, options = np.array([6, 0, 3]), ops.CellOptions(zoneout_h=0.3, zoneout_c=0.4)
    for backwards in (False, True):
        result = ops.lstm_forward(
            x,
            weights,
            *states,
            lengths=lengths,
            options=options,
            zoneout_seed=3,
            training=True,
            go_backwards=backwards,
        )
        assert result.tape is not None
        found = ops.lstm_states(result.tape)
        order = slice(None, None, -1 if backwards else 1)
        expected = testing.lstm_states_reference(
            x[:, order],
            *weights,
            *states,
            options=options,
            mask=(np.arange(T) < lengths[:, None])[:, order],
            zoneout_seed=3,
        )
        for name, array, wanted in zip(NAMES, found, expected, strict=True):
            testing.assert_close(
                np.nan_to_num(array, nan=9),
                np.nan_to_num(wanted, nan=9),
                dtype=np.float64,
                terms=F + H,
                steps=T,
                name=name,
            )


def test_tapes_without_gates() -> None:
    layer, x, states = made(layer_norm=True)
    given = (x, layer.packed(), *states)
    tape = ops.lstm_forward(*given, options=layer.options, training=True).tape
    assert tape is not None
    with pytest.raises(ValueError, match="tape: expected one with gates, got that of a layer-normalized"):
        ops.lstm_states(tape)
    tape = ops.lstm_forward(*given, training=True, checkpoint_every=2).tape
    assert tape is not None
    with pytest.raises(ValueError, match="tape: expected one with every step, got one with checkpoints"):
        ops.lstm_states(tape)
    with pytest.raises(TypeError, match="tape: expected the Tape"):
        ops.lstm_states(None)  # type: ignore[arg-type]
