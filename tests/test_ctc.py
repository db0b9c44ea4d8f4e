"""losses.CTC: values, gradients, what it refuses, and a model trained with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import layers, losses
from fusedlstm.testing import assert_close, check_gradients, ctc_loss_reference

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(5, 9, 6))
LABELS = np.array([[1, 2, 2, 0], [5, 0, 0, 0], [0, 0, 0, 0], [3, 4, 3, 4], [1, 1, 1, 1]])
COUNTS = np.count_nonzero(LABELS, axis=1)
STEPS = np.array([9, 3, 0, 6, 8])
MASK = np.arange(9) < STEPS[:, None]


def test_values_and_gradients() -> None:
    expected = ctc_loss_reference(LOGITS, LABELS, None, COUNTS)
    assert_close(losses.ctc(LABELS, LOGITS), expected.losses, dtype=np.float64, terms=6, steps=9)
    mean, total = losses.CTC(), losses.CTC("sum")
    assert mean(LABELS, LOGITS) == pytest.approx(expected.losses.mean())
    weights = np.array([1.0, 2.0, 0.0, -1.0, 0.5])
    assert total(LABELS, LOGITS, weights) == pytest.approx(expected.losses @ weights)
    gradient = expected.dlogits * weights[:, None, None]
    options: dict[str, Any] = {"dtype": np.float64, "terms": 6, "steps": 9}
    assert_close(total.gradient(LABELS, LOGITS, weights), gradient, **options)
    assert_close(mean.gradient(LABELS, LOGITS, weights), gradient / 5, **options)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("samples", [None, 10])
def test_a_mask_shortens_sequences(reduction: str, samples: int | None) -> None:
    loss = losses.CTC(reduction)
    expected = ctc_loss_reference(LOGITS, LABELS, STEPS, COUNTS)
    weights = np.array([1.0, 2.0, 3.0, 4.0, 0.5])
    share = 1 if reduction == "sum" else 1 / (samples or 5)
    value, gradient = loss.value_and_gradient(LABELS, LOGITS, weights, MASK, samples)
    assert value == pytest.approx(share * expected.losses @ weights)
    want = share * weights[:, None, None] * expected.dlogits
    assert_close(gradient, want, dtype=np.float64, terms=6, steps=9)


def test_float32_and_lists() -> None:
    value = losses.CTC()(LABELS.tolist(), LOGITS.astype(np.float32).tolist())
    assert value == pytest.approx(losses.CTC()(LABELS, LOGITS), rel=1e-5)


def test_a_row_without_weight_adds_nothing() -> None:
    """Its loss may be infinite."""
    logits = np.random.default_rng(0).normal(size=(2, 3, 4))
    labels = np.array([[1, 2, 0, 0], [1, 1, 2, 2]])
    loss, gradient = losses.CTC().value_and_gradient(labels, logits, np.array([2.0, 0.0]))
    alone, expected = losses.CTC().value_and_gradient(labels[:1], logits[:1])
    assert loss == pytest.approx(alone, rel=1e-12)  # Sums over the weights on one side, 2 / 2, and a row.
    assert_close(gradient[:1], expected, dtype=np.float64, terms=4, steps=3)
    assert not gradient[1].any()
    assert losses.CTC().value_and_gradient(labels, logits, np.ones(2))[0] == np.inf


def test_names() -> None:
    for identifier in ("ctc", "CTC", losses.ctc, losses.CTC, losses.serialize(losses.CTC("sum"))):
        assert type(losses.get(identifier)) is losses.CTC
    assert losses.get(losses.serialize(losses.CTC("sum"))).reduction == "sum"


@pytest.mark.parametrize(
    ("labels", "logits", "text"),
    [
        (LABELS, LOGITS[0], r"^y_pred: expected predictions \(B, T, C\) for ctc, got shape \(9, 6\)"),
        (LABELS[:4], LOGITS, r"^y_true: expected shape \(5, L\), got \(4, 4\)"),
        (LABELS[0], LOGITS, r"^y_true: expected shape \(5, L\), got \(4,\)"),
        (LABELS + 0.5, LOGITS, r"^y_true: expected whole numbers, got 1.5 at index \(0, 0\)"),
        (LABELS + 1, LOGITS, r"^y_true: expected whole numbers in \[0, 6\), got 6 at index \(1, 0\)"),
        (-LABELS, LOGITS, r"^y_true: expected whole numbers in \[0, 6\), got -1 at index \(0, 0\)"),
        (
            LABELS[:, ::-1],
            LOGITS,
            r"^y_true: expected labels before the zeros that fill up a row, .* behind a 0 at index \(0, 1\)",
        ),
    ],
)
def test_what_is_refused(labels: Any, logits: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        losses.CTC()(labels, logits)


def test_masks_that_are_refused() -> None:
    mask = MASK.copy()
    mask[3, 1] = False
    with pytest.raises(
        ValueError, match=r"^mask: expected padding on the right .* ctc, got .* index \(3, 2\)"
    ):
        losses.CTC().value_and_gradient(LABELS, LOGITS, None, mask)
    with pytest.raises(ValueError, match=r"^sample_weight: expected shape \(5,\), got \(5, 9\)"):
        losses.CTC()(LABELS, LOGITS, np.ones((5, 9)))


def make_model(dtype: str = "float32") -> fusedlstm.Sequential:
    fusedlstm.utils.set_random_seed(1)
    return fusedlstm.Sequential(
        [
            layers.Input((None, 4)),
            layers.Masking(-9.0, dtype=dtype),
            layers.Bidirectional(layers.LSTM(16, return_sequences=True, dtype=dtype)),
            layers.Dense(5, dtype=dtype),
        ]
    )


def signals(samples: int = 64) -> tuple[Any, Any]:
    """Make runs of one-hot rows, each of its own length, whose classes in order are the labels."""
    random = np.random.default_rng(4)
    x, y = np.full((samples, 24, 4), -9.0, np.float32), np.zeros((samples, 4), np.int64)
    for row, marks in zip(x, y, strict=True):
        end = 0
        for j in range(random.integers(1, 5)):
            length = int(random.integers(2, 7))
            marks[j] = 1 + random.integers(4)
            row[end : end + length] = 0.3 * random.standard_normal((length, 4))
            row[end + 1 : end + length, marks[j] - 1] += 1
            end += length
    return x, y


def test_a_model_learns_labels_without_an_alignment() -> None:
    x, y = signals()
    model = make_model()
    model.compile(fusedlstm.optimizers.Adam(0.02), "ctc")
    history = model.fit(x, y, batch_size=16, epochs=30, verbose=0).history["loss"]
    assert history[-1] < 0.1 * history[0]
    assert model.evaluate(x, y, verbose=0) < 0.1 * history[0]


def test_accumulated_gradients_are_those_of_one_batch() -> None:
    """The mean is one of sequences, however many steps the masks of each part leave."""
    x, y = signals()
    results = []
    for size, parts in ((16, 1), (4, 4)):
        model = make_model("float64")
        model.compile(fusedlstm.optimizers.SGD(0.1), losses.CTC())
        logs = model.fit(
            x, y, batch_size=size, gradient_accumulation_steps=parts, shuffle=False, verbose=0
        ).history
        results.append((logs["loss"][0], model.get_weights()))
    assert results[0][0] == pytest.approx(results[1][0])
    for got, want in zip(results[1][1], results[0][1], strict=True):
        np.testing.assert_allclose(got, want, atol=1e-12)


def test_gradient_through_a_model() -> None:
    x, y = signals(3)
    model = make_model("float64")
    model.build(x.shape)
    loss = losses.CTC()

    def function(bias: Any) -> Any:
        model.layers[-1].set_weights([model.layers[-1].get_weights()[0], bias])
        output, saved = model.forward(x.astype(np.float64), training=True)
        return np.array(loss.value_and_gradient(y, output, None, saved.masks[0])[0])

    def gradient(projections: tuple[Any, ...], bias: Any) -> dict[str, Any]:
        function(bias)
        output, saved = model.forward(x.astype(np.float64), training=True)
        gradients = layers.Gradients()
        model.backprop(saved, loss.value_and_gradient(y, output, None, saved.masks[0])[1], gradients)
        found = gradients.get(model.layers[-1].trainable_weights[1])
        assert found is not None
        return {"bias": projections[0] * found}

    check_gradients(function, gradient, {"bias": np.zeros(5)}, terms=40, steps=24)
