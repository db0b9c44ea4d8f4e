"""The recurrence on the device: what all windows of a sequence share, and the kernels' calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from fusedlstm.cuda.normalization import Normalization

if TYPE_CHECKING:
    from fusedlstm.cuda.checks import Call
    from fusedlstm.cuda.steps import Window
    from fusedlstm.cuda.weights import Parts


class Results(NamedTuple):
    """What the forward kernel leaves; what comes after c is None without a tape."""

    y: Any  # (B, T, R)
    h: Any  # (B, R)
    c: Any  # (B, H)
    gates: Any  # (B, T, 4H)
    cells: Any  # (T+1, B, H)
    m: Any  # (B, T, H) what was projected, with a projection
    normalized: Any  # (B, T, 4H) norm(h U), and
    moments: Any  # (B, T, 3), with layer normalization


class Gradients(NamedTuple):
    """What the backward kernel leaves."""

    dz: Any  # (B, T, 4H)
    dh0: Any  # (B, R)
    dc0: Any  # (B, H)
    dpeepholes: Any  # (B, 3, H) of each row alone, or None
    dprojected: Any  # (B, T, R) of what the projection made, or None
    drecurrent: Any  # (B, T, 4H) of h U, which is dz without layer normalization
    dnorm: Any  # (B, 6, H) of each row alone, or None


@dataclass(frozen=True)
class Cell:
    """The cell's options, checked; `given` is None for the plain one."""

    given: tuple[Any, ...] | None
    peepholes: Any
    zoneout_seed: int | None
    norm: Normalization | None

    @staticmethod
    def of(call: Call, given: tuple[Any, ...] | None, zoneout_seed: int | None, units: int) -> Cell:
        """Check what `fusedlstm.ops.CellOptions` hands over."""
        peepholes, norm = None, None
        if given is not None:
            norm = None if given[8] is None else Normalization.of(call, given[8], units)
            peepholes = call.states.optional("peepholes", given[3], ("3", 3), ("H", units))
        if zoneout_seed is not None and (given is None or (given[6] == 0 and given[7] == 0)):
            raise ValueError(
                f"zoneout_seed: expected None without zoneout_h or zoneout_c in options, got {zoneout_seed}"
            )
        return Cell(given, peepholes, zoneout_seed, norm)

    def copied(self) -> Cell:
        """For a tape, which must not see later changes of arrays."""
        peepholes = None if self.peepholes is None else self.peepholes.copy()
        norm = None if self.norm is None else self.norm.copied()
        return Cell(self.given, peepholes, self.zoneout_seed, norm)

    def options(self, call: Call) -> tuple[Any, ...] | None:
        """Return what the extension takes."""
        given = self.given
        return (
            None if given is None else (*given[:3], call.address(self.peepholes), *given[4:8], None, given[9])
        )


@dataclass(frozen=True)
class Recurrence:
    """What all windows of a sequence share."""

    call: Call
    units: int
    weights: Parts
    cell: Cell
    factors: Any  # (B, R) of h on its way into the next step, or None

    @property
    def outputs(self) -> int:
        """Size of h."""
        return int(self.weights.recurrent.shape[0])

    @property
    def hidden(self) -> tuple[str, int]:
        """The axis of h, as checks name it."""
        return ("R" if self.projected else "H", self.outputs)

    @property
    def projected(self) -> int:
        """The same where a projection makes h, and 0 otherwise."""
        return 0 if self.weights.projection is None else self.outputs

    def plan(self, batch: int, steps: int, *, backward: bool) -> dict[str, Any]:
        """Return which kernel serves; `ValueError` where the device has none."""
        plan: dict[str, Any] = self.call.extension.sequence_plan(
            self.number,
            batch,
            steps,
            self.units,
            backward,
            self.cell.given is not None,
            self.projected,
            self.cell.norm is not None,
        )
        return plan

    @property
    def number(self) -> str:
        """What the kernels multiply."""
        call = self.call
        return "tf32" if call.number == "float32" and call.device.allows_tf32 else call.number

    def _run(self, name: str, window: Window, plan: dict[str, Any], **arrays: Any) -> None:
        call = self.call
        space = call.device.zeros((plan["workspace"],), "uint8") if plan["workspace"] else None
        arrays |= {"recurrent_kernel": self.weights.recurrent, "projection": self.weights.projection}
        arrays["recurrent_mask"] = self.factors
        arrays |= {"lengths": window.lengths, "workspace": space}
        getattr(call.extension, name)(
            number=self.number,
            batch=window.batch,
            steps=window.size,
            units=self.units,
            outputs=self.projected,
            norm=None if self.cell.norm is None else self.cell.norm.given(call),
            zero_padding=True,
            first_step=window.first,
            options=self.cell.options(call),
            zoneout_seed=self.cell.zoneout_seed,
            stream=call.device.stream(),
            **{key: call.address(array) for key, array in arrays.items()},
        )

    def forward(self, window: Window, z_x: Any, h0: Any, c0: Any, *, taped: bool) -> Results:
        """Run the steps of a window; with `taped`, z_x becomes the tape's gates."""
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
            empty(B, T, H) if taped and self.projected else None,
            empty(B, T, 4 * H) if normalized else None,
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
            empty(B, T, self.outputs) if self.projected else None,
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
