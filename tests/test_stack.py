"""Stacks on arrays: the bits of separate calls, finite differences, torch.nn.LSTM, what they refuse."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from fusedlstm import ops
from fusedlstm.testing import assert_close, check_gradients
from fusedlstm.utils import SeedGenerator

B, T, I = 5, 6, 7  # noqa: E741
UNITS = (9, 17, 4)  # of the three layers
LENGTHS = np.array([6, 3, 0, 1, 5])
HOLES = np.random.default_rng(9).random((B, T)) < 0.6
REAL: dict[str, dict[str, Any]] = {
    "all": {},
    "lengths": {"lengths": LENGTHS},
    "mask": {"mask": HOLES},
    "zero": {"mask": HOLES, "zero_output_for_mask": True},
}
each_real = pytest.mark.parametrize("real", REAL.values(), ids=list(REAL))
each_direction = pytest.mark.parametrize("both", [False, True], ids=["one", "both"])


def problem(both: bool, dtype: Any = np.float64, units: tuple[int, ...] = UNITS) -> dict[str, Any]:
    """Return x, weights and states, and gradients of everything that a stack returns."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Any:
        return rng.normal(size=shape, scale=0.5).astype(dtype)

    directions = 2 if both else 1
    inputs = [I, *(directions * below for below in units)]
    weights, sizes = [], []
    for layer, size in enumerate(units):
        for _ in range(directions):
            bias = normal(4 * size)
            weights.append((normal(inputs[layer], 4 * size), normal(size, 4 * size), bias))
            sizes.append(size)
    states = {name: [normal(B, size) for size in sizes] for name in ("h0", "c0", "dh", "dc")}
    return {"x": normal(B, T, I), "weights": weights, "dy": normal(B, T, inputs[-1]), **states}


