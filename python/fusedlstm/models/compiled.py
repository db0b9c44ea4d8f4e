"""`Compiled`: what a model is trained by, and the checks of data against it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from fusedlstm import metrics, optimizers
from fusedlstm.base import checks
from fusedlstm.base.arrays import is_array
from fusedlstm.base.seeds import SeedGenerator
from fusedlstm.losses.base import prepare_weights
from fusedlstm.models.heads import Head, make_heads, named
from fusedlstm.models.passes import Passes
from fusedlstm.models.prechecks import Batches, check_stateful
from fusedlstm.models.samples import Samples, check_inputs, check_length
from fusedlstm.models.weighting import ClassWeight, weighted

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import numpy.typing as npt

    from fusedlstm.base.types import Mask, Shape
    from fusedlstm.callbacks import History
    from fusedlstm.layers.base import Layer
    from fusedlstm.models.one_thread import Users

Logs = dict[str, float]

# Inputs, labels and weights of some samples: a list each, of the model's inputs and outputs.
Batch: TypeAlias = tuple[list[Any], list[Any], list[Any]]
# The shape of an output, and which of its steps are real.
Steps: TypeAlias = tuple[tuple[int, ...], "Mask | None"]


class Compiled(Passes, ABC):
    """What a model inherits to be compiled, and to check what it is to take."""

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
        # Metrics that logs show after the loss, by name.
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
