"""losses.CTC against Keras's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fusedlstm import losses


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
