"""`BatchTrainer`: compile, and train or test one batch."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np

from fusedlstm import metrics, optimizers
from fusedlstm.base import checks, devices, versions
from fusedlstm.base.arrays import is_array
from fusedlstm.base.gradients import Gradients
from fusedlstm.base.seeds import SeedGenerator
from fusedlstm.layers.activated import ActivatedLayer
from fusedlstm.losses.base import prepare_weights
from fusedlstm.models.heads import Head, make_heads, named
from fusedlstm.models.one_thread import Users, by_one_thread
from fusedlstm.models.passes import Passes
from fusedlstm.models.prechecks import Batches, check_stateful
from fusedlstm.models.samples import Samples, check_inputs, check_length
from fusedlstm.models.weighting import ClassWeight, check_class_weight, weighted

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from fusedlstm.activations import Activation
    from fusedlstm.base.types import Mask, Shape
    from fusedlstm.base.variable import Variable
    from fusedlstm.callbacks import History
    from fusedlstm.layers.base import Layer

Logs = dict[str, float]

# Inputs, labels and weights of some samples: a list each, of the model's inputs and outputs.
Batch: TypeAlias = tuple[list[Any], list[Any], list[Any]]
# The shape of an output, and which of its steps are real.
Steps: TypeAlias = tuple[tuple[int, ...], "Mask | None"]


class BatchTrainer(Passes, ABC):
    """What `Sequential` inherits to be compiled and to handle single batches."""

    # Shapes of the inputs, batch axis included; None as long as they are not known.
    input_shapes: list[Shape] | None

    # Shapes of samples of the outputs where no axis of an input is open but the batch's.
    fixed_shapes: list[Shape] | None = None

    _types: list[str] | None = None

    fresh: ClassVar[tuple[str, ...]] = ("_types", "_users")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._users: Users = {}
        self.optimizer: optimizers.Optimizer | None = None
        self.heads: list[Head] = []
        # What logs show after the loss, by name.
        self._measures: list[tuple[str, metrics.Metric]] = []
        self.history: History | None = None
        self.stop_training = self.stop_evaluating = self.stop_predicting = False
        self.initial_epoch = 0  # which callbacks may set before the first one
        self.shuffle_seeds = SeedGenerator()
        self._loss_mean = metrics.Mean("loss")

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take attributes over; nothing uses a copy yet."""
        super().__setstate__(state)
        self._users = {}

    @property
    @abstractmethod
    def layers(self) -> list[Layer]:
        """The layers."""

    @abstractmethod
    def output_shapes(self, input_shape: Any) -> list[Shape]:
        """Return the shapes of all outputs, for a shape or a list of them."""

    @abstractmethod
    def save_weights(self, path: str | os.PathLike[str]) -> None:
        """Write the weights to one file."""

    @abstractmethod
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write layers and weights to one file."""

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        **kwargs: object,
    ) -> None:
        """Set how the model is trained.

        Parameters
        ----------
        optimizer : str or Optimizer
            A name or an object of `fusedlstm.optimizers`.
        loss : str or callable or Loss, or list or dict of these, optional
            A name, function or object of `fusedlstm.losses`; needed for `fit` and `evaluate`. For several
            outputs one for all of them, a list in their order, or a dict by their names; outputs without one
            are not trained.
        loss_weights : float or list or dict of float, optional
            Factors of the losses in the sum that is trained, and that logs call ``loss``.
        metrics : list or dict of (str or Metric), optional
            Names or objects of `fusedlstm.metrics`; for several outputs a list of lists, or a dict by their
            names.
        weighted_metrics : list or dict, optional
            The same, for metrics that sample weights weigh.
        **kwargs
            Keras's ``run_eagerly``, ``steps_per_execution``, ``jit_compile`` and ``auto_scale_loss``, which
            change nothing here.

        Raises
        ------
        TypeError, ValueError
            If a name is unknown, a metric's name occurs twice, a loss is not reduced to one number, or there
            are losses or metrics for what is no output.
        """
        for name in kwargs:
            if name not in _WITHOUT_EFFECT:
                raise TypeError(f"{name}: unknown argument of compile")
        chosen = optimizers.get(optimizer)
        self.heads = make_heads(self.output_structure, loss, loss_weights, metrics, weighted_metrics)
        self._measures = list(named(self.heads))
        self.optimizer = chosen

    @property
    def loss(self) -> Any:
        """The loss, a list of them for several outputs; None for a model that is not compiled."""
        found = [head.loss for head in self.heads]
        return None if not found else found[0] if len(found) == 1 else found

    @property
    def metrics(self) -> list[metrics.Metric]:
        """The metrics, those of all outputs one after the other, and then the weighted ones."""
        plain = [metric for head in self.heads for metric in head.metrics]
        return plain + [metric for head in self.heads for metric in head.weighted]

    @property
    def metrics_names(self) -> list[str]:
        """Names of what `evaluate` returns, in its order."""
        return ["loss", *(name for name, _ in self._measures)]

    def predict_on_batch(self, x: Any) -> Any:
        """Compute the output of one batch, where the model is; see `predict`."""
        return self._call(x)

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: ClassWeight | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Make one update with one batch, where the model is; wrong arguments change nothing.

        Parameters
        ----------
        x, y, sample_weight, class_weight
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
        weights = check_class_weight(class_weight, sample_weight)
        return self._one_batch(x, y, sample_weight, return_dict, training=True, class_weight=weights)

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """Compute loss and metrics of one batch; see `evaluate`."""
        return self._one_batch(x, y, sample_weight, return_dict, training=False)

    # One batch.

    def _call(self, x: Any, training: bool = False, mask: Any = None) -> Any:
        """Compute the output of a batch that is not checked yet; NumPy's arrays give one of NumPy."""
        given = self._inputs(x, "x")
        arguments = self.input_structure.argument
        batch = [
            self.place.bring(one.astype(kind, copy=False), arguments("x", number), "the model")
            for number, (one, kind) in enumerate(zip(given, self._input_types, strict=True))
        ]
        masks = None
        if mask is not None:
            some = self.input_structure.flatten(mask, "mask", optional=True)
            masks = [None if one is None else self.real_steps(one) for one in some]
        with versions.reading():
            outputs: list[Any] = self.run(batch, training, masks=masks).outputs
        if isinstance(given[0], np.ndarray):
            outputs = [devices.to_host(output) for output in outputs]
        return self.output_structure.pack(outputs)

    @versions.of_one_version
    def _run_batch(
        self,
        parts: Iterable[Batch],
        samples: int,
        training: bool,
        variables: Sequence[Variable] | None = None,
    ) -> None:
        """Take a batch into loss and metrics, and with ``training`` make an update.

        The batch comes in parts of so many ``samples`` together, whose loss and gradient are those of all at
        once, up to rounding.
        """
        optimizer = self._compiled()
        if variables is None:
            variables = self.trainable_weights
        regularized = [(v, v.regularizer) for v in variables if v.regularizer is not None]
        gradients = Gradients()
        penalty = 0.0
        values: list[float] = []
        seen: list[Steps] = []
        for variable, regularizer in regularized:
            penalty += regularizer(variable.value)
        for batch in parts:
            total = None if len(batch[0][0]) == samples else samples
            shares, activity, steps = self._run_part(batch, total, gradients if training else None)
            values = [a + b for a, b in zip(values, shares, strict=True)] if values else shares
            penalty += activity
            seen += steps
        real, every = _count_steps(seen) if seen else (0, 0)
        if real != every:  # The mean is one of real steps, whose number was not known before the last part.
            if len(self.heads) > 1:
                raise ValueError(
                    "gradient_accumulation_steps: expected 1 for a model with masks and several outputs: how "
                    "many steps are real, which weighs one against the other, is known after the last part"
                )
            values = [value * every / max(1, real) for value in values]
            gradients.scale(every / max(1, real))
        total_loss = penalty
        for head, value in zip(self.heads, values, strict=True):
            total_loss += value if head.weight is None else value * head.weight
            if head.mean is not None:
                head.mean.update_state(value, samples)
        self._loss_mean.update_state(total_loss, samples)
        if training:
            for variable, regularizer in regularized:
                if variable in gradients:
                    gradients.add(variable, regularizer.gradient(variable.value))
            optimizer.apply(list(map(gradients.get, variables)), variables)

    def _run_part(
        self, batch: Batch, samples: int | None, gradients: Gradients | None
    ) -> tuple[list[float], float, list[Steps]]:
        """Return the part's shares of losses and activity penalties, and its steps; add to ``gradients``."""
        inputs, labels, weights = batch
        links = self._links()
        plan = self.plan
        logits = [plan.heads[number] for number, link in enumerate(links) if link is not None]
        run = self.run(inputs, gradients is not None, logits)  # type: ignore[arg-type]
        values: list[float] = []
        slopes: list[Any] = []
        steps: list[Steps] = []
        for head, output, mask, link, y, weight in zip(
            self.heads, run.outputs, run.masks, links, labels, weights, strict=True
        ):
            value, slope = 0.0, None
            if head.loss is not None:
                terms = head.loss if link is None else head.loss.for_logits()
                value, slope = terms.value_and_gradient(y, output, weight, mask, samples)
                if head.weight is not None:
                    slope = slope * slope.dtype.type(head.weight)
                if samples is not None and head.loss.reduction != "sum":
                    if run.activities and mask is not None:
                        raise ValueError(
                            "gradient_accumulation_steps: expected 1 for a model with masks and activity "
                            "regularizers: how many steps are real, which weighs one against the other, is "
                            "known after the last part"
                        )
                    # A mask of more axes than the losses have does not change their number.
                    short = mask is not None and mask.ndim > len(head.loss.shape_for(output.shape))
                    steps.append((output.shape, None if short else mask))
            values.append(value)
            slopes.append(slope)
            if (head.metrics or head.weighted) and y is not None:
                head.measure(y, output if link is None else link(output), mask, weight)
        penalty = 0.0
        for place, outputs in run.activities.items():
            regularizer = plan.steps[place].layer.activity_regularizer
            assert regularizer is not None
            for output in outputs:
                penalty += regularizer(output) / (samples or max(1, len(output)))
        if gradients is not None:
            dy = slopes[0] if len(slopes) == 1 else slopes
            self.backprop(run, dy, gradients, need_dx=False, samples=samples)
        return values, penalty, steps

    def _links(self) -> list[Activation | None]:
        """Return the outputs' activations that losses compute too: together is exact, and cheaper."""
        plan = self.plan
        found: list[Activation | None] = []
        for head, number in zip(self.heads, plan.heads, strict=True):
            loss, link = head.loss, None
            if number is not None and loss is not None and loss.link is not None and not loss.from_logits:
                layer = plan.steps[number].layer
                if isinstance(layer, ActivatedLayer) and layer.activity_regularizer is None:
                    link = layer.activation if layer.activation is loss.link else None
            found.append(link)
        return found

    @by_one_thread
    def _one_batch(
        self,
        x: Any,
        y: Any,
        sample_weight: Any,
        return_dict: bool,
        training: bool,
        class_weight: ClassWeight | None = None,
    ) -> Any:
        samples = self._samples(x, y, sample_weight, class_weight=class_weight)
        size = len(samples)
        check_stateful(self.layers, [Batches("x", size, size)])
        self._build_for(samples.x)
        variables = self.trainable_weights
        if training:
            self._compiled().build(variables)
        self._reset()
        batches = samples.batches(size, self._input_types, device=self.place)
        self._run_batch(batches, size, training, variables)
        return self._results(self._logs(), return_dict)

    def _reset(self) -> None:
        self._loss_mean.reset_state()
        for _, metric in self._measures:
            metric.reset_state()

    def _logs(self) -> Logs:
        logs = {"loss": self._loss_mean.result()}
        for name, metric in self._measures:
            logs[name] = metric.result()
        return logs

    def _results(self, logs: Logs, return_dict: bool) -> Any:
        if return_dict:
            return logs
        values = list(logs.values())
        return values if len(values) > 1 else values[0]

    # Checks, before any work.

    def _compiled(self) -> optimizers.Optimizer:
        if self.optimizer is not None:
            for head in self.heads:
                if head.loss is not None:
                    return self.optimizer
        raise RuntimeError("model: expected compile(optimizer, loss) to be called first, with a loss")

    @property
    def _input_ids(self) -> list[int | None]:
        """How many different ids each input may hold; None where they are numbers."""
        return self.plan.ids

    @property
    def _input_types(self) -> list[str]:
        """Number types that inputs are converted to."""
        if self._types is None:
            self._types = [self.dtype if ids is None else "int64" for ids in self._input_ids]
        return self._types

    def _checked(self, x: Any, name: str, like: Sequence[npt.NDArray[Any]] | None = None) -> list[Any]:
        """Check inputs; those of a model that is not built yet are to be like others that it will be for."""
        shapes: Any = self.input_shapes
        if shapes is None:
            shapes = [None] if like is None else [(None, *one.shape[1:]) for one in like]
        structure = self.input_structure
        if structure.kind == "one" and type(x) is not dict:
            if type(x) is list and len(x) == 1 and is_array(x[0]) and shapes[0] is not None:
                # A list of one array, where that alone has the shape.
                x = x[0] if x[0].ndim == len(shapes[0]) else x
            inputs = check_inputs(x, name, shapes[0])
            self.place.check(inputs, name, "the model")
            (ids,) = self._input_ids
            return [inputs if ids is None else checks.ids(inputs, name, ids)]
        given = structure.flatten(x, name)
        result: list[Any] = []
        for number, (one, shape, ids) in enumerate(zip(given, shapes, self._input_ids, strict=True)):
            label = structure.argument(name, number)
            inputs = check_inputs(one, label, shape)
            self.place.check(inputs, label, "the model")
            if result:
                check_length(inputs, label, len(result[0]))
            result.append(inputs if ids is None else checks.ids(inputs, label, ids))
        return result

    def _inputs(self, x: Any, name: str) -> list[Any]:
        """Check a batch, and build the model for it if need be."""
        inputs = self._checked(x, name)
        self._output_shapes_for(inputs)
        check_stateful(self.layers, [Batches(name, len(inputs[0]), len(inputs[0]))])
        self._build_for(inputs)
        return inputs

    def _output_shapes_for(self, inputs: Sequence[npt.NDArray[Any]]) -> list[Shape]:
        """Return the shapes of the outputs of checked inputs; `ValueError` if a layer cannot take its own."""
        if self.fixed_shapes is None:
            return self.output_shapes(shapes_of_inputs(inputs))
        count = len(inputs[0])
        return [(count, *shape) for shape in self.fixed_shapes]

    def _build_for(self, inputs: Sequence[npt.NDArray[Any]]) -> None:
        """Build the model for checked inputs, if it is not built yet."""
        if not self.built:
            self.build(inputs[0].shape)

    def _samples(
        self,
        x: Any,
        y: Any,
        sample_weight: Any,
        prefix: str = "",
        like: Sequence[npt.NDArray[Any]] | None = None,
        class_weight: ClassWeight | None = None,
    ) -> Samples:
        """Check samples with their labels and weights, for loss and metrics; nothing is changed by it."""
        self._compiled()
        inputs = self._checked(x, f"{prefix}x", like)
        shapes: Any = self._output_shapes_for(inputs)
        structure = self.output_structure
        if structure.kind == "one" and type(y) is not dict:
            names = f"{prefix}y", f"{prefix}sample_weight"
            label, weight = self._labels(self.heads[0], y, sample_weight, shapes[0], len(inputs[0]), *names)
            return weighted(Samples(inputs, [label], [weight]), class_weight, shapes)
        several = len(self.heads) > 1
        given = structure.flatten(y, f"{prefix}y", optional=several)
        if several and isinstance(sample_weight, list | tuple | dict):
            factors = structure.flatten(sample_weight, f"{prefix}sample_weight", optional=True)
        else:
            factors = [sample_weight] * len(self.heads)
        labels, weights = [], []
        for number, head in enumerate(self.heads):
            name = structure.argument(f"{prefix}y", number)
            weight_name = structure.argument(f"{prefix}sample_weight", number)
            found, factor = self._labels(
                head, given[number], factors[number], shapes[number], len(inputs[0]), name, weight_name
            )
            labels.append(found)
            weights.append(factor)
        return weighted(Samples(inputs, labels, weights), class_weight, shapes)

    def _labels(
        self,
        head: Head,
        y: Any,
        sample_weight: Any,
        shape: Any,
        samples: int,
        name: str,
        weight_name: str,
    ) -> tuple[Any, Any]:
        """Check one output's labels and weights."""
        if head.loss is None and y is None:
            if head.metrics or head.weighted:
                raise ValueError(f"{name}: expected labels for the metrics of output {head.name!r}, got None")
            return None, None
        if head.loss is None and not (head.metrics or head.weighted):
            raise ValueError(f"{name}: expected None for output {head.name!r}, which has no loss, got labels")
        self.place.check(y, name, "the model")
        self.place.check(sample_weight, weight_name, "the model")
        check_length(y, name, samples)
        labels = checks.numeric(y, name) if head.loss is None else head.loss.prepare(y, shape, name)
        losses = shape[:-1] if head.loss is None else head.loss.shape_for(shape)
        weights = prepare_weights(sample_weight, losses, weight_name)
        for metric in (*head.metrics, *head.weighted):
            try:
                metric.check(labels, shape)
            except (TypeError, ValueError) as error:
                raise type(error)(f"metrics: {metric.name} does not fit {name}: {error}") from error
        return labels, weights


# Keras's arguments of `compile` that only change how Keras computes.
_WITHOUT_EFFECT = ("auto_scale_loss", "jit_compile", "run_eagerly", "steps_per_execution")


def shapes_of_inputs(inputs: Sequence[npt.NDArray[Any]]) -> Any:
    """Return the shape of the only input, or those of several."""
    return inputs[0].shape if len(inputs) == 1 else [one.shape for one in inputs]


def _count_steps(seen: Sequence[Steps]) -> tuple[int, int]:
    """Count real steps and all steps, by the outputs' shapes and masks; of one without, all are real."""
    axes = max((mask.ndim for _, mask in seen if mask is not None), default=0)
    sizes = [math.prod(shape[:axes]) for shape, _ in seen]
    real = (
        size if mask is None else int(np.count_nonzero(mask))
        for size, (_, mask) in zip(sizes, seen, strict=True)
    )
    return sum(real), sum(sizes)
