"""`BatchTrainer`: compile, and train or test one batch."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fusedlstm import losses, metrics, optimizers
from fusedlstm.base import checks, devices, versions
from fusedlstm.base.gradients import Gradients
from fusedlstm.base.seeds import SeedGenerator
from fusedlstm.layers.base import ActivatedLayer
from fusedlstm.losses.base import prepare_weights
from fusedlstm.models.one_thread import Users, by_one_thread
from fusedlstm.models.passes import Passes
from fusedlstm.models.prechecks import Batches, check_stateful
from fusedlstm.models.samples import Samples, check_inputs, check_length

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from fusedlstm.activations import Activation
    from fusedlstm.base.types import Array, Mask, Shape
    from fusedlstm.base.variable import Variable
    from fusedlstm.callbacks import History
    from fusedlstm.losses import Loss

Logs = dict[str, float]

# Inputs, labels and weights of some samples.
Batch: TypeAlias = tuple[Any, Any, Any]
# The shape of an output, and which of its steps are real.
Steps: TypeAlias = tuple[tuple[int, ...], "Mask | None"]


class BatchTrainer(Passes, ABC):
    """What `Sequential` inherits to be compiled and to handle single batches."""

    built: bool
    dtype: str
    input_shape: Shape | None

    fresh = ("_users",)

    def __init__(self) -> None:
        self._users: Users = {}
        self.optimizer: optimizers.Optimizer | None = None
        self.loss: Loss | None = None
        self.metrics: list[metrics.Metric] = []
        self.history: History | None = None
        self.stop_training = self.stop_evaluating = self.stop_predicting = False
        self.shuffle_seeds = SeedGenerator()
        self._loss_mean = metrics.Mean("loss")

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take attributes over; nothing uses a copy yet."""
        super().__setstate__(state)
        self._users = {}

    @abstractmethod
    def build(self, input_shape: Any = None) -> None:
        """Make the weights of all layers."""

    @abstractmethod
    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the output, the batch axis included."""

    @property
    @abstractmethod
    def trainable_weights(self) -> list[Variable]:
        """Weights that training changes."""

    @abstractmethod
    def get_weights(self) -> list[Array]:
        """Return copies of all weights."""

    @abstractmethod
    def set_weights(self, weights: Sequence[npt.ArrayLike]) -> None:
        """Replace all weights."""

    @abstractmethod
    def save_weights(self, path: str | os.PathLike[str]) -> None:
        """Write the weights to one file."""

    @abstractmethod
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write layers and weights to one file."""

    def compile(
        self, optimizer: Any = "rmsprop", loss: Any = None, loss_weights: None = None, metrics: Any = None
    ) -> None:
        """Set how the model is trained.

        Parameters
        ----------
        optimizer : str or Optimizer
            A name or an object of `fusedlstm.optimizers`.
        loss : str or callable or Loss, optional
            A name, function or object of `fusedlstm.losses`; needed for `fit` and `evaluate`.
        loss_weights : None
            In Keras's place; a model with one output has nothing to weigh.
        metrics : list of (str or Metric), optional
            Names or objects of `fusedlstm.metrics`.

        Raises
        ------
        ValueError
            If a name is unknown, a metric's name occurs twice, or the loss is not reduced to one number.
        """
        if loss_weights is not None:
            raise ValueError(f"loss_weights: expected None for a model with one output, got {loss_weights!r}")
        chosen_optimizer = optimizers.get(optimizer)
        chosen_loss = None if loss is None else losses.get(loss)
        if chosen_loss is not None and chosen_loss.reduction == "none":
            raise ValueError("loss: expected a reduction to one number, got reduction 'none'")
        chosen_metrics = _metric_list(metrics)
        self.optimizer, self.loss, self.metrics = chosen_optimizer, chosen_loss, chosen_metrics

    @property
    def metrics_names(self) -> list[str]:
        """Names of what `evaluate` returns, in its order."""
        return ["loss", *(metric.name for metric in self.metrics)]

    def predict_on_batch(self, x: Any) -> Array:
        """Compute the output of one batch, where the model is; see `predict`."""
        return self._call(x)

    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, *, return_dict: bool = False
    ) -> Any:
        """Make one update with one batch, where the model is; wrong arguments change nothing.

        Parameters
        ----------
        x, y, sample_weight
            As in `fit`.
        return_dict : bool
            Whether a dict is returned.

        Returns
        -------
        float or list of float or dict
            Loss and metrics of this batch, before the update, as from `evaluate`.

        Raises
        ------
        TypeError, ValueError
            If an argument is wrong.
        RuntimeError
            If the model is not compiled, or another thread trains or evaluates it.
        """
        return self._one_batch(x, y, sample_weight, return_dict, training=True)

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, *, return_dict: bool = False
    ) -> Any:
        """Compute loss and metrics of one batch; see `evaluate`."""
        return self._one_batch(x, y, sample_weight, return_dict, training=False)

    # One batch.

    def _call(self, x: Any, training: bool = False) -> Array:
        """Compute the output of a batch that is not checked yet; NumPy's arrays give one of NumPy."""
        given = self._inputs(x, "x")
        batch = self.place.bring(given.astype(self._input_type, copy=False), "x", "the model")
        with versions.reading():
            output: Array = self._run(batch, training).output
        return devices.to_host(output) if isinstance(given, np.ndarray) else output  # type: ignore[no-any-return]

    @versions.of_one_version
    def _run_batch(self, parts: Iterable[Batch], samples: int, training: bool) -> None:
        """Take a batch into loss and metrics, and with ``training`` make an update.

        The batch comes in parts of so many ``samples`` together, whose loss and gradient are those of all at
        once, up to rounding.
        """
        optimizer, loss = self._compiled()
        variables = self.trainable_weights
        regularized = [(v, v.regularizer) for v in variables if v.regularizer is not None]
        gradients = Gradients()
        value = penalty = 0.0
        seen: list[Steps] = []
        for variable, regularizer in regularized:
            penalty += regularizer(variable.value)
        for x, y, weights in parts:
            total = None if len(x) == samples else samples
            share, activity, steps = self._run_part(
                loss, x, y, weights, total, gradients if training else None
            )
            value += share
            penalty += activity
            if total is not None and loss.reduction != "sum":
                seen.append(steps)
        real, every = _count_steps(seen) if seen else (0, 0)
        if real != every:  # The mean is one of real steps, whose number was not known before the last part.
            value *= every / max(1, real)
            gradients.scale(every / max(1, real))
        self._loss_mean.update_state(value + penalty, samples)
        if training:
            for variable, regularizer in regularized:
                if variable in gradients:
                    gradients.add(variable, regularizer.gradient(variable.value))
            optimizer.apply(list(map(gradients.get, variables)), variables)

    def _run_part(
        self, loss: Loss, x: Array, y: Any, weights: Any, samples: int | None, gradients: Gradients | None
    ) -> tuple[float, float, Steps]:
        """Return the part's shares of loss and activity penalties, and its steps; add to ``gradients``."""
        link = self._link(loss)
        run = self._run(x, gradients is not None, link is not None)
        if run.activities and run.mask is not None and samples is not None and loss.reduction != "sum":
            raise ValueError(
                "gradient_accumulation_steps: expected 1 for a model with masks and activity regularizers: "
                "how many steps are real, which weighs one against the other, is known after the last part"
            )
        terms = loss if link is None else loss.for_logits()
        value, gradient = terms.value_and_gradient(y, run.output, weights, run.mask, samples)
        penalty = 0.0
        for layer in self.layers:
            if layer.activity_regularizer is not None:
                output = run.activities[layer.name]
                penalty += layer.activity_regularizer(output) / (samples or max(1, len(output)))
        if self.metrics:
            predictions = run.output if link is None else link(run.output)
            for metric in self.metrics:
                metric.update_state(y, predictions, run.mask)
        if gradients is not None:
            self.backprop(run, gradient, gradients, need_dx=False, samples=samples)
        return value, penalty, (run.output.shape, run.mask)

    def _link(self, loss: Loss) -> Activation | None:
        """Return the last layer's activation if the loss computes it too: together is exact, and cheaper."""
        head = self.layers[-1]
        if not isinstance(head, ActivatedLayer) or loss.from_logits or head.activity_regularizer is not None:
            return None
        return head.activation if head.activation is loss.link else None

    @by_one_thread
    def _one_batch(self, x: Any, y: Any, sample_weight: Any, return_dict: bool, training: bool) -> Any:
        samples = self._samples(x, y, sample_weight)
        size = len(samples)
        check_stateful(self.layers, [Batches("x", size, size)])
        self._build_for(samples.x)
        if training:
            self._compiled()[0].build(self.trainable_weights)
        self._reset()
        self._run_batch(samples.batches(size, self._input_type, device=self.place), size, training)
        return self._results(self._logs(), return_dict)

    def _reset(self) -> None:
        for metric in (self._loss_mean, *self.metrics):
            metric.reset_state()

    def _logs(self) -> Logs:
        return {metric.name: metric.result() for metric in (self._loss_mean, *self.metrics)}

    def _results(self, logs: Logs, return_dict: bool) -> Any:
        if return_dict:
            return logs
        values = list(logs.values())
        return values if self.metrics else values[0]

    # Checks, before any work.

    def _compiled(self) -> tuple[optimizers.Optimizer, Loss]:
        if self.optimizer is None or self.loss is None:
            raise RuntimeError("model: expected compile(optimizer, loss) to be called first, with a loss")
        return self.optimizer, self.loss

    @property
    def _ids(self) -> int | None:
        """How many different ids inputs may hold; None where they are numbers."""
        return next((layer.ids for layer in self.layers if layer.ids is not None), None)

    @property
    def _input_type(self) -> str:
        """Number type that inputs are converted to."""
        return self.dtype if self._ids is None else "int64"

    def _checked(self, x: Any, name: str, like: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """Check inputs; those of a model that is not built yet are to be like others that it will be for."""
        expected = self.input_shape
        if expected is None and like is not None:
            expected = (None, *like.shape[1:])
        inputs = check_inputs(x, name, expected)
        self.place.check(inputs, name, "the model")
        return inputs if self._ids is None else checks.ids(inputs, name, self._ids)

    def _inputs(self, x: Any, name: str) -> npt.NDArray[Any]:
        """Check a batch, and build the model for it if need be."""
        inputs = self._checked(x, name)
        self.compute_output_shape(inputs.shape)
        check_stateful(self.layers, [Batches(name, len(inputs), len(inputs))])
        self._build_for(inputs)
        return inputs

    def _build_for(self, inputs: npt.NDArray[Any]) -> None:
        """Build the model for checked inputs, if it is not built yet."""
        if not self.built:
            self.build(inputs.shape)

    def _samples(
        self, x: Any, y: Any, sample_weight: Any, prefix: str = "", like: npt.NDArray[Any] | None = None
    ) -> Samples:
        """Check samples with their labels and weights, for loss and metrics; nothing is changed by it."""
        _, loss = self._compiled()
        inputs = self._checked(x, f"{prefix}x", like)
        shape: Any = self.compute_output_shape(inputs.shape)
        for name, given in (("y", y), ("sample_weight", sample_weight)):
            self.place.check(given, f"{prefix}{name}", "the model")
        check_length(y, f"{prefix}y", len(inputs))
        labels = loss.prepare(y, shape, f"{prefix}y")
        weights = prepare_weights(sample_weight, shape[:-1], f"{prefix}sample_weight")
        for metric in self.metrics:
            try:
                metric.check(labels, shape)
            except (TypeError, ValueError) as error:
                raise type(error)(f"metrics: {metric.name} does not fit {prefix}y: {error}") from error
        return Samples(inputs, labels, weights)


def _count_steps(seen: Sequence[Steps]) -> tuple[int, int]:
    """Count real steps and all steps, by the outputs' shapes and masks; of one without, all are real."""
    axes = max((mask.ndim for _, mask in seen if mask is not None), default=0)
    sizes = [math.prod(shape[:axes]) for shape, _ in seen]
    real = (
        size if mask is None else int(np.count_nonzero(mask))
        for size, (_, mask) in zip(sizes, seen, strict=True)
    )
    return sum(real), sum(sizes)


def _metric_list(given: Any) -> list[metrics.Metric]:
    items = [] if given is None else list(given) if isinstance(given, tuple | list) else [given]
    result = [metrics.get(item) for item in items]
    names = ["loss", *(metric.name for metric in result)]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"metrics: expected different names, got {name!r} twice")
    return result
