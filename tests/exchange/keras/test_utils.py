"""`utils` make what Keras's make."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

from fusedlstm import utils


@pytest.mark.filterwarnings("ignore")
def test_arguments_are_those_of_keras(keras: Any) -> None:
    for name in ("pad_sequences", "timeseries_dataset_from_array", "to_categorical", "PyDataset"):
        ours, theirs = (
            inspect.signature(getattr(module, name)).parameters for module in (utils, keras.utils)
        )
        assert list(ours) == list(theirs)
        assert [one.default for one in ours.values()] == [one.default for one in theirs.values()]


@pytest.mark.filterwarnings("ignore")
def test_pad_sequences(keras: Any) -> None:
    draw = np.random.default_rng(0)
    for features in ((), (2,), (2, 3)):
        for _ in range(40):
            shapes = [(int(length), *features) for length in draw.integers(0, 7, size=draw.integers(1, 6))]
            sequences: Any = [draw.integers(-9, 9, shape) for shape in shapes]
            if draw.random() < 0.5:
                sequences = [sequence.tolist() for sequence in sequences]
            options = {
                "maxlen": None if draw.random() < 0.3 else int(draw.integers(1, 8)),
                "dtype": str(draw.choice(["int32", "int64", "float32"])),
                "padding": str(draw.choice(["pre", "post"])),
                "truncating": str(draw.choice(["pre", "post"])),
                "value": float(draw.integers(-1, 2)),
            }
            ours, theirs = (module.pad_sequences(sequences, **options) for module in (utils, keras.utils))
            assert ours.dtype == theirs.dtype
            assert ours.shape == theirs.shape
            assert np.array_equal(ours, theirs)
    words = [["a", "b"], ["longer"]]
    ours, theirs = (module.pad_sequences(words, dtype=object, value="") for module in (utils, keras.utils))
    assert ours.tolist() == theirs.tolist()


@pytest.mark.filterwarnings("ignore")
def test_to_categorical(keras: Any) -> None:
    for shape in ((5,), (5, 1), (4, 3), (2, 3, 1)):
        labels = np.random.default_rng(0).integers(0, 6, shape)
        for classes in (None, 8):
            ours, theirs = (module.to_categorical(labels, classes) for module in (utils, keras.utils))
            assert ours.dtype == theirs.dtype
            assert np.array_equal(ours, theirs)


@pytest.mark.filterwarnings("ignore")
def test_timeseries_dataset_from_array(keras: Any) -> None:
    pytest.importorskip("grain")  # or TensorFlow: Keras has nothing without one of them
    draw = np.random.default_rng(1)
    compared = 0
    for _ in range(60):
        data = draw.normal(size=(int(draw.integers(12, 40)), 2)).astype(np.float32)
        options: dict[str, Any] = {
            "targets": None if draw.random() < 0.3 else np.arange(len(data) - int(draw.integers(0, 4))),
            "sequence_length": int(draw.integers(1, 6)),
            "sequence_stride": int(draw.integers(1, 4)),
            "sampling_rate": int(draw.integers(1, 4)),
            "batch_size": None if draw.random() < 0.2 else int(draw.integers(1, 6)),
            "start_index": None if draw.random() < 0.5 else int(draw.integers(0, 5)),
            "end_index": None if draw.random() < 0.5 else len(data) - int(draw.integers(1, 4)),
            "format": "grain",
        }
        batches = []
        for module in (utils, keras.utils):
            try:
                batches.append(list(module.timeseries_dataset_from_array(data, **options)))
            except (IndexError, ValueError) as error:
                batches.append([type(error)])
        ours, theirs = batches
        if isinstance(theirs[0], type):
            assert ours == [ValueError]
            continue
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            pairs = [(one, other)] if options["targets"] is None else zip(one, other, strict=True)
            for mine, keras_array in pairs:
                assert np.array_equal(mine, np.asarray(keras_array))
                compared += 1
    assert compared > 100
