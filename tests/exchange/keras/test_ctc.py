"""losses.CTC against Keras's, and models with it in Keras's files."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import layers, losses

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.filterwarnings("ignore")
def test_losses_are_those_of_keras(keras: Any) -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=(6, 20, 9)).astype(np.float32)
    labels = random.integers(1, 9, (6, 7))
    labels[1, 3:] = 0
    labels[2] = 4
    labels[3, 1:] = 0
    np.testing.assert_allclose(losses.ctc(labels, logits), keras.losses.ctc(labels, logits), rtol=1e-5)
    weights = np.arange(6, dtype=np.float32)
    for reduction in ("sum", "sum_over_batch_size"):
        theirs = keras.losses.CTC(reduction=reduction)
        assert losses.CTC(reduction)(labels, logits) == pytest.approx(float(theirs(labels, logits)), rel=1e-5)
        assert losses.CTC(reduction)(labels, logits, weights) == pytest.approx(
            float(theirs(labels, logits, weights)), rel=1e-5
        )
    assert (
        losses.serialize(losses.CTC())["class_name"]
        == keras.losses.serialize(keras.losses.CTC())["class_name"]
    )


@pytest.mark.filterwarnings("ignore")
def test_a_metric_that_keras_lacks_is_not_said_to_be_of_keras(keras: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    model = fusedlstm.Sequential([layers.Input((None, 3)), layers.Dense(4)])
    model.compile("sgd", "ctc", metrics=["label_error_rate"])
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    (metric,) = config["compile_config"]["metrics"]
    assert (metric["module"], metric["class_name"]) == ("fusedlstm", "LabelErrorRate")
    x, labels = np.ones((2, 5, 3), np.float32), np.array([[1, 2], [3, 0]])
    again = fusedlstm.load_model(path)
    assert again.evaluate(x, labels, verbose=0) == model.evaluate(x, labels, verbose=0)
    theirs = keras.models.load_model(path, compile=False)
    np.testing.assert_allclose(theirs.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-5)
