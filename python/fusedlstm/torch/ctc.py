"""`ctc_loss`: ``torch.nn.functional.ctc_loss`` computed by this package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fusedlstm import ops
from fusedlstm.base import checks
from fusedlstm.torch.closed import close

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_REDUCTIONS = ("none", "mean", "sum")
_NAMES = {
    "logits": "log_probs",
    "labels": "targets",
    "logit_lengths": "input_lengths",
    "label_lengths": "target_lengths",
}
_NO_SECOND = (
    "fusedlstm.torch.ctc_loss: expected first derivatives only, got a derivative of first ones, which "
    "torch.nn.functional.ctc_loss does not have either"
)


def ctc_loss(
    log_probs: Any,
    targets: Any,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Any:
    """Compute ``torch.nn.functional.ctc_loss`` by this package, in place of which it stands.

    The softmax over classes is part of it: ``log_probs`` may be logits. Of what ``log_softmax`` returns it
    changes nothing, so that there the results are PyTorch's; but the gradient is the true one for logits as
    well, where PyTorch's presumes that a ``log_softmax`` stands before it. Without that one, a training step
    saves two passes over the tensor. Rows of infinite loss have a gradient of zero; PyTorch's is NaN.

    Parameters
    ----------
    log_probs : tensor (T, N, C) or (T, C)
        Logits, or logarithms of probabilities, in float32 or float64 on a CPU.
    targets : tensor (N, S) or (sum of target_lengths,)
        Classes other than the blank, in rows that are filled up with anything, or one after the other.
    input_lengths, target_lengths : tensor or sequence (N,), or a number for (T, C)
        Steps and classes of each row.
    blank : int
        The class of the blank.
    reduction : {"mean", "sum", "none"}
        ``mean`` divides each row's loss by its number of classes first, if there are any.
    zero_infinity : bool
        Loss 0 instead of infinity.

    Returns
    -------
    tensor () or (N,)

    Raises
    ------
    TypeError, ValueError
        A dtype, a shape or a number does not fit; see `fusedlstm.ops.ctc_loss`.
    RuntimeError
        From a second derivative.
    """
    checks.choice(reduction, "reduction", _REDUCTIONS)
    if not isinstance(log_probs, torch.Tensor):
        raise TypeError(f"log_probs: expected a tensor, got {type(log_probs).__name__}")
    if log_probs.device.type != "cpu" or log_probs.layout != torch.strided:
        raise ValueError(
            f"log_probs: expected a dense tensor on a CPU, got a {log_probs.layout} one on {log_probs.device}"
        )
    if log_probs.dim() not in (2, 3):
        raise ValueError(f"log_probs: expected 2 or 3 axes, got shape {tuple(log_probs.shape)}")
    one = log_probs.dim() == 2
    logits = (log_probs.unsqueeze(1) if one else log_probs).transpose(0, 1)
    steps, counts = (
        np.atleast_1d(checks.whole(_host(lengths), name))
        for lengths, name in ((input_lengths, "input_lengths"), (target_lengths, "target_lengths"))
    )
    labels = checks.whole(_host(targets), "targets")
    if labels.ndim == 1:
        labels = labels[None] if one else _in_rows(labels, counts)
    return _CTC.apply(logits, Job(labels, steps, counts, blank, reduction, zero_infinity, one))


class Job:
    """What the loss is computed from besides its logits, and how it is reduced."""

    def __init__(
        self,
        labels: Array,
        steps: Array,
        counts: Array,
        blank: int,
        reduction: str,
        zero_infinity: bool,
        one: bool,
    ) -> None:
        self.arguments = labels, steps, counts, blank, zero_infinity
        self.reduction, self.one = reduction, one
        self.factors = np.ones(len(counts))
        if reduction == "mean":
            self.factors /= len(counts) * np.maximum(counts, 1)

    def run(self, logits: Any, *, need_dlogits: bool) -> tuple[Any, Any]:
        """Return the reduced loss, and its gradient if that is needed."""
        if logits.stride(-1) != 1:
            logits = logits.contiguous()
        values = logits.detach().numpy()
        labels, steps, counts, blank, zero_infinity = self.arguments
        try:
            losses, gradient = ops.ctc_loss(
                values,
                labels,
                steps,
                counts,
                blank,
                zero_infinity,
                row_weights=self.factors.astype(values.dtype),
                need_dlogits=need_dlogits,
            )
        except (TypeError, ValueError) as error:
            name, colon, text = str(error).partition(":")
            raise type(error)(_NAMES.get(name, name) + colon + text) from None
        if self.reduction != "none":
            value = np.asarray((losses * self.factors).sum(), losses.dtype)
        else:
            value = losses[0] if self.one else losses
        return torch.from_numpy(np.asarray(value)), None if gradient is None else torch.from_numpy(gradient)


class _CTC(torch.autograd.Function):  # type: ignore[misc]
    """The reduced loss of logits (N, T, C)."""

    @staticmethod
    def forward(ctx: Any, logits: Any, job: Job) -> Any:
        """Compute the loss, and its gradient with it."""
        value, ctx.gradient = job.run(logits, need_dlogits=ctx.needs_input_grad[0])
        ctx.job = job
        ctx.save_for_backward(logits)
        return value

    @staticmethod
    def backward(ctx: Any, dloss: Any) -> Any:
        """Return the gradient of the logits."""
        (logits,) = ctx.saved_tensors
        # Whoever gets it may write into it, so that another pass with retain_graph computes another.
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is None:
            _, gradient = ctx.job.run(logits, need_dlogits=True)
        if dloss.dim() or dloss.item() != 1.0:
            gradient = gradient * dloss.detach().reshape(-1, 1, 1)
        if torch.is_grad_enabled():
            results = [gradient]
            close(results, _NO_SECOND, dloss, logits)
            return results[0], None
        return gradient, None


def _host(value: Any) -> Any:
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value


def _in_rows(labels: Array, counts: Array) -> Array:
    """Return classes that stand one row after the other in rows (N, S)."""
    if (counts < 0).any() or counts.sum() != len(labels):
        raise ValueError(
            f"targets: expected the sum of target_lengths, {counts.sum()}, of numbers, got {len(labels)}"
        )
    rows = np.zeros((len(counts), int(counts.max(initial=0))), np.int64)
    rows[np.arange(rows.shape[1]) < counts[:, None]] = labels
    return rows
