"""What is published of devices, for the model of the CUDA kernels; bench/gpu_model.md has the sources."""

from __future__ import annotations

from dataclasses import dataclass, replace

NUMBER_BYTES = {"float32": 4, "tf32": 4, "float64": 8, "float16": 2, "bfloat16": 2, "int8": 1}
ON_TENSOR_CORES = ("tf32", "float16", "bfloat16")
# Milliseconds at B = 16, T = 1024, H = 768, float16 on an H100: forward, and with backward.
PUBLISHED = {"cuDNN": (2.01, 5.19), "FlashRNN, fused": (4.87, 13.61), "haste": (18.4, 43.9)}


@dataclass(frozen=True)
class Device:
    """A device's figures; bench/gpu_model.md has their sources."""

    plan: tuple[int, int, int, int]  # capability, multiprocessors, shared memory of a block
    clock: float  # Hz
    l2_bytes: int  # up to which reads have this bandwidth
    l2_bandwidth: float  # bytes/s
    l2_latency: float  # cycles
    memory_bandwidth: float  # bytes/s
    peak: dict[str, float]  # of large products, operations/s
    mma_cycles: float  # for a scheduler's 16 x 8 x 16 numbers of 16 bits, or x 8 of tf32
    mma_latency: float  # cycles
    fma_cycles: dict[str, float]  # for a scheduler's instruction of a warp
    shared_latency: float = 30  # cycles
    l1_bytes_per_cycle: int = 64  # from L2, of a multiprocessor

    @property
    def multiprocessors(self) -> int:
        """How many there are."""
        return self.plan[2]


DEVICES = {
    "A100": Device(
        plan=(8, 0, 108, 163 * 1024),
        clock=1.41e9,
        l2_bytes=28 << 20,
        l2_bandwidth=5.4e12,
        l2_latency=211,
        memory_bandwidth=1.86e12,
        peak={"float16": 312e12, "bfloat16": 312e12, "tf32": 156e12, "float32": 19.5e12, "float64": 19.5e12},
        mma_cycles=8,
        mma_latency=26,
        fma_cycles={"float32": 2, "float64": 4},
    ),
    "H100": Device(
        plan=(9, 0, 132, 227 * 1024),
        clock=1.755e9,
        l2_bytes=44 << 20,
        l2_bandwidth=9.8e12,
        l2_latency=265,
        memory_bandwidth=3.0e12,
        peak={"float16": 989e12, "bfloat16": 989e12, "tf32": 494e12, "float32": 67e12, "float64": 67e12},
        mma_cycles=6.4,
        mma_latency=33,
        fma_cycles={"float32": 1, "float64": 2},
    ),
}
# Its chip, with other memory, at the clock that it was measured at.
DEVICES["H200"] = replace(DEVICES["H100"], clock=1.98e9, l2_latency=269, memory_bandwidth=4.3e12)
