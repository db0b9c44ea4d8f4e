"""Learn to pronounce words: from their letters to phonemes, as in KNOWN to N OW N.

Nothing says which letter makes which sound. A bidirectional LSTM reads the letters and makes two guesses at
each, a phoneme or a blank; the CTC loss sums over all ways to read the guesses as the word's phonemes. The
guesses do not know of each other, so that it helps to know which phonemes follow which: n-grams join the
search for the best pronunciation. Beside CTC stands an encoder-decoder, which knows of no alignment: an LSTM
reads the word into its states, and another one, which starts from these, says the phonemes one at a time.

Data are the Carnegie Mellon Pronouncing Dictionary, without marks of stress and without words that have other
signs than letters. Of these words 12,000 are held out for a test, which is made once, at the end. All
pronunciations of a word are in the same part, and a word is wrong when it is said like none of them. Rao et
al. (2015) count so too, and their bidirectional LSTM with CTC has 25.8 % of the words wrong.

\b
A file for --data has one pronunciation a line:
  record R AH0 K AO1 R D
  record(2) R EH1 K ER0 D # what follows is a comment
"""  # noqa: D301 (click's mark of a paragraph that keeps its lines)

from __future__ import annotations

import time
from collections import Counter, defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fusedlstm import Input, Model, Sequential, activations, callbacks, layers, ops, optimizers, utils
from fusedlstm.examples.job import Job, Option, ProblemError, in_percent
from fusedlstm.examples.pronunciations import LONGEST, Alphabet, count_ngrams, errors, read, split
from fusedlstm.examples.tuning import Range, Tuning

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusedlstm.callbacks import Callback
    from fusedlstm.examples.pronunciations import Phonemes
    from fusedlstm.examples.tuning import Chosen

PICTURES = ("alignments.png", "word_lengths.png")
OPTIONS = (
    Option("epochs", 10, "Passes over the training words, for each of the models.", least=1, quick=5),
    Option(
        "units",
        256,
        "Units of each direction of the LSTMs that read; the decoder has twice as many.",
        least=1,
        quick=64,
    ),
    Option("beam-width", 10, "Beginnings of a pronunciation that beam searches keep.", least=1),
)
HELD_OUT = 12_000, 2_670  # words for test and validation, as many as Rao et al. have
BATCH = 64  # words of a training step
ORDER = 6  # of n-grams of phonemes
WEIGHTS = 0.1, 0.2, 0.3, 0.4, 0.5  # of their logarithms, to choose from
FRAMES = 2  # guesses at each letter, so that X can be K S


# Batches.


class Batches(utils.PyDataset):
    """Batches of words that have equally many letters, so that no steps are spent on padding.

    With ``teacher``, the inputs are letters and all phonemes before the one to say, for the decoder.
    """

    def __init__(self, pairs: list[tuple[str, Phonemes]], names: Alphabet, teacher: bool, seed: int) -> None:
        super().__init__()
        self.names, self.teacher = names, teacher
        alike = defaultdict(list)
        for index in np.random.default_rng(seed).permutation(len(pairs)):
            alike[len(pairs[index][0])].append(pairs[index])
        self.batches = [some[at : at + BATCH] for some in alike.values() for at in range(0, len(some), BATCH)]

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Any:
        letters = self.names.spelled(word for word, _ in self.batches[index])
        labels = [self.names.said(phonemes) for _, phonemes in self.batches[index]]
        if not self.teacher:
            return letters, utils.pad_sequences(labels, padding="post")
        edge = [self.names.edge]
        before = utils.pad_sequences([edge + some for some in labels], padding="post")
        return {"letters": letters, "before": before}, utils.pad_sequences(
            [some + edge for some in labels], padding="post"
        )


def fits(word: str, phonemes: Phonemes) -> bool:
    """Tell whether a word has guesses enough for CTC, which also needs a blank between equal phonemes."""
    repeats = sum(one == other for one, other in pairwise(phonemes))
    return len(phonemes) + repeats <= FRAMES * len(word)


def fitting(pairs: list[tuple[str, Phonemes]], source: str) -> list[tuple[str, Phonemes]]:
    """Return the words that fit; ProblemError where there is none."""
    found = [pair for pair in pairs if fits(*pair)]
    if not found:
        raise ProblemError(
            f"{source}: expected words with at most {FRAMES} phonemes a letter, which CTC can learn, got "
            f"none among {len(pairs)}, such as {pairs[0][0]}: {' '.join(pairs[0][1])}"
        )
    return found


# The two models.


