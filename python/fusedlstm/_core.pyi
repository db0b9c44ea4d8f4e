from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Arrays: TypeAlias = Array | Sequence[Array]

class FallbackError(RuntimeError): ...

class LSTMWeights:
    def __init__(
        self,
        kernel: Array,
        recurrent_kernel: Array,
        bias: Array | None = None,
        *,
        projection: Array | None = None,
        storage: str | None = None,
        compute: str | None = None,
    ) -> None: ...
    def update(
        self,
        kernel: Array,
        recurrent_kernel: Array,
        bias: Array | None = None,
        *,
        projection: Array | None = None,
    ) -> None: ...
    def unpack(self) -> tuple[Array, ...]: ...
    @property
    def bias(self) -> Array | None: ...
    @property
    def factors(self) -> tuple[Array, ...] | None: ...
    @property
    def inputs(self) -> int: ...
    @property
    def units(self) -> int: ...
    @property
    def outputs(self) -> int: ...
    @property
    def version(self) -> int: ...
    @property
    def use_bias(self) -> bool: ...
    @property
    def storage(self) -> str: ...
    @property
    def compute(self) -> str | None: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...

class NGrams:
    def __init__(
        self,
        labels: NDArray[np.int64],
        lengths: NDArray[np.int64],
        log_probabilities: Array,
        backoff_labels: NDArray[np.int64],
        backoff_lengths: NDArray[np.int64],
        backoffs: Array,
        unknown: float,
    ) -> None: ...

class CellSettings:
    gate: tuple[int, float, float]
    candidate: tuple[int, float, float]
    output: tuple[int, float, float]
    peepholes: Any
    cell_clip: float
    coupled: bool
    zoneout_h: float
    zoneout_c: float
    layer_norm: Any
    gate_clip: float
    def __init__(self, **settings: Any) -> None: ...

class Tape:
    @property
    def nbytes(self) -> int: ...
    @property
    def used(self) -> bool: ...

class GradientTape:
    @property
    def nbytes(self) -> int: ...

