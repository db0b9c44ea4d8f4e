"""Scripts written for Keras run after changing nothing but their imports."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fusedlstm import backend, config, layers, utils

IMPORT_KERAS = """
import numpy as np
import keras

keras.utils.set_random_seed(3)
x = np.random.rand(40, 28, 28)
y = keras.utils.to_categorical(np.arange(40) % 10, num_classes=10)

model = keras.Sequential()
model.add(keras.Input(shape=(28, 28)))
model.add(keras.layers.LSTM(8, return_sequences=True, dropout=0.1))
model.add(keras.layers.LSTM(8))
model.add(keras.layers.Dense(10))
model.add(keras.layers.Activation("softmax"))
model.summary()
model.compile(
    loss=keras.losses.CategoricalCrossentropy(label_smoothing=0.1),
    optimizer=keras.optimizers.Adam(learning_rate=keras.optimizers.schedules.ExponentialDecay(1e-2, 10, 0.9)),
    metrics=[keras.metrics.CategoricalAccuracy(name="acc")],
)
history = model.fit(
    x, y, batch_size=16, epochs=2, validation_split=0.2, verbose=2,
    callbacks=[keras.callbacks.EarlyStopping(monitor="val_loss", patience=3, restore_best_weights=True)],
)
assert set(history.history) == {"loss", "acc", "val_loss", "val_acc"}
loss, accuracy = model.evaluate(x, y, verbose=0)
assert np.argmax(model.predict(x, verbose=0), axis=1).shape == (40,)
result = model.get_weights()
"""

FROM_KERAS = """
import numpy as np
from keras.models import Sequential, load_model
from keras.layers import LSTM, Dense, Dropout, Flatten, Input
from keras.optimizers import RMSprop
from keras.callbacks import EarlyStopping, ModelCheckpoint, LearningRateScheduler
from keras.utils import set_random_seed
from keras import backend as K

set_random_seed(3)
K.clear_session()
t = np.linspace(0, 20, 200)
windows = np.stack([np.sin(t[i : i + 10]) for i in range(100)])[..., None]
targets = np.sin(t[10:110])

model = Sequential([
    LSTM(16, input_shape=(10, 1), return_sequences=True),
    Dropout(0.2),
    LSTM(16, return_sequences=True),
    Flatten(),
    Dense(1),
])
model.compile(loss="mse", optimizer=RMSprop(learning_rate=0.01, clipnorm=1.0), metrics=["mae"])
slower = LearningRateScheduler(lambda epoch, lr: lr * 0.9)
history = model.fit(windows, targets, epochs=3, verbose=0, callbacks=[slower])
assert history.history["loss"][-1] < history.history["loss"][0]
assert model.layers[0].name == "lstm" and model.layers[2].name == "lstm_1"
result = model.get_weights()
"""

STRINGS = """
import numpy as np
from keras import layers, models

x = np.arange(12 * 5 * 3, dtype="uint8").reshape(12, 5, 3)
y = np.arange(12) % 2
model = models.Sequential([layers.LSTM(4), layers.Dense(1, activation="sigmoid")])
model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
model.train_on_batch(x, y)
model.fit(x, y, verbose=0)
model.pop()
model.add(layers.Dense(2, "softmax"))
model.compile(optimizer="adamw", loss="sparse_categorical_crossentropy", metrics="accuracy")
model.fit(x, y, epochs=2, verbose=0)
result = model.get_weights()
"""

BATCHES = """
import numpy as np
import keras
from keras.layers import LSTM, Dense, Embedding
from keras.models import Sequential
from keras.preprocessing.sequence import pad_sequences
from keras.utils import Sequence, set_random_seed

set_random_seed(5)
texts = [list(np.random.randint(1, 50, size=n)) for n in np.random.randint(2, 20, size=60)]
x = pad_sequences(texts, maxlen=12, padding="post")
y = (x[:, 0] > 25).astype("float32")

