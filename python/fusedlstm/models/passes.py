"""`Passes`: forward passes through a model's layers, and the backward passes that belong to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from fusedlstm.base import versions
from fusedlstm.base.arrays import is_array
from fusedlstm.layers.base import Layer
from fusedlstm.layers.merging import Merge
from fusedlstm.layers.recurrent import Recurrent
from fusedlstm.layers.shapes import checked_pair
from fusedlstm.layers.stateful import in_step
from fusedlstm.models.graph import Graph, Plan

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from fusedlstm.base.gradients import Gradients
    from fusedlstm.base.types import Array, Mask
    from fusedlstm.models.graph import Step
    from fusedlstm.models.structure import Structure


class Pass(NamedTuple):
    """What a run through all layers leaves: a value, which the model does not keep."""

    outputs: list[Array]
    masks: list[Mask | None]  # of the outputs' steps
    activities: dict[int, list[Array]]  # by step, outputs of layers with an activity regularizer
    saved: list[Any]  # with training, what each step has saved, until its backward pass takes it
    logits: Collection[int]  # the steps whose activations were left out


class Passes(Layer):
    """What a model inherits that is a layer to the outside: `forward`, and `backprop` of what it saved."""

    takes_mask: ClassVar[bool] = True
    fresh: ClassVar[tuple[str, ...]] = ("_plan",)

    # None as long as a `Sequential` is not built.
    graph: Graph | None = None
    input_structure: Structure
    output_structure: Structure
    _plan: Plan | None = None

    @property
    def plan(self) -> Plan:
        """How the graph runs."""
        if self._plan is None:
            if self.graph is None:
                raise ValueError("model: expected a built model, this one has no weights yet")
            self._plan = Plan(self.graph)
        return self._plan

    def forward(self, x: Any, training: bool = False, mask: Any = None) -> tuple[Any, Pass]:
        """Compute the output of checked input, and what `backprop` needs; see `Layer.forward`.

        With ``training`` there may be any number of passes at a time. A pass sees weights of one version.
        Several inputs and their masks are lists, in the order of the inputs; several outputs are a list too.
        """
        single = len(self.plan.inputs) == 1
        with versions.reading():
            done = self.run([x] if single else x, training, masks=[mask] if single else mask)
        return self.output_structure.of_one(done.outputs), done

    def run(
        self,
        inputs: Sequence[Array],
        training: bool = False,
        logits: Collection[int] = (),
        masks: Sequence[Mask | None] | None = None,
    ) -> Pass:
        """Run all layers, masks along with values; those of ``logits`` without their activations."""
        plan = self.plan
        # Values with the masks of their steps.
        values: list[Any] = [None] * plan.size
        for number, place in enumerate(plan.inputs):
            values[place] = inputs[number], None if masks is None else masks[number]
        activities: dict[int, list[Array]] = {}
        saved: list[Any] = []
        with in_step(plan.stateful):
            for number, layer, source, target, takes_mask, step in plan.rows:
                if step is not None:
                    result, x, mask = _special(step, layer, values, training)
                else:
                    x, mask = values[source]
                    if number in logits:
                        result = layer.forward_logits(x, training)
                    elif takes_mask:
                        result = layer.forward(x, training, mask=mask)
                    else:
                        result = layer.forward(x, training)
                y, kept = result if type(result) is tuple else checked_pair(result, layer)
                if training:
                    saved.append(kept)
                mask = layer.compute_mask(x, mask)
                if target >= 0:
                    values[target] = y, mask
                else:
                    # States have no steps, and so no mask.
                    for place, one in zip(plan.steps[number].targets, y, strict=True):
                        values[place] = one, None if one.ndim < 3 else mask
                if layer.activity_regularizer is not None:
                    activities[number] = y if type(y) is list else [y]
        outputs, ends = [], []
        for place in plan.outputs:
            y, mask = values[place]
            outputs.append(y)
            ends.append(None if mask is None else _fitting(y, mask))
        return Pass(outputs, ends, activities, saved, logits)

    def backprop(
        self,
        saved: Pass,
        dy: Any,
        gradients: Gradients,
        need_dx: bool = True,
        *,
        samples: int | None = None,
    ) -> Any:
        """Add the gradients of the weights, and of activity regularizers' penalties; see `Layer.backprop`.

        Parameters
        ----------
        saved, dy, gradients
            As there; each layer's part is given back when it is used. Of several outputs ``dy`` is a list,
            whose items may be None.
        need_dx : bool
            Whether the input's gradient is wanted, a list for several. Otherwise the pass ends at the lowest
            trainable layers.
        samples : int, optional
            What penalties of outputs are divided by; by default the samples of the pass.

        Raises
        ------
        RuntimeError
            If a backward pass has used it before, or the forward pass was not for training.
        """
        plan, parts = self.plan, saved.saved
        if len(parts) != len(plan.steps):
            raise RuntimeError("saved: expected that of a forward(x, training=True), for one backward pass")
        slopes: list[Any] = [None] * plan.size
        if len(plan.outputs) == 1:
            slopes[plan.outputs[0]] = dy
        else:
            for place, slope in zip(plan.outputs, dy, strict=True):
                _add(slopes, place, slope)
        wanted = plan.every if need_dx else _wanted(plan)
        # Parts of steps before all trainable layers are given back first.
        first = len(plan.steps) if not wanted else (wanted & -wanted).bit_length() - 1
        del parts[:first]
        idle: list[Layer] = []
        for number, layer, source, target, _, step in reversed(plan.rows[first:]):
            kept = parts.pop()
            # Places are emptied for what lay there before, also where nothing more is wanted.
            if target >= 0:
                slope, slopes[target] = slopes[target], None
            else:
                slope = _taken(slopes, plan.steps[number].targets)
            if not wanted >> number & 1:
                continue
            if layer.activity_regularizer is not None:
                slope = _with_penalty(layer, slope, saved.activities[number], samples)
            if slope is None:  # No output that has a loss hangs on it.
                idle.append(layer)
                continue
            if step is None:
                origin = plan.origins[number]
                asked = need_dx if origin < 0 else bool(wanted >> origin & 1)
                back = layer.backprop_logits if number in saved.logits else layer.backprop
                dx = back(kept, slope, gradients, asked)
                if asked:
                    if dx is None or slopes[source] is not None:
                        dx = _sum(slopes[source], dx, layer)
                    slopes[source] = dx
                gradients.passed(number)
                continue
            passed = [need_dx if origin < 0 else bool(wanted >> origin & 1) for origin in step.origins]
            asked = True in passed[: len(step.sources)]
            if target >= 0:
                dx = layer.backprop(kept, slope, gradients, asked)
            else:
                dx = _of_several(layer, kept, slope, gradients, asked)
            if asked:
                for place, one, goes_on in zip(
                    step.sources, dx if source < 0 and dx is not None else [dx], passed, strict=False
                ):
                    if goes_on:
                        slopes[place] = _sum(slopes[place], one, layer)
            if step.states:
                found = layer.state_slopes(gradients)
                for place, one, goes_on in zip(step.states, found, passed[len(step.sources) :], strict=True):
                    if goes_on:
                        _add(slopes, place, one)
            gradients.passed(number)
        for layer in idle:
            for variable in layer.trainable_weights:
                if variable not in gradients and not gradients.ends:
                    gradients.add(variable, np.zeros_like(variable.value))
        if not need_dx:
            return None
        ends = [slopes[place] for place in plan.inputs]
        return ends[0] if len(ends) == 1 else ends


def _wanted(plan: Plan) -> int:
    """Return the set, as bits, of the steps whose outputs' gradients lead to weights."""
    found = 0
    for number, step in enumerate(plan.steps):
        if not found >> number & 1 and step.layer.trainable_weights:
            found |= plan.after[number]
            if found == plan.every:
                break
    return found


