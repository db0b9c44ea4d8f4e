"""What the estimators share: their input, their network, its training, and pickling without code."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fusedlstm import initializers, optimizers
from fusedlstm.base import checks
from fusedlstm.base.filling import filling
from fusedlstm.base.seeds import SeedGenerator
from fusedlstm.callbacks import EarlyStopping
from fusedlstm.layers import LSTM, Bidirectional, Dense, Dropout, Input, Masking
from fusedlstm.models.describe import describe, restore
from fusedlstm.models.sequential import Sequential

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusedlstm.base.symbolic import KerasTensor
    from fusedlstm.base.types import Array
    from fusedlstm.layers import Layer


Fit = TypeVar("Fit", bound="Callable[..., Any]")


def all_or_nothing(fit: Fit) -> Fit:
    """Let an estimator keep the attributes of the fit before when one fails."""

    @wraps(fit)
    def run(self: Any, *args: Any, **options: Any) -> Any:
        before = dict(self.__dict__)
        try:
            return fit(self, *args, **options)
        except Exception:
            # Never without the old ones, as other threads may predict.
            self.__dict__.update(before)
            for name in set(self.__dict__) - set(before):
                del self.__dict__[name]
            raise

    return run  # type: ignore[return-value]


class LSTMEstimator(BaseEstimator):  # type: ignore[misc]
    """Base of both estimators: an LSTM or several, and a dense layer on the last state."""

    model_: Sequential
    input_ndim_: int

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
    ) -> None:
        self._keep(locals())

    def _keep(self, arguments: dict[str, Any]) -> None:
        """Set the constructor's arguments as attributes, unchanged, which is what scikit-learn asks for."""
        for name, value in arguments.items():
            if name != "self":
                setattr(self, name, value)

    # Input.

    def _sequences(self, X: Any, *, reset: bool) -> Array:
        """Check X and return it as (n_samples, n_steps, n_features)."""
        X = X if hasattr(X, "shape") else np.asarray(X)
        axes = len(X.shape)
        if not reset and axes in (2, 3) and axes != self.input_ndim_:
            raise ValueError(f"X: expected {self.input_ndim_} axes as in fit, got shape {X.shape}")
        # Padding may be NaN: what is left of it besides whole steps is refused below.
        padded = isinstance(self.padding_value, float) and np.isnan(self.padding_value)
        finite: Any = "allow-nan" if padded else True
        if axes != 3:
            # One feature per step: scikit-learn's own checks, which speak of features, count the steps.
            table: Array = validate_data(
                self, X, reset=reset, dtype=self.dtype, order="C", ensure_all_finite=finite
            )
            if reset:
                self.input_ndim_ = 2
            return table[:, :, None]
        x: Array = check_array(
            X,
            dtype=self.dtype,
            order="C",
            allow_nd=True,
            ensure_all_finite=finite,
            estimator=self,
            input_name="X",
        )
        wrong: Any = np.isnan(x).any(axis=-1) & ~np.isnan(x).all(axis=-1)
        if padded and wrong.any():
            place = checks.first_place(wrong)
            raise ValueError(
                f"X: expected steps whose features are all NaN or none, as padding_value is NaN, "
                f"got both at {place}"
            )
        if x.shape[1] < 1:
            raise ValueError(f"X: expected at least one step, got shape {x.shape}")
        if reset:
            self.n_features_in_, self.input_ndim_ = x.shape[2], 3
            self.__dict__.pop("feature_names_in_", None)
        elif x.shape[2] != self.n_features_in_:
            raise ValueError(
                f"X has {x.shape[2]} features, but {type(self).__name__} is expecting {self.n_features_in_} "
                "features as input"
            )
        return x

    # Network and training.

    def _network(self, x: Array, outputs: int, seeds: SeedGenerator) -> Sequential:
        units = list(self.units) if isinstance(self.units, list | tuple) else [self.units]
        if not units:
            raise ValueError("units: expected at least one number, got none")
        rate = checks.rate(self.dropout, "dropout")
        layers: list[Layer | KerasTensor] = [Input((None, x.shape[2]))]
        if self.padding_value is not None:
            layers.append(Masking(self.padding_value, dtype=self.dtype))
        for number, size in enumerate(units):
            directions = []
            for backwards in (False, True) if self.bidirectional else (False,):
                directions.append(
                    LSTM(
                        size,
                        recurrent_dropout=self.recurrent_dropout,
                        return_sequences=number < len(units) - 1,
                        go_backwards=backwards,
                        kernel_initializer=initializers.GlorotUniform(seeds.next()),
                        recurrent_initializer=initializers.Orthogonal(seed=seeds.next()),
                        seed=seeds.next(),
                        dtype=self.dtype,
                        name=f"lstm_{number}",
                    )
                )
            layers.append(
                Bidirectional(directions[0], backward_layer=directions[1], name=f"lstm_{number}")
                if self.bidirectional
                else directions[0]
            )
            if rate:
                layers.append(Dropout(rate, seeds.next(), dtype=self.dtype, name=f"dropout_{number}"))
        kernel = initializers.GlorotUniform(seeds.next())
        layers.append(Dense(outputs, kernel_initializer=kernel, dtype=self.dtype, name="output"))
        model = Sequential(layers, name="model")
        model.shuffle_seeds = SeedGenerator(seeds.next())
        return model

    def _train(
        self, x: Array, y: Any, weights: Array | None, outputs: int, loss: Any, strata: Any
    ) -> dict[str, Any]:
        """Fit the network and return the attributes that go with it.

        `fit` sets them together with its own, in one step: a prediction by another thread meanwhile uses all
        of the old ones or all of the new ones.

        Parameters
        ----------
        strata : array or None
            Labels whose shares both parts of an early stopping keep.
        """
        random = check_random_state(self.random_state)
        seeds = SeedGenerator(int(random.randint(np.iinfo(np.int32).max)))
        goes_on = self.warm_start and hasattr(self, "model_")
        if goes_on:
            model = self.model_
            shape = model.output_shape[-1]
            if shape != outputs:
                raise ValueError(
                    f"y: expected {shape} outputs as in the fit before (warm_start), got {outputs}"
                )
        else:
            model = self._network(x, outputs, seeds)
            rate = checks.non_negative(self.learning_rate, "learning_rate")
            if not isinstance(self.optimizer, str):
                raise TypeError(f"optimizer: expected a name, got {type(self.optimizer).__name__}")
            make: Any = type(optimizers.get(self.optimizer))
            model.compile(optimizer=make(learning_rate=rate), loss=loss)
        arguments: dict[str, Any] = {}
        if self.early_stopping:
            share = checks.rate(self.validation_fraction, "validation_fraction")
            rows = train_test_split(
                np.arange(len(x)), test_size=share, random_state=random.randint(2**31 - 1), stratify=strata
            )
            parts = [(x[r], y[r], None if weights is None else weights[r]) for r in rows]
            (x, y, weights), held_out = parts
            arguments["validation_data"] = held_out if weights is not None else held_out[:2]
            patience = checks.positive_int(self.n_iter_no_change, "n_iter_no_change")
            arguments["callbacks"] = [EarlyStopping(patience=patience, restore_best_weights=True)]
        history = model.fit(
            x,
            y,
            batch_size=self.batch_size,
            epochs=self.epochs,
            verbose=self.verbose,
            sample_weight=weights,
            **arguments,
        ).history
        return {"model_": model, "history_": history, "n_iter_": len(history["loss"])}

    def _outputs(self, X: Any) -> tuple[Array, dict[str, Any]]:
        """Return the dense layer's outputs (n_samples, outputs) and the attributes of the fit they are of."""
        check_is_fitted(self)
        fitted = dict(vars(self))
        result: Array = fitted["model_"].predict(
            self._sequences(X, reset=False), batch_size=self.batch_size, verbose=0
        )
        return result, fitted

    def _weights(self, sample_weight: Any, X: Array) -> Array | None:
        return None if sample_weight is None else _check_sample_weight(sample_weight, X, dtype=self.dtype)

    # Pickling: the network as its description and arrays.

    def __getstate__(self) -> dict[str, Any]:
        """Return attributes that hold nothing but plain values, arrays and, as given, parameters."""
        state = dict(super().__getstate__())
        model: Sequential | None = state.pop("model_", None)
        if model is not None:
            assert model.optimizer is not None
            state["model_"] = {
                "config": model.get_config(),
                "weights": model.get_weights(),
                "optimizer": describe(model.optimizer),
                "optimizer_state": model.optimizer.get_state(),
                "loss": describe(model.loss),
                "seeds": [seeds.state for seeds in model.seed_generators],
            }
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make the network again."""
        saved = state.get("model_")
        if saved is not None:
            with filling(sum(array.size for array in saved["weights"])):
                model = Sequential.from_config(saved["config"])
            model.set_weights(saved["weights"])
            optimizer = restore(saved["optimizer"])
            model.compile(optimizer=optimizer, loss=restore(saved["loss"]))
            optimizer.set_state(saved["optimizer_state"], model.trainable_weights)
            for seeds, kept in zip(model.seed_generators, saved["seeds"], strict=True):
                seeds.state = kept
            state = {**state, "model_": model}
        super().__setstate__(state)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags
