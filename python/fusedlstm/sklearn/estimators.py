"""The estimators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import assert_all_finite, check_array, check_consistent_length, column_or_1d
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from fusedlstm.activations import softmax
from fusedlstm.losses import MeanSquaredError, SparseCategoricalCrossentropy
from fusedlstm.sklearn.base import LSTMEstimator, all_or_nothing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

    from fusedlstm.base.types import Array

# Checks of scikit-learn's that do not apply, with the reason.
EXPECTED_FAILED_CHECKS: Mapping[str, str] = {
    "check_sample_weight_equivalence_on_dense_data": (
        "training by batches: a sample with weight 2 is in one batch, a sample given twice in two"
    ),
}


class LSTMClassifier(ClassifierMixin, LSTMEstimator):  # type: ignore[misc]
    """Classifier of sequences: LSTM layers and a softmax over their last state.

    X is (n_samples, n_steps, n_features), float or converted to `dtype`, without NaN or infinity. A table
    (n_samples, n_steps) is read as sequences of one feature, each column a step. Sequences of different
    lengths are filled up to one length with steps of `padding_value`, which cost nothing. Inputs are not
    scaled.

    scikit-learn's own ``check_estimator``, whose data are tables, passes except for
    `EXPECTED_FAILED_CHECKS`: training goes by batches, so that a sample of weight 2 is not the same as one
    given twice.

    Parameters
    ----------
    units : int or list of int
        Units of the LSTM; a list for several, one on top of the other.
    bidirectional : bool
        Whether each LSTM reads the sequence in both directions.
    dropout : float
        Share of each LSTM's outputs dropped in training on their way to the next layer, in [0, 1).
    recurrent_dropout : float
        Share of the hidden state's units that a step does not see in training, in [0, 1).
    padding_value : float, optional
        Steps whose features all equal it are left out. NaN stands for steps whose features are all NaN, and
        allows them in X.
    epochs : int
        Passes over the samples.
    batch_size : int
        Samples per update.
    optimizer : str
        Name of an optimizer of `fusedlstm.optimizers`.
    learning_rate : float
        Its learning rate.
    early_stopping : bool
        Whether a part of the samples is held out, and training ends, with the best epoch's weights, when the
        loss on it has not got better for `n_iter_no_change` epochs.
    validation_fraction : float
        Share of the samples that is held out then, in (0, 1); each class in equal shares.
    n_iter_no_change : int
        Epochs without a better loss.
    warm_start : bool
        Whether `fit` goes on from the weights, and the optimizer's state, of the fit before.
    random_state : int, RandomState or None
        Start values, shuffling, dropout and what is held out: an integer makes fits repeatable bit for bit.
    dtype : {"float32", "float64"}
        Number type of the kernels.
    verbose : int
        As ``Sequential.fit``'s: 0 silent, 1 a bar, 2 a line per epoch.
    class_weight : dict, "balanced" or None
        Weights of classes, as scikit-learn has them.

    Attributes
    ----------
    classes_ : ndarray (n_classes,)
        The labels.
    model_ : Sequential
        The network, whose outputs are the classes' logits.
    history_ : dict of str to list
        Loss of each epoch, and ``val_loss`` with `early_stopping`.
    n_iter_ : int
        Epochs of the last fit.
    n_features_in_ : int
        Features of a step; for tables, columns.
    input_ndim_ : int
        Axes of the X of `fit`.
    feature_names_in_ : ndarray of str
        Names of a table's columns, where it has some.
    """

    classes_: Any

    def __init__(
        self,
        units: Any = 32,
        *,
        bidirectional: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        padding_value: float | None = None,
        epochs: int = 50,
        batch_size: int = 32,
        optimizer: str = "adam",
        learning_rate: float = 0.01,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        warm_start: bool = False,
        random_state: Any = None,
        dtype: str = "float32",
        verbose: int = 0,
        class_weight: Any = None,
    ) -> None:
        self._keep(locals())

    @all_or_nothing
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on sequences X with labels y.

        Parameters
        ----------
        X : array_like (n_samples, n_steps, n_features), or (n_samples, n_steps)
            Sequences.
        y : array_like (n_samples,)
            Labels, numbers or strings.
        sample_weight : array_like (n_samples,), optional
            Factors of the samples' losses.

        Returns
        -------
        LSTMClassifier
            This estimator.

        Raises
        ------
        ValueError, TypeError
            A shape, a parameter or a label does not fit.
        """
        x = self._sequences(X, reset=True)
        labels = column_or_1d(_required(y, self), warn=True)
        check_consistent_length(x, labels)
        if labels.dtype.kind == "f":
            assert_all_finite(labels, input_name="y")
        check_classification_targets(labels)
        weights = self._weights(sample_weight, x)
        classes, numbers = np.unique(labels, return_inverse=True)
        if self.warm_start and hasattr(self, "model_") and not np.array_equal(classes, self.classes_):
            raise ValueError(
                f"y: expected the classes {self.classes_} of the fit before (warm_start), got {classes}"
            )
        if self.class_weight is not None:
            factors = compute_sample_weight(self.class_weight, labels)
            weights = (factors if weights is None else factors * weights).astype(self.dtype)
        loss = SparseCategoricalCrossentropy(from_logits=True)
        fitted = self._train(x, numbers, weights, len(classes), loss, numbers)
        self.__dict__.update(fitted, classes_=classes)
        return self

    def predict_proba(self, X: Any) -> Array:
        """Return the classes' probabilities (n_samples, n_classes), in the order of ``classes_``."""
        return softmax(self._outputs(X)[0])

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of `predict_proba`."""
        logits, _ = self._outputs(X)
        logits = logits - logits.max(axis=1, keepdims=True)
        result: Array = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return result

    def decision_function(self, X: Any) -> Array:
        """Return the logits (n_samples, n_classes); of two classes the difference (n_samples,)."""
        logits, _ = self._outputs(X)
        result: Array = logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits
        return result

    def predict(self, X: Any) -> Any:
        """Return each sequence's most probable label."""
        logits, fitted = self._outputs(X)
        return fitted["classes_"][logits.argmax(axis=1)]