def lstm_forward(
    weights: LSTMWeights,
    x: Array,
    lengths: NDArray[np.integer[Any]] | None,
    mask: NDArray[np.bool_] | None,
    zero_output_for_mask: bool,
    h0: Array | None,
    c0: Array | None,
    options: CellSettings | None,
    recurrent_mask: Array | None,
    zoneout_seed: int | None,
    training: bool,
    return_sequences: bool,
    go_backwards: bool,
    checkpoint_every: int,
) -> tuple[Array | None, Array, Array, Tape | None]: ...
def lstm_backward(
    tape: Tape,
    dy: Array | None,
    dh: Array | None,
    dc: Array | None,
    need_dx: bool,
    need_dweights: bool,
    keep: bool,
    groups: list[int] = ...,
) -> tuple[
    Array | None,
    Array | None,
    Array | None,
    Array | None,
    Array,
    Array,
    Array | None,
    Array | None,
    tuple[Array, Array, Array, Array] | None,
    GradientTape | None,
]: ...
def lstm_jvp(
    tape: Tape,
    x: Array | None,
    kernel: Array | None,
    recurrent_kernel: Array | None,
    bias: Array | None,
    h0: Array | None,
    c0: Array | None,
    peepholes: Array | None,
) -> tuple[Array, Array, Array]: ...
def lstm_second_backward(
    tape: GradientTape,
    ddx: Array | None,
    ddkernel: Array | None,
    ddrecurrent_kernel: Array | None,
    ddbias: Array | None,
    ddh0: Array | None,
    ddc0: Array | None,
    ddpeepholes: Array | None,
    need_dx: bool,
) -> tuple[Array, Array, Array, Array | None, Array, Array, Array | None, Array, Array, Array | None]: ...
def lstm_states(tape: Tape) -> tuple[Array, Array, Array | None]: ...
def lstm_step(
    weights: LSTMWeights,
    x: Array,
    h: Array,
    c: Array,
    options: CellSettings | None,
    out: tuple[Array, Array] | None,
) -> tuple[Array, Array]: ...
def cell_forward(z: Array, c_prev: Array) -> tuple[Array, Array, Array]: ...
def cell_backward(
    gates: Array, c_prev: Array, c: Array, dh: Array, dc: Array | None
) -> tuple[Array, Array]: ...
def dense_forward(x: Array, kernel: Array, bias: Array | None, compute: str | None) -> Array: ...
def dense_backward(
    x: Array, kernel: Array, dy: Array, need_dx: bool, use_bias: bool, compute: str | None
) -> tuple[Array | None, Array, Array | None]: ...
def layer_norm_forward(x: Array, gamma: Array | None, beta: Array | None, epsilon: float) -> Array: ...
def layer_norm_backward(
    x: Array, gamma: Array | None, dy: Array, epsilon: float, need_dx: bool
) -> tuple[Array | None, Array, Array]: ...
def ctc_loss(
    logits: Array,
    labels: NDArray[np.int64],
    logit_lengths: NDArray[np.int64] | None,
    label_lengths: NDArray[np.int64] | None,
    blank: int,
    zero_infinity: bool,
    row_weights: Array | None,
    need_dlogits: bool,
) -> tuple[Array, Array | None]: ...
def overlap(first: int, nbytes: int, other: int, other_nbytes: int, count: int, stride: int) -> bool: ...
def first_conflict(pieces: list[tuple[int, int, bool]]) -> tuple[int, int] | None: ...
def check_sequence_sizes(
    name: str, batch: int, steps: int, inputs: int, units: int, outputs: int
) -> None: ...
def check_matrix_sizes(name: str, letters: str, rows: int, inputs: int, outputs: int) -> None: ...
def check_ids(name: str, ids: NDArray[np.int64], rows: int) -> None: ...
def ctc_greedy(
    inputs: Array, lengths: NDArray[np.int64] | None, blank: int, merge: bool
) -> tuple[Array, ...]: ...
def ctc_beam_search(
    inputs: Array,
    lengths: NDArray[np.int64] | None,
    blank: int,
    width: int,
    top_paths: int,
    least: float,
    scorer: Any,
    alpha: float,
    beta: float,
) -> tuple[Array, ...]: ...
def edit_distances(
    references: NDArray[np.int64],
    reference_offsets: NDArray[np.int64],
    hypotheses: NDArray[np.int64],
    hypothesis_offsets: NDArray[np.int64],
) -> NDArray[np.int64]: ...
def embedding_forward(ids: NDArray[np.int64], table: Array) -> Array: ...
def embedding_backward(ids: NDArray[np.int64], dy: Array, rows: int) -> Array: ...
def dropout(x: Array, rate: float, seed: int, share_steps: bool, out: Array | None) -> Array: ...
def update(
    rule: str,
    param: Arrays,
    grad: Arrays,
    slots: dict[str, Arrays | None],
    numbers: tuple[float, ...],
    learning_rate: float,
    weight_decay: float | Sequence[float],
    clipvalue: float,
    ema_momentum: float,
    ema_overwrites: bool,
    scale: float | Sequence[float],
    iterations: NDArray[np.int64] | None,
) -> None: ...
def squared_norm(a: Array) -> float: ...
def why_without_cuda() -> str | None: ...

number_types: str

def instruction_sets() -> tuple[str, ...]: ...
def get_instruction_set() -> str: ...
def set_instruction_set(name: str) -> None: ...
def product_sets(compute: str) -> tuple[str, ...]: ...
def get_product_set(compute: str) -> str: ...
def set_product_set(name: str | None, compute: str) -> None: ...
def get_num_threads() -> int: ...
def set_num_threads(count: int | None) -> None: ...
def why_num_threads() -> str: ...
def openmp_threads(text: str) -> int | None: ...
def cgroup_quota(root: str) -> float | None: ...
def join_openmp(library: str) -> bool: ...
def leave_openmp() -> None: ...
def last_kernel() -> str: ...
def note_kernel(text: str) -> None: ...
def get_strict() -> bool: ...
def set_strict(on: bool) -> None: ...
def set_strict_here(on: bool | None) -> bool | None: ...
def measure_peak(dtype: str, threads: int, seconds: float) -> float: ...