def separately(p: dict[str, Any], both: bool, seeds: list[int], rate: float, **more: Any) -> Any:
    """Run each layer and direction by a call of its own, forward and backward."""
    directions = 2 if both else 1
    count = len(p["weights"])
    inputs: list[Any] = [p["x"]]
    results: list[Any] = []
    for layer in range(count // directions):
        outputs = []
        for direction in range(directions):
            place = layer * directions + direction
            results.append(
                ops.lstm_forward(
                    inputs[layer],
                    p["weights"][place],
                    p["h0"][place],
                    p["c0"][place],
                    training=True,
                    go_backwards=direction == 1,
                    **more,
                )
            )
            outputs.append(np.flip(results[-1].y, axis=1) if direction else results[-1].y)
        whole = np.concatenate(outputs, axis=2)
        inputs.append(ops.dropout(whole, rate, seeds[layer]) if layer < len(seeds) else whole)
    parts: list[Any] = [None] * count
    dy = p["dy"]
    for layer in reversed(range(count // directions)):
        if layer < len(seeds):
            dy = ops.dropout(dy, rate, seeds[layer])
        total = 0
        for direction in range(directions):
            place = layer * directions + direction
            size = p["h0"][place].shape[1]
            own = np.ascontiguousarray(dy[:, :, direction * size : (direction + 1) * size])
            own = np.ascontiguousarray(np.flip(own, axis=1)) if direction else own
            parts[place] = ops.lstm_backward(results[place].tape, own, p["dh"][place], p["dc"][place])
            total = total + parts[place].dx
        dy = total
    return whole, results, dy, parts


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rate", [0.0, 0.4])
@pytest.mark.parametrize("every", [0, 2], ids=["tape", "checkpoints"])
@each_real
@each_direction
def test_the_bits_of_separate_calls(both: bool, real: Any, rate: float, every: int, dtype: Any) -> None:
    p = problem(both, dtype)
    series = SeedGenerator(11)
    seeds = [series.next(), series.next()] if rate else []
    y, results, dx, parts = separately(p, both, seeds, rate, checkpoint_every=every, **real)
    got = ops.lstm_stack_forward(
        p["x"],
        p["weights"],
        p["h0"],
        p["c0"],
        bidirectional=both,
        dropout=rate,
        seed=11,
        training=True,
        checkpoint_every=every,
        **real,
    )
    np.testing.assert_array_equal(got.y, y)
    for name in ("h", "c"):
        for one, result in zip(getattr(got, name), results, strict=True):
            np.testing.assert_array_equal(one, getattr(result, name))
    assert got.tape is not None
    gradients = ops.lstm_stack_backward(got.tape, p["dy"], p["dh"], p["dc"])
    np.testing.assert_array_equal(gradients.dx, dx)
    for one, part in zip(gradients.parts, parts, strict=True):
        assert one.dx is None
        for name in ("dkernel", "drecurrent_kernel", "dbias", "dh0", "dc0"):
            np.testing.assert_array_equal(getattr(one, name), getattr(part, name), err_msg=name)


@each_direction
def test_without_dx_or_steps(both: bool) -> None:
    """What is not asked for changes no bit of the rest; last states alone, and packed weights."""
    p = problem(both, np.float32)
    packed = [ops.LSTMWeights(*weights) for weights in p["weights"]]
    whole = ops.lstm_stack_forward(p["x"], packed, bidirectional=both, training=True)
    last = ops.lstm_stack_forward(p["x"], packed, bidirectional=both, training=True, return_sequences=False)
    assert last.y is None
    calm = ops.lstm_stack_forward(p["x"], packed, bidirectional=both, dropout=0.5)
    assert calm.tape is None
    np.testing.assert_array_equal(calm.y, whole.y)
    for one, other in zip(last.h + last.c, whole.h + whole.c, strict=True):
        np.testing.assert_array_equal(one, other)
    assert whole.tape is not None
    assert last.tape is not None
    expected = ops.lstm_stack_backward(whole.tape, dh=p["dh"])
    got = ops.lstm_stack_backward(last.tape, dh=p["dh"], need_dx=False)
    assert got.dx is None
    assert expected.dx is not None
    for mine, theirs in zip(got.parts, expected.parts, strict=True):
        np.testing.assert_array_equal(mine.dkernel, theirs.dkernel)


@each_real
@each_direction
def test_finite_differences(both: bool, real: Any) -> None:
    p = problem(both, units=(3, 2))
    count = len(p["weights"])
    arrays = {"x": p["x"]}
    for place, weights in enumerate(p["weights"]):
        names = ("kernel", "recurrent_kernel", "bias")
        arrays |= {f"{place}{name}": array for name, array in zip(names, weights, strict=True)}
        arrays |= {f"{place}h0": p["h0"][place], f"{place}c0": p["c0"][place]}

    def call(x: Any, **a: Any) -> Any:
        return ops.lstm_stack_forward(
            x,
            [(a[f"{k}kernel"], a[f"{k}recurrent_kernel"], a[f"{k}bias"]) for k in range(count)],
            [a[f"{k}h0"] for k in range(count)],
            [a[f"{k}c0"] for k in range(count)],
            bidirectional=both,
            dropout=0.3,
            seed=1,
            training=True,
            **real,
        )

    def function(**a: Any) -> Any:
        result = call(**a)
        return (result.y, *result.h, *result.c)

    def gradient(douts: Any, **a: Any) -> Any:
        dy, *states = douts
        got = ops.lstm_stack_backward(call(**a).tape, dy, states[:count], states[count:])
        found = {"x": got.dx}
        for k, part in enumerate(got.parts):
            for name in ("kernel", "recurrent_kernel", "bias", "h0", "c0"):
                found[f"{k}{name}"] = getattr(part, f"d{name}")
        return found

    check_gradients(function, gradient, arrays, terms=I + 3, steps=2 * T)


@pytest.mark.parametrize(("layers", "both"), list(itertools.product((1, 3), (False, True))))
def test_torch(layers: int, both: bool) -> None:
    torch: Any = pytest.importorskip("torch")
    size = 6
    p = problem(both, units=(size,) * layers)
    theirs = torch.nn.LSTM(I, size, layers, batch_first=True, bidirectional=both, dtype=torch.float64)
    directions = 2 if both else 1
    for place, (kernel, recurrent_kernel, bias) in enumerate(p["weights"]):
        suffix = f"_l{place // directions}" + ("_reverse" if place % directions else "")
        values = {
            "weight_ih": kernel.T,
            "weight_hh": recurrent_kernel.T,
            "bias_ih": bias,
            "bias_hh": 0 * bias,
        }
        for name, value in values.items():
            with torch.no_grad():
                getattr(theirs, name + suffix).copy_(torch.from_numpy(value.copy()))
    x = torch.from_numpy(p["x"]).requires_grad_()
    h0, c0 = (torch.from_numpy(np.stack(p[name])).requires_grad_() for name in ("h0", "c0"))
    y, (h, c) = theirs(x, (h0, c0))
    outputs, given = (y, h, c), (p["dy"], np.stack(p["dh"]), np.stack(p["dc"]))
    sum((a * torch.from_numpy(b)).sum() for a, b in zip(outputs, given, strict=True)).backward()

    # States as single arrays, as PyTorch has them.
    got = ops.lstm_stack_forward(
        p["x"], p["weights"], np.stack(p["h0"]), np.stack(p["c0"]), bidirectional=both, training=True
    )
    assert got.tape is not None
    gradients = ops.lstm_stack_backward(got.tape, p["dy"], given[1], given[2])
    pairs: dict[str, Any] = {
        "y": (got.y, y),
        "h": (np.stack(got.h), h),
        "c": (np.stack(got.c), c),
        "dx": (gradients.dx, x.grad),
        "dh0": (np.stack([part.dh0 for part in gradients.parts]), h0.grad),
        "dc0": (np.stack([part.dc0 for part in gradients.parts]), c0.grad),
    }
    for place, part in enumerate(gradients.parts):
        suffix = f"_l{place // directions}" + ("_reverse" if place % directions else "")
        pairs[f"kernel{suffix}"] = (part.dkernel, getattr(theirs, f"weight_ih{suffix}").grad.T)
        pairs[f"recurrent{suffix}"] = (part.drecurrent_kernel, getattr(theirs, f"weight_hh{suffix}").grad.T)
        pairs[f"bias{suffix}"] = (part.dbias, getattr(theirs, f"bias_ih{suffix}").grad)
    for name, (ours, want) in pairs.items():
        assert_close(
            ours, want.detach().numpy(), dtype=np.float64, terms=I + 3 * size + B * T, steps=4 * T, name=name
        )


def test_options_and_recurrent_masks_for_each() -> None:
    p = problem(False)
    options = [
        ops.CellOptions(coupled=True),
        None,
        ops.CellOptions(peepholes=np.full((3, UNITS[2]), 0.3)),
    ]
    factors = [None, np.full((B, UNITS[1]), 2.0), None]
    got = ops.lstm_stack_forward(
        p["x"], p["weights"], options=options, recurrent_masks=factors, training=True
    )
    x: Any = p["x"]
    for weights, cell, factor in zip(p["weights"], options, factors, strict=True):
        x = ops.lstm_forward(x, weights, options=cell, recurrent_mask=factor).y
    np.testing.assert_array_equal(got.y, x)
    assert got.tape is not None
    parts = ops.lstm_stack_backward(got.tape, p["dy"]).parts
    assert [part.dpeepholes is None for part in parts] == [True, True, False]
    # One for all.
    one = ops.lstm_stack_forward(p["x"], p["weights"], options=options[0])
    all_three = ops.lstm_stack_forward(p["x"], p["weights"], options=[options[0]] * 3)
    np.testing.assert_array_equal(one.y, all_three.y)


@each_direction
def test_projections_and_zoneout(both: bool) -> None:
    """Hidden states of R numbers, cell states of H; each LSTM with zoneout has a seed of its own."""
    rng = np.random.default_rng(3)
    directions, units, outputs = 2 if both else 1, (9, 5), (4, 3)
    weights, cells = [], []
    for layer, (size, out) in enumerate(zip(units, outputs, strict=True)):
        inputs = directions * outputs[0] if layer else I
        for _ in range(directions):
            shapes = ((inputs, 4 * size), (out, 4 * size), (4 * size,), (size, out))
            weights.append(tuple(rng.normal(size=shape, scale=0.5) for shape in shapes))
            cells.append(ops.CellOptions(zoneout_h=0.2, zoneout_c=0.3) if layer else None)
    x = rng.normal(size=(B, T, I))
    series = SeedGenerator(5)
    seeds = [series.next() for _ in weights]
    y, results = x, []
    for layer in range(2):
        parts = []
        for direction in range(directions):
            place = layer * directions + direction
            results.append(
                ops.lstm_forward(
                    y,
                    weights[place],
                    options=cells[place],
                    zoneout_seed=seeds[place] if layer else None,
                    training=True,
                    go_backwards=direction == 1,
                )
            )
            out_y: Any = results[-1].y
            parts.append(np.flip(out_y, axis=1) if direction else out_y)
        y = np.concatenate(parts, axis=2)
    got = ops.lstm_stack_forward(x, weights, bidirectional=both, options=cells, zoneout_seed=5, training=True)
    np.testing.assert_array_equal(got.y, y)
    for mine, theirs in zip(got.h + got.c, [r.h for r in results] + [r.c for r in results], strict=True):
        np.testing.assert_array_equal(mine, theirs)
    tape: Any = got.tape
    with pytest.raises(ValueError, match=r"dh\[0\]: expected shape \(5, 4\), got \(5, 9\)"):
        ops.lstm_stack_backward(tape, dh=[np.zeros((B, 9))] + [None] * (2 * directions - 1))
    dh, dc = [np.ones_like(h) for h in got.h], [np.ones_like(c) for c in got.c]
    gradients = ops.lstm_stack_backward(tape, np.ones_like(y), dh, dc)
    for place in range(directions, 2 * directions):
        own = results[place].tape
        assert own is not None
        want = ops.lstm_backward(own, np.ones((B, T, 3)), dh[place], dc[place])
        np.testing.assert_array_equal(gradients.parts[place].dprojection, want.dprojection)
        np.testing.assert_array_equal(gradients.parts[place].dh0, want.dh0)


@each_direction
@pytest.mark.parametrize("shape", [(0, T, I), (B, 0, I)])
def test_empty(shape: tuple[int, ...], both: bool) -> None:
    p = problem(both)
    got = ops.lstm_stack_forward(np.zeros(shape), p["weights"], bidirectional=both, training=True)
    assert got.y is not None
    assert got.y.shape == (*shape[:2], p["dy"].shape[2])
    assert got.tape is not None
    dx = ops.lstm_stack_backward(got.tape, got.y).dx
    assert dx is not None
    assert dx.shape == shape


def forward(**changes: Any) -> Any:
    p = problem(False)
    return ops.lstm_stack_forward(**{"x": p["x"], "weights": p["weights"], **changes})


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"weights": 3}, TypeError, "weights: expected a list with an entry for each LSTM, got int"),
        ({"weights": []}, ValueError, "weights: expected at least one entry, got 0"),
        ({"bidirectional": True}, ValueError, "weights: expected an even number of entries, .*, got 3"),
        ({"dropout": 1}, ValueError, r"dropout: expected a number in \[0, 1\), got 1"),
        ({"dropout": 0.5, "training": True}, ValueError, "seed: expected an integer for the dropout"),
        ({"h0": [None]}, ValueError, "h0: expected 3 entries, one for each LSTM, got 1"),
        ({"c0": "abc"}, TypeError, "c0: expected a list with 3 entries, got str"),
        (
            {"h0": [None, np.zeros((B, 2)), None]},
            ValueError,
            r"weights\[1\]: h0: expected shape \(B=5, H=17\)",
        ),
        ({"options": [None]}, ValueError, "options: expected 3 entries"),
        ({"x": np.zeros((B, T, 2))}, ValueError, r"weights\[0\]: x: expected shape \(B, T, I=7\)"),
        ({"x": [1]}, TypeError, r"weights\[0\]: x: expected a NumPy array"),
        # Not of one LSTM.
        ({"lengths": [1, 2, 3]}, TypeError, "^lengths: expected an array of integers"),
        ({"lengths": np.array([T + 1] * B)}, ValueError, "^lengths: expected"),
        ({"mask": np.ones((B, T + 1), bool)}, ValueError, "^mask: expected shape"),
        ({"checkpoint_every": -1}, ValueError, "^checkpoint_every: expected"),
    ],
)
def test_bad_arguments(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        forward(**changes)


def test_bad_gradients_lose_nothing() -> None:
    p = problem(True)
    result = ops.lstm_stack_forward(p["x"], p["weights"], bidirectional=True, training=True)
    tape: Any = result.tape
    assert tape.nbytes > 0
    for arguments, error, message in (
        ({"dy": p["dy"][:, :, 1:]}, ValueError, r"dy: expected shape \(5, 6, 8\), got \(5, 6, 7\)"),
        ({"dh": p["dh"][1:]}, ValueError, "dh: expected 6 entries"),
        (
            {"dh": [np.zeros((1, 1)), *p["dh"][1:]]},
            ValueError,
            r"dh\[0\]: expected shape \(5, 9\), got \(1, 1\)",
        ),
        ({"dc": [*p["dc"][:5], p["dc"][5].astype("f4")]}, TypeError, r"dc\[5\]: .* float64, got .* float32"),
        ({"dy": [1]}, TypeError, "dy: expected a NumPy array of float64, got list"),
    ):
        with pytest.raises(error, match=message):
            ops.lstm_stack_backward(tape, **arguments)
        assert not tape.used
    ops.lstm_stack_backward(tape, p["dy"])
    assert tape.used
    with pytest.raises(RuntimeError, match="tape: expected one that no backward pass has used yet"):
        ops.lstm_stack_backward(tape, p["dy"])
    with pytest.raises(TypeError, match="tape: expected the StackTape"):
        ops.lstm_stack_backward(None)  # type: ignore[arg-type]
