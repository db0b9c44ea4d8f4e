"""ctc_decode against Keras's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fusedlstm import ops


@pytest.mark.parametrize("merge", [True, False])
def test_greedy(keras: Any, merge: bool) -> None:
    """Keras's scores are negative sums of logits: here, of logarithms of probabilities."""
    shares = np.random.default_rng(1).dirichlet(np.full(4, 0.3), (5, 9)).astype(np.float32)
    x, lengths = np.log(shares + np.float32(1e-6)), [9, 3, 1, 7, 9]
    labels, scores = keras.ops.ctc_decode(x, lengths, merge_repeated=merge, mask_index=2)
    decoded = ops.ctc_decode(x, lengths, merge_repeated=merge, mask_index=2)
    np.testing.assert_array_equal(decoded.labels, labels)
    np.testing.assert_allclose(decoded.scores, -np.asarray(scores), atol=1e-4)


def test_beam_search(keras: Any) -> None:
    x, lengths = np.random.default_rng(2).standard_normal((3, 6, 4)).astype(np.float32), [6, 6, 4]
    labels, scores = keras.ops.ctc_decode(x, lengths, "beam_search", beam_width=50, top_paths=3)
    decoded = ops.ctc_decode(x, lengths, "beam_search", beam_width=50, top_paths=3)
    np.testing.assert_array_equal(decoded.labels, labels)
    np.testing.assert_allclose(decoded.scores, scores, rtol=1e-4)
