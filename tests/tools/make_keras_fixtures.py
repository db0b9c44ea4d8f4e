"""Makes the files in tests/fixtures with Keras.

``python -m tests.tools.make_keras_fixtures [formats] [layers] [callbacks]``

``formats``: models in both of Keras's formats, with an input and the output that Keras computes for it. It
was run with ``KERAS_BACKEND=tensorflow``: on JAX, a float64 LSTM of Keras is only as exact as float32.

``layers``: the models of ``tests/exchange/keras/models.py`` that have files, with what Keras computes in
training.

``callbacks``: the calls of callbacks in ``tests/exchange/keras/callbacks.py``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from ..exchange.keras.callbacks import CASES, record
from ..exchange.keras.models import FILES, MODELS

FOLDER = Path(__file__).parents[1] / "fixtures"


def stack() -> Any:
    """Return one of everything, compiled and trained, so that its file holds an optimizer too."""
    model = keras.Sequential(
        [
            keras.Input((None, 3)),
            layers.LSTM(4, return_sequences=True, dropout=0.1, name="first"),
            layers.Dropout(0.2),
            layers.LSTM(5, use_bias=False, go_backwards=True, recurrent_initializer="glorot_normal"),
            layers.Flatten(),
            layers.Dense(3, activation="tanh", trainable=False),
            layers.Dense(2),
            layers.Activation("softmax"),
        ],
        name="stack",
    )
    model.compile("adam", "mse")
    random = np.random.default_rng(0)
    model.fit(random.normal(size=(8, 6, 3)), random.normal(size=(8, 2)), verbose=0)
    return model


def double() -> Any:
    """Return a model in float64 without an Input layer."""
    model = keras.Sequential([layers.LSTM(2, dtype="float64")], name="double")
    model.build((None, 6, 3))
    return model


def formats() -> None:
    """Write the models in both formats."""
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(1).normal(size=(4, 6, 3)).astype(np.float32)
    results: dict[str, Any] = {"x": x}
    for model in (stack(), double()):
        model.save(FOLDER / f"{model.name}.keras")
        model.save_weights(FOLDER / f"{model.name}.weights.h5")
        results[model.name] = model.predict(x, verbose=0)
        for number, weight in enumerate(model.get_weights()):
            results[f"{model.name}/{number}"] = weight
    np.savez_compressed(FOLDER / "keras.npz", **results)


def trained_layers() -> None:
    """Write the models before training, and all results."""
    keras.utils.set_random_seed(0)
    results: dict[str, Any] = {}
    for name in FILES:
        model = MODELS[name].build(keras)
        model.save(FOLDER / f"{name}.keras")
        results.update({f"{name}/{key}": value for key, value in MODELS[name].results(model, keras).items()})
    np.savez_compressed(FOLDER / "keras_layers.npz", **results)


def callbacks() -> None:
    """Write how Keras calls callbacks."""
    calls = {name: record(name, keras) for name in CASES}
    lines = [
        f"{json.dumps(name)}: [\n{chr(10).join(' ' + json.dumps(call) + ',' for call in made)[:-1]}\n]"
        for name, made in calls.items()
    ]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    (FOLDER / "keras_callbacks.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    makers = {"formats": formats, "layers": trained_layers, "callbacks": callbacks}
    for chosen in sys.argv[1:] or makers:
        makers[chosen]()
