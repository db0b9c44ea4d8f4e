"""The recurrence on the device: what all windows of a sequence share, and the kernels' calls."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fusedlstm.cuda.normalization import Normalization

if TYPE_CHECKING:
    from fusedlstm._core import CellSettings
    from fusedlstm.cuda.checks import Call
    from fusedlstm.cuda.steps import Window
    from fusedlstm.cuda.weights import Parts


class Results(NamedTuple):
    """What the forward kernel leaves; what comes after c is None without a tape."""

    y: Any  # (B, T, R)
    h: Any  # (B, R)
    c: Any  # (B, H)
    gates: Any  # (B T, 4H)
    cells: Any  # (T+1, B, H)
    m: Any  # (B T, H) what was projected, with a projection
    normalized: Any  # (B T, 4H) norm(h U), and
    moments: Any  # (B, T, 3), with layer normalization


class Gradients(NamedTuple):
    """What the backward kernel leaves."""

    dz: Any  # (B T, 4H)
    dh0: Any  # (B, R)
    dc0: Any  # (B, H)
    dpeepholes: Any  # (B, 3, H) of each row alone, or None
    dprojected: Any  # (B T, R) of what the projection made, or None
    drecurrent: Any  # (B T, 4H) of h U, which is dz without layer normalization
    dnorm: Any  # (B, 6, H) of each row alone, or None


@dataclass(frozen=True)
class Cell:
    """The cell's options, checked; `settings` is None for the plain one."""

    settings: CellSettings | None
    peepholes: Any
    zoneout_seed: int | None
    norm: Normalization | None

    @staticmethod
    def of(call: Call, settings: CellSettings | None, zoneout_seed: int | None, units: int) -> Cell:
        """Check what `fusedlstm.ops.CellOptions` hands over."""
        if settings is None and zoneout_seed is None:
            return _PLAIN
        peepholes, norm = None, None
        if settings is not None:
            norm = None if settings.layer_norm is None else Normalization.of(call, settings.layer_norm, units)
            peepholes = call.states.optional("peepholes", settings.peepholes, ("3", 3), ("H", units))
        drawable = settings is not None and (settings.zoneout_h > 0 or settings.zoneout_c > 0)
        if zoneout_seed is not None and not drawable:
            raise ValueError(
                f"zoneout_seed: expected None without zoneout_h or zoneout_c in options, got {zoneout_seed}"
            )
        bits = None if zoneout_seed is None else zoneout_seed & 0xFFFFFFFFFFFFFFFF
        return Cell(settings, peepholes, bits, norm)

    @property
    def arrays(self) -> list[Any]:
        """The options that are arrays."""
        parameters = () if self.norm is None else self.norm.arrays
        return [array for array in (self.peepholes, *parameters) if array is not None]

    def copied(self) -> Cell:
        """For a tape, which must not see later changes of arrays."""
        if self is _PLAIN:
            return self
        peepholes = None if self.peepholes is None else self.peepholes.copy()
        norm = None if self.norm is None else self.norm.copied()
        return Cell(self.settings, peepholes, self.zoneout_seed, norm)


_PLAIN = Cell(None, None, None, None)


@lru_cache(maxsize=1024)
def _plan(extension: Any, device: str, *query: Any) -> dict[str, Any]:  # noqa: ARG001
    """Return which kernel serves, on the device of this name: the same whenever it is asked."""
    plan: dict[str, Any] = extension.sequence_plan(*query)
    return plan


