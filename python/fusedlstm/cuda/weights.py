"""`fusedlstm.ops.LSTMWeights` of device arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusedlstm.cuda.checks import NUMBERS, Call

if TYPE_CHECKING:
    import numpy as np

    from fusedlstm.cuda.runtime import Device

MOST = 2**28  # units and inputs, as on the CPU


class DeviceWeights:
    """Weights on a device, as its kernels read them. The constructor and `update` copy.

    ``ops.LSTMWeights(kernel, recurrent_kernel, bias)`` makes one of device arrays. Parameters and errors are
    those of `fusedlstm.ops.LSTMWeights`; besides, there is no `projection` and no `storage` yet.

    Raises
    ------
    NotImplementedError
        `projection` or `storage` is given.
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
    ) -> None:
        self._call = Call.of("kernel", kernel, NUMBERS)
        refuse("projection", projection, self.device)
        refuse("storage", storage, self.device)
        self._call.checked("kernel", kernel, ("I", None), ("4H", None))
        self._call.checked("recurrent_kernel", recurrent_kernel, ("H", None), ("4H", None))
        self.inputs = int(kernel.shape[0])
        self.units = int(recurrent_kernel.shape[0])
        if not 1 <= self.units <= MOST:
            raise ValueError(f"recurrent_kernel: expected 1 to 2^28 units, got {self.units}")
        if self.inputs > MOST:
            raise ValueError(f"kernel: expected at most 2^28 inputs, got {self.inputs}")
        self.version = 0
        self.parts = self._packed(kernel, recurrent_kernel, bias)

    def _packed(self, kernel: Any, recurrent_kernel: Any, bias: Any) -> tuple[Any, Any, Any]:
        columns = ("4H", 4 * self.units)
        given = (
            self._call.checked("kernel", kernel, ("I", self.inputs), columns),
            self._call.checked("recurrent_kernel", recurrent_kernel, ("H", self.units), columns),
            None if bias is None else self._call.checked("bias", bias, columns),
        )
        # Copies in C order, whatever the layout.
        kernel, recurrent_kernel, bias = (None if part is None else part.copy() for part in given)
        return kernel, recurrent_kernel, bias

    def update(self, kernel: Any, recurrent_kernel: Any, bias: Any = None, *, projection: Any = None) -> None:
        """Replace the weights by others of the same shapes and dtype; a failed update changes nothing."""
        if projection is not None:
            raise ValueError("projection: expected None, as there has been none, got an array")
        self.parts = self._packed(kernel, recurrent_kernel, bias)
        self.version += 1

    def unpack(self) -> tuple[Any, ...]:
        """Return copies of ``(kernel, recurrent_kernel)``."""
        return self.parts[0].copy(), self.parts[1].copy()

    @property
    def device(self) -> Device:
        """Where they are."""
        return self._call.device

    @property
    def outputs(self) -> int:
        """Size of h."""
        return self.units

    @property
    def use_bias(self) -> bool:
        """Whether there is a bias."""
        return self.parts[2] is not None

    @property
    def storage(self) -> str:
        """``"full"``."""
        return "full"

    @property
    def dtype(self) -> np.dtype[Any]:
        """The arrays' number type."""
        return self._call.dtype


def refuse(name: str, value: object, device: Device) -> None:
    """Raise `NotImplementedError` for what the device has no kernel for."""
    if value is None or value is False:
        return
    got = repr(value) if isinstance(value, str | bool | int) else type(value).__name__
    raise NotImplementedError(
        f"{name}: expected {'False' if value is True else 'None'} for arrays on {device.name}, "
        f"whose kernels do not have it yet, got {got}"
    )
