"""The model of the CUDA sequence kernels, explained in bench/gpu_model.md, and its word on a benchmark."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fusedlstm.benchmark.prediction_devices import DEVICES, NUMBER_BYTES, ON_TENSOR_CORES, Device

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusedlstm.benchmark.workloads import Workload

WARPS = 8
PER_SCHEDULER = 2  # warps, of a block's eight on a multiprocessor's four schedulers
STEPS = 1024
CUBLAS_EFFICIENCY = 0.7  # of the peak: an estimate for products of thousands in each dimension
LAUNCH = 1e-5  # seconds: an estimate of a cooperative launch and of taking the weights


# Of a barrier, in times of the latency of L2: the stores' acknowledgement, the arrival and its sight, each in
# both partitions. It and the next figure are those of measured barriers of 16 to 132 blocks.
BARRIER_TRIPS = 6.0
ARRIVAL_CYCLES = 2.0  # of each block, one after the other at one address
# Instructions of a warp along the path of a step, counted in the machine code for sm_90, and cycles of one
# where two warps share a scheduler. Forward, backward.
NARROW_INSTRUCTIONS = (60, 60)  # of an item, besides products and cells
OTHER_INSTRUCTIONS = (200, 250)
CELL_INSTRUCTIONS = (120, 130)  # of a pass
PIECE_INSTRUCTIONS = 8
BARRIER_INSTRUCTIONS = 60
CYCLES_PER_INSTRUCTION = 5.0
BROADCAST_CYCLES = 4  # of 16 bytes of shared memory that all lanes read


@dataclass
class Step:
    """Seconds of one step of the busiest block, by cause, and what it moves."""

    operands: float = 0.0
    weights: float = 0.0
    products: float = 0.0
    sums: float = 0.0
    instructions: float = 0.0
    barrier: float = 0.0
    memory: float = 0.0  # of the whole device, under the rest
    l2_bytes: float = 0.0  # of the block
    memory_bytes: float = 0.0  # of the device
    shared_bytes: float = 0.0  # of the block
    operations: float = 0.0  # of the device

    def parts(self) -> dict[str, float]:
        """Return the causes that follow one another."""
        names = ("operands", "weights", "products", "sums", "instructions", "barrier")
        return {name: getattr(self, name) for name in names}

    @property
    def seconds(self) -> float:
        """The step's time."""
        return max(sum(self.parts().values()), self.memory)

    @property
    def dominant(self) -> str:
        """The longest cause."""
        parts = self.parts()
        return "memory" if self.memory > sum(parts.values()) else max(parts, key=parts.__getitem__)


