"""`BatchTrainer`: train or test one batch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fusedlstm.base import devices, versions
from fusedlstm.base.gradients import Gradients
from fusedlstm.layers.activated import ActivatedLayer
from fusedlstm.models.measured import Shares
from fusedlstm.models.one_thread import by_one_thread
from fusedlstm.models.prechecks import Batches, check_stateful
from fusedlstm.models.rows import Piece, Rows
from fusedlstm.models.shared import Shared
from fusedlstm.models.weighting import ClassWeight, check_class_weight

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from fusedlstm.activations import Activation
    from fusedlstm.base.types import Mask
    from fusedlstm.base.variable import Variable
    from fusedlstm.models.samples import Samples

Logs = dict[str, float]

# Inputs, labels and weights of some samples: a list each, of the model's inputs and outputs.
Batch: TypeAlias = tuple[list[Any], list[Any], list[Any]]
# The shape of an output, and which of its steps are real.
Steps: TypeAlias = tuple[tuple[int, ...], "Mask | None"]


class BatchTrainer(Shared):
    """What a model inherits to train and test single batches."""

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
        parts: Any,
        samples: int,
        training: bool,
        variables: Sequence[Variable] | None = None,
    ) -> None:
        """Take a batch into loss and metrics, and with ``training`` make an update.

        The batch comes in parts of so many ``samples`` together, whose loss and gradient are those of all at
        once, up to rounding; as `Rows`, where ranks share it.
        """
        optimizer = self._compiled()
        if variables is None:
            variables = self.trainable_weights
        regularized = [(v, v.regularizer) for v in variables if v.regularizer is not None]
        gradients: Gradients | None = Gradients() if training else None
        penalty = 0.0
        for variable, regularizer in regularized:
            penalty += regularizer(variable.value)
        if self.group is None:
            found = self.add_parts(parts, samples, gradients, penalty)
            values, penalty, real, every = found
        else:
            found, gradients = self.group.run(self, parts, samples, variables if training else None)
            values, activities, real, every = found
            penalty += activities
        if real != every:  # The mean is one of real steps, whose number was not known before the last part.
            if len(self.heads) > 1:
                raise ValueError(
                    "gradient_accumulation_steps, distribute: expected 1 and None for a model with masks and "
                    "several outputs: how many steps are real, which weighs one against the other, is known "
                    "after the last part"
                )
            values = [value * every / max(1, real) for value in values]
            if gradients is not None:
                gradients.scale(every / max(1, real))
        total_loss = penalty
        for head, value in zip(self.heads, values, strict=True):
            total_loss += value if head.weight is None else value * head.weight
            if head.mean is not None:
                head.mean.update_state(value, samples)
        self._loss_mean.update_state(total_loss, samples)
        if gradients is not None:
            for variable, regularizer in regularized:
                if variable in gradients:
                    gradients.add(variable, regularizer.gradient(variable.value))
            optimizer.apply(list(map(gradients.get, variables)), variables)

    def add_parts(
        self, parts: Iterable[Batch], samples: int, gradients: Gradients | None, penalty: float = 0.0
    ) -> Shares:
        """Return what parts of a batch of so many samples add to its loss; add to ``gradients`` too."""
        values: list[float] = []
        seen: list[Steps] = []
        for batch in parts:
            total = None if len(batch[0][0]) == samples else samples
            shares, activity, steps = self._run_part(batch, total, gradients)
            values = [a + b for a, b in zip(values, shares, strict=True)] if values else shares
            penalty += activity
            seen += steps
        return Shares(values, penalty, *(_count_steps(seen) if seen else (0, 0)))

    def _run_part(
        self, batch: Batch, samples: int | None, gradients: Gradients | None
    ) -> tuple[list[float], float, list[Steps]]:
        """Return the part's shares of losses and activity penalties, and its steps; add to ``gradients``."""
        inputs = batch[0]
        links = self._links()
        plan = self.plan
        logits = [plan.heads[number] for number, link in enumerate(links) if link is not None]
        run = self.run(inputs, gradients is not None, logits)  # type: ignore[arg-type]
        values, slopes, steps = self._terms(run.outputs, run.masks, links, batch, samples, run.activities)
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

    def add_together(
        self,
        batch: Batch,
        samples: int,
        groups: Sequence[range],
        gradients: Gradients | None,
        take: Callable[[int, Shares], None],
    ) -> None:
        """Run groups of a batch's rows at once, with the bits of one after the other.

        Parameters
        ----------
        batch : tuple
            Their rows, one group behind the other.
        samples : int
            Those of the whole batch that others have parts of, too.
        groups : sequence of range
            The rows of each.
        gradients : Gradients, optional
            Gets the gradients of groups, of the rows in its ``ends``.
        take : callable
            Called for each group, by its place, with what it adds to the loss; metrics have it then.
        """
        links = self._links()
        logits = [self.plan.heads[number] for number, link in enumerate(links) if link is not None]
        run = self.run(batch[0], gradients is not None, logits)  # type: ignore[arg-type]
        found: list[list[Any]] = []
        for place, rows in enumerate(groups):
            own = slice(rows.start, rows.stop)
            outputs, masks, labels, weights = (
                [None if one is None else one[own] for one in some]
                for some in (run.outputs, run.masks, *batch[1:])
            )
            values, slopes, steps = self._terms(outputs, masks, links, ([], labels, weights), samples, {})
            take(place, Shares(values, 0.0, *(_count_steps(steps) if steps else (0, 0))))
            found.append(slopes)
        if gradients is not None:
            whole = [None if one[0] is None else np.concatenate(one) for one in zip(*found, strict=True)]
            dy = whole[0] if len(whole) == 1 else whole
            self.backprop(run, dy, gradients, need_dx=False, samples=samples)

    def _terms(
        self,
        outputs: Sequence[Any],
        masks: Sequence[Any],
        links: Sequence[Activation | None],
        batch: Batch,
        samples: int | None,
        activities: Any,
    ) -> tuple[list[float], list[Any], list[Steps]]:
        """Return losses, their gradients and the steps that they count; metrics take the batch in."""
        _, labels, weights = batch
        values: list[float] = []
        slopes: list[Any] = []
        steps: list[Steps] = []
        for head, output, mask, link, y, weight in zip(
            self.heads, outputs, masks, links, labels, weights, strict=True
        ):
            value, slope = 0.0, None
            if head.loss is not None:
                terms = head.loss if link is None else head.loss.for_logits()
                value, slope = terms.value_and_gradient(y, output, weight, mask, samples)
                if head.weight is not None:
                    slope = slope * slope.dtype.type(head.weight)
                if samples is not None and head.loss.reduction != "sum":
                    if activities and mask is not None:
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
        return values, slopes, steps

    def _batches(self, samples: Samples, size: int, order: Any = None, first: int = 0) -> Iterator[Any]:
        return samples.batches(size, self._input_types, order, self.place, first)

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
        batches: Any = samples.batches(size, self._input_types, device=self.place)
        if self.group is not None:
            batches = Rows([Piece(samples, 0, size)], self._batches)
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


def _count_steps(seen: Sequence[Steps]) -> tuple[int, int]:
    """Count real steps and all steps, by the outputs' shapes and masks; of one without, all are real."""
    axes = max((mask.ndim for _, mask in seen if mask is not None), default=0)
    sizes = [math.prod(shape[:axes]) for shape, _ in seen]
    real = (
        size if mask is None else int(np.count_nonzero(mask))
        for size, (_, mask) in zip(sizes, seen, strict=True)
    )
    return sum(real), sum(sizes)
