"""`fusedlstm.ops.LSTMWeights` of device arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from fusedlstm.base import devices
from fusedlstm.cuda.checks import NUMBERS, Call

if TYPE_CHECKING:
    import numpy as np

    from fusedlstm.cuda.runtime import Device

MOST = 2**28  # units and inputs, as on the CPU


class Parts(NamedTuple):
    """The weights, in C order."""

    kernel: Any  # (I, 4H)
    recurrent: Any  # (R, 4H)
    bias: Any  # (4H,), or None
    projection: Any  # (H, R), or None


class DeviceWeights:
    """Weights on a device, as its kernels read them. The constructor and `update` copy.

    ``ops.LSTMWeights(kernel, recurrent_kernel, bias)`` makes one of device arrays. Parameters and errors are
    those of `fusedlstm.ops.LSTMWeights`; besides, there are no `storage` and `compute` yet.

    Raises
    ------
    NotImplementedError
        `storage` or `compute` is given.
    TypeError, ValueError
        A dtype or shape does not fit.
    """

    def __init__(
        self,
        kernel: Any,
        recurrent_kernel: Any,
        bias: Any = None,
        *,
        projection: Any = None,
        storage: str | None = None,
        compute: str | None = None,
    ) -> None:
        self._call = Call.of("kernel", kernel, NUMBERS)
        refuse("storage", storage, self.device)
        refuse("compute", compute, self.device)
        self._call.checked("kernel", kernel, ("I", None), ("4H", None))
        self._call.checked("recurrent_kernel", recurrent_kernel, ("H", None), ("4H", None))
        self.inputs = int(kernel.shape[0])
        self.outputs = int(recurrent_kernel.shape[0])
        self.units = self.outputs
        if projection is not None:
            self._call.checked("projection", projection, ("H", None), ("R", self.outputs))
            self.units = int(projection.shape[0])
        if not 1 <= self.units <= MOST:
            raise ValueError(f"recurrent_kernel: expected 1 to 2^28 units, got {self.units}")
        if not 1 <= self.outputs <= MOST:
            raise ValueError(f"projection: expected 1 to 2^28 outputs, got {self.outputs}")
        if self.inputs > MOST:
            raise ValueError(f"kernel: expected at most 2^28 inputs, got {self.inputs}")
        self.version = 0
        self.projects = projection is not None
        self.parts = self._packed(kernel, recurrent_kernel, bias, projection)

    def _packed(self, kernel: Any, recurrent_kernel: Any, bias: Any, projection: Any) -> Parts:
        columns = ("4H", 4 * self.units)
        checked = self._call.checked
        # Copies in C order, whatever the layout.
        return Parts(
            checked("kernel", kernel, ("I", self.inputs), columns).copy(),
            checked("recurrent_kernel", recurrent_kernel, self.hidden, columns).copy(),
            None if bias is None else checked("bias", bias, columns).copy(),
            None
            if projection is None
            else checked("projection", projection, ("H", self.units), ("R", self.outputs)).copy(),
        )

    def update(self, kernel: Any, recurrent_kernel: Any, bias: Any = None, *, projection: Any = None) -> None:
        """Replace the weights by others of the same shapes and dtype; a failed update changes nothing."""
        if (projection is not None) != self.projects:
            expected = "an array, as there has been one" if self.projects else "None, as there has been none"
            got = "None" if projection is None else "an array"
            raise ValueError(f"projection: expected {expected}, got {got}")
        self.parts = self._packed(kernel, recurrent_kernel, bias, projection)
        self.version += 1

    def unpack(self) -> tuple[Any, ...]:
        """Return copies of ``(kernel, recurrent_kernel)``, and of the projection if there is one."""
        kernel, recurrent, _, projection = self.parts
        return tuple(part.copy() for part in (kernel, recurrent, projection) if part is not None)

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how copies and pickles make the same weights, on the device of the time."""
        host = [None if part is None else devices.to_host(part) for part in self.parts]
        return _restored, (self.device, *host)

    @property
    def device(self) -> Device:
        """Where they are."""
        return self._call.device

    @property
    def hidden(self) -> tuple[str, int]:
        """The axis of h, as checks name it."""
        return ("R" if self.projects else "H", self.outputs)

    @property
    def use_bias(self) -> bool:
        """Whether there is a bias."""
        return self.parts.bias is not None

    @property
    def bias(self) -> Any:
        """A copy of the bias, or None."""
        return None if self.parts.bias is None else self.parts.bias.copy()

    @property
    def factors(self) -> None:
        """None: there are no int8 weights here."""

    @property
    def storage(self) -> str:
        """``"full"``."""
        return "full"

    @property
    def compute(self) -> None:
        """None: products are those of the arrays' type."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The arrays' number type."""
        return self._call.dtype


def _restored(device: Device, *host: Any) -> DeviceWeights:
    *arrays, projection = (None if part is None else device.put(part) for part in host)
    return DeviceWeights(*arrays, projection=projection)


def refuse(name: str, value: object, device: Device) -> None:
    """Raise `NotImplementedError` for what the device has no kernel for."""
    if value is None or value is False:
        return
    got = repr(value) if isinstance(value, str | bool | int) else type(value).__name__
    raise NotImplementedError(
        f"{name}: expected {'False' if value is True else 'None'} for arrays on {device.name}, "
        f"whose kernels do not have it yet, got {got}"
    )