def ctc_model(names: Alphabet, units: int, dropout: float) -> Sequential:
    """Return a model from letters (B, T) to logits of phonemes and blank (B, 2T, C)."""
    classes = len(names.phonemes)
    return Sequential(
        [
            Input((None,)),
            layers.Embedding(len(names.letters) + 1, 64),
            layers.Bidirectional(layers.LSTM(units, return_sequences=True)),
            layers.Dropout(dropout),
            layers.Bidirectional(layers.LSTM(units, return_sequences=True)),
            layers.Dropout(dropout),
            layers.Dense(FRAMES * classes),
            layers.Reshape((-1, classes)),
        ]
    )


def encoder_decoder(names: Alphabet, units: int, dropout: float) -> tuple[Model, Model, Model]:
    """Return a model to train, and the same layers as two: an encoder, and a decoder that makes one step."""
    letters, before = Input((None,), name="letters"), Input((None,), name="before")
    reader = layers.Bidirectional(layers.LSTM(units, return_state=True))
    _, *read_to = reader(layers.Embedding(len(names.letters) + 1, 64)(letters))
    h, c = layers.concatenate(read_to[0::2]), layers.concatenate(read_to[1::2])  # both directions' states
    heard = layers.Embedding(names.edge + 1, 64, mask_zero=True)(before)
    decoder = layers.LSTM(2 * units, return_sequences=True, return_state=True)
    head = layers.Dense(names.edge + 1, activation="softmax")
    said = head(layers.Dropout(dropout)(decoder(heard, initial_state=[h, c])[0]))
    model = Model({"letters": letters, "before": before}, said)
    starts = [Input((2 * units,)), Input((2 * units,))]
    y, *ends = decoder(heard, initial_state=starts)
    return model, Model(letters, [h, c]), Model([before, *starts], [head(y), *ends])


def compiled(model: Model, loss: str, rate: float, updates: int) -> Model:
    """Return a model with its optimizer, whose learning rate falls to nothing in so many updates."""
    model.compile(optimizers.Adam(optimizers.schedules.CosineDecay(rate, updates), clipnorm=1.0), loss)
    return model


def train(job: Job, name: str, model: Model, loss: str, parts: list[Batches], epochs: int) -> dict[str, Any]:
    """Train a model; return its losses and the time it takes."""
    compiled(model, loss, defaults(job)["learning_rate"], epochs * len(parts[0]))
    job.say(f"\n{name}: {model.count_params():,} weights, {epochs} epochs of {len(parts[0])} batches")
    done: list[int] = []  # epochs of this run; the history has those of an interrupted one too
    count = callbacks.LambdaCallback(on_epoch_end=lambda epoch, _: done.append(epoch))
    seconds, processor = time.perf_counter(), time.process_time()
    history = model.fit(
        parts[0],
        epochs=epochs,
        validation_data=parts[1],
        verbose=job.verbose,
        callbacks=[count, *job.backup(name)],
        device=job.device,
    ).history
    results: dict[str, Any] = {f"{name}_history": history}
    if done:  # A command that was interrupted later has nothing left to do here.
        results[f"{name}_seconds_per_epoch"] = (time.perf_counter() - seconds) / len(done)
        results[f"{name}_processor_seconds_per_epoch"] = (time.process_time() - processor) / len(done)
    return results


# From letters to phonemes.


def say(
    words: list[str], how: Callable[..., list[Phonemes]], *models: Any, **search: Any
) -> dict[str, Phonemes]:
    """Return what one of the functions below, which take words of one length, says for all words."""
    alike = defaultdict(list)
    for word in words:
        alike[len(word)].append(word)
    said: dict[str, Phonemes] = {}
    for some in alike.values():
        said.update(zip(some, how(some, *models, **search), strict=True))
    return {word: said[word] for word in words}


def by_guesses(words: list[str], model: Sequential, names: Alphabet, **search: Any) -> list[Phonemes]:
    """Return how the CTC model says words of one length: by its best guesses, or by a beam search."""
    logits = model.predict(names.spelled(words), batch_size=512, verbose=0)
    decoded = ops.ctc_decode(logits, strategy="beam_search" if search else "greedy", **search)
    return [names.heard(row) for row in decoded.labels[0].tolist()]


