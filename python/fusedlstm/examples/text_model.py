"""The language model of the example `text`: two LSTMs, what they think of texts, how they continue them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm import Input, Model, callbacks, initializers, layers, load_model, losses
from fusedlstm.examples.job import ProblemError
from fusedlstm.examples.text_data import UNKNOWN, decode, digest, encode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    Ids = NDArray[np.int64]
    Reals = NDArray[np.floating]

_STEPS, _ROWS = 64, 64  # that are computed at once, where there may be many


def lstm(vocabulary: int, units: int, dropout: float = 0.2, name: str | None = None) -> Model:
    """Return a model from tokens (B, T) to logits of their next ones (B, T, vocabulary).

    Its LSTMs go on from batch to batch until `start_anew`.
    """
    tokens = Input((None,), dtype="int32")
    # Vectors as short as the default's, and a second LSTM between what the first one knows and the output,
    # would make signals so weak that the first thousand updates teach nothing but how frequent tokens are.
    x = layers.Embedding(vocabulary, units, initializers.RandomNormal(stddev=1.0))(tokens)
    x = layers.Dropout(dropout)(x)
    first = layers.Dropout(dropout)(layers.LSTM(units, return_sequences=True, stateful=True)(x))
    second = layers.Dropout(dropout)(layers.LSTM(units, return_sequences=True, stateful=True)(first))
    return Model(tokens, layers.Dense(vocabulary)(layers.add([first, second])), name)


def name_of(tokenizer: Tokenizer) -> str:
    """Return the name of models of a vocabulary: numbers of tokens mean something in no other one."""
    return f"text-{digest(tokenizer)}"


def loaded(path: Path, tokenizer: Tokenizer) -> Model:
    """Return a model of a file, or ProblemError if it is of another vocabulary."""
    try:
        model = load_model(path)
    except (OSError, ValueError) as error:
        raise ProblemError(f"{path}: expected a model that --save wrote: {error}") from error
    found, vocabulary = getattr(model.layers[-1], "units", None), tokenizer.get_vocab_size()
    if found != vocabulary:
        raise ProblemError(f"{path}: expected a model of the data's {vocabulary} tokens, got one of {found}")
    if model.name != name_of(tokenizer):
        raise ProblemError(f"{path}: expected a model of the data's tokens, got one of another vocabulary")
    return model


def start_anew(model: Any) -> None:
    """Let the LSTMs forget what they read."""
    for layer in model.layers:
        if isinstance(layer, layers.LSTM):
            layer.reset_state()


class StartAnew(callbacks.Callback):
    """Each pass over a text begins without memories of the pass before."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002 (what callbacks are given)
        """Forget the end of the text."""
        start_anew(self.model)

    def on_test_begin(self, logs: Any = None) -> None:  # noqa: ARG002
        """Forget the text of the training."""
        start_anew(self.model)


def scores(model: Model, texts: Sequence[Ids]) -> list[Reals]:
    """Return for each text the natural logarithms of its tokens' probabilities, from the second one on."""
    # The texts are read side by side, the shorter ones with something after their ends.
    rows = np.zeros((len(texts), max(map(len, texts))), np.int64)
    for row, text in zip(rows, texts, strict=True):
        row[: len(text)] = text
    start_anew(model)
    found = []
    for first in range(0, rows.shape[1] - 1, _STEPS):
        part = rows[:, first : first + _STEPS + 1]
        logits = model.predict(part[:, :-1], batch_size=len(part), verbose=0)
        found.append(-losses.sparse_categorical_crossentropy(part[:, 1:], logits, from_logits=True))
    every = np.concatenate(found, axis=1)
    return [row[: len(text) - 1] for row, text in zip(every, texts, strict=True)]


def last_scores(model: Model, windows: Ids) -> Reals:
    """Return the logarithms (N,) of the probabilities of the last tokens of texts (N, steps)."""
    # All tokens' logits would be most of the work, and are not needed.
    body = Model(model.input, model.layers[-2].output)
    kernel, bias = model.layers[-1].get_weights()
    found = []
    for first in range(0, len(windows), _ROWS):
        part = windows[first : first + _ROWS]
        start_anew(model)
        logits = body.predict(part[:, :-1], batch_size=_ROWS, verbose=0)[:, -1] @ kernel + bias
        found.append(-losses.sparse_categorical_crossentropy(part[:, -1], logits, from_logits=True))
    return np.concatenate(found)


def softmax(logits: Reals, temperature: float = 1.0) -> NDArray[np.float64]:
    """Return probabilities: the lower the temperature, the more for the likeliest token, at 0 all of it."""
    z = logits.astype(np.float64) - logits.max()
    p = np.exp(z / temperature) if temperature else (z == 0).astype(np.float64)
    return np.asarray(p / p.sum())


def next_tokens(model: Model, tokenizer: Tokenizer, prompt: str, count: int = 5) -> list[tuple[str, float]]:
    """Return the most probable tokens after a prompt, with their probabilities."""
    stream = model.stream()
    for token in encode(tokenizer, prompt):
        logits = stream.step([token])[0]
    p = softmax(logits)
    likeliest = np.argsort(-p)[:count]
    return [(decode(tokenizer, token) or "end of line", float(p[token])) for token in likeliest]


def continuation(
    model: Model,
    tokenizer: Tokenizer,
    prompt: str,
    temperature: float,
    rng: np.random.Generator,
    length: int = 40,
) -> str:
    """Return a prompt and ``length`` more tokens, drawn by their probabilities, but no unknown words."""
    stream, unknown = model.stream(), tokenizer.token_to_id(UNKNOWN)
    ids = encode(tokenizer, prompt).tolist()
    for token in ids:
        logits = stream.step([token])[0]
    for _ in range(length):
        if unknown is not None:
            logits[unknown] = -np.inf
        p = softmax(logits, temperature)
        ids.append(int(rng.choice(len(p), p=p)))
        logits = stream.step([ids[-1]])[0]
    return decode(tokenizer, ids)
