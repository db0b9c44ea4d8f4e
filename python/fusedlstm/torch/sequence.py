"""One direction of one layer as a function that PyTorch can differentiate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fusedlstm import ops
from fusedlstm.torch.closed import close

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusedlstm.torch.places import Place


class Job:
    """What a sequence is run with besides its tensors."""

    def __init__(
        self, place: Place, weights: ops.LSTMWeights, lengths: NDArray[Any] | None, go_backwards: bool
    ) -> None:
        self.place, self.weights, self.lengths, self.go_backwards = place, weights, lengths, go_backwards

    def run(self, x: Any, h0: Any, c0: Any, *, training: bool) -> tuple[tuple[Any, Any, Any], Any]:
        """Return the tensors y, h and c, and the tape if `training`; in the place's scope."""
        y, h, c, tape = ops.lstm_forward(
            self.place.array(x),
            self.weights,
            self.array(h0),
            self.array(c0),
            lengths=self.lengths,
            training=training,
            go_backwards=self.go_backwards,
        )
        assert y is not None
        tensor = self.place.tensor
        return (tensor(y), tensor(h), tensor(c)), tape

    def array(self, tensor: Any) -> Any:
        """Return the array of a tensor, None for None."""
        return None if tensor is None else self.place.array(tensor)

    def contiguous(self, tensor: Any) -> Any:
        """Return an array that kernels read where it is; gradients of sums, for one, repeat one number."""
        if tensor is not None and (tensor.dim() < 3 or tensor.stride(-1) != 1):
            tensor = tensor.contiguous()
        return self.array(tensor)

    def tensors(self, arrays: tuple[Any, ...], need: tuple[bool, ...]) -> list[Any]:
        """Return the tensors that are needed, None for the others."""
        return [
            self.place.tensor(array) if needed and array is not None else None
            for array, needed in zip(arrays, need, strict=True)
        ]


class Sequence(torch.autograd.Function):  # type: ignore[misc]
    """One direction of one layer, outputs in processing order."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Any,
        h0: Any,
        c0: Any,
        w_ih: Any,  # packed in `job`; named here to get their gradients
        w_hh: Any,
        b_ih: Any,
        b_hh: Any,
        w_hr: Any,
        job: Job,
        keep_tape: bool,
    ) -> Any:
        """Run `job` on x (B, T, I), h0 (B, R) and c0 (B, H) or None; the result is y (B, T, R), h and c."""
        outputs, tape = job.run(x, h0, c0, training=keep_tape)
        ctx.job, ctx.tape, ctx.parameters = job, tape, (w_ih, w_hh, b_ih, b_hh, w_hr)
        # The tape reads x, h0 and y again; saved, PyTorch refuses a backward pass after they were changed.
        ctx.save_for_backward(x, h0, c0, outputs[0] if keep_tape else None)
        ctx.set_materialize_grads(False)
        return outputs

    @staticmethod
    def backward(ctx: Any, dy: Any, dh: Any, dc: Any) -> Any:
        """Return the gradients of `forward`'s arguments."""
        with ctx.job.place.scope():
            return (*Sequence._gradients(ctx, dy, dh, dc), None, None)

    @staticmethod
    def _gradients(ctx: Any, dy: Any, dh: Any, dc: Any) -> Any:
        x, h0, c0, y = ctx.saved_tensors
        job, tape = ctx.job, ctx.tape
        if tape is None:
            # None was kept, or an earlier pass with retain_graph used it up.
            _, tape = job.run(x, h0, c0, training=True)
        need = ctx.needs_input_grad[:8]
        if torch.is_grad_enabled() and job.place.host:
            # create_graph. Of y only the values are read again; it is no argument of the gradients.
            kept = None if y is None else y.detach()
            return _Gradients.apply(dy, dh, dc, x, h0, c0, *ctx.parameters, kept, job, tape, need)
        ctx.tape = None
        gradients = list(_first_gradients(job, tape, need, dy, dh, dc)[0])
        if torch.is_grad_enabled():
            # create_graph again: they can be used, but there are no kernels to differentiate them.
            close(gradients, _NO_SECOND, dy, dh, dc, x, h0, c0, *ctx.parameters)
        return gradients


