"""Cross-entropies in which samples that are right already count less (Lin et al. 2017)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fusedlstm.activations import sigmoid, softmax
from fusedlstm.base import checks, devices
from fusedlstm.losses.crossentropy import BinaryCrossentropy, CategoricalCrossentropy, clipped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusedlstm.base.types import Array
    from fusedlstm.losses.base import Labels


class BinaryFocalCrossentropy(BinaryCrossentropy):
    """Mean of ``(1 - q)**gamma`` times the binary cross-entropy, where q is the probability of the label.

    Parameters
    ----------
    apply_class_balancing : bool
        Whether labels 1 count ``alpha``, labels 0 ``1 - alpha``.
    alpha : float
        In [0, 1].
    gamma : float
        At least 0, which means no focus.
    from_logits, label_smoothing
        As in `BinaryCrossentropy`; logits are made probabilities first.
    reduction, name
        As in `Loss`.
    """

    link = None
    usual_name = "binary_focal_crossentropy"

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        *,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        super().__init__(from_logits, label_smoothing, reduction=reduction, name=name)
        self.apply_class_balancing = checks.flag(apply_class_balancing, "apply_class_balancing")
        self.alpha = checks.share(alpha, "alpha")
        self.gamma = checks.non_negative(gamma, "gamma")

    def elements(self, y: Array, p: Array) -> tuple[Array, Array]:
        """Return the loss and its derivative; see `ElementLoss.elements`."""
        y = self._smooth(y)
        if self.from_logits:
            p = sigmoid(p)
        safe, inside = clipped(p)
        entropy = -(y * np.log(safe) + (1 - y) * np.log(1 - safe))
        slope = (safe - y) / (safe * (1 - safe)) * inside
        wrong = 1 - (y * p + (1 - y) * (1 - p))
        focus = wrong**self.gamma
        slope = focus * slope + _power_slope(wrong, self.gamma) * (1 - 2 * y) * entropy
        weight = y * self.alpha + (1 - y) * (1 - self.alpha) if self.apply_class_balancing else 1
        if self.from_logits:
            slope = slope * (p * (1 - p))
        return weight * focus * entropy, weight * slope


class CategoricalFocalCrossentropy(CategoricalCrossentropy):
    """``sum(-alpha (1 - p)**gamma y log(p))`` over the last axis.

    Parameters
    ----------
    alpha : float or sequence of float
        Weight of all classes, or of each.
    gamma : float
        At least 0, which means no focus.
    from_logits, label_smoothing
        As in `CategoricalCrossentropy`; logits are made probabilities first.
    reduction, name
        As in `Loss`.
    """

    link = None
    usual_name = "categorical_focal_crossentropy"

    def __init__(
        self,
        alpha: float | Sequence[float] = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        *,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        super().__init__(from_logits, label_smoothing, reduction=reduction, name=name)
        one = isinstance(alpha, int | float | np.number)
        self.alpha = checks.number(alpha, "alpha") if one else checks.numeric(alpha, "alpha").tolist()
        self.gamma = checks.non_negative(gamma, "gamma")

    def prepare(self, y_true: object, shape: tuple[int, ...], name: str = "y_true") -> Labels:
        """Check labels in [0, 1], and the number of weights in ``alpha``; see `Loss.prepare`."""
        if isinstance(self.alpha, list) and np.shape(self.alpha) != shape[-1:]:
            raise ValueError(
                f"alpha: expected a number or {shape[-1]} of them, got shape {np.shape(self.alpha)}"
            )
        return super().prepare(y_true, shape, name)

    def of_logits(self, y: Array, z: Array) -> tuple[Array, Array]:
        """Return the loss, and its derivatives by the logits; see `CategoricalCrossentropy`."""
        share = softmax(z)
        losses, slope = self.of_shares(y, share)
        return losses, share * (slope - (slope * share).sum(axis=-1, keepdims=True))

    def of_shares(self, y: Array, share: Array) -> tuple[Array, Array]:
        """Return the loss, and its derivatives by the probabilities; see `CategoricalCrossentropy`."""
        p, inside = clipped(share)
        alpha = self.alpha
        if isinstance(alpha, list):
            alpha = devices.beside(np.array(alpha, p.dtype), p)
        log_p, focus = np.log(p), (1 - p) ** self.gamma
        slope = _power_slope(1 - p, self.gamma) * log_p - focus / p
        return -(alpha * focus * y * log_p).sum(axis=-1), alpha * y * slope * inside


def _power_slope(base: Array, power: float) -> Array | float:
    """Return the derivative of ``base**power``, which is 0 where the power is."""
    return power * base ** (power - 1) if power else 0.0
