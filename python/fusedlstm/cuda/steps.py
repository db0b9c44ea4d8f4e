"""Which steps of each row are real, on the device, and arrays between time and the kernels' order.

The kernels of sequences take rows that are padded on the right. So real steps are moved to the front of their
row, and results back to where they belong (csrc/cuda/steps.h).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from fusedlstm.cuda.checks import Call

MOST_STEPS = 2**31 - 1


class RealSteps:
    """Real steps, from `lengths`, a `mask` or neither, as `fusedlstm.ops.lstm_forward` says them.

    Attributes
    ----------
    lengths : int64 array (B,) or None
        Real steps of each row; None for all.
    repeats : bool
        Outputs repeat the state where no step is real.
    """

    def __init__(
        self,
        call: Call,
        lengths: Any,
        mask: Any,
        zero_output_for_mask: bool,
        go_backwards: bool,
        batch: int,
        steps: int,
    ) -> None:
        self._call = call
        self.batch, self.steps = batch, steps
        self.backwards = go_backwards
        self.lengths: Any = None
        self._times: Any = None
        self._counts: Any = None
        if lengths is not None and mask is not None:
            raise ValueError("mask: expected None together with lengths, got both")
        if (lengths is not None or mask is not None) and steps > MOST_STEPS:
            raise ValueError(
                f"x: expected fewer than 2^31 steps together with lengths or a mask, got {steps}"
            )
        if lengths is not None:
            lengths = self._checked_lengths(lengths)
            if go_backwards:
                self._find(last=lengths)
            else:
                self.lengths = lengths
        elif mask is not None:
            mask = self._checked_mask(mask)
            self._find(mask=(mask[:, ::-1] if go_backwards else mask).copy())
        self.repeats = mask is not None and not zero_output_for_mask

    def _checked_lengths(self, lengths: Any) -> Any:
        if hasattr(lengths, "dtype"):
            self._call.own("lengths", lengths)
        if getattr(getattr(lengths, "dtype", None), "kind", "") not in ("i", "u"):
            raise TypeError(f"lengths: expected an array of integers, got {_got(lengths)}")
        if lengths.shape != (self.batch,):
            raise ValueError(f"lengths: expected shape (B={self.batch},), got shape {tuple(lengths.shape)}")
        with_sign = lengths.dtype.kind == "i"
        lengths = lengths.astype(np.int64)  # always a copy: later changes are not seen
        wrong = (lengths < 0) | (lengths > self.steps)
        if bool(np.any(wrong)):
            # Larger ones without a sign have become negative.
            first = int(lengths[wrong][0]) if with_sign else int(lengths[wrong][0]) % 2**64
            raise ValueError(f"lengths: expected numbers from 0 to T={self.steps}, got {first}")
        return lengths

    def _checked_mask(self, mask: Any) -> Any:
        if hasattr(mask, "dtype"):
            self._call.own("mask", mask)
        if getattr(getattr(mask, "dtype", None), "kind", "") != "b":
            raise TypeError(f"mask: expected an array of booleans, got {_got(mask)}")
        if mask.shape != (self.batch, self.steps):
            raise ValueError(
                f"mask: expected shape (B={self.batch}, T={self.steps}), got shape {tuple(mask.shape)}"
            )
        return mask

    def _find(self, mask: Any = None, last: Any = None) -> None:
        call, B, T = self._call, self.batch, self.steps
        self.lengths = call.device.empty((B,), np.int64)
        self._times, self._counts = (call.device.empty((B, T), np.int32) for _ in range(2))
        call.extension.find_steps(
            batch=B,
            steps=T,
            mask=call.address(mask),
            last=call.address(last),
            lengths=call.address(self.lengths),
            times=call.address(self._times),
            counts=call.address(self._counts),
            stream=call.device.stream(),
        )

    @property
    def moves(self) -> bool:
        """Whether real steps lie elsewhere than at the front of their row."""
        return self._times is not None

    def _handle(self) -> Any:
        call = self._call
        return call.extension.RealSteps(
            batch=self.batch,
            steps=self.steps,
            lengths=call.address(self.lengths),
            times=call.address(self._times),
            counts=call.address(self._counts),
        )

    def _run(self, name: str, features: int, **arguments: Any) -> None:
        call = self._call
        getattr(call.extension, name)(
            number=call.number,
            real=self._handle(),
            features=features,
            stream=call.device.stream(),
            **arguments,
        )

    def gathered(self, array: Any, *, of_input: bool) -> Any:
        """Return (B, T, features) in C order, real steps in front and zeros behind; maybe `array` itself.

        `of_input`: the array is in the order of time, and not in that of processing.
        """
        if of_input and self.backwards:
            array = array[:, ::-1]
        # Padding on the right is not read in gradients of outputs.
        if array.flags.c_contiguous and (self.lengths is None or not (of_input or self.moves)):
            return array
        features = array.shape[2]
        result = self._call.empty(self.batch, self.steps, features)
        self._run(
            "gather_steps",
            features,
            source=self._call.strided(array),
            to=self._call.address(result),
        )
        return result

    def outputs(self, y: Any, h0: Any) -> Any:
        """Return y (B, T, H) where its steps belong, the others as the contract says."""
        if not self.moves:
            return y  # The kernel has put the zeros.
        result = self._call.empty(*y.shape)
        self._run(
            "spread_steps",
            y.shape[2],
            source=self._call.address(y),
            repeats=self.repeats,
            first=self._call.address(h0),
            to=self._call.strided(result),
        )
        return result

    def input_gradients(self, dx: Any) -> Any:
        """Return dx (B, T, I) where its steps belong, and zeros."""
        if self.lengths is None and not self.backwards:
            return dx
        result = self._call.empty(*dx.shape)
        self._run(
            "spread_steps",
            dx.shape[2],
            source=self._call.address(dx),
            to=self._call.strided(result[:, ::-1] if self.backwards else result),
        )
        return result

    def output_gradients(self, dy: Any) -> tuple[Any, Any]:
        """Return the gradients of real steps, and what repeated initial states add to dh0, or None."""
        if not self.repeats:
            return self.gathered(dy, of_input=False), None
        B, T, H = dy.shape
        sums, first = self._call.empty(B, T, H), self._call.empty(B, H)
        self._run(
            "sum_repeats",
            H,
            source=self._call.strided(dy),
            sums=self._call.address(sums),
            first=self._call.address(first),
        )
        return sums, first

    def window(self, first: int, size: int) -> Window:
        """Return some steps in the order of processing."""
        lengths = None if self.lengths is None else np.clip(self.lengths - first, 0, size)
        return Window(self._call, self.batch, first, size, lengths)


class Window:
    """Steps ``first`` to ``first + size`` of rows that are padded on the right."""

    def __init__(self, call: Call, batch: int, first: int, size: int, lengths: Any) -> None:
        self._call = call
        self.batch, self.first, self.size = batch, first, size
        self.lengths = lengths

    def of(self, array: Any) -> Any:
        """Return the window of a (B, T, features) array in C order."""
        if self.size == array.shape[1]:
            return array
        view = array[:, self.first : self.first + self.size]
        return view if view.flags.c_contiguous else view.copy()

    def previous_states(self, h0: Any, y: Any, factors: Any) -> Any:
        """Return (B size, H): what the recurrent product of each step has read."""
        call = self._call
        result = call.empty(self.batch * self.size, y.shape[2])
        call.extension.previous_states(
            number=call.number,
            real=call.extension.RealSteps(
                batch=self.batch, steps=self.size, lengths=call.address(self.lengths)
            ),
            features=y.shape[2],
            h0=call.address(h0),
            y=call.address(y),
            factors=call.address(factors),
            previous=call.address(result),
            stream=call.device.stream(),
        )
        return result


def _got(value: Any) -> str:
    return f"an array of {value.dtype}" if hasattr(value, "dtype") else type(value).__name__
