"""Sets with so few samples that no test could tell them apart, which is not the same as that they agree."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from fusedlstm import compare_data

from .common import kinds, only

RNG = np.random.default_rng(0)


def draw(samples: int) -> Any:
    return RNG.normal(size=(samples, 24, 2))


@pytest.mark.parametrize(("n", "m"), [(500, 1), (5, 5), (1, 1)])
def test_nothing_could_be_tested(n: int, m: int) -> None:
    """A shift by eight standard deviations is none that a test of so few could find, and that is said."""
    found = compare_data(draw(n), draw(m) + 8)
    assert found.ok
    assert not found.tested
    assert found.headline == "Train and test have too few samples to test whether they agree"
    assert str(found).startswith(f"{found.headline}.")
    assert "agree." not in str(found).replace(f"{found.headline}.", "")
    note = only(found, "samples")
    assert note.severity == "note"
    assert (
        f"too few samples to test, {n} of train and {m} of test: even sets that lie wholly apart" in note.text
    )
    content = json.loads(found.to_json())
    assert content["tested"] is False
    assert content["ok"] is True


def test_the_least_p_is_that_of_sets_that_lie_apart() -> None:
    """What the note says no test can reach is what the tests give to such sets."""
    stats = pytest.importorskip("scipy.stats")
    for n, m in ((5, 5), (4, 4), (3, 40), (2, 12)):
        p = stats.ks_2samp(np.arange(n), 100 + np.arange(m), method="exact").pvalue
        found = compare_data(np.arange(n)[:, None] / 7, 100 + np.arange(m)[:, None] / 7, classifier=False)
        # Of one number a sample there is one test, of its value.
        assert found.tests["steps"] == 1
        assert found.tested is bool(p <= found.alpha)
        if not found.tested:
            assert f"would have p = {p:.2g}," in only(found, "samples").text


def test_some_tests_have_samples_enough() -> None:
    found = compare_data(draw(8), draw(8) + 8)
    assert found.tested
    assert "shift" in kinds(found)
    assert only(found, "samples").text.startswith("too few samples for 48 of ")
    assert str(found).startswith("Train and test disagree.")


def test_enough_samples_have_no_note() -> None:
    found = compare_data(draw(40), draw(40))
    assert found.tested
    assert all(one.kind != "samples" for one in found.findings)