class Batches(Sequence):
    def __init__(self, x, y, size):
        self.x, self.y, self.size = x, y, size
        self.on_epoch_end()

    def __len__(self):
        return int(np.ceil(len(self.x) / self.size))

    def __getitem__(self, index):
        rows = self.order[index * self.size : (index + 1) * self.size]
        return self.x[rows], self.y[rows]

    def on_epoch_end(self):
        self.order = np.random.permutation(len(self.x))

def forever(x, y, size):
    while True:
        for start in range(0, len(x), size):
            yield x[start : start + size], y[start : start + size]

model = Sequential([Embedding(50, 8, mask_zero=True), LSTM(8), Dense(1, activation="sigmoid")])
model.compile(loss="binary_crossentropy", optimizer="adam", metrics=["accuracy"])
history = model.fit(
    Batches(x[:40], y[:40], 16), epochs=2, validation_data=Batches(x[40:], y[40:], 16),
    class_weight={0: 1.0, 1: 2.5}, verbose=2,
)
assert len(history.history["val_loss"]) == 2
model.fit(
    forever(x[:40], y[:40], 8), steps_per_epoch=5, epochs=2, verbose=0,
    validation_data=forever(x[40:], y[40:], 10), validation_steps=2,
)
assert model.predict(forever(x, y, 20), steps=3, verbose=0).shape == (60, 1)
result = model.get_weights()
"""


def run(script: str) -> Any:
    for old, new in (
        ("import keras\n", "import fusedlstm as keras\n"),
        ("from keras", "from fusedlstm"),
    ):
        script = script.replace(old, new)
    names: dict[str, Any] = {}
    exec(compile(script, "script", "exec"), names)
    return names["result"]


@pytest.mark.parametrize(
    "script", [IMPORT_KERAS, FROM_KERAS, STRINGS, BATCHES], ids=["import", "from", "strings", "batches"]
)
def test_script(script: str) -> None:
    weights = run(script)
    assert all(np.isfinite(w).all() for w in weights)


@pytest.mark.parametrize("script", [IMPORT_KERAS, FROM_KERAS, BATCHES], ids=["import", "from", "batches"])
def test_a_seed_makes_it_repeatable_bit_for_bit(script: str) -> None:
    for one, other in zip(run(script), run(script), strict=True):
        assert np.array_equal(one, other)


def test_floatx() -> None:
    assert backend.floatx() == "float32"
    try:
        backend.set_floatx("float64")
        assert config.floatx() == "float64"
        assert layers.Dense(2)(np.ones((1, 2))).dtype == np.float64
    finally:
        config.set_floatx("float32")
    with pytest.raises(ValueError, match=r"floatx: expected one of \['float32', 'float64'\], got 'float16'"):
        config.set_floatx("float16")
    assert config.epsilon() == 1e-7


def test_to_categorical() -> None:
    assert utils.to_categorical([0, 2]).tolist() == [[1, 0, 0], [0, 0, 1]]
    assert utils.to_categorical([[1], [0]], num_classes=2).tolist() == [[0, 1], [1, 0]]
    assert utils.to_categorical(np.zeros((2, 3)), 4).shape == (2, 3, 4)
    for wrong, message in (
        ([0, 3], r"x: expected class numbers in \[0, 3\), got 0 to 3"),
        ([-1], r"x: expected class numbers in \[0, 3\), got -1"),
        ([0.5], "x: expected whole class numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            utils.to_categorical(wrong, 3)


def test_seeds_out_of_range() -> None:
    for seed in (-1, 1 << 32):
        with pytest.raises(ValueError, match="seed: expected an integer"):
            utils.set_random_seed(seed)
    nothing: Any = None
    with pytest.raises(TypeError, match="seed: expected an integer >= 0, got None"):
        utils.set_random_seed(nothing)


def test_seed_generator() -> None:
    one, other = utils.SeedGenerator(5), utils.SeedGenerator(6)
    series = [one.next() for _ in range(1000)]
    assert len({*series, *(other.next() for _ in range(1000))}) == 2000
    assert all(0 <= seed < 1 << 63 for seed in series)
    again = utils.SeedGenerator(5)
    again.state = (5, 990)
    assert [again.next() for _ in range(10)] == series[990:]
