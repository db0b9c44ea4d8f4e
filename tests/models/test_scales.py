"""Validation data in other units than the training data: a warning, and where there is none."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import ScaleWarning, layers, optimizers

from .common import RANDOM, I, T, X, Y, compiled, same

PIXELS = RANDOM.integers(0, 256, (200, T, I), dtype=np.uint8) * (RANDOM.random((200, T, I)) < 0.3)
SHARE = PIXELS.astype("float32") / 255


def fit(train: Any, held_out: Any) -> None:
    model = fusedlstm.Sequential([layers.Flatten(), layers.Dense(1)])
    model.compile(optimizers.SGD(0.0), "mse")
    model.fit(train, np.zeros(len(train)), verbose=0, validation_data=(held_out, np.zeros(len(held_out))))


def warned(train: Any, held_out: Any) -> bool:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        fit(train, held_out)
    return any(issubclass(one.category, ScaleWarning) for one in found)


@pytest.mark.parametrize(
    ("train", "held_out"),
    [
        (SHARE, PIXELS),
        (PIXELS, SHARE),
        (SHARE, PIXELS.astype("float32")),
        (SHARE.astype("float64"), PIXELS[:5].astype("int64")),
        (X, X * 1000),
        (SHARE, (PIXELS // 16).astype("uint8")),
        ((X - 100) / 10, X * 1000),
    ],
)
def test_other_scales(train: Any, held_out: Any) -> None:
    assert warned(train, held_out)


OUTLIERS = X.copy()
OUTLIERS[3, 2, 1] = 1e9
MISSING = X.copy()
MISSING[:, 1] = np.nan
# Four samples of five are anomalies a thousand times as large, the fifth is as it always was.
ANOMALIES = X * np.where(np.arange(len(X)) % 5 > 0, 1000, 1)[:, None, None]


@pytest.mark.parametrize(
    ("train", "held_out"),
    [
        (SHARE, SHARE[:3]),
        (PIXELS, PIXELS[:3]),
        (PIXELS, PIXELS.astype("float64")),
        (X, X * 10),
        (X, OUTLIERS),
        (OUTLIERS, X),
        (X, ANOMALIES),
        (ANOMALIES, X),
        (X, MISSING),
        (X, X * 0),
        (X * 0, X),
        (X, np.full((2, T, I), 1e-3) * (np.arange(I) == 0)),
        (RANDOM.lognormal(0, 3, (200, T, I)), RANDOM.lognormal(1, 3, (50, T, I))),
        (RANDOM.integers(0, 2, (50, T, I)), RANDOM.random((50, T, I))),
        (RANDOM.integers(1, 9, (50, T, I)), RANDOM.integers(1000, 9000, (50, T, I))),
        (np.cumsum(np.ones((100, T, I)), 0), 100 + np.cumsum(np.ones((20, T, I)), 0)),
    ],
)
def test_no_false_alarm(train: Any, held_out: Any) -> None:
    with np.errstate(all="ignore"):
        assert not warned(train, held_out)


def test_it_names_the_argument_and_the_line_of_fit() -> None:
    model = compiled()
    with pytest.warns(ScaleWarning, match=r"^validation_data x: expected .*same scale.*got .*") as found:
        model.fit(X, Y, verbose=0, validation_data=(X * 255, Y))
    assert [one.filename for one in found] == [__file__]


def test_it_can_be_silenced() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ScaleWarning)
        fit(X, X * 1000)


def test_as_an_error_it_comes_before_any_work() -> None:
    """Whoever wants the error that it once was, makes warnings of this class errors."""
    model = compiled()
    before = model.get_weights()
    with warnings.catch_warnings():
        warnings.simplefilter("error", ScaleWarning)
        with pytest.raises(ScaleWarning):
            model.fit(X, Y, verbose=0, validation_data=(X * 255, Y))
    assert same(before, model.get_weights())
    assert model.optimizer is not None
    assert model.optimizer.iterations == 0


@pytest.mark.parametrize("kind", ["int64", "float32"])
def test_ids_have_no_scale(kind: str) -> None:
    """An Embedding's ids are names, whatever type of number they come in."""
    low = RANDOM.integers(1, 3, (60, T)).astype("int64")
    high = RANDOM.integers(900, 1000, (60, T)).astype(kind)
    model = fusedlstm.Sequential([layers.Embedding(1000, 3), layers.LSTM(2), layers.Dense(1)])
    model.compile(optimizers.SGD(0.0), "mse")
    model.fit(low, np.zeros(60), verbose=0, validation_data=(high, np.zeros(60)))


def test_of_several_inputs_the_one_is_named() -> None:
    words, numbers = fusedlstm.Input((T,), dtype="int64", name="words"), fusedlstm.Input((T, I), name="n")
    merged = layers.concatenate([layers.LSTM(2)(layers.Embedding(1000, 3)(words)), layers.LSTM(2)(numbers)])
    model = fusedlstm.Model({"words": words, "n": numbers}, layers.Dense(1)(merged))
    model.compile(optimizers.SGD(0.0), "mse")
    low, high = RANDOM.integers(1, 3, (len(X), T)), RANDOM.integers(900, 1000, (len(X), T))
    zeros = np.zeros(len(X))
    with pytest.warns(ScaleWarning, match=r"^validation_data x\['n'\]: ") as found:
        model.fit(
            {"words": low, "n": X}, zeros, verbose=0, validation_data=({"words": high, "n": X * 255}, zeros)
        )
    assert len(found) == 1
