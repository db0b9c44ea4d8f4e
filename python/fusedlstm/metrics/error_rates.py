"""Edit distances of label sequences, and what share of them is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fusedlstm import _core, ops
from fusedlstm.base import checks, devices
from fusedlstm.losses.base import prepare_predictions, prepare_weights
from fusedlstm.metrics.base import Metric

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from fusedlstm.base.types import Array, Mask

    # Each a string, or a sequence of labels or of words.
    Sequences: TypeAlias = str | Sequence[Any] | npt.NDArray[Any]
    Codes: TypeAlias = list[npt.NDArray[np.int64]]


def edit_distance(references: Sequences, hypotheses: Sequences) -> npt.NDArray[np.int64]:
    """Count the insertions, deletions and substitutions that make each hypothesis of its reference.

    Parameters
    ----------
    references, hypotheses : sequence of N sequences
        Each one a string, whose characters are compared, or a sequence of integers or of strings. Negative
        integers fill rows of arrays up and count nothing. A string alone is a list of one.

    Returns
    -------
    array (N,) of int64
        The fewest edits (Levenshtein 1966).

    Raises
    ------
    TypeError, ValueError
        The numbers of sequences differ, or one is none of those.
    """
    return _edits(_codes(references, hypotheses))


def label_error_rate(references: Sequences, hypotheses: Sequences) -> float:
    """Return the edits of all sequences over the labels of all references; parameters as of `edit_distance`.

    It may exceed 1. Of references without labels it is 0 where hypotheses have none either, and else
    infinite.
    """
    return _rate(references, hypotheses)


def word_error_rate(references: Sequences, hypotheses: Sequences) -> float:
    """Return the edits of words over the references' words, which white space parts where strings come.

    Parameters
    ----------
    references, hypotheses : str or sequence of N strings or lists of words

    Raises
    ------
    TypeError, ValueError
        As of `edit_distance`.
    """

    def words(sequence: Any) -> Any:
        return sequence.split() if isinstance(sequence, str) else sequence

    return _rate(_mapped(references, words), _mapped(hypotheses, words))


def character_error_rate(references: Sequences, hypotheses: Sequences) -> float:
    """Return the edits of characters over the references' characters.

    Parameters
    ----------
    references, hypotheses : str or sequence of N strings

    Raises
    ------
    TypeError, ValueError
        As of `edit_distance`, or if a sequence is no string.
    """
    for name, sequences in (("references", references), ("hypotheses", hypotheses)):
        for n, sequence in enumerate([sequences] if isinstance(sequences, str) else sequences):
            if not isinstance(sequence, str):
                raise TypeError(f"{name}: expected strings, got {type(sequence).__name__} at index {n}")
    return _rate(references, hypotheses)


class LabelErrorRate(Metric):
    """Label error rate of greedily decoded outputs of a CTC model: edits over labels.

    Labels are (B, L) and filled up by ``mask_index`` or negative numbers, predictions (B, T, C) are logits or
    probabilities. Masked steps of the model's output are left out, and rows weigh as ``sample_weight`` (B,)
    says.

    Parameters
    ----------
    mask_index : int
        The blank's class.
    name : str
        Key in logs.
    """

    def __init__(self, mask_index: int = 0, name: str = "label_error_rate") -> None:
        super().__init__(name)
        self.mask_index = checks.non_negative_int(mask_index, "mask_index")

    def update_state(self, y_true: object, y_pred: object, sample_weight: object = None) -> None:
        """Take a batch in; see `Metric.update_state`."""
        self.update_masked(y_true, y_pred, None, sample_weight)

    def update_masked(
        self, y_true: object, y_pred: object, mask: Mask | None, sample_weight: Any = None
    ) -> None:
        """Take a batch of a model's output in; see `Metric.update_masked`."""
        outputs: Array = devices.to_host(prepare_predictions(y_pred))
        labels = devices.to_host(checks.whole(y_true, "y_true"))
        self._check_shapes(labels.shape, outputs.shape)
        weights = prepare_weights(sample_weight, outputs.shape[:1])
        lengths = None
        if mask is not None:
            real = devices.to_host(mask)
            order = np.argsort(~real, axis=1, kind="stable")  # real steps first
            outputs, lengths = np.take_along_axis(outputs, order[..., None], 1), real.sum(1)
        decoded = ops.ctc_decode(outputs, lengths, mask_index=self.mask_index).labels[0]
        codes = (
            [row[(row >= 0) & (row != self.mask_index)] for row in labels],
            [row[row >= 0] for row in decoded],
        )
        counts = np.array([len(row) for row in codes[0]])
        edits = _edits(codes)
        weights = np.ones(len(counts)) if weights is None else devices.to_host(weights)
        self._total += float((edits * weights).sum(dtype=np.float64))
        self._weight += float((counts * weights).sum(dtype=np.float64))

    def check(self, y_true: npt.NDArray[Any], shape: tuple[int, ...]) -> None:
        """Check all labels; see `Metric.check`."""
        self._check_shapes(checks.whole(y_true, "y_true").shape, shape)

    def _check_shapes(self, labels: tuple[int, ...], outputs: tuple[int, ...]) -> None:
        if len(outputs) != 3:
            raise ValueError(f"y_pred: expected shape (B, T, C), got {outputs}")
        if self.mask_index >= outputs[2]:
            raise ValueError(f"mask_index: expected a class in [0, {outputs[2]}), got {self.mask_index}")
        if len(labels) != 2 or labels[0] != outputs[0]:
            raise ValueError(f"y_true: expected shape (B={outputs[0]}, L), got {labels}")


