"""`timeseries_dataset_from_array`: windows of a series."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from fusedlstm.base import checks, devices
from fusedlstm.base.seeds import SeedGenerator

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt


class Windows:
    """Batches of windows, with their targets if there are some, any number of times."""

    def __init__(
        self, arrays: list[npt.NDArray[Any]], batch_size: int | None, seeds: SeedGenerator | None
    ) -> None:
        self._arrays, self._batch_size, self._seeds = arrays, batch_size, seeds

    def __len__(self) -> int:
        """Return the number of batches, or of windows where there is no ``batch_size``."""
        return -(-len(self._arrays[0]) // (self._batch_size or 1))

    def __iter__(self) -> Iterator[Any]:
        """Yield ``inputs``, or ``(inputs, targets)`` where there are targets."""
        count, size = len(self._arrays[0]), self._batch_size or 1
        order = None
        if self._seeds is not None:
            order = np.random.default_rng(self._seeds.next()).permutation(count)
        for start in range(0, count, size):
            rows = slice(start, start + size) if order is None else order[start : start + size]
            parts = [array[rows] for array in self._arrays]
            if self._batch_size is None:
                parts = [part[0] for part in parts]
            yield parts[0] if len(parts) == 1 else tuple(parts)


def timeseries_dataset_from_array(
    data: npt.ArrayLike,
    targets: npt.ArrayLike | None,
    sequence_length: int,
    sequence_stride: int = 1,
    sampling_rate: int = 1,
    batch_size: int | None = 128,
    shuffle: bool = False,
    seed: int | None = None,
    start_index: int | None = None,
    end_index: int | None = None,
    format: str = "tf",  # noqa: A002
) -> Windows:
    """Return batches of sliding windows over a series, which is not copied.

    Parameters
    ----------
    data : array_like, shape (N, ...)
        The series, one entry for each point in time.
    targets : array_like, shape (N, ...), optional
        ``targets[i]`` belongs to the window that starts at ``data[i]``.
    sequence_length : int
        Steps of a window, T.
    sequence_stride : int
        From the start of a window to that of the next one.
    sampling_rate : int
        From a step of a window to the next one.
    batch_size : int, optional
        Windows of a batch; the last batch may be smaller. With None the windows come one by one.
    shuffle : bool
        Whether windows come in a random order, another one each time that the result is iterated over.
    seed : int, optional
        Of these orders; by default drawn from the generator of `set_random_seed`.
    start_index, end_index : int, optional
        Use ``data[start_index:end_index]`` only, with targets by the same numbers.
    format : {"tf", "grain"}
        In Keras's place; it changes nothing.

    Returns
    -------
    iterable
        Has a length, and yields ``inputs`` (B, T, ...) or ``(inputs, targets)`` any number of times. Without
        ``shuffle`` they are read-only views of ``data`` and ``targets``.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, no window fits into the series, or a window has no target.
    """
    series = _array(data, "data")
    length = checks.positive_int(sequence_length, "sequence_length")
    stride = _step(sequence_stride, "sequence_stride", len(series))
    rate = _step(sampling_rate, "sampling_rate", len(series))
    size = None if batch_size is None else checks.positive_int(batch_size, "batch_size")
    checks.optional_seed(seed, "seed")
    seeds = SeedGenerator(seed) if checks.flag(shuffle, "shuffle") else None
    checks.choice(format, "format", ("tf", "grain"))
    first = 0 if start_index is None else checks.non_negative_int(start_index, "start_index")
    end = len(series) if end_index is None else checks.positive_int(end_index, "end_index")
    if first >= len(series):
        raise ValueError(f"start_index: expected less than the {len(series)} points of data, got {first}")
    if end_index is not None and not first < end < len(series):
        raise ValueError(
            f"end_index: expected more than start_index ({first}) and less than the {len(series)} points of "
            f"data, got {end}"
        )
    labels = None if targets is None else _array(targets, "targets")
    span = (length - 1) * rate + 1
    count = end - first - span + 1
    if labels is not None:
        count = min(count, len(labels))
    if count <= 0:
        raise ValueError(
            f"sequence_length: expected a window that fits into {end - first} points of data, "
            f"got one of {length} steps over {span} points"
        )
    windows = sliding_window_view(series[first:end], span, axis=0)[:count:stride, ..., ::rate]
    arrays = [np.moveaxis(windows, -1, 1)]
    if labels is not None:
        labels = labels[first : first + count : stride]
        if len(labels) < len(windows):
            raise ValueError(
                f"targets: expected one for each of {len(windows)} windows, by the same start_index, "
                f"got {len(labels)}"
            )
        arrays.append(devices.read_only(labels))
    return Windows(arrays, size, seeds)


def _array(values: npt.ArrayLike, name: str) -> npt.NDArray[Any]:
    array = checks.numeric(values, name)
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name}: expected an array of NumPy, got {type(array).__name__}")
    if array.ndim == 0 or len(array) == 0:
        raise ValueError(f"{name}: expected at least one point in time, got shape {array.shape}")
    return array


def _step(value: int, name: str, points: int) -> int:
    step = checks.positive_int(value, name)
    if step >= points:
        raise ValueError(f"{name}: expected less than the {points} points of data, got {step}")
    return step
