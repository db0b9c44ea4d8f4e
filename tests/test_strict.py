"""Strict mode: what raises in it, for which threads it holds, and that the package never falls back."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import layers, ops

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

B, T, I, H = 3, 4, 6, 5  # noqa: E741
RANDOM = np.random.default_rng(0)


def normal(*shape: int) -> Any:
    return RANDOM.normal(size=shape).astype(np.float32)


def spread(*shape: int) -> Any:
    """Return an array whose last dimension is not contiguous."""
    return normal(*shape[:-1], 2 * shape[-1])[..., ::2]


X, H0, C0 = normal(B, T, I), normal(B, H), normal(B, H)
WEIGHTS = (normal(I, 4 * H), normal(H, 4 * H), normal(4 * H))
PACKED = ops.LSTMWeights(*WEIGHTS)
# That may be disabled, of all processors.
SETS = "avx512, avx2, neon, amx, avx512_bf16, amx_int8, avx512_vnni, avx_vnni, neon_dot"


@pytest.fixture(autouse=True)
def _not_strict() -> Iterator[None]:
    """Begin and end without strict mode, whatever the environment says."""
    before = fusedlstm.get_strict()
    fusedlstm.set_strict(False)
    yield
    fusedlstm.set_strict(before)


def misaligned() -> Any:
    memory = np.zeros(X.nbytes + 1, np.uint8)
    array = memory[1:].view(np.float32).reshape(X.shape)
    array[...] = X
    return array


def tape() -> ops.Tape:
    made = ops.lstm_forward(X, PACKED, training=True).tape
    assert made is not None
    return made


def peepholes() -> ops.CellOptions:
    return ops.CellOptions(peepholes=spread(3, H))


COPIES: dict[str, tuple[str, Callable[[], Any]]] = {
    "x": ("x", lambda: ops.lstm_forward(spread(B, T, I), PACKED)),
    "misaligned": ("x", lambda: ops.lstm_forward(misaligned(), PACKED)),
    "kernel": ("kernel", lambda: ops.LSTMWeights(spread(I, 4 * H), *WEIGHTS[1:])),
    "recurrent_kernel": ("recurrent_kernel", lambda: ops.LSTMWeights(WEIGHTS[0], spread(H, 4 * H))),
    "bias": ("bias", lambda: ops.LSTMWeights(*WEIGHTS[:2], spread(4 * H))),
    "h0": ("h0", lambda: ops.lstm_forward(X, PACKED, spread(B, H), C0)),
    "h0 rows": ("h0", lambda: ops.lstm_forward(X, PACKED, normal(B, 2 * H)[:, :H], C0)),
    "c0": ("c0", lambda: ops.lstm_forward(X, PACKED, H0, spread(B, H))),
    "recurrent_mask": (
        "recurrent_mask",
        lambda: ops.lstm_forward(X, PACKED, recurrent_mask=spread(B, H)),
    ),
    "peepholes": ("peepholes", lambda: ops.lstm_forward(X, PACKED, options=peepholes())),
    "dy": ("dy", lambda: ops.lstm_backward(tape(), spread(B, T, H))),
    "dh": ("dh", lambda: ops.lstm_backward(tape(), dh=spread(B, H))),
    "step x": ("x", lambda: ops.lstm_step(spread(B, I), H0, C0, PACKED)),
    "step h": ("h", lambda: ops.lstm_step(X[:, 0], spread(B, H), C0, PACKED)),
    "cell z": ("z", lambda: ops.cell_forward(spread(B, 4 * H), C0)),
    "dense x": ("x", lambda: ops.dense_forward(spread(B, I), WEIGHTS[0])),
    "dense dy": ("dy", lambda: ops.dense_backward(X[:, 0], WEIGHTS[0], spread(B, 4 * H))),
    "embedding": ("table", lambda: ops.embedding_forward(np.zeros(1, int), spread(B, H))),
    "ctc_decode": ("inputs", lambda: ops.ctc_decode(spread(B, T, I))),
    "dropout": ("x", lambda: ops.dropout(spread(B, H), 0.5, 1)),
    "squared_norm": ("a", lambda: ops.squared_norm(spread(B, H))),
    "stack": ("x", lambda: ops.lstm_stack_forward(spread(B, T, I), [PACKED])),
}


@pytest.mark.parametrize(("argument", "call"), COPIES.values(), ids=list(COPIES))
def test_copies(argument: str, call: Callable[[], Any]) -> None:
    call()
    expected = rf"^{argument}: expected an aligned .*, got one that must be copied \(in strict mode"
    with fusedlstm.strict(), pytest.raises(fusedlstm.FallbackError, match=expected):
        call()
    call()


def test_what_is_read_where_it_lies() -> None:
    """Strides of every other dimension, and backwards."""
    x, dy = normal(T, B, 2 * I).transpose(1, 0, 2)[:, ::-1, :I], normal(B, 2 * T, H)[:, ::2]
    want = ops.lstm_forward(x.copy(), PACKED, H0, C0)
    with fusedlstm.strict():
        got = ops.lstm_forward(x, PACKED, H0, C0, training=True)
        assert got.tape is not None
        ops.lstm_backward(got.tape, dy)
    np.testing.assert_array_equal(got.y, want.y)


def test_errors_lose_nothing() -> None:
    kept = tape()
    with fusedlstm.strict(), pytest.raises(fusedlstm.FallbackError):
        ops.lstm_backward(kept, spread(B, T, H))
    assert not kept.used
    ops.lstm_backward(kept, normal(B, T, H))


def test_the_error() -> None:
    assert issubclass(fusedlstm.FallbackError, RuntimeError)
    error = pickle.loads(pickle.dumps(fusedlstm.FallbackError("why")))
    assert type(error) is fusedlstm.FallbackError
    assert str(error) == "why"


def test_blocks() -> None:
    assert not fusedlstm.get_strict()
    with fusedlstm.strict():
        assert fusedlstm.get_strict()
        with fusedlstm.strict(False):
            assert not fusedlstm.get_strict()
            ops.lstm_forward(spread(B, T, I), PACKED)
        assert fusedlstm.get_strict()
    assert not fusedlstm.get_strict()
    with pytest.raises(KeyError), fusedlstm.strict():
        raise KeyError
    assert not fusedlstm.get_strict()
    fusedlstm.set_strict(True)
    assert fusedlstm.get_strict()
    with fusedlstm.strict(False):
        fusedlstm.set_strict(True)
        assert not fusedlstm.get_strict()
    assert fusedlstm.get_strict()


def in_a_thread(call: Callable[[], Any]) -> Any:
    results = []
    thread = threading.Thread(target=lambda: results.append(call()))
    thread.start()
    thread.join()
    return results[0]


def test_threads() -> None:
    """A block holds for its own thread, set_strict for all."""
    with fusedlstm.strict():
        assert in_a_thread(fusedlstm.get_strict) is False
    fusedlstm.set_strict(True)
    assert in_a_thread(fusedlstm.get_strict) is True
    with fusedlstm.strict(False):
        assert in_a_thread(fusedlstm.get_strict) is True
    fusedlstm.set_strict(False)

    # Many at once, each with a mode of its own.
    wrong: list[str] = []
    barrier = threading.Barrier(6)
    x = spread(B, T, I)

    def work(on: bool) -> None:
        barrier.wait()
        for _ in range(200):
            with fusedlstm.strict(on):
                try:
                    ops.lstm_forward(x, PACKED)
                except fusedlstm.FallbackError:
                    if not on:
                        wrong.append("raised in a thread that is not strict")
                else:
                    if on:
                        wrong.append("copied in a strict thread")

    threads = [threading.Thread(target=work, args=(k % 2 == 0,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    known = {key: value for key, value in os.environ.items() if not key.startswith("FUSEDLSTM_")}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**known, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(("value", "strict"), [("1", "True"), ("0", "False"), ("", "False")])
def test_environment(value: str, strict: str) -> None:
    done = python("import fusedlstm; print(fusedlstm.get_strict())", FUSEDLSTM_STRICT=value)
    assert done.stdout.split() == [strict], done.stderr


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("FUSEDLSTM_STRICT", "yes", "FUSEDLSTM_STRICT: expected 0 or 1, got 'yes'"),
        (
            "FUSEDLSTM_DISABLE",
            "avx2,sse",
            f"FUSEDLSTM_DISABLE: expected names among {SETS}, got 'sse'",
        ),
        (
            "FUSEDLSTM_DISABLE",
            "scalar",
            f"FUSEDLSTM_DISABLE: expected names among {SETS}, got 'scalar'",
        ),
    ],
)
def test_bad_environment(name: str, value: str, message: str) -> None:
    done = python("import fusedlstm", **{name: value})
    assert done.returncode == 1
    assert message in done.stderr.strip().splitlines()[-1]


SCALAR = """
import numpy as np
from fusedlstm import FallbackError, ops, set_strict, strict

