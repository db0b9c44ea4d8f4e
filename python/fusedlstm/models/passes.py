"""`Passes`: forward passes through a model's layers, and the backward passes that belong to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from fusedlstm.base import versions
from fusedlstm.base.arrays import is_array
from fusedlstm.base.placed import Placed
from fusedlstm.layers.base import ActivatedLayer, Layer, checked_pair
from fusedlstm.layers.stateful import in_step

if TYPE_CHECKING:
    from fusedlstm.base.gradients import Gradients
    from fusedlstm.base.types import Array, Mask


class Pass(NamedTuple):
    """What a run through all layers leaves: a value, which the model does not keep."""

    output: Array
    mask: Mask | None  # of the output's steps
    activities: dict[str, Array]  # outputs of layers with an activity regularizer, by name
    saved: list[Any]  # with training, what each layer has saved, until its backward pass takes it
    logits: bool  # whether the last layer's activation was left out


class Passes(Placed):
    """What a model inherits that is a layer to the outside: `forward`, and `backprop` of what it saved."""

    layers: list[Layer]

    def forward(self, x: Array, training: bool = False) -> tuple[Array, Pass]:
        """Compute the output of checked input, and what `backprop` needs; see `Layer.forward`.

        With ``training`` there may be any number of passes at a time. A pass sees weights of one version.
        """
        with versions.reading():
            done = self._run(x, training)
        return done.output, done

    def _run(self, x: Array, training: bool = False, logits: bool = False) -> Pass:
        """Run all layers, masks along with values; with ``logits`` the last one without its activation."""
        mask: Mask | None = None
        activities = {}
        saved = []
        with in_step(self.layers):
            for layer in self.layers:
                inputs = x
                if logits and isinstance(layer, ActivatedLayer) and layer is self.layers[-1]:
                    result = layer.forward_logits(x, training)
                elif layer.takes_mask:
                    result = layer.forward(x, training, mask=mask)  # type: ignore[call-arg]
                else:
                    result = layer.forward(x, training)
                x, kept = result if type(result) is tuple else checked_pair(result, layer)
                if training:
                    saved.append(kept)
                mask = layer.compute_mask(inputs, mask)
                if layer.activity_regularizer is not None:
                    activities[layer.name] = x
        # A layer of another origin may end the steps and pass their mask all the same.
        fits = mask is not None and is_array(x) and x.shape[:-1][: mask.ndim] == mask.shape
        return Pass(x, mask if fits else None, activities, saved, logits)

    def backprop(
        self,
        saved: Pass,
        dy: Array,
        gradients: Gradients,
        need_dx: bool = True,
        *,
        samples: int | None = None,
    ) -> Array | None:
        """Add the gradients of the weights, and of activity regularizers' penalties; see `Layer.backprop`.

        Parameters
        ----------
        saved, dy, gradients
            As there; each layer's part is given back when it is used.
        need_dx : bool
            Whether the input's gradient is wanted. Otherwise the pass ends at the lowest trainable layer.
        samples : int, optional
            What penalties of outputs are divided by; by default the samples of the pass.

        Raises
        ------
        RuntimeError
            If a backward pass has used it before, or the forward pass was not for training.
        """
        parts = saved.saved
        if len(parts) != len(self.layers):
            raise RuntimeError("saved: expected that of a forward(x, training=True), for one backward pass")
        last, first = len(parts) - 1, 0
        while not need_dx and first <= last and not self.layers[first].trainable_weights:
            first += 1
        del parts[:first]
        gradient: Array | None = dy
        for number in range(last, first - 1, -1):
            layer = self.layers[number]
            if gradient is None:
                raise ValueError(
                    f"{self.layers[number + 1].name}: expected backprop to return a gradient, got None"
                )
            if layer.activity_regularizer is not None:
                output = saved.activities[layer.name]
                slope = layer.activity_regularizer.gradient(output)
                gradient = gradient + slope / output.dtype.type(samples or max(1, len(output)))
            wanted = need_dx or number > first
            if saved.logits and number == last and isinstance(layer, ActivatedLayer):
                gradient = layer.backprop_logits(parts.pop(), gradient, gradients, wanted)
            else:
                gradient = layer.backprop(parts.pop(), gradient, gradients, wanted)
        return gradient