class LSTMRegressor(RegressorMixin, LSTMEstimator):  # type: ignore[misc]
    """Regressor on sequences: LSTM layers and a linear layer on their last state.

    Input, parameters, attributes and the checks that pass are `LSTMClassifier`'s, without ``class_weight``
    and ``classes_``. Targets are (n_samples,) or (n_samples, n_targets). They are standardised for the
    training by squared errors; predictions are in the targets' own units.

    Attributes
    ----------
    target_mean_, target_scale_ : ndarray (n_targets,)
        Mean and standard deviation of the targets of `fit`, the latter 1 where they are all equal.
    """

    @all_or_nothing
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on sequences X with targets y.

        Parameters
        ----------
        X : array_like (n_samples, n_steps, n_features), or (n_samples, n_steps)
            Sequences.
        y : array_like (n_samples,) or (n_samples, n_targets)
            Targets.
        sample_weight : array_like (n_samples,), optional
            Factors of the samples' losses.

        Returns
        -------
        LSTMRegressor
            This estimator.

        Raises
        ------
        ValueError, TypeError
            A shape or a parameter does not fit.
        """
        x = self._sequences(X, reset=True)
        targets = check_array(
            _required(y, self), dtype=np.float64, ensure_2d=False, estimator=self, input_name="y"
        )
        if targets.ndim not in (1, 2):
            raise ValueError(f"y: expected 1 or 2 axes, got shape {targets.shape}")
        check_consistent_length(x, targets)
        weights = self._weights(sample_weight, x)
        table = targets.reshape(len(targets), -1)
        if self.warm_start and hasattr(self, "model_"):
            mean, scale = self.target_mean_, self.target_scale_
        else:
            deviation = table.std(axis=0)
            mean, scale = table.mean(axis=0), np.where(deviation > 0, deviation, 1.0)
        scaled = ((table - mean) / scale).astype(self.dtype)
        fitted = self._train(x, scaled, weights, table.shape[1], MeanSquaredError(), None)
        one_target = targets.ndim == 1
        self.__dict__.update(fitted, target_mean_=mean, target_scale_=scale, _one_target=one_target)
        return self

    def predict(self, X: Any) -> Array:
        """Return predictions of the shape of the targets of `fit`."""
        check_is_fitted(self)
        outputs, fitted = self._outputs(X)
        result: Array = outputs * fitted["target_scale_"] + fitted["target_mean_"]
        return result[:, 0] if fitted["_one_target"] else result

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _required(y: Any, estimator: LSTMEstimator) -> Any:
    if y is None:
        raise ValueError(
            f"y: this {type(estimator).__name__} estimator requires y to be passed, but the target y is None"
        )
    return y