a, b, c, z = (np.ones(shape, np.float32) for shape in ((2, 3, 3), (3, 12), (2, 3), (2, 12)))
weights = ops.LSTMWeights(b, b)
tape = ops.lstm_forward(a, weights, training=True).tape
h, cell, gates = ops.cell_forward(z, c)
calls = [
    lambda: ops.lstm_forward(a, weights),
    lambda: ops.lstm_backward(tape),
    lambda: ops.lstm_step(a[:, 0], c, c, weights),
    lambda: ops.cell_forward(z, c),
    lambda: ops.cell_backward(gates, c, cell, h),
    lambda: ops.dense_forward(c, b),
    lambda: ops.dense_backward(c, b, z),
    lambda: ops.dropout(c, 0.5, 1),
    lambda: ops.sgd_update(b, b.copy(), None, learning_rate=0.0),
    lambda: ops.squared_norm(b),
    lambda: ops.layer_norm_forward(c),
    lambda: ops.embedding_forward([0, 1], c),
    lambda: ops.embedding_backward([0, 1], c, 2),
    lambda: ops.ctc_decode(a),
    lambda: ops.ctc_decode(a, None, "beam_search"),
]
assert ops.instruction_sets() == ("scalar",) and ops.get_instruction_set() == "scalar"
for call in calls:
    with strict():
        try:
            call()
        except FallbackError as error:
            assert str(error).startswith("kernels: expected a vector instruction set, this process can run")
        else:
            raise AssertionError("nothing raised")