def _mapped(sequences: Sequences, change: Callable[[Any], Any]) -> list[Any]:
    return [change(sequence) for sequence in ([sequences] if isinstance(sequences, str) else sequences)]


def _codes(references: Sequences, hypotheses: Sequences) -> tuple[Codes, Codes]:
    """Return both as arrays of numbers that are equal where what they stand for is."""
    words: dict[str, int] = {}
    kinds: list[str] = []

    def code(sequence: Any, name: str) -> npt.NDArray[np.int64]:
        if isinstance(sequence, str):
            numbers = np.frombuffer(sequence.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.int64)
            kind = "characters"
        elif isinstance(sequence, list | tuple) and all(isinstance(item, str) for item in sequence):
            numbers = np.array([words.setdefault(item, len(words)) for item in sequence], np.int64)
            kind = "strings"
        else:
            numbers = checks.whole(devices.to_host(checks.numeric(sequence, name)), name)
            if numbers.ndim != 1:
                raise ValueError(f"{name}: expected sequences of integers, got an array {numbers.shape}")
            numbers, kind = numbers[numbers >= 0], "integers"
        if len(numbers):
            kinds.append(kind)
            if kind != kinds[0]:
                raise TypeError(f"{name}: expected sequences of {kinds[0]} like others, got {kind}")
        return numbers

    for name, given in (("references", references), ("hypotheses", hypotheses)):
        if not isinstance(given, Iterable):
            raise TypeError(f"{name}: expected a list of sequences, or a text, got {type(given).__name__}")
    first = _mapped(references, lambda sequence: code(sequence, "references"))
    second = _mapped(hypotheses, lambda sequence: code(sequence, "hypotheses"))
    if len(first) != len(second):
        raise ValueError(f"hypotheses: expected {len(first)} sequences like references, got {len(second)}")
    return first, second


def _edits(codes: tuple[Codes, Codes]) -> npt.NDArray[np.int64]:
    arguments = []
    for sequences in codes:
        arguments.append(np.concatenate([np.empty(0, np.int64), *sequences]))
        arguments.append(np.array([0, *accumulate(map(len, sequences))], np.int64))
    return _core.edit_distances(*arguments)


def _rate(references: Sequences, hypotheses: Sequences) -> float:
    codes = _codes(references, hypotheses)
    edits, labels = int(_edits(codes).sum()), sum(map(len, codes[0]))
    return edits / labels if labels else inf if edits else 0.0
