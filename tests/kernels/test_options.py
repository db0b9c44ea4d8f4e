"""Options of the cell, masks and recurrent dropout: values and exact derivatives against the reference."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from fusedlstm import testing

from .devices import ops
from .problems import (
    REDUCED,
    Array,
    Number,
    Problem,
    Shape,
    assert_all_same_bits,
    assert_same_bits,
    make_problem,
    shape_id,
)

DEVICES = True

SHAPES: list[Shape] = [(1, 1, 3, 1), (3, 4, 5, 7), (2, 3, 17, 33), (19, 3, 9, 16), (1, 6, 4, 129)]
if REDUCED:
    SHAPES = SHAPES[1:3]
CELLS: dict[str, dict[str, Any]] = {
    "peepholes": {"with_peepholes": True},
    "coupled": {"coupled": True},
    "clip": {"cell_clip": 0.6},
    "all": {
        "with_peepholes": True,
        "coupled": True,
        "cell_clip": 0.7,
        "recurrent_activation": "hard_sigmoid",
    },
    "hard_sigmoid": {"recurrent_activation": "hard_sigmoid"},
    "onnx": {"recurrent_activation": ("hard_sigmoid", 0.2, 0.5), "activation": ("leaky_relu", 0.1)},
    "relu": {"activation": "relu"},
    "elu": {"activation": ("elu", 0.7), "output_activation": "tanh"},
    "softsign": {"activation": "softsign", "recurrent_activation": "sigmoid"},
    "softplus": {"activation": "softplus"},
    "linear": {"activation": "linear", "output_activation": ("linear", 0.5, 0.25)},
    "scaled_tanh": {"activation": ("scaled_tanh", 1.7, 0.6), "output_activation": "scaled_tanh"},
    "thresholded_relu": {"activation": ("thresholded_relu", 0.3)},
    "gate clip": {"gate_clip": 0.25},
    "gate clip, all": {
        "with_peepholes": True,
        "coupled": True,
        "gate_clip": 0.3,
        "recurrent_activation": ("hard_sigmoid", 0.2, 0.5),
        "activation": ("linear", -0.5, 0.1),
        "output_activation": ("elu", 0.7),
    },
    "exponential": {"activation": "tanh", "output_activation": "exponential"},
    "layer norm": {"with_layer_norm": 1e-3},
    "layer norm and all": {
        "with_layer_norm": 0.1,
        "with_peepholes": True,
        "coupled": True,
        "cell_clip": 0.7,
        "recurrent_activation": "hard_sigmoid",
    },
    "layer norm and gate clip": {"with_layer_norm": 1e-2, "gate_clip": 0.4, "with_peepholes": True},
    "layer norm and relu": {"with_layer_norm": 1e-2, "activation": "relu", "output_activation": "tanh"},
    "zoneout": {"zoneout_h": 0.3, "zoneout_c": 0.6},
}
MASKS = ("right", "left", "holes", "empty rows")
INPUTS = ("x", "kernel", "recurrent_kernel", "bias", "h0", "c0")
NORM = ("gamma_input", "gamma_recurrent", "gamma_cell", "beta_cell")


@dataclass(frozen=True)
class Variant:
    """A problem, and what is special about it."""

    p: Problem
    options: ops.CellOptions
    mask: Array | None = None
    zero_output_for_mask: bool = False
    recurrent_mask: Array | None = None
    projection: Array | None = None
    zoneout_seed: int | None = None
    go_backwards: bool = False

    def forward(self, **more: Any) -> ops.LSTMResult:
        """Compute results through the kernels, and leave a tape."""
        p = self.p
        return ops.lstm_forward(
            p.x,
            (*p.weights, self.projection),
            p.h0,
            p.c0,
            options=self.options,
            mask=self.mask,
            zero_output_for_mask=self.zero_output_for_mask,
            recurrent_mask=self.recurrent_mask,
            zoneout_seed=self.zoneout_seed,
            go_backwards=self.go_backwards,
            training=True,
            **more,
        )

    def run(self, **more: Any) -> dict[str, Array]:
        """Compute results and gradients through the kernels."""
        p, result = self.p, self.forward(**more)
        assert result.tape is not None
        gradients = ops.lstm_backward(result.tape, p.dy, p.dh, p.dc)
        arrays = {"y": result.y, "h": result.h, "c": result.c, **gradients._asdict()}
        norm = arrays.pop("dlayer_norm")
        arrays |= {} if norm is None else norm._asdict()
        return {name: array for name, array in arrays.items() if array is not None}

    def inputs(self) -> dict[str, Array]:
        """Return what there are gradients of, in float64."""
        arrays = {name: getattr(self.p, name) for name in INPUTS}
        if self.options.peepholes is not None:
            arrays["peepholes"] = self.options.peepholes
        if self.options.layer_norm is not None:
            arrays |= {name: getattr(self.options.layer_norm, name) for name in NORM}
        if self.projection is not None:
            arrays["projection"] = self.projection
        return {name: array.astype(np.float64) for name, array in arrays.items()}

    def reference(self, inputs: dict[str, Array]) -> testing.LSTMReference:
        """Compute results by the reference, for other inputs of the same shapes."""
        x, mask = inputs["x"], self.mask
        if self.go_backwards:
            x, mask = x[:, ::-1], None if mask is None else mask[:, ::-1]
        others: dict[str, Any] = {name: array for name, array in inputs.items() if name not in ("x", *NORM)}
        return testing.lstm_variant_reference(
            x,
            **others,
            options=self.options,
            mask=mask,
            zero_output_for_mask=self.zero_output_for_mask,
            recurrent_mask=self.recurrent_mask,
            layer_norm=None if self.options.layer_norm is None else [inputs[name] for name in NORM],
            zoneout_seed=self.zoneout_seed,
        )

    def loss(self, result: testing.LSTMReference) -> Any:
        """Return the number whose gradients `run` computes."""
        p = self.p
        return (result.y * p.dy).sum() + (result.h * p.dh).sum() + (result.c * p.dc).sum()


def make_variant(shape: Shape, dtype: Number, cell: str | None = None, mask: str | None = None) -> Variant:
    p = make_problem(shape, dtype)
    B, T, _, H = shape
    random = np.random.default_rng([9, *shape])
    given = dict(CELLS[cell]) if cell else {}
    if given.pop("with_peepholes", False):
        given["peepholes"] = (0.3 * random.standard_normal((3, H))).astype(dtype)
    epsilon = given.pop("with_layer_norm", None)
    if epsilon is not None:
        given["layer_norm"] = ops.LayerNorm(
            gamma_input=(1 + 0.2 * random.standard_normal(4 * H)).astype(dtype),
            gamma_recurrent=(1 + 0.2 * random.standard_normal(4 * H)).astype(dtype),
            gamma_cell=(1 + 0.2 * random.standard_normal(H)).astype(dtype),
            beta_cell=random.standard_normal(H).astype(dtype),
            epsilon=epsilon,
        )
    return Variant(p, ops.CellOptions(**given), None if mask is None else make_mask(mask, B, T, random))


def make_mask(kind: str, B: int, T: int, random: np.random.Generator) -> Array:
    if kind == "holes":
        return random.random((B, T)) < 0.6
    count = random.integers(0 if kind == "empty rows" else 1, T + 1, B)
    if kind == "empty rows":
        count[:: max(B // 2, 1)] = 0
    real: Array = np.arange(T) < count[:, None]
    return real[:, ::-1] if kind == "left" else real


def check(variant: Variant) -> None:
    """Compare values, and derivatives along random directions, with the reference.

    Unbounded activations amplify errors, so the tolerance of `testing` grows by how far the reference itself
    moves when each input moves by a few units in the last place: what a backward stable kernel may do.
    """
    p, actual = variant.p, variant.run()
    inputs = variant.inputs()
    expected = variant.reference(inputs)
    random = np.random.default_rng(3)
    u = float(np.finfo(p.dtype).eps)

    def moved() -> dict[str, Array]:
        return {name: a * (1 + 8 * u * random.uniform(-1, 1, a.shape)) for name, a in inputs.items()}

    base = testing.tolerance(p.dtype, p.terms, steps=p.shape[1])
    neighbours = [variant.reference(moved()) for _ in range(3)]
    for name in ("y", "h", "c"):
        want = getattr(expected, name)
        spread = max(float(np.abs(getattr(other, name) - want).max(initial=0)) for other in neighbours)
        scale = float(np.abs(want).max(initial=0)) + 16 * spread / base
        testing.assert_close(
            actual[name], want, dtype=p.dtype, terms=p.terms, steps=p.shape[1], scale=scale, name=name
        )
    for _ in range(2):
        check_direction(variant, actual, inputs, [moved() for _ in range(2)], random)


def check_direction(
    variant: Variant,
    actual: dict[str, Array],
    inputs: dict[str, Array],
    neighbours: list[dict[str, Array]],
    random: np.random.Generator,
) -> None:
    """Move one input at a time along a random direction, or by a single element."""
    p, tiny = variant.p, 1e-30
    for name, array in inputs.items():
        if array.size == 0:
            continue
        direction = random.standard_normal(array.shape)
        if random.random() < 0.5:
            single = np.zeros(array.size)
            single[random.integers(array.size)] = 1
            direction = single.reshape(array.shape)

        def derivative(at: dict[str, Array], name: str = name, direction: Array = direction) -> float:
            along = {**at, name: at[name] + 1j * tiny * direction}
            return float(variant.loss(variant.reference(along)).imag / tiny)

        want = derivative(inputs)
        got = float((actual[f"d{name}"].astype(np.float64) * direction).sum())
        size = float(np.abs(actual[f"d{name}"] * direction).sum())
        spread = max(abs(derivative(other) - want) for other in neighbours)
        allowed = (
            testing.tolerance(p.dtype, p.backward_terms, steps=p.shape[1]) * (size + abs(want)) + 16 * spread
        )
        largest = float(np.abs(p.dy).max(initial=1))
        assert abs(got - want) <= allowed + testing.tolerance(p.dtype, p.terms) * largest, (name, got, want)


@pytest.mark.parametrize("shape", SHAPES, ids=shape_id)
@pytest.mark.parametrize("cell", CELLS)
def test_cells(cell: str, shape: Shape, dtype: Number) -> None:
    check(make_variant(shape, dtype, cell))
    assert cell == "layer norm" or "cell with options" in ops.last_kernel()
    assert ("layer-normalized" in ops.last_kernel()) == cell.startswith("layer norm")


@pytest.mark.parametrize("zero_output", [False, True], ids=["repeat", "zero"])
@pytest.mark.parametrize("shape", SHAPES[1:], ids=shape_id)
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("cell", [None, "layer norm"])
def test_masks(cell: str | None, mask: str, shape: Shape, zero_output: bool, dtype: Number) -> None:
    variant = replace(make_variant(shape, dtype, cell, mask), zero_output_for_mask=zero_output)
    check(variant)
    check(replace(variant, go_backwards=True))


@pytest.mark.parametrize("shape", SHAPES, ids=shape_id)
@pytest.mark.parametrize(
    ("cell", "mask"), [(None, None), ("all", "holes"), ("relu", "left"), ("layer norm", "holes")]
)
def test_recurrent_mask(cell: str | None, mask: str | None, shape: Shape, dtype: Number) -> None:
    variant = make_variant(shape, dtype, cell, mask)
    random = np.random.default_rng(1)
    factors = ((random.random(variant.p.h0.shape) < 0.7) / 0.7).astype(dtype)
    check(replace(variant, recurrent_mask=factors))


@pytest.mark.cpu
@pytest.mark.parametrize(
    ("cell", "mask"),
    [("all", "holes"), ("softplus", "right"), (None, "left"), ("layer norm and all", "empty rows")],
)
def test_bits(cell: str | None, mask: str, dtype: Number) -> None:
    """The same for any number of threads, and with checkpoints."""
    variant = make_variant((9, 30, 12, 65), dtype, cell, mask)
    variant = replace(variant, recurrent_mask=variant.p.h0 + 1)
    ops.set_num_threads(1)
    expected = variant.run()
    for threads in (2, 3):
        ops.set_num_threads(threads)
        assert_all_same_bits(variant.run(), expected, f"{threads} threads")
    assert_all_same_bits(variant.run(checkpoint_every=1), expected, "checkpoints")


@pytest.mark.parametrize("projected", [False, True])
@pytest.mark.parametrize("every", [0, 4])
@pytest.mark.parametrize("cell", [None, "all", "layer norm and all", "zoneout"])
def test_without_gradients_of_weights(cell: str | None, every: int, projected: bool, dtype: Number) -> None:
    """The others have the same bits."""
    variant = make_variant((5, 9, 6, 19), dtype, cell, "holes")
    if projected:
        p = variant.p
        R = 7
        narrow = replace(
            p, recurrent_kernel=p.recurrent_kernel[:R], h0=p.h0[:, :R], dy=p.dy[..., :R], dh=p.dh[:, :R]
        )
        variant = replace(variant, p=narrow, projection=np.ascontiguousarray(p.recurrent_kernel[:, :R]))
    p = variant.p

    def gradients(need_dweights: bool) -> ops.LSTMGradients:
        tape = variant.forward(checkpoint_every=every).tape
        assert tape is not None
        return ops.lstm_backward(tape, p.dy, p.dh, p.dc, need_dweights=need_dweights)

    expected, actual = gradients(True)._asdict(), gradients(False)._asdict()
    for name in ("dx", "dh0", "dc0"):
        assert_same_bits(actual.pop(name), expected[name], name)
    assert set(actual.values()) == {None}


@pytest.mark.not_gpu
@pytest.mark.parametrize("cell", ["all", "layer norm", "layer norm and all"])
def test_steps_with_options(cell: str, dtype: Number) -> None:
    variant = make_variant((3, 5, 6, 19), dtype, cell)
    p = variant.p
    expected = ops.lstm_forward(p.x, p.weights, p.h0, p.c0, options=variant.options)
    h, c = p.h0, p.c0
    weights = ops.LSTMWeights(*p.weights)
    for t in range(5):
        h, c = ops.lstm_step(p.x[:, t], h, c, weights, options=variant.options)
    np.testing.assert_array_equal(h, expected.h)
    np.testing.assert_array_equal(c, expected.c)


def test_a_mask_of_ones_is_none(dtype: Number) -> None:
    p = make_problem((4, 5, 6, 7), dtype)
    masked = ops.lstm_forward(p.x, p.weights, p.h0, p.c0, mask=np.ones((4, 5), bool))
    plain = ops.lstm_forward(p.x, p.weights, p.h0, p.c0)
    for a, b in zip(masked[:3], plain[:3], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.not_gpu
def test_lengths_backwards(dtype: Number) -> None:
    """Each row's real part is read from its end, and stands at the end of y."""
    p = make_problem((4, 6, 3, 5), dtype)
    lengths = np.array([6, 2, 0, 4])
    result = ops.lstm_forward(p.x, p.weights, p.h0, p.c0, lengths=lengths, go_backwards=True)
    assert result.y is not None
    for b, length in enumerate(lengths):
        alone = ops.lstm_forward(
            p.x[b : b + 1, :length][:, ::-1], p.weights, p.h0[b : b + 1], p.c0[b : b + 1]
        )
        np.testing.assert_array_equal(result.h[b], alone.h[0])
        assert alone.y is not None
        np.testing.assert_array_equal(result.y[b, 6 - length :], alone.y[0])
        assert not result.y[b, : 6 - length].any()