set_strict(True)
ops.set_instruction_set("scalar")  # asked for, so that nothing falls back
for call in calls:
    call()
print(ops.last_kernel())
"""


def test_scalar_kernels_that_nobody_asked_for() -> None:
    done = python(SCALAR, FUSEDLSTM_DISABLE="avx512,avx2,neon")
    assert done.returncode == 0, done.stderr
    assert "scalar" in done.stdout
    code = SCALAR.split("for call in calls:")[0] + "set_strict(True)\nfor call in calls: call()"
    done = python(code, FUSEDLSTM_DISABLE="avx512,avx2,neon", FUSEDLSTM_INSTRUCTION_SET="scalar")
    assert done.returncode == 0, done.stderr


def test_one_set_disabled() -> None:
    best, *others = ops.instruction_sets()
    if not others:
        pytest.skip("there is the scalar set only")
    code = "from fusedlstm import ops; print(*ops.instruction_sets())"
    done = python(code, FUSEDLSTM_DISABLE=best)
    assert done.stdout.split() == others, done.stderr
    done = python(code, FUSEDLSTM_DISABLE=best, FUSEDLSTM_INSTRUCTION_SET=best)
    assert done.returncode == 1
    assert f"got '{best}'" in done.stderr


@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("both", [False, True])
def test_the_package_never_falls_back(both: bool, sequences: bool) -> None:
    """Training, inference and streams with layers and options of every kind."""
    options: dict[str, Any] = {"dropout": 0.1, "recurrent_dropout": 0.1, "use_peepholes": True}
    model = fusedlstm.Sequential(
        [
            layers.Input((T, I)),
            layers.Masking(),
            layers.LSTM(H, return_sequences=True, go_backwards=True, **options),
            layers.Bidirectional(layers.LSTM(H, return_sequences=True)),
            layers.Dropout(0.1),
            layers.StackedLSTM(H, 2, bidirectional=both, between_dropout=0.1, return_sequences=sequences),
            *([layers.Flatten()] if sequences else []),
            layers.Dense(2, activation="softmax"),
        ]
    )
    labels = np.arange(2 * B) % 2
    x = np.concatenate([X, X])
    with fusedlstm.strict():
        for optimizer in ("adam", "sgd", "rmsprop"):
            model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
            model.fit(x, labels, epochs=1, batch_size=4, validation_data=(x, labels), verbose=0)
        model.predict(x, verbose=0)
        plain = fusedlstm.Sequential([layers.Input((T, I)), layers.LSTM(H), layers.Dense(2)])
        for storage in (None, "int8"):
            stream = plain.stream(B, storage=storage)
            for t in range(T):
                stream.step(X[:, t])


@pytest.mark.parametrize("batch_first", [False, True])
def test_torch_never_falls_back(batch_first: bool) -> None:
    torch: Any = pytest.importorskip("torch")
    from torch.nn.utils.rnn import pack_sequence

    from fusedlstm.torch import LSTM

    lstm = LSTM(I, H, num_layers=2, bidirectional=True, batch_first=batch_first)
    with fusedlstm.strict():
        for _ in range(2):
            lstm(torch.randn(T, B, I, requires_grad=True))[0].sum().backward()
        y, (h, _) = lstm(pack_sequence([torch.randn(n, I, requires_grad=True) for n in (4, 3, 1)]))
        (y.data.sum() + h.sum()).backward()


def test_last_kernel() -> None:
    ops.lstm_forward(X, PACKED)
    assert fusedlstm.last_kernel() == ops.last_kernel()
    assert f"cpu {ops.get_instruction_set()} float32 lstm_forward, " in fusedlstm.last_kernel()