def by_steps(
    words: list[str], encoder: Model, decoder: Model, names: Alphabet, width: int = 1
) -> list[Phonemes]:
    """Return how the decoder says words of one length, phoneme by phoneme in a beam search; 1 is greedy."""
    states = encoder.predict(names.spelled(words), batch_size=512, verbose=0)
    states = [np.repeat(state, width, axis=0) for state in states]
    said = np.full((len(words) * width, 1), names.edge)
    scores = np.full((len(words), width), -np.inf)
    scores[:, 0] = 0  # All beginnings are the same, so one of them counts.
    for step in range(LONGEST):
        last = said[:, -1:]
        chances, *states = decoder.predict([last, *states], batch_size=1024, verbose=0)
        gains = np.log(np.maximum(chances[:, 0], 1e-30))
        gains[:, 0] = -np.inf
        if step:  # What has ended stays as it is.
            gains[last[:, 0] == names.edge] = np.where(np.arange(names.edge + 1) == names.edge, 0, -np.inf)
        totals = (scores.reshape(-1, 1) + gains).reshape(len(words), -1)
        best = np.argsort(-totals, axis=1, kind="stable")[:, :width]
        scores = np.take_along_axis(totals, best, axis=1)
        came_from, phoneme = np.divmod(best, names.edge + 1)
        rows = (came_from + width * np.arange(len(words))[:, None]).ravel()
        said = np.hstack([said[rows], phoneme.reshape(-1, 1)])
        states = [state[rows] for state in states]
        if (said[:, -1] == names.edge).all():
            break
    return [names.heard(row) for row in said[::width].tolist()]


# The job.


class Words(NamedTuple):
    """A dictionary, and which of its words are for what."""

    dictionary: dict[str, list[Phonemes]]
    names: Alphabet
    source: str
    test: list[str]
    validation: list[str]
    training: list[str]

    def pairs(self, words: list[str]) -> list[tuple[str, Phonemes]]:
        """Return words with each of their pronunciations."""
        return [(word, said) for word in words for said in self.dictionary[word]]


def load(job: Job) -> Words:
    """Return the words that the options say."""
    dictionary = read(job.data)
    test, validation, training = split(dictionary, (1_000, 200) if job.quick else HELD_OUT, job.seed)
    if job.quick:
        training = training[:10_000]
    source, names = "CMUdict" if job.data is None else job.data.name, Alphabet(dictionary)
    job.say(
        f"{source}: {len(training):,} words to learn, {len(validation):,} to validate, {len(test):,} to test"
    )
    job.compare(*(names.padded(part[:4000]) for part in (training, test)))  # enough to see a difference
    return Words(dictionary, names, source, test, validation, training)


def defaults(job: Job) -> dict[str, Any]:
    """Return the hyper-parameters without a search; smaller models bear larger steps."""
    units = job.options["units"]
    if job.quick:
        return {"units": units, "dropout": 0.1, "learning_rate": 6e-3}
    return {"units": units, "dropout": 0.2, "learning_rate": 2e-3}