def test_nan_passes_every_activation(dtype: Number) -> None:
    for name in ops.ACTIVATIONS:
        p = make_problem((2, 1, 3, 9), dtype)
        p.x[1, 0, 0] = np.nan
        options = ops.CellOptions(activation=name, recurrent_activation=name)
        y = ops.lstm_forward(p.x, p.weights, options=options).y
        assert y is not None
        assert np.isnan(y[1]).all(), name
        assert not np.isnan(y[0]).any(), name


def test_errors() -> None:
    p = make_problem((2, 3, 4, 5), np.float32)
    forward: list[tuple[dict[str, Any], type[Exception], str]] = [
        (
            {"mask": np.ones((2, 3))},
            TypeError,
            "^mask: expected an array of booleans, got an array of float64",
        ),
        ({"mask": [[True]]}, TypeError, "^mask: expected an array of booleans, got list"),
        (
            {"mask": np.ones((3, 2), bool)},
            ValueError,
            r"^mask: expected shape \(B=2, T=3\), got shape \(3, 2\)",
        ),
        (
            {"mask": np.ones((2, 3), bool), "lengths": np.array([1, 2])},
            ValueError,
            "^mask: expected None together with lengths, got both",
        ),
        ({"recurrent_mask": p.h0[:1]}, ValueError, r"^recurrent_mask: expected shape \(B=2, H=5\)"),
        ({"options": {"coupled": True}}, TypeError, "^options: expected CellOptions or None, got dict"),
        (
            {"options": ops.CellOptions(peepholes=np.zeros((3, 4), np.float32))},
            ValueError,
            r"^peepholes: expected shape \(3=3, H=5\), got shape \(3, 4\)",
        ),
    ]
    for arguments, error, text in forward:
        with pytest.raises(error, match=text):
            ops.lstm_forward(p.x, p.weights, **arguments)
    options: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"activation": "gelu"}, ValueError, "^activation: expected one of tanh, .* got 'gelu'"),
        (
            {"recurrent_activation": ("tanh", 1.0)},
            ValueError,
            "^recurrent_activation: expected at most 0 parameters",
        ),
        (
            {"output_activation": ("elu", -1.0)},
            ValueError,
            "^output_activation: expected a positive alpha for elu",
        ),
        ({"activation": ("linear", np.nan)}, ValueError, "^activation: expected finite parameters"),
        ({"cell_clip": 0.0}, ValueError, "^cell_clip: expected a positive number or None, got 0.0"),
        ({"gate_clip": -1.0}, ValueError, "^gate_clip: expected a positive number or None, got -1.0"),
        ({"activation": ("scaled_tanh", 0.0)}, ValueError, "^activation: expected an alpha other than 0"),
        ({"activation": ("thresholded_relu", -1.0)}, ValueError, "^activation: expected alpha >= 0"),
        ({"peepholes": [1.0]}, TypeError, r"^peepholes: expected an array \(3, H\), got list"),
        ({"layer_norm": True}, TypeError, "^layer_norm: expected LayerNorm or None, got bool"),
    ]
    for arguments, error, text in options:
        with pytest.raises(error, match=text):
            ops.CellOptions(**arguments)
