"""`Placed`: what has its weights on the CPU or on a device, and computes there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusedlstm.base import devices
from fusedlstm.base.copying import Copied

if TYPE_CHECKING:
    from typing_extensions import Self

    from fusedlstm.base.devices import Device


class Placed(Copied):
    """What layers and models have in common.

    Attributes
    ----------
    place : Device
        Where the weights are.
    """

    place: Device = devices.CPU

    @property
    def device(self) -> str:
        """Where the weights are and everything is computed: ``"cpu"`` or ``"cuda"``."""
        return self.place.kind

    def to(self, device: str) -> Self:
        """Move the weights, and what goes with them, to a device, and compute there from now on.

        Seeds mean there what they mean on the CPU. `get_weights` and files hold copies from the host.

        Parameters
        ----------
        device : {"cpu", "cuda", "auto"}
            ``"cuda"`` is CuPy's current device, ``"auto"`` that where there is one.

        Returns
        -------
        Layer or Sequential
            This object.

        Raises
        ------
        ValueError, RuntimeError, ImportError
            If the name is unknown, or there is no such device to compute on; nothing is moved then.
        """
        self.move(devices.find(device))
        return self

    def move(self, place: Device) -> None:
        """Do what `to` does for a device that is known already."""
        self.place = place