def up(a: int, b: int) -> int:
    """Divide, rounded up."""
    return -(-a // b)


def step(plan: dict[str, Any], device: Device, number: str, batch: int, units: int, backward: bool) -> Step:
    """Predict one step."""
    size = NUMBER_BYTES[number]
    tensor_cores = number in ON_TENSOR_CORES
    columns = plan["slice_units"] * (1 if backward else 4)
    chunk = (64 if tensor_cores else 16) // size
    chunks = plan["chunks"]
    form = plan["form"]
    narrow = form == "narrow"
    if not tensor_cores or (narrow and backward):
        piece = 8
    else:
        piece = 2 if form == "anew" else 3 if size == 2 and not backward and not narrow else 4
    blocks, row_slices = plan["blocks"]
    row_groups = up(min(batch, plan["rows"]), 8)
    at_once = plan["rows_at_once"] // 8
    turns = up(plan["slices"], blocks)
    chunk_bytes = columns * chunk * size  # of a warp
    workspace_chunks = plan["chunks_in_workspace"]
    all_blocks = blocks * row_slices
    per_multiprocessor = device.l1_bytes_per_cycle * device.clock

    def from_l2(block_bytes: float) -> float:
        shared: float = block_bytes * all_blocks / device.l2_bandwidth
        return max(shared, block_bytes / per_multiprocessor)

    found = Step()

    def cycles(name: str, count: float) -> None:
        setattr(found, name, getattr(found, name) + count / device.clock)

    def item(groups: int) -> None:
        rows = 8 * groups
        # Operands: as many chunks as are on their way at once wait for one latency. Off the tensor cores only
        # the first ones are waited for.
        operand_bytes = rows * chunks * WARPS * chunk * size
        found.l2_bytes += operand_bytes
        pieces = up(chunks, piece)
        cycles("operands", device.l2_latency * (pieces if tensor_cores else 1))
        found.operands += from_l2(operand_bytes)
        # Weights beyond registers.
        shared = plan["chunks_in_shared"] * WARPS * chunk_bytes
        anew = workspace_chunks * WARPS * chunk_bytes
        cycles("weights", shared / 128 + plan["chunks_in_shared"] * device.shared_latency)
        found.weights += from_l2(anew)
        cycles("weights", workspace_chunks * device.l2_latency)
        found.l2_bytes += anew
        found.shared_bytes += shared
        # Products: what the schedulers issue, or what dependent ones wait for one another.
        if tensor_cores:
            issued = PER_SCHEDULER * chunks * groups * (columns // 16) * 2 * device.mma_cycles
            chain = 2 * chunks * device.mma_latency / (4 if narrow and backward else 1)
            cycles("products", max(issued, chain))
        else:
            issued = PER_SCHEDULER * chunks * rows * (columns // 32) * chunk * device.fma_cycles[number]
            cycles("products", max(issued, WARPS * chunks * rows * BROADCAST_CYCLES))
            found.shared_bytes += 2 * operand_bytes
        # Partial sums through shared memory, 128 bytes in a cycle. Resident weights keep all groups' places.
        sum_bytes = max(size, 4)
        written = WARPS * 8 * (groups if form == "anew" else at_once) * columns * sum_bytes
        read = WARPS * rows * columns * sum_bytes
        found.shared_bytes += written + read
        cycles("sums", (written + read) / 128 + 3 * device.shared_latency)
        # Everything else that a warp runs.
        passes = up(rows * plan["slice_units"], 256)
        count = (NARROW_INSTRUCTIONS if narrow else OTHER_INSTRUCTIONS)[backward]
        count += PIECE_INSTRUCTIONS * pieces + CELL_INSTRUCTIONS[backward] * passes
        cycles("instructions", count * CYCLES_PER_INSTRUCTION)

    for _ in range(turns):
        left = row_groups
        while left > 0:
            item(min(left, at_once))
            left -= at_once
    cycles("barrier", BARRIER_TRIPS * device.l2_latency + ARRIVAL_CYCLES * blocks)
    cycles("barrier", BARRIER_INSTRUCTIONS * CYCLES_PER_INSTRUCTION)
    # Forward reads four gates' inputs and leaves them activated, with y and a cell state. Backward reads
    # gates, dy and two cell states, and leaves four gradients.
    state = max(size, 4)
    found.memory_bytes = batch * units * ((9 * size + 2 * state) if backward else (9 * size + state))
    anew_bytes = workspace_chunks * WARPS * chunk_bytes * plan["slices"] * row_slices
    if anew_bytes > device.l2_bytes:
        found.memory_bytes += anew_bytes * up(row_groups, at_once)
    found.memory = found.memory_bytes / device.memory_bandwidth
    found.operations = 8.0 * batch * units * units
    return found


@dataclass(frozen=True)
class Prediction:
    """Of a sequence with as many inputs as units."""

    forward: Step
    backward: Step
    steps: int
    product: float  # seconds of one large product

    @property
    def forward_seconds(self) -> float:
        """Of the product of x and kernel, and the recurrence."""
        return LAUNCH + self.product + self.steps * self.forward.seconds

    @property
    def seconds(self) -> float:
        """Forward, and backward with dx, dkernel and drecurrent_kernel."""
        return self.forward_seconds + LAUNCH + 3 * self.product + self.steps * self.backward.seconds


def predict(
    module: Any,
    name: str,
    number: str,
    batch: int,
    units: int,
    steps: int = STEPS,
) -> Prediction:
    """Predict a sequence's times."""
    device = DEVICES[name]
    found = []
    for backward in (False, True):
        plan = module.sequence_plan(
            number, batch, steps, units, backward, False, kernel="grid", device=device.plan
        )
        found.append(step(plan, device, number, batch, units, backward))
    operations = 8.0 * batch * steps * units * units
    moved = NUMBER_BYTES[number] * (5.0 * batch * steps * units + 4.0 * units * units)
    product = max(operations / (device.peak[number] * CUBLAS_EFFICIENCY), moved / device.memory_bandwidth)
    return Prediction(found[0], found[1], steps, product)


def known_device(properties: Mapping[str, Any]) -> str | None:
    """Return which of `DEVICES` has the figures of a device, or None: by its name, and the same sizes."""
    found = re.search(r"\b(A100|H[12]00)\b", properties["name"])
    if found is None:
        return None
    name = found[1]
    sizes = tuple(properties[key] for key in ("major", "minor", "multiprocessors"))
    return name if sizes == DEVICES[name].plan[:3] else None


def predicted_seconds(module: Any, name: str | None, number: str, workload: Workload) -> float | None:
    """Predict the time of a forward or training workload on a device of this name in `DEVICES`.

    Returns
    -------
    float or None
        None where the model does not reach: an unknown device, another kernel than the grid's, or inputs that
        are not as many as units.
    """
    B, T, I, H = workload.B, workload.T, workload.I, workload.H  # noqa: E741
    if name is None or I != H:
        return None
    training = workload.kind == "training"
    for backward in (False, True)[: 1 + training]:
        plan = module.sequence_plan(number, B, T, H, backward, False, device=DEVICES[name].plan)
        if plan["kernel"] != "grid":
            return None
    found = predict(module, name, number, B, H, T)
    return found.seconds if training else found.forward_seconds