class _Gradients(torch.autograd.Function):  # type: ignore[misc]
    """The gradients of `Sequence`, as a function that PyTorch can differentiate once more."""

    @staticmethod
    def forward(
        ctx: Any,
        dy: Any,
        dh: Any,
        dc: Any,
        x: Any,
        h0: Any,
        c0: Any,
        w_ih: Any,
        w_hh: Any,
        b_ih: Any,
        b_hh: Any,
        w_hr: Any,  # None: with a projection the tape is refused
        y: Any,
        job: Job,
        tape: ops.Tape,
        need: tuple[bool, ...],
    ) -> Any:
        results, ctx.tape = _first_gradients(job, tape, need, dy, dh, dc, keep=True)
        ctx.job = job
        ctx.sources = (dy, dh, dc, x, h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr)
        # Read again by the tape; PyTorch refuses a backward pass after they were changed.
        ctx.save_for_backward(x, h0, c0, y)
        ctx.set_materialize_grads(False)
        return results

    @staticmethod
    def backward(ctx: Any, *directions: Any) -> Any:
        """Return the gradients of `forward`'s arguments, those of `Sequence` and of its results."""
        _ = ctx.saved_tensors  # Checks that none has changed.
        ddx, ddh0, ddc0, ddw_ih, ddw_hh, ddb_ih, ddb_hh, _ = map(ctx.job.contiguous, directions)
        biases = [direction for direction in (ddb_ih, ddb_hh) if direction is not None]
        need = ctx.needs_input_grad[:11]
        seconds = ops.lstm_second_backward(
            ctx.tape,
            ddx,
            _transposed(ddw_ih),
            _transposed(ddw_hh),
            sum(biases[1:], start=biases[0]) if biases else None,
            ddh0,
            ddc0,
            need_dx=need[3],
        )
        arrays = (seconds.ddy, seconds.ddh, seconds.ddc, *_per_argument(seconds, None))
        results = ctx.job.tensors(arrays, need)
        if torch.is_grad_enabled():
            # create_graph again: they depend on all of these tensors, in a way that nothing here computes.
            close(results, _NO_THIRD, *ctx.sources, *directions)
        return (*results, None, None, None, None)


_NO_SECOND = (
    "fusedlstm.torch.LSTM: expected first derivatives only for tensors on a CUDA device, got a derivative of "
    "first ones; tensors on a CPU have second ones"
)
_NO_THIRD = (
    "fusedlstm.torch.LSTM: expected first and second derivatives only, got a derivative of second ones; "
    "torch.nn.LSTM has third ones"
)


def _first_gradients(
    job: Job,
    tape: ops.Tape,
    need: tuple[bool, ...],
    dy: Any,
    dh: Any,
    dc: Any,
    *,
    keep: bool = False,
) -> tuple[Any, ops.GradientTape | None]:
    upstream = (job.contiguous(tensor) for tensor in (dy, dh, dc))
    grads = ops.lstm_backward(tape, *upstream, need_dx=need[0], need_dweights=any(need[3:]), keep=keep)
    return tuple(job.tensors(_per_argument(grads, grads.dprojection), need)), grads.tape


def _per_argument(grads: ops.LSTMGradients | ops.LSTMSecondGradients, dprojection: Any) -> tuple[Any, ...]:
    """Return gradients in the order of `Sequence.forward`'s arguments."""
    # Copied for the second bias: both may become a parameter's .grad, which is changed in place.
    bias_hh = None if grads.dbias is None else grads.dbias.copy()
    return (
        grads.dx,
        grads.dh0,
        grads.dc0,
        None if grads.dkernel is None else grads.dkernel.T,
        None if grads.drecurrent_kernel is None else grads.drecurrent_kernel.T,
        grads.dbias,
        bias_hh,
        None if dprojection is None else dprojection.T,
    )


def _transposed(array: Any) -> Any:
    return None if array is None else np.ascontiguousarray(array.T)
