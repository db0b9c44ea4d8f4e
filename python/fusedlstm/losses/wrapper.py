"""Functions as losses, which give their gradient themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusedlstm.base import checks
from fusedlstm.base.names import name_of
from fusedlstm.losses.base import Labels, Loss

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusedlstm.base.types import Array


class LossFunctionWrapper(Loss):
    """A function as a loss; `get` makes this of one.

    Parameters
    ----------
    fn : callable
        ``fn(y_true, y_pred)`` returns ``(losses, gradients)`` for predictions (..., C): a number for each
        sample, shape (...), and the derivatives of each sample's loss by its predictions, shape (..., C).
        Labels have the predictions' dtype, or are integers; a last axis of length 1 is added or left out
        where that makes them shaped like the predictions.
    reduction
        As in `Loss`.
    name : str, optional
        Name; the function's by default.
    """

    def __init__(
        self,
        fn: Callable[[Any, Any], tuple[Any, Any]],
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        if not callable(fn):
            raise TypeError(f"fn: expected a function of y_true and y_pred, got {fn!r:.80}")
        super().__init__(name_of(fn) if name is None else name, reduction)
        self.fn = fn

    def prepare(self, y_true: object, shape: tuple[int, ...], name: str = "y_true") -> Labels:
        """Check that labels are finite numbers; see `Loss.prepare`."""
        labels = checks.numeric(y_true, name)
        if labels.shape[:1] != shape[:1]:
            raise ValueError(f"{name}: expected {shape[0]} samples like the predictions, got {labels.shape}")
        if (*labels.shape, 1) == shape or labels.shape == (*shape, 1):
            return super().prepare(labels, shape, name)
        checks.finite(labels, name)
        return labels

    def terms(self, y_true: Labels, y_pred: Array) -> tuple[Array, Array]:
        """Return each sample's loss and gradient; see `Loss.terms`.

        Raises
        ------
        TypeError, ValueError
            If the function returns anything else.
        """
        if y_true.dtype.kind == "f":
            y_true = y_true.astype(y_pred.dtype, copy=False)
        result = self.fn(y_true, y_pred)
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(
                f"loss: expected {self.name} to return (losses, gradients), since there is no automatic "
                f"differentiation: a number per sample, shape {y_pred.shape[:-1]}, and the derivatives by "
                f"y_pred, shape {y_pred.shape}; got {type(result).__name__}"
            )
        parts = []
        for what, part, shape in zip(
            ("losses", "gradients"), result, (y_pred.shape[:-1], y_pred.shape), strict=True
        ):
            array = checks.numeric(part, f"loss: {what} of {self.name}")
            if array.shape != shape:
                raise ValueError(f"loss: expected {what} of {self.name} of shape {shape}, got {array.shape}")
            parts.append(array.astype(y_pred.dtype, copy=False))
        return parts[0], parts[1]
