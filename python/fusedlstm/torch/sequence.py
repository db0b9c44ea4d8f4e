"""One direction of one layer as a function that PyTorch can differentiate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from fusedlstm import ops

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Job", "Sequence"]


class Job:
    """What a sequence is run with besides its tensors."""

    def __init__(self, weights: ops.LSTMWeights, lengths: NDArray[Any] | None, go_backwards: bool) -> None:
        self.weights, self.lengths, self.go_backwards = weights, lengths, go_backwards

    def run(self, x: Any, h0: Any, c0: Any, *, training: bool) -> tuple[tuple[Any, Any, Any], Any]:
        """Return the tensors y, h and c, and the tape if `training`."""
        y, h, c, tape = ops.lstm_forward(
            x.detach().numpy(),
            self.weights,
            _array(h0),
            _array(c0),
            lengths=self.lengths,
            training=training,
            go_backwards=self.go_backwards,
        )
        assert y is not None
        return (torch.from_numpy(y), torch.from_numpy(h), torch.from_numpy(c)), tape


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
        x, h0, c0, _ = ctx.saved_tensors
        tape, ctx.tape = ctx.tape, None
        if tape is None:
            # None was kept, or an earlier pass with retain_graph used it up.
            _, tape = ctx.job.run(x, h0, c0, training=True)
        need = ctx.needs_input_grad[:8]
        # Autograd's gradients lie as they come: those of sums repeat one number.
        if dy is not None and dy.stride(-1) != 1:
            dy = dy.contiguous()
        dh, dc = (None if state is None else state.contiguous() for state in (dh, dc))
        grads = ops.lstm_backward(tape, _array(dy), _array(dh), _array(dc), need_dx=need[0])
        # Copied for the second bias: both may become a parameter's .grad, which is changed in place.
        bias_hh = None if grads.dbias is None else grads.dbias.copy()
        arrays = (
            grads.dx,
            grads.dh0,
            grads.dc0,
            grads.dkernel.T,
            grads.drecurrent_kernel.T,
            grads.dbias,
            bias_hh,
            None if grads.dprojection is None else grads.dprojection.T,
        )
        results = [
            torch.from_numpy(array) if needed and array is not None else None
            for array, needed in zip(arrays, need, strict=True)
        ]
        if torch.is_grad_enabled():
            # create_graph: they depend on all of these tensors, in a way that nothing here computes.
            wanted = [k for k, result in enumerate(results) if result is not None]
            made = _Gradients.apply([results[k] for k in wanted], x, h0, c0, *ctx.parameters, dy, dh, dc)
            for k, result in zip(wanted, made, strict=True):
                results[k] = result
        return (*results, None, None)


class _Gradients(torch.autograd.Function):  # type: ignore[misc]
    """Gradients that cannot be differentiated again.

    `once_differentiable` of PyTorch would let them pass for constants where ``dy`` is one.
    """

    @staticmethod
    def forward(ctx: Any, results: list[Any], *sources: Any) -> Any:  # noqa: ARG004
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:  # noqa: ARG004
        raise RuntimeError(
            "fusedlstm.torch.LSTM: expected first derivatives only, got a derivative of its gradients; "
            "torch.nn.LSTM has second ones"
        )


def _array(tensor: Any) -> Any:
    return None if tensor is None else tensor.detach().numpy()