class Recurrence:
    """What all windows of a sequence share.

    Attributes
    ----------
    factors : array (B, R) or None
        Of h on its way into the next step.
    outputs : int
        Size of h.
    projected : int
        The same where a projection makes h, and 0 otherwise.
    number : str
        What the kernels multiply.
    """

    def __init__(self, call: Call, units: int, weights: Parts, cell: Cell, factors: Any) -> None:
        self.call, self.units, self.weights, self.cell, self.factors = call, units, weights, cell, factors
        self.outputs = int(weights.recurrent.shape[0])
        self.projected = 0 if weights.projection is None else self.outputs
        self.number = "tf32" if call.number == "float32" and call.device.allows_tf32 else call.number

    @property
    def hidden(self) -> tuple[str, int]:
        """The axis of h, as checks name it."""
        return ("R" if self.projected else "H", self.outputs)

    def plan(self, batch: int, steps: int, *, backward: bool) -> dict[str, Any]:
        """Return which kernel serves; `ValueError` where the device has none."""
        has_options, normalized = self.cell.settings is not None, self.cell.norm is not None
        sizes = (batch, steps, self.units)
        query = (self.number, *sizes, backward, has_options, self.projected, normalized)
        device = self.call.device
        return _plan(device.extension, device.name, *query)

    def _run(self, name: str, window: Window, plan: dict[str, Any], **arrays: Any) -> None:
        call = self.call
        space = call.device.zeros((plan["workspace"],), np.uint8) if plan["workspace"] else None
        arrays |= {"recurrent_kernel": self.weights.recurrent, "projection": self.weights.projection}
        arrays |= {"recurrent_mask": self.factors, "peepholes": self.cell.peepholes}
        arrays |= {"lengths": window.lengths, "workspace": space}
        address = call.device.address
        # What is left out is None.
        others: dict[str, Any] = {key: address(array) for key, array in arrays.items() if array is not None}
        if self.cell is not _PLAIN:
            others["options"] = self.cell.settings
            others["zoneout_seed"] = self.cell.zoneout_seed
            others["norm"] = None if self.cell.norm is None else self.cell.norm.given(call)
        getattr(call.extension, name)(
            number=self.number,
            batch=window.batch,
            steps=window.size,
            units=self.units,
            outputs=self.projected,
            zero_padding=True,
            first_step=window.first,
            stream=call.device.stream(),
            **others,
        )

    def forward(self, window: Window, z_x: Any, h0: Any, c0: Any, *, taped: bool) -> Results:
        """Run the steps of a window; with `taped`, z_x (B T, 4H) becomes the tape's gates."""
        B, T, H = window.batch, window.size, self.units
        plan = self.plan(B, T, backward=False)
        empty, state = self.call.empty, self.call.states.empty
        normalized = taped and self.cell.norm is not None
        results = Results(
            empty(B, T, self.outputs),
            empty(B, self.outputs),
            state(B, H),
            z_x if taped else None,
            state(T + 1, B, H) if taped else None,
            empty(B * T, H) if taped and self.projected else None,
            empty(B * T, 4 * H) if normalized else None,
            state(B, T, 3) if normalized else None,
        )
        given = {"z_x": z_x, "bias": self.weights.bias, "h0": h0, "c0": c0}
        self._run("sequence_forward", window, plan, **given, **results._asdict())
        return results

    def backward(self, window: Window, results: Results, dy: Any, dh: Any, dc: Any) -> Gradients:
        """Run them back; the tape's gates become dz."""
        B, T, H = window.batch, window.size, self.units
        plan = self.plan(B, T, backward=True)
        empty, state = self.call.empty, self.call.states.empty
        gradients = Gradients(
            results.gates,
            empty(B, self.outputs),
            state(B, H),
            None if self.cell.peepholes is None else state(B, 3, H),
            empty(B * T, self.outputs) if self.projected else None,
            results.gates if results.normalized is None else results.normalized,
            None if self.cell.norm is None else state(B, 6, H),
        )
        self._run(
            "sequence_backward",
            window,
            plan,
            cells=results.cells,
            dy=dy,
            dh=dh,
            dc=dc,
            gates=gradients.dz,
            dh0=gradients.dh0,
            dc0=gradients.dc0,
            dpeepholes=gradients.dpeepholes,
            dprojected=gradients.dprojected,
            normalized=results.normalized,
            moments=results.moments,
            dnorm=gradients.dnorm,
        )
        return gradients
