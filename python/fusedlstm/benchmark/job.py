"""What a contender makes of a workload, and the clock that times it. Runs inside a worker."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusedlstm.benchmark.workloads import Array, Workload

# Seconds. A sample is the mean over as many calls as last this long, far above the clock's resolution.
SAMPLE_SECONDS = 1e-3
WARM_UP_SECONDS = 0.25
WARM_UP_CALLS = 3
LONG_CALL = 0.2


@dataclass
class Job:
    """A workload ready to run.

    Attributes
    ----------
    run : callable
        What is timed. It returns when the results are in memory.
    check : callable
        Computes the results once through the same code and returns them as NumPy arrays under the names and
        in the layouts of `fusedlstm.benchmark.verify`.
    steps : int
        How many calls of the workload a `run` stands for; times are divided by it.
    first : callable, optional
        One call of the workload, where `run` stands for several; timed once, compiling included.
    tape_bytes : callable, optional
        Returns the bytes that training keeps between forward and backward, where that is known.
    """

    run: Callable[[], object]
    check: Callable[[], dict[str, Array]]
    steps: int = 1
    first: Callable[[], object] | None = None
    tape_bytes: Callable[[], int] | None = None


class Contender(Protocol):
    """One of those who are timed: this library or a peer."""

    def version(self) -> str:
        """Return the version to report."""

    def prepare(self, workload: Workload, arrays: dict[str, Array]) -> Job:
        """Convert weights and inputs to the layout this contender likes best; none of it is timed."""


def mnist_model(keras: Any, arrays: dict[str, Array], dropout: float) -> Any:
    """Return the compiled MNIST model, of Keras or of fusedlstm, which has the same names.

    Parameters
    ----------
    keras : module
        One of the two.
    arrays
        As `fusedlstm.benchmark.workloads.make_arrays` makes them.
    dropout
        Rate of all dropouts.
    """
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input(arrays["x"].shape[1:]),
            layers.LSTM(128, return_sequences=True),
            layers.Dropout(dropout),
            layers.LSTM(128),
            layers.Dropout(dropout),
            layers.Dense(32, activation="relu"),
            layers.Dropout(dropout),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.set_weights([arrays[f"w{index}"] for index in range(10)])
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


@dataclass
class Turn:
    """What one turn measured: seconds per call of each sample, and cores kept busy on average."""

    samples: list[float]
    cores: float


def warm_up(run: Callable[[], object]) -> float:
    """Call until caches are warm and compilers are done; return the seconds of the shortest call."""
    begin = time.perf_counter()
    usual, calls = float("inf"), 0
    while calls < WARM_UP_CALLS or time.perf_counter() - begin < WARM_UP_SECONDS:
        start = time.perf_counter()
        run()
        usual = min(usual, time.perf_counter() - start)
        calls += 1
    return usual


def take_turn(run: Callable[[], object], usual: float, seconds: float) -> Turn:
    """Time calls for about the given seconds, one sample at the least.

    Parameters
    ----------
    run
        The call.
    usual
        Seconds it takes, as `warm_up` found.
    seconds
        How long the turn should last. Calls for a tenth of it are not timed before: they bring back caches
        and threads that the other contenders' turns have pushed out or put to sleep. Calls that take longer
        than `LONG_CALL` need none, since that is a small part of them.
    """
    calls = max(1, round(SAMPLE_SECONDS / usual))
    count = max(1, round(seconds / (calls * usual)))
    for _ in range(0 if usual > LONG_CALL else max(1, round(0.1 * seconds / usual))):
        run()
    samples = []
    begin, busy = time.perf_counter(), time.process_time()
    for _ in range(count):
        start = time.perf_counter()
        for _ in range(calls):
            run()
        samples.append((time.perf_counter() - start) / calls)
    return Turn(samples, (time.process_time() - busy) / (time.perf_counter() - begin))


def take_pauses(
    run: Callable[[], object], *, pause: float, calls: int, least: float, most: float
) -> list[float]:
    """Time calls one by one, with a pause before each.

    Parameters
    ----------
    run
        The call.
    pause
        Seconds of sleep before a call; 0 for a tight loop.
    calls
        How many to time. The first of them, a tenth but one at the least, are not kept.
    least, most
        Seconds. More calls are timed until the first are over, and no more once the second are.

    Returns
    -------
    list of float
        Seconds of each call.
    """
    samples: list[float] = []
    begin = time.perf_counter()
    while (elapsed := time.perf_counter() - begin) < most and (len(samples) < calls or elapsed < least):
        if pause > 0:
            time.sleep(pause)
        start = time.perf_counter()
        run()
        samples.append(time.perf_counter() - start)
    return samples[max(1, len(samples) // 10) :] or samples