def run(job: Job) -> dict[str, Any]:
    """Train both models and test them on words that they have not seen."""
    epochs, width = (job.options[name] for name in ("epochs", "beam_width"))
    units, dropout = (defaults(job)[name] for name in ("units", "dropout"))
    words = load(job)
    dictionary, names, source, test, validation, training = words
    pairs = [words.pairs(part) for part in (training, validation)]
    results: dict[str, Any] = {"training_words": len(training), "test_words": len(test)}

    # Each model is the same, numbers and names, as it would be without the other.
    utils.clear_session()
    utils.set_random_seed(job.seed)
    ctc = ctc_model(names, units, dropout)
    parts = [Batches(fitting(part, source), names, False, job.seed) for part in pairs]
    results |= train(job, "CTC", ctc, "ctc", parts, epochs)

    utils.clear_session()
    utils.set_random_seed(job.seed)
    both, encoder, decoder = encoder_decoder(names, units, dropout)
    parts = [Batches(part, names, True, job.seed) for part in pairs]
    results |= train(job, "encoder-decoder", both, "sparse_categorical_crossentropy", parts, epochs)
    encoder.to(job.device)
    decoder.to(job.device)

    # CTC's guesses do not know of each other; n-grams tell which phonemes follow which. How much they count
    # is decided on the validation words.
    scorer = count_ngrams([names.said(phonemes) for _, phonemes in pairs[0]], ORDER)
    searches = [
        {"beam_width": width, "scorer": scorer, "alpha": weight, "beta": weight} for weight in WEIGHTS
    ]
    search = min(
        searches, key=lambda one: errors(say(validation, by_guesses, ctc, names, **one), dictionary)[0]
    )
    results["weight_of_n-grams"] = search["alpha"]

    # The test, once.
    greedy = say(test, by_guesses, ctc, names)
    spoken = {
        "CTC": greedy,
        "CTC_with_beam": say(test, by_guesses, ctc, names, beam_width=width),
        f"CTC_with_{ORDER}-grams": say(test, by_guesses, ctc, names, **search),
        "encoder-decoder": say(test, by_steps, encoder, decoder, names),
        "encoder-decoder_with_beam": say(test, by_steps, encoder, decoder, names, width=width),
    }
    for name, said in spoken.items():
        words_wrong, phonemes_wrong = errors(said, dictionary)
        results |= {f"{name}_words_wrong": words_wrong, f"{name}_phonemes_wrong": phonemes_wrong}
    if job.data is None and not job.quick:
        results["published_words_wrong"] = "25.8 % (CTC; Rao et al. 2015, 12,000 other words)"
    wrong = {word: " ".join(said) for word, said in greedy.items() if said not in dictionary[word]}
    job.say("\nThe first words that CTC says wrong:")
    for word in list(wrong)[:8]:
        right = " or ".join(" ".join(one) for one in dictionary[word])
        job.say(f"  {word}: {wrong[word]} for {right}")
    results["said_wrong"] = wrong

    job.save_model(ctc)
    if job.report is not None:
        from fusedlstm.examples import sound_pictures as pictures

        note = job.note(f"LSTMs of {units} units, {epochs} epochs", f"{len(test):,} test words of {source}")
        if shown := pictures.telling(greedy, dictionary):
            guesses = {
                word: activations.softmax(ctc.predict(names.spelled([word]), verbose=0)[0]) for word in shown
            }
            job.picture(PICTURES[0], pictures.draw_alignments(guesses, greedy, names.phonemes, note))
        else:
            job.say(f"{PICTURES[0]} is left out: no test word of 5 to 10 letters is said right")
        drawn = {"CTC": greedy, f"CTC with {ORDER}-grams": spoken[f"CTC_with_{ORDER}-grams"]}
        drawn["encoder-decoder"] = spoken["encoder-decoder_with_beam"]
        if max(Counter(map(len, test)).values()) >= pictures.ENOUGH:
            job.picture(PICTURES[1], pictures.draw_lengths(drawn, dictionary, note))
        else:
            job.say(f"{PICTURES[1]} is left out: no length has {pictures.ENOUGH} test words or more")
    return results


def summary(results: dict[str, Any]) -> dict[str, Any]:
    """Return what to print of the results."""
    shares = [name for name, value in results.items() if name.endswith("_wrong") and isinstance(value, float)]
    return in_percent(results, shares)


# For the example `search`.


def tuning(job: Job) -> Tuning:
    """Let `search` choose for the CTC model: attempts learn fewer words, for fewer epochs."""
    words = load(job)
    names, few, attempted_epochs = words.names, *((1_500, 2) if job.quick else (12_000, 4))

    def batches(part: list[str]) -> Batches:
        return Batches(fitting(words.pairs(part), words.source), names, False, job.seed)

    some, all_of_them, held_out = (
        batches(words.training[:few]),
        batches(words.training),
        batches(words.validation),
    )

    def model_for(chosen: Chosen, updates: int) -> Model:
        model = ctc_model(names, chosen["units"], chosen["dropout"])
        return compiled(model, "ctc", chosen["learning_rate"], updates)

    def attempt(chosen: Chosen, watching: list[Callback]) -> float:
        utils.set_random_seed(job.seed)
        model = model_for(chosen, attempted_epochs * len(some))
        history = model.fit(
            some,
            epochs=attempted_epochs,
            validation_data=held_out,
            verbose=0,
            callbacks=watching,
            device=job.device,
        ).history
        return history["val_loss"][-1]

    def verify(job: Job, chosen: Chosen) -> tuple[Model, dict[str, float]]:
        utils.set_random_seed(job.seed)
        epochs = min(job.options["epochs"], 3) if job.quick else job.options["epochs"]
        model = model_for(chosen, epochs * len(all_of_them))
        model.fit(all_of_them, epochs=epochs, verbose=0, callbacks=job.backup(), device=job.device)
        wrong = errors(say(words.test, by_guesses, model, names), words.dictionary)
        return model, {"share of words wrong": wrong[0], "share of phonemes wrong": wrong[1]}

    ranges = (
        Range("units", defaults(job)["units"], 32, 80 if job.quick else 384, log=True),
        Range("dropout", defaults(job)["dropout"], 0.0, 0.5),
        Range("learning_rate", defaults(job)["learning_rate"], 5e-4, 2e-2, log=True),
    )
    data = f"{few:,} of {len(words.training):,} words of {words.source}"
    return Tuning(ranges, data, "val_loss", attempted_epochs, attempt, verify)
