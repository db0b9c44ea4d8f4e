"""`Bidirectional`: two LSTMs, one of which reads the input backwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.base import checks, devices
from fusedlstm.layers.lstm import LSTM
from fusedlstm.layers.recurrent import Recurrent
from fusedlstm.layers.stateful import in_step

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt
    from typing_extensions import Self

    from fusedlstm.base.gradients import Gradients
    from fusedlstm.base.types import Array, Mask, Shape
    from fusedlstm.layers.base import Layer
    from fusedlstm.ops import LSTMStates

_MODES = ("concat", "sum", "mul", "ave", None)


class Bidirectional(Recurrent):
    """Runs an LSTM over the input and another one over the reversed input, and merges their outputs.

    Input is (B, T, I). With ``concat`` the output has 2 H features, otherwise H. Outputs of all steps are in
    the order of the input: the backward layer's are reversed. Those of masked steps are zero, whatever the
    layers' ``zero_output_for_mask`` is.

    Parameters
    ----------
    layer : LSTM
        The forward layer; it must not have been used yet.
    merge_mode : {"concat", "sum", "mul", "ave", None}
        How outputs are merged; with None a call returns both, ``[forward, backward]``.
    backward_layer : LSTM, optional
        The other layer, which must differ in ``go_backwards`` only as far as shapes go; by default one like
        `layer`.
    **kwargs
        As in `Layer`.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another type, or the two layers do not fit each other.
    """

    def __init__(
        self,
        layer: LSTM,
        merge_mode: str | None = "concat",
        *,
        backward_layer: LSTM | None = None,
        **kwargs: Any,
    ) -> None:
        for name, given in (("layer", layer), ("backward_layer", backward_layer)):
            # A class of its own would become two plain ones.
            if type(given) is not LSTM and not (name == "backward_layer" and given is None):
                raise TypeError(f"{name}: expected an LSTM, got {type(given).__name__}")
            if given is not None and given.activity_regularizer is not None:
                raise ValueError(f"{name}: expected no activity_regularizer, got one in {given.name}")
        if merge_mode not in _MODES:
            expected = ", ".join(repr(mode) for mode in _MODES)
            raise ValueError(f"merge_mode: expected one of {expected}, got {merge_mode!r}")
        super().__init__(**{"dtype": layer.dtype_policy, **kwargs})
        self.merge_mode = merge_mode
        self.forward_layer = LSTM.from_config(_renamed(layer, "forward", layer.go_backwards))
        other = layer if backward_layer is None else backward_layer
        self.backward_layer = LSTM.from_config(_renamed(other, "backward", not layer.go_backwards))
        shared = ("units", "projection_units", "return_sequences", "return_state", "stateful", "dtype_policy")
        for name in shared:
            one, two = getattr(self.forward_layer, name), getattr(self.backward_layer, name)
            if one != two:
                raise ValueError(f"backward_layer: expected {name}={one!r} like the layer, got {two!r}")
        self._separate = backward_layer is not None

    @property
    def _layers(self) -> tuple[LSTM, LSTM]:
        return self.forward_layer, self.backward_layer

    def _quantizable(self) -> Iterator[Layer]:
        yield from super()._quantizable()
        yield self

    @property
    def return_state(self) -> bool:
        """Whether a call returns ``[output, h, c, h, c]``, the forward layer's states first."""
        return self.forward_layer.return_state

    def build(self, input_shape: Shape) -> None:
        """Make the weights of both layers; see `Layer.build`."""
        for layer in self._layers:
            layer.build(input_shape)
        super().build(input_shape)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the merged output; see `Layer.compute_output_shape`."""
        shape = self.forward_layer.compute_output_shape(input_shape)
        return (*shape[:-1], 2 * self.forward_layer.outputs) if self.merge_mode == "concat" else shape

    def output_shapes(self, input_shape: Any) -> list[Shape]:
        """Return the shapes of both outputs where they are not merged, and of the states."""
        shapes = super().output_shapes(input_shape)
        return [shapes[0], *shapes] if self.merge_mode is None else shapes

    def compute_mask(self, x: Array, mask: Mask | None) -> Mask | None:
        """Return the mask where the output has steps; see `Layer.compute_mask`."""
        return self.forward_layer.compute_mask(x, mask)

    def forward(
        self,
        x: Array,
        training: bool = False,
        initial_state: Any = None,
        mask: Mask | None = None,
    ) -> tuple[Any, Any]:
        """Compute the output; see `Layer.forward` and `__call__`."""
        outputs: list[Array] = []
        states: list[Array] = []
        saved: list[Any] = []
        with in_step(self._layers):
            for layer, own in zip(self._layers, initial_state or (None, None), strict=True):
                result, kept = layer.forward(x, training, own, mask)
                saved.append(kept)
                if self.return_state:
                    result, *last = result
                    states += last
                outputs.append(result)
        if self.forward_layer.return_sequences:
            outputs[1] = outputs[1][:, ::-1]
        merged = self._merge(*outputs)
        if self.return_state:
            merged = [*(merged if self.merge_mode is None else [merged]), *states]
        # Only products are differentiated by their factors.
        return merged, (saved, outputs if self.merge_mode == "mul" else None) if training else None

    def traced(
        self, x: Array, initial_state: Any, mask: Mask | None
    ) -> tuple[tuple[LSTMStates, LSTMStates], Any]:
        """Return what `trace` does, and the merged outputs of all steps."""
        own = initial_state or (None, None)
        one, two = (layer.traced(x, state, mask) for layer, state in zip(self._layers, own, strict=True))
        return (one[0], two[0]), self._merge(one[1], two[1])

    def backprop(
        self,
        saved: Any,
        dy: Any,
        gradients: Gradients,
        need_dx: bool = True,
        dstates: Sequence[Array | None] | None = None,
    ) -> Array | None:
        """Compute gradients; see `LSTM.backprop`.

        With ``merge_mode=None`` ``dy`` is a list of two. ``dstates`` are four, the forward layer's first.
        """
        kept, factors = saved
        outputs = self.forward_layer.outputs
        slopes: list[Any]
        if dy is None:
            slopes = [None, None]
        elif self.merge_mode == "concat":
            slopes = [dy[..., :outputs], dy[..., outputs:]]
        elif self.merge_mode == "mul":
            slopes = [dy * factors[1], dy * factors[0]]
        elif self.merge_mode is None:
            slopes = list(dy)
        else:
            slopes = [dy if self.merge_mode == "sum" else dy / dy.dtype.type(2)] * 2
        if dy is not None:
            if self.forward_layer.return_sequences:
                slopes[1] = slopes[1][:, ::-1]
            else:
                # States are read in C order only.
                slopes = [devices.contiguous(slope) for slope in slopes]
        ends = [None] * 4 if dstates is None else list(dstates)
        parts = [
            layer.backprop(own, slope, gradients, need_dx, (dh, dc))
            for layer, own, slope, dh, dc in zip(
                self._layers, kept, slopes, ends[::2], ends[1::2], strict=True
            )
        ]
        return None if parts[0] is None or parts[1] is None else parts[0] + parts[1]

    @property
    def state_gradients(self) -> tuple[Array, ...] | None:
        """Gradients of the four initial states, from the last `backward`."""
        one, two = (layer.state_gradients for layer in self._layers)
        return None if one is None or two is None else (*one, *two)

    def checked_states(
        self, given: Sequence[npt.ArrayLike] | None, batch: int
    ) -> list[tuple[Array, Array] | None] | None:
        """Check and convert four initial states (B, H); None stays None."""
        if given is None:
            return None
        if not isinstance(given, list | tuple) or len(given) != 4:
            got = f"{len(given)}" if isinstance(given, list | tuple) else type(given).__name__
            raise ValueError(f"initial_state: expected 4 arrays, got {got}")
        pairs = zip(self._layers, (given[:2], given[2:]), strict=True)
        return [layer.checked_states(pair, batch) for layer, pair in pairs]

    def reset_state(self) -> None:
        """Let both layers start from zeros again."""
        with in_step(self._layers):
            for layer in self._layers:
                layer.reset_state()

    reset_states = reset_state  # Keras 2's name

    def get_config(self) -> dict[str, Any]:
        """Return JSON-able arguments that make an equal layer, without its weights."""
        return {
            **super().get_config(),
            "layer": self.forward_layer.get_config(),
            "backward_layer": self.backward_layer.get_config() if self._separate else None,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make a layer from `get_config`'s result."""
        arguments = checks.arguments(config, cls.__name__)
        arguments.pop("layer", None)
        arguments.pop("backward_layer", None)
        if config.get("backward_layer") is not None:
            backward = checks.member(config, "backward_layer", dict, cls.__name__)
            arguments["backward_layer"] = LSTM.from_config(backward)
        return cls(LSTM.from_config(checks.member(config, "layer", dict, cls.__name__)), **arguments)

    def _merge(self, one: Array, two: Array) -> Any:
        if self.merge_mode == "concat":
            return np.concatenate([one, two], axis=-1)
        if self.merge_mode is None:
            return [one, two]
        if self.merge_mode == "mul":
            return one * two
        return one + two if self.merge_mode == "sum" else (one + two) / one.dtype.type(2)


def _renamed(layer: LSTM, direction: str, go_backwards: bool) -> dict[str, Any]:
    # A layer that comes from a description has its direction's name already.
    name = layer.name.removeprefix("forward_").removeprefix("backward_")
    return {
        **layer.get_config(),
        "name": f"{direction}_{name}",
        "go_backwards": go_backwards,
        # As Keras has it: at masked steps the two hidden states do not belong together.
        "zero_output_for_mask": layer.return_sequences,
    }
