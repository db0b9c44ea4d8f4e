"""Losses and their gradients beside Keras's, which JAX differentiates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fusedlstm import losses

RANDOM = np.random.default_rng(3)
SHAPE = (3, 4, 5)
REAL = (
    "MeanSquaredError",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredLogarithmicError",
    "LogCosh",
    "CosineSimilarity",
    "Poisson",
)
CASES: list[tuple[str, str, dict[str, Any]]] = [
    *((name, "real", {}) for name in REAL),
    ("Huber", "real", {}),
    ("Huber", "real", {"delta": 0.3}),
    ("KLDivergence", "rows", {}),
    ("Hinge", "bits", {}),
    ("Hinge", "signs", {}),
    ("SquaredHinge", "bits", {}),
    ("CategoricalHinge", "one_hot", {}),
    ("BinaryCrossentropy", "bits", {"from_logits": True, "label_smoothing": 0.1}),
    ("BinaryCrossentropy", "bits", {}),
    ("CategoricalCrossentropy", "one_hot", {"label_smoothing": 0.1}),
    ("CategoricalCrossentropy", "one_hot", {"from_logits": True}),
    ("SparseCategoricalCrossentropy", "classes", {}),
    ("SparseCategoricalCrossentropy", "classes", {"from_logits": True}),
    ("BinaryFocalCrossentropy", "bits", {}),
    ("BinaryFocalCrossentropy", "bits", {"apply_class_balancing": True, "alpha": 0.4, "gamma": 1.5}),
    ("BinaryFocalCrossentropy", "bits", {"from_logits": True, "label_smoothing": 0.2}),
    ("CategoricalFocalCrossentropy", "one_hot", {}),
    ("CategoricalFocalCrossentropy", "one_hot", {"alpha": [0.1, 0.2, 0.3, 0.4, 0.5], "gamma": 3.0}),
    ("CategoricalFocalCrossentropy", "one_hot", {"from_logits": True, "label_smoothing": 0.1}),
]


def labels_for(kind: str, shape: tuple[int, ...]) -> Any:
    classes = RANDOM.integers(0, shape[-1], shape[:-1])
    bits = RANDOM.integers(0, 2, shape)
    return {
        "real": RANDOM.uniform(-1, 2, shape),
        "rows": RANDOM.dirichlet(np.ones(shape[-1]), shape[:-1]),
        "bits": bits,
        "signs": 2 * bits - 1,
        "classes": classes,
        "one_hot": np.eye(shape[-1])[classes],
    }[kind]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1]}-{'-'.join(case[2])}")
def test_values_and_gradients(
    keras: Any, case: tuple[str, str, dict[str, Any]], masked: bool, weighted: bool, reduction: str
) -> None:
    import jax

    name, kind, options = case
    ours = getattr(losses, name)(**options, reduction=reduction)
    theirs = getattr(keras.losses, name)(**options, reduction=reduction)
    assert ours.name == theirs.name
    y = labels_for(kind, SHAPE)
    p = RANDOM.uniform(0.1, 0.9, SHAPE).astype("float32")
    weights = RANDOM.uniform(0.5, 2, SHAPE[:-1]).astype("float32") if weighted else None
    mask = RANDOM.random(SHAPE[:-1]) < 0.7 if masked else None

    def reduced(p: Any) -> Any:
        p = keras.ops.convert_to_tensor(p)
        if mask is not None:
            keras.src.backend.set_keras_mask(p, keras.ops.convert_to_tensor(mask))
        return theirs(y, p, weights)

    want, want_gradient = map(np.asarray, jax.value_and_grad(reduced)(p))
    value, gradient = ours.value_and_gradient(ours.prepare(y, SHAPE), p, weights, mask)
    # float32 sums of some ten terms, and logarithms near 1.
    assert value == pytest.approx(float(want), rel=2e-5, abs=1e-6)
    assert gradient.dtype == p.dtype
    assert np.allclose(gradient, want_gradient, rtol=2e-4, atol=1e-6 * np.abs(want_gradient).max())


@pytest.mark.filterwarnings("ignore")
def test_names(keras: Any) -> None:
    """Every name that Keras takes is taken, or is that of a loss that is not there."""
    others = {"Circle", "Dice", "Loss", "LossFunctionWrapper", "Tversky"}
    theirs = set(keras.src.losses.ALL_OBJECTS_DICT) | {f.__name__ for f in keras.src.losses.ALL_OBJECTS}
    for name in theirs - others - {other.lower() for other in others}:
        assert isinstance(losses.get(name), losses.Loss)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{'-'.join(case[2])}")
def test_functions(keras: Any, case: tuple[str, str, dict[str, Any]]) -> None:
    name, kind, options = case
    plain = keras.src.utils.naming.to_snake_case(name)
    y, p = labels_for(kind, SHAPE), RANDOM.uniform(0.1, 0.9, SHAPE).astype("float32")
    want = np.asarray(getattr(keras.losses, plain)(y, p, **options))
    assert np.allclose(getattr(losses, plain)(y, p, **options), want, rtol=2e-5, atol=1e-6)
