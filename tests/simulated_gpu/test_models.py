"""Models on a device: training, prediction, files, errors."""

from __future__ import annotations

import copy
import operator
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import callbacks, cuda, layers, optimizers, utils
from fusedlstm.base import devices
from tests.simulated_gpu.device import FUNCTIONS, SimArray

if TYPE_CHECKING:
    from pathlib import Path

    from tests.simulated_gpu.device import SimDevice

N, T, I, C = 20, 5, 3, 4  # noqa: E741
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(N, T, I)).astype(np.float32)
Y = RANDOM.integers(0, C, N)
WEIGHTS = RANDOM.uniform(0.5, 1.5, N)
IDS = RANDOM.integers(0, 6, (N, T))


def model(dropout: float = 0.2) -> fusedlstm.Sequential:
    utils.set_random_seed(3)
    made = fusedlstm.Sequential(
        [
            fusedlstm.Input((T, I)),
            layers.LSTM(6, return_sequences=True, dropout=dropout, kernel_regularizer="l2"),
            layers.Dropout(dropout),
            layers.Bidirectional(layers.LSTM(5), activity_regularizer="l1"),
            layers.Dense(C, activation="softmax", kernel_constraint="max_norm"),
        ]
    )
    made.compile(optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return made


def reader() -> fusedlstm.Sequential:
    """Return a model of ids with padding, and an output at each step."""
    utils.set_random_seed(3)
    made = fusedlstm.Sequential(
        [
            fusedlstm.Input((T,)),
            layers.Embedding(6, 4, mask_zero=True),
            layers.LSTM(5, return_sequences=True),
            layers.TimeDistributed(layers.Dense(1, activation="sigmoid")),
        ]
    )
    made.compile("rmsprop", "binary_crossentropy", metrics=["accuracy"])
    return made


def assert_same(actual: Any, expected: Any) -> None:
    """Compare what a few updates have made of the same numbers on the device and on the CPU."""
    np.testing.assert_allclose(actual, expected, rtol=2e-4, atol=2e-5)


def assert_same_history(actual: callbacks.History, expected: callbacks.History) -> None:
    assert actual.history.keys() == expected.history.keys()
    for name, numbers in actual.history.items():
        assert all(type(number) is float for number in numbers)
        assert_same(numbers, expected.history[name])


@pytest.mark.usefixtures("device")
def test_fit() -> None:
    """Shuffling, dropout, penalties, constraints and weights of samples are those of the CPU."""
    options: dict[str, Any] = {"batch_size": 8, "epochs": 2, "verbose": 0, "validation_split": 0.2}
    here, there = model(), model()
    expected = here.fit(X, Y, sample_weight=WEIGHTS, **options)
    actual = there.fit(X, Y, sample_weight=WEIGHTS, device="simt", **options)
    assert (here.device, there.device) == ("cpu", "simt")
    assert_same_history(actual, expected)
    for ours, theirs in zip(there.get_weights(), here.get_weights(), strict=True):
        assert isinstance(ours, np.ndarray)
        assert_same(ours, theirs)
    assert_same(there.evaluate(X, Y, verbose=0), here.evaluate(X, Y, verbose=0))
    assert all(isinstance(weight.value, SimArray) for weight in there.weights)


@pytest.mark.usefixtures("device")
def test_fit_is_repeatable() -> None:
    runs = [model().fit(X, Y, epochs=2, verbose=0, device="simt").history for _ in range(2)]
    assert runs[0] == runs[1]


def test_fit_with_ids_and_masks(device: SimDevice) -> None:
    """Inputs may lie on the device while labels do not, and the other way round."""
    y = IDS % 2
    expected = reader().fit(IDS, y, epochs=2, verbose=0)
    for x, labels in ((IDS, y), (device.put(IDS), y), (IDS, device.put(y)), (device.put(IDS), device.put(y))):
        assert_same_history(reader().fit(x, labels, epochs=2, verbose=0, device="simt"), expected)
        parts: dict[str, Any] = {"batch_size": 6, "gradient_accumulation_steps": 4}
        assert_same_history(reader().fit(x, labels, epochs=2, verbose=0, device="simt", **parts), expected)


def test_batches_that_something_yields(device: SimDevice) -> None:
    """They may be on the device or not, with weights of their classes."""
    y = IDS % 2
    weights = {0: 0.5, 1: 2.0}
    expected = reader().fit(IDS, y, batch_size=12, verbose=0, shuffle=False, class_weight=weights)
    for put in (np.asarray, device.put):
        parts = [(put(IDS[start : start + 12]), put(y[start : start + 12])) for start in range(0, len(y), 12)]
        there = reader()
        assert_same_history(there.fit(iter(parts), verbose=0, device="simt", class_weight=weights), expected)
        outputs = there.predict(iter([(x,) for x, _ in parts]), verbose=0)
        assert isinstance(outputs, np.ndarray if put is np.asarray else SimArray)
        assert outputs.shape == there.predict(IDS, verbose=0).shape


def test_predict(device: SimDevice) -> None:
    """Outputs are what inputs are."""
    expected = model().predict(X, verbose=0)
    there = model()
    host = there.predict(X, batch_size=8, verbose=0, device="simt")
    assert isinstance(host, np.ndarray)
    assert_same(host, expected)
    given = device.put(X)
    for result in (
        there.predict(given, batch_size=8, verbose=0),
        there(given),
        there.predict_on_batch(given),
    ):
        moved: Any = result
        assert isinstance(moved, SimArray)
        assert_same(moved.get(), expected)
    for result in (there(X), there.predict_on_batch(X), there(X.tolist())):
        assert isinstance(result, np.ndarray)
        assert_same(result, expected)


@pytest.mark.usefixtures("device")
def test_batches() -> None:
    here, there = model(), model().to("simt")
    assert_same(there.train_on_batch(X, Y, WEIGHTS), here.train_on_batch(X, Y, WEIGHTS))
    assert_same(there.test_on_batch(X, Y), here.test_on_batch(X, Y))


@pytest.mark.usefixtures("device")
def test_move_during_a_training() -> None:
    """The optimizer moves with the model."""
    here, there = model(), model()
    for place in ("cpu", "simt", "cpu"):
        assert_same_history(
            there.fit(X, Y, verbose=0, device=place, epochs=1), here.fit(X, Y, verbose=0, epochs=1)
        )
    assert all(type(weight.value) is np.ndarray for weight in there.weights)


@pytest.mark.usefixtures("device")
def test_build_and_add_after_a_move() -> None:
    made = fusedlstm.Sequential([layers.LSTM(4)]).to("simt")
    made.add(layers.Dense(2))
    made(X)
    assert all(isinstance(weight.value, SimArray) for weight in made.weights)
    assert made.count_params() == sum(array.size for array in made.get_weights())
    texts: list[str] = []
    made.summary(print_fn=texts.append)
    assert "Total params" in texts[0]


def test_stateful(device: SimDevice) -> None:
    """Last states move with the layer."""
    here, there = (layers.LSTM(4, stateful=True) for _ in range(2))
    here(X)
    there(X)
    there.set_weights(here.get_weights())
    here.reset_state()
    there.reset_state()
    here(X)
    there(X)
    there.to("simt")
    assert_same(there(device.put(X)).get(), here(X))


@pytest.mark.usefixtures("device")
def test_save_and_load(tmp_path: Path) -> None:
    """Files hold host copies; a loaded training goes on from them on the device with the same bits."""
    pytest.importorskip("safetensors")
    path = tmp_path / "model.safetensors"
    there = model()
    saved = callbacks.ModelCheckpoint(tmp_path / "epoch{epoch}.safetensors", monitor="loss")
    there.fit(X, Y, verbose=0, device="simt", callbacks=[saved])
    there.save(path)
    again, checkpoint = fusedlstm.load_model(path), fusedlstm.load_model(tmp_path / "epoch1.safetensors")
    assert again.device == "cpu"
    for ours, theirs, saved_ones in zip(
        again.get_weights(), there.get_weights(), checkpoint.get_weights(), strict=True
    ):
        assert np.array_equal(ours, theirs)
        assert np.array_equal(saved_ones, theirs)
    assert again.fit(X, Y, verbose=0, device="simt").history == there.fit(X, Y, verbose=0).history


@pytest.mark.usefixtures("device")
def test_best_weights_come_back() -> None:
    there = model()
    stopping = callbacks.EarlyStopping("loss", restore_best_weights=True)
    there.fit(X, Y, epochs=2, verbose=0, device="simt", callbacks=[stopping])
    assert stopping.best_weights is not None
    for ours, theirs in zip(there.get_weights(), stopping.best_weights, strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.usefixtures("device")
def test_weights_to_pytorch() -> None:
    pytest.importorskip("torch")
    made = fusedlstm.Sequential([fusedlstm.Input((T, I)), layers.LSTM(4)])
    expected = fusedlstm.to_torch(made)
    made.to("simt")
    for name, tensor in fusedlstm.to_torch(made).items():
        assert (tensor == expected[name]).all()


@pytest.mark.usefixtures("device")
def test_stream() -> None:
    made = fusedlstm.Sequential(
        [fusedlstm.Input((None, I)), layers.LSTM(4, return_sequences=True), layers.Dense(2)]
    )
    expected = made.predict(X, verbose=0)
    stream = made.to("simt").stream(N)
    for step in range(T):
        output = stream.step(X[:, step])
        assert isinstance(output, np.ndarray)
        assert_same(output, expected[:, step])
    states: Any = stream.states
    assert all(isinstance(array, np.ndarray) for pair in states for array in pair)
    stream.reset()
    stream.states = states


@pytest.mark.usefixtures("device")
def test_stream_with_masks() -> None:
    made = reader()
    expected = made.predict(IDS, verbose=0)
    stream = made.to("simt").stream(N)
    for step in range(T):
        assert_same(stream.step(IDS[:, step]), expected[:, step])


def test_variable(device: SimDevice) -> None:
    variable = fusedlstm.Variable(np.arange(3.0))
    version = variable.version
    variable.move(device)
    assert variable.version > version
    variable.assign([4, 5, 6])
    assert np.array_equal(np.asarray(variable), [4, 5, 6])
    variable.assign(device.put(np.array([7, 8, 9])))
    copy = variable.numpy()
    copy[0] = 0
    assert np.array_equal(variable.numpy(), [7, 8, 9])
    variable.move(devices.CPU)
    assert not variable.value.flags.writeable
    variable.assign(device.put(np.array([1, 2, 3])))
    assert np.array_equal(variable.value, [1, 2, 3])
    with pytest.raises(ValueError, match=r"variable: expected shape \(3,\), got \(2,\)"):
        variable.assign(device.put(np.zeros(2)))


def test_arrays_elsewhere(device: SimDevice) -> None:
    here, there = model(), model().to("simt")
    given = device.put(X)
    message = (
        "x: expected a NumPy array, as the model is on the CPU, got an array on simt:0; "
        "its method `to` moves it"
    )
    for call in (here.predict, here, here.predict_on_batch):
        with pytest.raises(TypeError, match=message):
            call(given)
    with pytest.raises(TypeError, match="y: expected a NumPy array, as the model is on the CPU"):
        here.fit(X, device.put(Y))
    with pytest.raises(TypeError, match=r"x: expected a NumPy array, as lstm.* is on the CPU"):
        here.layers[0](given)
    given.place = 1
    for call in (there.predict, there):
        with pytest.raises(
            ValueError, match="x: expected an array on the current device, simt:0, got one on s"
        ):
            call(given)


@pytest.mark.usefixtures("device")
def test_what_kernels_lack() -> None:
    made = fusedlstm.Sequential([fusedlstm.Input((None, I)), layers.LSTM(4)]).to("simt")
    stream = made.stream(N, storage="int8")
    with pytest.raises(NotImplementedError, match="storage: expected None for arrays on simt:0"):
        stream.step(X[:, 0])


def test_unknown_device() -> None:
    made = model()
    for call in (
        made.to,
        lambda name: made.fit(X, Y, device=name),
        lambda name: made.predict(X, device=name),
    ):
        with pytest.raises(ValueError, match="device: expected 'cpu', 'cuda' or 'auto', got 'gpu'"):
            call("gpu")


def test_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """One clear error, and the model as it was."""
    monkeypatch.setattr(cuda, "why_unavailable", lambda: "there is no driver")
    monkeypatch.setattr(cuda, "is_available", lambda: False)
    made = model()
    before = made.get_weights()
    with pytest.raises(
        RuntimeError, match="device: expected a CUDA device for 'cuda', but there is no driver"
    ):
        made.fit(X, Y, device="cuda")
    assert made.to("auto").device == "cpu"
    assert all(np.array_equal(a, b) for a, b in zip(before, made.get_weights(), strict=True))


def test_functions_of_device_arrays() -> None:
    """What simulated arrays answer, CuPy's do too."""
    cupy: Any = pytest.importorskip("cupy")
    for name in FUNCTIONS:
        assert callable(operator.attrgetter(name.removeprefix("numpy."))(cupy)), name


@pytest.mark.gpu
def test_fit_on_a_gpu() -> None:
    """The same on the real thing."""
    cupy: Any = pytest.importorskip("cupy")
    if not cuda.is_available():
        pytest.skip(str(cuda.why_unavailable()))
    here, there = model(), model()
    expected = here.fit(X, Y, epochs=2, verbose=0)
    assert_same_history(there.fit(X, Y, epochs=2, verbose=0, device="cuda"), expected)
    result: Any = there.predict(cupy.asarray(X), verbose=0)
    assert isinstance(result, cupy.ndarray)
    assert_same(cupy.asnumpy(result), here.predict(X, verbose=0))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
@pytest.mark.parametrize("make", [model, reader])
def test_copies_train_on_to_the_same_bits(device: SimDevice, make: Any, copied: Any) -> None:
    first = make().to(device.kind)
    x, y = (X, Y) if make is model else (IDS, (IDS > 2)[..., None])
    first.fit(x, y, batch_size=8, verbose=0)
    second = copied(first)
    assert second.place is device
    assert isinstance(second.weights[0].value, SimArray)
    for each in (first, second):
        each.fit(x, y, batch_size=8, verbose=0)
    for ours, theirs in zip(second.get_weights(), first.get_weights(), strict=True):
        assert ours.tobytes() == theirs.tobytes()


def test_copies_of_streams(device: SimDevice) -> None:
    stateful = fusedlstm.Sequential([fusedlstm.Input((None, I)), layers.LSTM(4)]).to(device.kind)
    stream = stateful.stream(2)
    stream.step(X[:2, 0])
    for twin in (copy.copy(stream), copy.deepcopy(stream), pickle.loads(pickle.dumps(stream))):
        assert isinstance(twin.step(device.put(X[:2, 1])), SimArray)
        assert len(twin.states) == 1
    expected = copy.deepcopy(stream).step(X[:2, 1])
    assert stream.step(X[:2, 1]).tobytes() == expected.tobytes()
