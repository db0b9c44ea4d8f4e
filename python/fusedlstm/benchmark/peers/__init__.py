"""Who takes part: this library, other ways to use it, and its peers.

Each is imported only inside its own process.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from fusedlstm.benchmark.narrow import Rounding

if TYPE_CHECKING:
    from fusedlstm.benchmark.job import Contender
    from fusedlstm.benchmark.workloads import Workload

__all__ = [
    "FACES",
    "OURS",
    "PEERS",
    "VARIANTS",
    "PeerInfo",
    "Variant",
    "installed",
    "make_contender",
    "offers",
    "rounding_of",
]

OURS = "fusedlstm"


@dataclass(frozen=True)
class PeerInfo:
    """What is known about a peer without importing it.

    Attributes
    ----------
    label : str
        Its name in tables.
    modules : tuple of str
        What must be installed.
    kinds : tuple of str
        Kinds of workload it offers.
    dtypes : tuple of str
        Number types it offers.
    install : str
        How to get it.
    environment : dict of str
        Environment variables its process needs.
    """

    label: str
    modules: tuple[str, ...]
    kinds: tuple[str, ...]
    install: str
    dtypes: tuple[str, ...] = ("float32", "float64")
    environment: dict[str, str] = field(default_factory=dict)

    def offers(self, workload: Workload, dtype: str) -> bool:
        """Tell whether the peer takes part in a workload."""
        return workload.kind in self.kinds and dtype in self.dtypes


@dataclass(frozen=True)
class Variant:
    """Another way to use this library, which takes part beside the usual one.

    Attributes
    ----------
    kinds : tuple of str
        Kinds of workload it takes part in.
    single_row : bool
        Only those with one row.
    dtypes : tuple of str
        Number types it offers.
    storage : str, optional
        How weights are kept, as `fusedlstm.ops.LSTMWeights` takes it.
    in_float32 : bool
        Multiplies float32 where the others multiply shorter numbers.
    padded : bool
        Runs over padding as if it were real steps.
    checkpoint_every : int
        As `fusedlstm.ops.lstm_forward` takes it.
    """

    kinds: tuple[str, ...] = ()
    single_row: bool = False
    dtypes: tuple[str, ...] = ("float32", "float64")
    storage: str | None = None
    in_float32: bool = False
    padded: bool = False
    checkpoint_every: int = 0

    def offers(self, workload: Workload, dtype: str) -> bool:
        """Tell whether the variant takes part in a workload."""
        rows = not self.single_row or workload.B == 1
        return rows and workload.kind in self.kinds and dtype in self.dtypes


# Fewer bits pay where the time goes into reading weights: with one row.
_NARROW = Variant(("forward", "step"), single_row=True, dtypes=("float32",))
VARIANTS: dict[str, Variant] = {
    "fusedlstm-padded": Variant(("lengths",), padded=True),
    "fusedlstm-bfloat16": replace(_NARROW, storage="bfloat16"),
    "fusedlstm-int8": replace(_NARROW, storage="int8", dtypes=("float32", "int8")),
    "fusedlstm-float32": Variant(
        ("forward", "training", "step", "mnist"), dtypes=("bfloat16", "int8"), in_float32=True
    ),
    "fusedlstm-checkpoints": Variant(("checkpoint",), checkpoint_every=100),
}

# This library through other faces, which take part where calls have pauses.
FACES: dict[str, Variant] = {
    "fusedlstm-predict": Variant(("forward",)),
    "fusedlstm-stream": Variant(("step",), dtypes=("float32",)),
    "fusedlstm-torch": Variant(("forward",)),
}

_KERAS_KINDS = ("forward", "training", "mnist")
_BENCH_EXTRA = 'pip install "fusedlstm[bench]"'
# Processors only: a graphics card that a framework may find is another benchmark.
_NO_GPU = {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}

PEERS: dict[str, PeerInfo] = {
    "torch": PeerInfo(
        "PyTorch",
        ("torch",),
        ("forward", "training", "step", "mnist", "lengths"),
        "pip install torch",
        dtypes=("float32", "float64", "bfloat16", "int8"),
        environment=_NO_GPU,
    ),
    "torch-cell": PeerInfo(
        "PyTorch LSTMCell", ("torch",), ("step",), "pip install torch", environment=_NO_GPU
    ),
    "torch-padded": PeerInfo(
        "PyTorch padded", ("torch",), ("lengths",), "pip install torch", environment=_NO_GPU
    ),
    "onnxruntime": PeerInfo(
        "ONNX Runtime",
        ("onnxruntime", "onnx"),
        ("forward", "step"),
        _BENCH_EXTRA,
        dtypes=("float32", "int8"),
        environment=_NO_GPU,
    ),
    "keras-jax": PeerInfo(
        "Keras on JAX",
        ("keras", "jax"),
        _KERAS_KINDS,
        _BENCH_EXTRA,
        # Keras 3.15's tanh on JAX has the precision of float32 whatever the type: float64 would be refused.
        dtypes=("float32",),
        environment={**_NO_GPU, "KERAS_BACKEND": "jax"},
    ),
    "keras-tensorflow": PeerInfo(
        "Keras on TensorFlow",
        ("keras", "tensorflow"),
        _KERAS_KINDS,
        "pip install tensorflow",
        environment={**_NO_GPU, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2"},
    ),
}


def installed(name: str) -> bool:
    """Tell whether all modules of a peer can be found."""
    return all(importlib.util.find_spec(module) is not None for module in PEERS[name].modules)


def offers(name: str, workload: Workload, dtype: str) -> bool:
    """Tell whether a contender takes part in a workload. `OURS` always does."""
    contender = VARIANTS.get(name) or FACES.get(name) or PEERS.get(name)
    return name == OURS if contender is None else contender.offers(workload, dtype)


# With --dtype int8: this library's bytes, and what DynamicQuantizeLSTM and quantize_dynamic do. PyTorch's
# quantized LSTM takes 7 bits of x and h, as the sums of its instructions would not fit otherwise.
_ROUNDING = {
    OURS: Rounding("int8", 127, each_row=True),
    "onnxruntime": Rounding("int8", 255),
    "torch": Rounding("int8 of a matrix", 127),
}


def rounding_of(name: str, dtype: str) -> Rounding | None:
    """Return how a contender rounds besides what its number type says, or None."""
    if name in VARIANTS:
        storage = VARIANTS[name].storage
        return None if storage is None else Rounding(storage)
    return _ROUNDING[name] if dtype == "int8" else None


def make_contender(name: str, threads: int, dtype: str) -> Contender:
    """Import and set up a contender. To be called once in a process.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    if name == OURS or name in VARIANTS:
        from fusedlstm.benchmark.peers.ours import Ours

        return Ours(threads, dtype, VARIANTS.get(name, Variant()))
    if name in FACES:
        from fusedlstm.benchmark.peers.faces import Faces

        return Faces(name.removeprefix(f"{OURS}-"), threads, dtype)
    if name in ("torch", "torch-cell", "torch-padded"):
        from fusedlstm.benchmark.peers.torch import Torch

        return Torch(threads, dtype, cell=name == "torch-cell", padded=name == "torch-padded")
    if name == "onnxruntime":
        from fusedlstm.benchmark.peers.onnxruntime import OnnxRuntime

        return OnnxRuntime(threads, dtype)
    if name == "keras-jax":
        from fusedlstm.benchmark.peers.keras_jax import KerasJax

        return KerasJax()
    if name == "keras-tensorflow":
        from fusedlstm.benchmark.peers.keras_tensorflow import KerasTensorflow

        return KerasTensorflow(threads, dtype)
    raise ValueError(f"name: expected {OURS!r} or one of {[*VARIANTS, *PEERS]}, got {name!r}")


def versions(modules: tuple[str, ...]) -> str:
    """Return ``"name 1.2, other 3.4"`` for installed modules."""
    return ", ".join(f"{module} {importlib.metadata.version(module)}" for module in modules)
