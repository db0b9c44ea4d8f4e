"""The layers around an LSTM, regularizers, constraints, frozen layers and masks: the same as Keras 3's.

Without Keras, models are compared that it made and trained: the files in ``tests/fixtures``, of
``tests/tools/make_keras_fixtures.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fusedlstm

from .models import FILES, MODELS

FIXTURES = Path(__file__).parents[2] / "fixtures"


def check(got: dict[str, Any], expected: dict[str, Any]) -> None:
    """Compare results: float32 sums in another order, through an LSTM of a few steps and two updates."""
    assert list(got) == list(expected)
    for name, want in expected.items():
        np.testing.assert_allclose(got[name], want, rtol=2e-5, atol=2e-6, err_msg=name)


def kept(name: str) -> dict[str, Any]:
    """Return what Keras computed when the files were made."""
    prefix = f"{name}/"
    with np.load(FIXTURES / "keras_layers.npz") as archive:
        return {key.removeprefix(prefix): archive[key] for key in archive if key.startswith(prefix)}


@pytest.mark.parametrize("name", FILES)
def test_models_of_keras_train_alike(name: str) -> None:
    pytest.importorskip("h5py")
    model = fusedlstm.load_model(FIXTURES / f"{name}.keras")
    check(MODELS[name].results(model, fusedlstm), kept(name))


@pytest.mark.parametrize("name", FILES)
def test_files_of_our_own(name: str, tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    fusedlstm.utils.set_random_seed(1)
    case = MODELS[name]
    model = case.build(fusedlstm)
    model.save(tmp_path / "a.keras")
    again = fusedlstm.load_model(tmp_path / "a.keras")
    assert again.get_config() == model.get_config()
    np.testing.assert_array_equal(again(case.x), model(case.x))
    model.save_weights(tmp_path / "a.weights.h5")
    other = fusedlstm.load_model(FIXTURES / f"{name}.keras")
    other.load_weights(tmp_path / "a.weights.h5")
    np.testing.assert_array_equal(other(case.x), model(case.x))


# ---- with Keras ----


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODELS)
def test_the_same_lines_train_alike(keras: Any, name: str) -> None:
    """Made by Keras, from its model, and by the same lines with this package in Keras's place."""
    keras.utils.set_random_seed(3)
    case = MODELS[name]
    theirs = case.build(keras)
    taken, written = fusedlstm.from_keras(theirs), case.build(fusedlstm)
    written.set_weights(theirs.get_weights())
    expected = case.results(theirs, keras)
    check(case.results(taken, fusedlstm), expected)
    check(case.results(written, fusedlstm), expected)
    assert taken.count_params() == theirs.count_params()
    assert [v.shape for v in taken.trainable_weights] == [tuple(v.shape) for v in theirs.trainable_weights]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FILES)
def test_models_that_go_to_keras_train_alike(keras: Any, name: str, tmp_path: Path) -> None:
    fusedlstm.utils.set_random_seed(4)
    case = MODELS[name]
    model = case.build(fusedlstm)
    model.save(tmp_path / "a.keras")
    model.save_weights(tmp_path / "a.weights.h5")
    in_memory, from_file = fusedlstm.to_keras(model), keras.saving.load_model(tmp_path / "a.keras")
    from_weights = keras.models.clone_model(in_memory)
    from_weights.load_weights(tmp_path / "a.weights.h5")
    assert [layer.name for layer in in_memory.layers] == [layer.name for layer in model.layers]
    again = fusedlstm.from_keras(from_file)
    expected = case.results(model, fusedlstm)
    for other in (in_memory, from_weights):
        check({"output": np.asarray(other(case.x))}, {"output": expected["output"]})
    check(case.results(from_file, keras), expected)
    check(case.results(again, fusedlstm), expected)


@pytest.mark.filterwarnings("ignore")
def test_names_and_shapes(keras: Any) -> None:
    """Automatic names are Keras's, and so are output shapes."""
    for case in MODELS.values():
        keras.utils.clear_session()
        fusedlstm.utils.clear_session()
        theirs, ours = case.build(keras), case.build(fusedlstm)
        assert [layer.name for layer in ours.layers] == [layer.name for layer in theirs.layers]
        assert ours.output_shape == theirs.output_shape