def _add(slopes: list[Any], place: int, slope: Any) -> None:
    """Add a gradient to what comes from other uses of the same value."""
    if slope is not None:
        slopes[place] = slope if slopes[place] is None else slopes[place] + slope


def _sum(known: Any, slope: Any, layer: Layer) -> Any:
    """Return a layer's gradient of its input with those of other uses; `ValueError` if it gave none."""
    if slope is None:
        raise ValueError(f"{layer.name}: expected backprop to return a gradient, got None")
    return slope if known is None else known + slope


def _taken(slopes: list[Any], places: Sequence[int]) -> list[Any] | None:
    """Take the gradients of several outputs out of a list; None where there is none."""
    found = [slopes[place] for place in places]
    for place in places:
        slopes[place] = None
    return None if all(one is None for one in found) else found


def _special(step: Step, layer: Any, values: list[Any], training: bool) -> tuple[Any, Any, Any]:
    """Make a call with several inputs or outputs, states, a mask or a mode; return its result, x and mask."""
    trains = training or step.training
    if step.source >= 0:
        x, mask = values[step.source]
    else:
        x, mask = ([values[place][which] for place in step.sources] for which in (0, 1))
    if isinstance(layer, Merge):
        return layer.merge(x, mask, trains), x, mask
    if not layer.takes_mask:
        return layer.forward(x, trains), x, mask
    if step.mask >= 0:
        mask = values[step.mask][0] != 0
    options = {"mask": mask}
    if step.states:
        options["initial_state"] = layer.checked_states([values[place][0] for place in step.states], len(x))
    return layer.forward(x, trains, **options), x, mask


def _fitting(y: Any, mask: Mask) -> Mask | None:
    """Return the mask of an output whose steps it has; a layer of another origin may end the steps only."""
    fits = is_array(y) and y.shape[:-1][: mask.ndim] == mask.shape
    return mask if fits else None


def _with_penalty(layer: Layer, slope: Any, outputs: list[Array], samples: int | None) -> Any:
    """Return a gradient with that of the penalty of a layer's outputs."""
    assert layer.activity_regularizer is not None
    grown = []
    for output, one in zip(outputs, slope if type(slope) is list else [slope] * len(outputs), strict=True):
        own = layer.activity_regularizer.gradient(output) / output.dtype.type(samples or max(1, len(output)))
        grown.append(own if one is None else one + own)
    return grown if len(grown) > 1 else grown[0]


def _of_several(layer: Layer, saved: Any, slopes: list[Any], gradients: Gradients, need_dx: bool) -> Any:
    """Go back through a layer that returns several outputs, or its states."""
    recurrent: Any = layer
    if not isinstance(layer, Recurrent):
        return recurrent.backprop(saved, slopes, gradients, need_dx)
    count = len(slopes) - (len(layer.state_sizes) if recurrent.return_state else 0)
    ends: list[Any] = slopes[count:]
    own: Any = slopes[0]
    if count > 1:
        known = next((one for one in slopes[:count] if one is not None), None)
        own = (
            None
            if known is None
            else [np.zeros_like(known) if one is None else one for one in slopes[:count]]
        )
    options: dict[str, Any] = {"dstates": ends} if ends else {}
    return recurrent.backprop(saved, own, gradients, need_dx, **options)
