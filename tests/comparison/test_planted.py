"""Differences that were planted are found and named; sets that are alike pass."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from fusedlstm import compare_data

from .common import F, N, T, draw, kinds, only, pair

# Alike in these tests is whatever the tests do not look for; the classifier has tests of its own.
FAST: dict[str, Any] = {"classifier": False}


def labels(seed: int, low: int = 0, high: int = 3, share: Any = None) -> Any:
    return np.random.default_rng(seed).choice(np.arange(low, high), N, p=share)


def test_equal_sets_pass() -> None:
    train, test = pair()
    found = compare_data((train, labels(0)), (test, labels(1)))
    assert found.ok
    assert found.exit_code == 0
    assert found.findings == ()
    assert str(found).startswith("Train and test agree.")


def test_labels_that_are_texts() -> None:
    """They are classes, and called what they are called."""
    train, test = pair()
    names = np.array(["cat", "dog", "it's a bird"])
    ours, theirs = names[labels(0)], names[labels(1)]
    assert compare_data((train, ours), (test, theirs)).findings == ()
    assert compare_data((train, ours.tolist()), (test, theirs[:, None].astype(object)), **FAST).ok
    theirs[:4] = "a newt"
    found = compare_data((train, ours), (test, theirs), **FAST)
    assert kinds(found) == {"labels"}
    assert only(found, "labels").text.startswith(
        "y: class 'a newt' in test is not in train, which has classes 'cat'"
    )
    assert only(found, "labels").feature == "'a newt'"
    theirs = names[labels(1, share=[0.8, 0.1, 0.1])]
    found = compare_data((train, ours), (test, theirs), **FAST)
    assert "class 'cat' is" in only(found, "label proportions").text
    (shares,) = found.shares
    assert shares.names == ("cat", "dog", "it's a bird")
    found = compare_data((train, labels(0)), (test, theirs), **FAST)
    assert kinds(found) == {"dtype"}
    assert only(found, "dtype").text.startswith("y has numbers in train and texts in test")
    found = compare_data((train, ours), (np.concatenate([train[:9], test[9:]]), ours[::-1]), **FAST)
    assert "of them with another label" in only(found, "leakage").text


def test_numbers_that_are_shown_differ() -> None:
    """Means of samples may differ where all numbers together look alike: it is the means that are shown."""
    rng = np.random.default_rng(0)
    train = np.where(rng.random((600, 50, 1)) < 0.2, rng.normal(size=(600, 50, 1)) * 3, -0.692)
    test = np.where(rng.random((600, 50, 1)) < 0.3, rng.normal(size=(600, 50, 1)) * 3, -0.692)
    found = compare_data(train, test, **FAST)
    (text,) = (one.text for one in found.findings if one.kind == "distribution")
    shown = re.search(r"(-?[\d.]+) in train and (-?[\d.]+) in test", text)
    assert shown is not None, text
    assert shown[1] != shown[2]


def test_swapped_features() -> None:
    train, test = pair()
    test[:, :, [1, 4]] = test[:, :, [4, 1]]
    found = compare_data(train, test, features=["a", "b", "c", "d", "e"])
    assert kinds(found) == {"swapped", "classifier"}
    assert only(found, "swapped").feature == "b, e"
    assert "b and e look swapped" in only(found, "swapped").text
    assert only(found, "classifier").feature in ("b", "e")
    assert found.exit_code == 1


def test_swapped_features_of_equal_distributions() -> None:
    """Only their relations tell: the first two features go together, and the third and fourth do not."""
    rng = np.random.default_rng(0)

    def make() -> Any:
        x = rng.normal(size=(1000, 4))
        x[:, 1] = 0.9 * x[:, 0] + np.sqrt(1 - 0.81) * x[:, 1]
        return x

    train, test = make(), make()[:, [0, 2, 1, 3]]
    found = compare_data(train, test, **FAST)
    assert kinds(found) == {"swapped"}
    assert only(found, "swapped").feature == "feature 1, feature 2"


@pytest.mark.parametrize("unit", ["values", "standard deviations"])
def test_a_shift_by_three(unit: str) -> None:
    train, test = pair()
    spread = float(test[:, :, 2].std())
    test[:, :, 2] += 3 if unit == "values" else 3 * spread
    found = compare_data(train, test, **FAST)
    assert kinds(found) == {"shift"}
    shift = only(found, "shift")
    assert shift.feature == "feature 2"
    assert shift.p_adjusted is not None
    assert shift.p_adjusted < 1e-6
    said = float(shift.text.split(" is ")[1].split(" higher")[0])
    assert said == pytest.approx(3 if unit == "values" else 3 * spread, rel=0.1)


def test_a_shift_by_three_steps() -> None:
    train, test = pair(steps=T + 3)
    found = compare_data(train[:, 3:], test[:, :-3], **FAST)
    assert kinds(found) == {"time shift"}
    assert len(found.findings) == F
    assert all("runs 3 steps later in test" in one.text for one in found.findings)
    back = compare_data(train[:, :-3], test[:, 3:], **FAST)
    assert all("runs 3 steps earlier in test" in one.text for one in back.findings)


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_a_scale_of_255(dtype: str) -> None:
    rng = np.random.default_rng(0)
    train, test = rng.random((2, N, T, F)).astype("float32")
    found = compare_data(train, (test * 255).astype(dtype), **FAST)
    scale = only(found, "scale")
    assert scale.severity == "error"
    assert scale.statistic == pytest.approx(255, rel=0.05)
    assert kinds(found) == {"scale"} | ({"dtype"} if dtype == "uint8" else set())
    back = compare_data(test * 255, train, **FAST)
    assert "times as small as train, as bytes beside numbers from 0 to 1" in only(back, "scale").text


def test_one_feature_in_other_units() -> None:
    train, test = pair()
    test[:, :, 3] *= 255
    found = compare_data(train, test, **FAST)
    assert kinds(found) == {"scale"}
    assert only(found, "scale").feature == "feature 3"


@pytest.mark.parametrize("discrete", [False, True])
def test_two_percent_of_leaked_rows(discrete: bool) -> None:
    """Measurements do not repeat by chance; for whole numbers, so many copies are no chance either."""
    train, test = pair()
    if discrete:
        train, test = np.round(train * 10), np.round(test * 10)
    leaked = 12 if discrete else N // 50
    test[-leaked:] = train[:leaked]
    y, z = labels(0), labels(1)
    z[-leaked:] = y[:leaked]
    z[-1] = (y[leaked - 1] + 1) % 3
    found = compare_data((train, y), (test, z), **FAST)
    leak = only(found, "leakage")
    assert kinds(found) == {"leakage"}
    assert leak.severity == "error"
    assert leak.statistic == leaked / N
    assert "1 of them with another label" in leak.text


def test_leaked_rows_after_a_cast() -> None:
    train, test = pair()
    test = test.astype("float64")
    test[:6] = train[:6]
    train[0, 0, 0], test[0, 0, 0] = 0.0, -0.0
    assert only(compare_data(train, test, **FAST), "leakage").statistic == 6 / N
    whole = np.round(100 * train).astype("int16")
    assert only(compare_data(whole, whole.astype("float32"), **FAST), "leakage").statistic == 1


def test_rows_that_repeat_by_chance() -> None:
    rng = np.random.default_rng(0)
    train, test = rng.integers(0, 3, (2, 400, 5)).astype("float32")
    found = compare_data(train, test, **FAST)
    assert found.ok
    assert "no more than by chance" in only(found, "leakage").text
    assert {one.kind for one in found.findings} == {"leakage", "duplicates"}


def test_leaked_rows_of_several_inputs() -> None:
    """A row is what all inputs have of a sample."""
    train, test = pair()
    ids = np.random.default_rng(0).integers(0, 9, (N, 4))
    half = compare_data({"n": train, "w": ids}, {"n": test, "w": ids}, **FAST)
    assert "leakage" not in kinds(half)
    test[:3] = train[:3]
    assert (
        only(compare_data({"n": train, "w": ids}, {"n": test, "w": ids}, **FAST), "leakage").statistic
        == 3 / N
    )


def test_windows_dealt_out_to_both_sets() -> None:
    series = np.cumsum(np.random.default_rng(0).normal(size=(800, 2)), axis=0)
    windows = np.lib.stride_tricks.sliding_window_view(series, 20, axis=0).transpose(0, 2, 1)
    order = np.random.default_rng(1).permutation(len(windows))
    found = compare_data(windows[order[:600]], windows[order[600:]], **FAST)
    leak = only(found, "leakage")
    assert leak.statistic is not None
    assert leak.statistic > 0.9
    assert "share at least 10 steps with train" in leak.text


def test_paddings_are_no_leak() -> None:
    train, test = pair()
    train[:, T // 2 :] = test[:, T // 2 :] = 0
    assert compare_data(train, test, **FAST).ok


def test_another_label_set() -> None:
    train, test = pair()
    found = compare_data((train, labels(0, 0, 3)), (test, labels(1, 1, 4)), **FAST)
    assert kinds(found) == {"labels", "label proportions"}
    wrong = next(one for one in found.findings if one.kind == "labels" and one.severity == "error")
    assert wrong.feature == "3"
    assert "class 3 in test is not in train, which has classes 0, 1, 2" in wrong.text
    eye = np.eye(4, dtype="float32")
    hot = compare_data((train, eye[labels(0, 0, 3)]), (test, eye[labels(1, 1, 4)]), **FAST)
    assert [one.text for one in hot.findings] == [one.text for one in found.findings]


def test_other_shares_of_labels() -> None:
    train, test = pair()
    found = compare_data((train, labels(0)), (test, labels(1, share=(0.6, 0.3, 0.1))), **FAST)
    assert kinds(found) == {"label proportions"}


def test_labels_that_are_numbers_or_sequences() -> None:
    train, test = pair()
    rng = np.random.default_rng(0)
    y, z = rng.normal(size=(2, N))
    assert compare_data((train, y), (test, z), **FAST).ok
    found = compare_data((train, y), (test, z + 3), **FAST)
    assert only(found, "shift").field == "y"
    y, z = rng.integers(0, 4, (2, N, T))
    assert compare_data((train, y), (test, z), **FAST).ok
    z[:, ::4] = 2
    found = compare_data((train, y), (test, z), **FAST)
    assert kinds(found) == {"ids"}
    assert {one.field for one in found.findings} == {"y"}


def test_missing_numbers_in_test_alone() -> None:
    train, test = pair()
    test[:6, 7, 1] = np.nan
    found = compare_data(train, test, **FAST)
    assert kinds(found) == {"missing"}
    gone = only(found, "missing")
    assert (gone.severity, gone.feature, gone.step) == ("error", "feature 1", 7)
    assert gone.statistic == 6 / N
    test[:6, 7, 1] = np.inf
    assert kinds(compare_data(train, test, **FAST)) == {"infinite"}


def test_missing_numbers_in_both() -> None:
    train, test = pair()
    train[:30, 3, 1] = test[-35:, 5, 2] = np.nan
    found = compare_data(train, test, **FAST)
    assert found.ok
    assert only(found, "missing").severity == "note"
    test[:120, 3, 1] = np.nan
    assert "missing" in kinds(compare_data(train, test, **FAST))


def test_other_types() -> None:
    train, test = pair()
    train, test = np.round(train * 20), np.round(test * 20)
    found = compare_data(train, test.astype("int16"), **FAST)
    assert kinds(found) == {"dtype"}
    assert "x is float32 in train and int16 in test" in only(found, "dtype").text
    wider = compare_data(train, test.astype("float64"), **FAST)
    assert wider.ok
    assert only(wider, "dtype").severity == "note"


def test_other_shapes() -> None:
    train, test = pair()
    found = compare_data(train, test[:, :, :-1], **FAST)
    assert kinds(found) == {"shape"}
    assert only(found, "shape").severity == "error"
    shorter = compare_data(train, test[:, :-4], **FAST)
    assert only(shorter, "shape").severity == "warning"
    flat = compare_data(train, test[:, 0], **FAST)
    assert only(flat, "shape").severity == "error"


def test_other_inputs() -> None:
    train, test = pair()
    found = compare_data({"a": train, "b": train}, {"a": test}, **FAST)
    assert only(found, "inputs").text == "x['b'] is in train and not in test, which has x['a']"
    unlabelled = compare_data((train, labels(0)), test, **FAST)
    assert only(unlabelled, "inputs").field == "y"


def test_ids() -> None:
    rng = np.random.default_rng(0)
    train, test = rng.zipf(1.5, (2, 400, 20)) % 500
    assert compare_data(train, test, **FAST).ok
    other = np.where(rng.random(test.shape) < 0.1, 7, test)
    found = compare_data(train, other, **FAST)
    assert found.findings[0].feature == "id 7"
    strange = np.where(rng.random(test.shape) < 0.1, rng.integers(10_000, 90_000, test.shape), test)
    assert "unseen ids" in kinds(compare_data(train, strange, **FAST))


def test_a_difference_that_only_the_order_of_steps_shows() -> None:
    """Each step alone and all sums are alike: steps of test come in pairs of equal ones."""
    rng = np.random.default_rng(0)
    train = rng.choice([-1.0, 1.0], (1000, 8, 1)) * (1 + 0.01 * rng.random((1000, 8, 1)))
    test = rng.choice([-1.0, 1.0], (1000, 8, 1)) * (1 + 0.01 * rng.random((1000, 8, 1)))
    test[:, 3] = np.sign(test[:, 1] * test[:, 2]) * np.abs(test[:, 3])
    test[:, 6] = np.sign(test[:, 4] * test[:, 5]) * np.abs(test[:, 6])
    alone = compare_data(train, test, **FAST)
    assert alone.ok
    found = compare_data(train, test)
    assert kinds(found) == {"classifier"}
    assert only(found, "classifier").step is not None


def test_samples_of_one_step_and_single_numbers() -> None:
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(2, 200, 3))
    assert compare_data(train, test).ok
    assert compare_data(train[:, 0], test[:, 0], **FAST).ok
    assert only(compare_data(train[:, 0], test[:, 0] + 2, **FAST), "shift").feature == "feature 0"


def test_few_samples() -> None:
    """Too few to say anything, and no error."""
    rng = np.random.default_rng(0)
    for n, m in ((1, 1), (2, 5), (5, 40)):
        assert compare_data(draw(rng, n), draw(rng, m)).ok
