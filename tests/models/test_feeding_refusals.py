"""Batches and arguments of runs that models refuse: before any work, or when they come."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import callbacks, layers

from .common import I, T, X, Y, compiled, same
from .feeds import SIZE, Again, Batches, N, Recorder, fitted, generator

if TYPE_CHECKING:
    from collections.abc import Iterator

WRONG = (X[:SIZE, :, 1:], Y[:SIZE])


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (iter([]), {}, "^x: expected at least one batch, got none from list_iterator"),
        (Batches(count=0), {}, "^x: expected at least one batch, got none from Batches"),
        (iter([WRONG]), {}, r"^x: batch 0: x: expected shape \(None, 5, 4\), got \(8, 5, 3\)"),
        (iter([X]), {}, "^x: batch 0: y: expected an array, got None"),
        (iter([(X,)]), {}, "^x: batch 0: y: expected an array, got None"),
        (iter([(X, Y[:3])]), {}, "^x: batch 0: y: expected 24 entries"),
        (iter([(X, Y + 9)]), {}, "^x: batch 0: y: expected whole class numbers"),
        (iter([(X, Y, Y[:2])]), {}, "^x: batch 0: sample_weight: expected shape"),
        (iter([()]), {}, r"^x: batch 0: expected \(x,\), \(x, y\) or .* got 0 items"),
        (iter([(X, Y, Y, Y)]), {}, r"^x: batch 0: expected .* got 4 items"),
        (Batches(), {"y": Y}, "^y: expected None, as x, a Batches, yields batches"),
        (Batches(), {"sample_weight": Y}, "^sample_weight: expected None, as x, a Batches"),
        (Batches(), {"validation_split": 0.5}, "^validation_split: expected None, as x, a Batches"),
        (Batches(), {"steps_per_epoch": 0}, "^steps_per_epoch: expected a positive integer, got 0"),
        (Batches(), {"validation_steps": -1}, "^validation_steps: expected a positive integer, got -1"),
        (Batches(), {"validation_freq": 0}, "^validation_freq: expected a positive integer, got 0"),
        (Batches(), {"validation_freq": [0]}, "^validation_freq: expected a positive integer, got 0"),
        (Batches(), {"validation_data": iter([])}, "^validation_data: expected at least one batch"),
        (Batches(), {"validation_data": iter([WRONG])}, "^validation_data: batch 0: x: expected shape"),
        (Batches(), {"class_weight": {0: np.inf}}, r"^class_weight\[0\]: expected a finite number"),
        (iter([(X, Y, np.ones(24))]), {"class_weight": {0: 2.0}}, "^x: batch 0: class_weight: .* got both"),
    ],
)
def test_before_any_work(x: Any, options: dict[str, Any], message: str) -> None:
    model: Any = compiled()
    before = model.get_weights()
    calls: list[str] = []
    with pytest.raises(ValueError, match=message):
        model.fit(x, **{"verbose": 0, "callbacks": [Recorder(calls)], **options})
    assert same(before, model.get_weights())
    assert (calls, model.optimizer.iterations) == ([], 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_weight": [1.0, 2.0]}, "^class_weight: expected a dict from class to weight, got list"),
        ({"class_weight": {"0": 2.0}}, "^class_weight: expected an integer, got str"),
        ({"class_weight": {0: "2"}}, r"^class_weight\[0\]: expected a number, got '2'"),
        ({"validation_freq": 0.5}, "^validation_freq: expected a positive integer, got 0.5"),
        ({"steps_per_epoch": 2.0}, "^steps_per_epoch: expected a positive integer, got 2.0"),
        ({"x": iter([("a", Y)])}, "^x: batch 0: x: expected an array of real numbers"),
    ],
)
def test_types_before_any_work(options: dict[str, Any], message: str) -> None:
    model: Any = compiled()
    with pytest.raises(TypeError, match=message):
        model.fit(**{"x": Batches(), "verbose": 0, **options})
    assert model.optimizer.iterations == 0


def test_weights_of_classes_and_of_samples() -> None:
    for call in (compiled().fit, compiled().train_on_batch):
        with pytest.raises(ValueError, match="class_weight: expected None where there is a sample_weight"):
            call(X, Y, sample_weight=np.ones(len(X)), class_weight={0: 1.0})


def test_weights_of_classes_for_several_outputs() -> None:
    x = layers.Input((T, I))
    model: Any = fusedlstm.Model(x, [layers.LSTM(1)(x), layers.LSTM(1)(x)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="class_weight: expected None for a model with 2 outputs"):
        model.fit(X, [Y, Y], class_weight={0: 2.0}, verbose=0)


def test_a_wrong_batch_changes_nothing() -> None:
    good = Batches()[0]
    for number, (wrong, message) in enumerate(
        [
            (WRONG, r"^x: batch 2: x: expected shape \(None, 5, 4\), got \(8, 5, 3\)"),
            (X[:4], "^x: batch 2: y: expected an array, got None"),
            ((X[:4], Y[:3]), "^x: batch 2: y: expected 4 entries"),
        ]
    ):
        model, expected = compiled(), fitted(iter([good, good]))
        with pytest.raises(ValueError, match=message):
            model.fit(iter([good, good, wrong]), verbose=0)
        assert same(model.get_weights(), expected.get_weights()), number
    shapes = Again([(np.ones((2, 3, I)),), (np.ones((2, 4, I)),)])
    model = fusedlstm.Sequential([layers.Input((None, I)), layers.LSTM(2, return_sequences=True)])
    with pytest.raises(ValueError, match=r"^x: batch 1: expected outputs of shape \(None, 3, 2\) like"):
        model.predict(shapes, verbose=0)


def test_errors_of_what_yields_batches_are_its_own() -> None:
    def failing() -> Iterator[Any]:
        yield Batches()[0]
        raise KeyError("mine")

    class Failing(Batches):
        def __getitem__(self, index: int) -> Any:
            if index:
                raise KeyError("mine")
            return super().__getitem__(index)

    for data in (failing(), Failing(), Failing(workers=2)):
        with pytest.raises(KeyError, match="mine"):
            fitted(data)
    empty = Again([Batches()[0]])
    model = compiled()
    stop = callbacks.LambdaCallback(on_epoch_end=lambda *_: empty.batches.clear())
    with pytest.raises(ValueError, match="x: expected at least one batch in each pass, got none"):
        model.fit(empty, epochs=2, verbose=0, callbacks=[stop])


def test_batches_of_stateful_layers_are_of_one_size() -> None:
    def model() -> Any:
        made = fusedlstm.Sequential([layers.Input((T, I)), layers.LSTM(1, stateful=True)])
        made.compile("sgd", "mse")
        return made

    part = (X[:4], X[:4, 0, :1])
    model().fit(iter([part] * 3), verbose=0, validation_data=Again([part]))
    with pytest.raises(ValueError, match="x: batch 2: x: expected 4 samples like the batch before"):
        model().fit(iter([part, part, (X[:3], X[:3, 0, :1])]), verbose=0)
    with pytest.raises(ValueError, match="validation_data: expected 4 samples like the batch before"):
        model().fit(iter([part]), verbose=0, validation_data=Again([(X[:3], X[:3, 0, :1])]))


def test_nothing_else_warns() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted(generator(N), verbose=0, shuffle=True)
