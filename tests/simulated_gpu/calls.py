"""The project's kernels on arrays of the simulated device, for tests of one kernel alone.

Arrays are what the module's ``array`` and ``empty`` made, in C order and of one number type; those named as
outputs are written.
"""

from __future__ import annotations

from typing import Any


def address(array: Any) -> int | None:
    """Return where an array's first element lies, and None for None."""
    return None if array is None else int(array.__array_interface__["data"][0])


class Calls:
    """A module of kernels, whose functions take arrays in the place of addresses and sizes."""

    def __init__(self, module: Any) -> None:
        self.module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)

    def _run(self, name: str, sizes: dict[str, Any], arrays: dict[str, Any], **others: Any) -> None:
        options = others.get("options")
        peepholes = None if options is None else options.peepholes
        addresses = {key: address(value) for key, value in {**arrays, "peepholes": peepholes}.items()}
        getattr(self.module, name)(**sizes, **addresses, **others)

    def cell_forward(self, z: Any, c_prev: Any, h: Any, c: Any, gates: Any, options: Any = None) -> None:
        """Run the cell alone."""
        sizes = {"number": z.dtype.name, "batch": c_prev.shape[0], "units": c_prev.shape[1]}
        arrays = {"z": z, "c_prev": c_prev, "h": h, "c": c, "gates": gates}
        self._run("cell_forward", sizes, arrays, options=options)

    def cell_backward(
        self, gates: Any, c_prev: Any, c: Any, dh: Any, dc: Any, dz: Any, dc_prev: Any, options: Any = None
    ) -> None:
        """Run the cell alone, backward."""
        sizes = {"number": gates.dtype.name, "batch": c_prev.shape[0], "units": c_prev.shape[1]}
        arrays = {"gates": gates, "c_prev": c_prev, "c": c, "dh": dh, "dc": dc, "dz": dz, "dc_prev": dc_prev}
        self._run("cell_backward", sizes, arrays, options=options)

    def sequence_forward(
        self,
        z_x: Any,
        recurrent_kernel: Any,
        h0: Any,
        c0: Any,
        lengths: Any,
        y: Any,
        h: Any,
        c: Any,
        gates: Any,
        cells: Any,
        bias: Any = None,
        recurrent_mask: Any = None,
        options: Any = None,
        zoneout_seed: int | None = None,
        workspace: Any = None,
        **others: Any,
    ) -> None:
        """Run the kernel that the plan has for a sequence."""
        B, T, H = y.shape
        sizes = {"number": others.pop("number", z_x.dtype.name), "batch": B, "steps": T, "units": H}
        arrays = {
            "z_x": z_x,
            "bias": bias,
            "recurrent_kernel": recurrent_kernel,
            "h0": h0,
            "c0": c0,
            "lengths": lengths,
            "y": y,
            "h": h,
            "c": c,
            "gates": gates,
            "cells": cells,
            "recurrent_mask": recurrent_mask,
            "workspace": workspace,
        }
        self._run("sequence_forward", sizes, arrays, options=options, zoneout_seed=zoneout_seed, **others)

    def sequence_backward(
        self,
        recurrent_kernel: Any,
        lengths: Any,
        cells: Any,
        dy: Any,
        dh: Any,
        dc: Any,
        gates: Any,
        dh0: Any,
        dc0: Any,
        dpeepholes: Any = None,
        recurrent_mask: Any = None,
        options: Any = None,
        zoneout_seed: int | None = None,
        workspace: Any = None,
        **others: Any,
    ) -> None:
        """Run the kernel that the plan has for a sequence on the way back."""
        sizes = {
            "number": others.pop("number", gates.dtype.name),
            "batch": gates.shape[0],
            "steps": gates.shape[1],
        }
        sizes["units"] = dh0.shape[1]
        arrays = {
            "recurrent_kernel": recurrent_kernel,
            "lengths": lengths,
            "cells": cells,
            "dy": dy,
            "dh": dh,
            "dc": dc,
            "gates": gates,
            "dh0": dh0,
            "dc0": dc0,
            "dpeepholes": dpeepholes,
            "recurrent_mask": recurrent_mask,
            "workspace": workspace,
        }
        self._run("sequence_backward", sizes, arrays, options=options, zoneout_seed=zoneout_seed, **others)
