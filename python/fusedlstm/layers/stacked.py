"""`StackedLSTM`: LSTM layers on top of each other, as one layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusedlstm.base import checks
from fusedlstm.base.filling import room
from fusedlstm.base.seeds import SeedGenerator
from fusedlstm.layers.bidirectional import Bidirectional
from fusedlstm.layers.core import Dropout
from fusedlstm.layers.lstm import LSTM
from fusedlstm.layers.recurrent import Recurrent
from fusedlstm.layers.stateful import in_step

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from fusedlstm.base.gradients import Gradients
    from fusedlstm.base.types import Array, Mask, Shape
    from fusedlstm.layers.base import Layer


class StackedLSTM(Recurrent):
    """LSTM layers on top of each other, each over all outputs of the one below.

    Input is (B, T, I); output that of the last layer. The results have the bits of separate layers. A layer's
    weights are those of `LSTM`, or of `Bidirectional`, under the stack's name and ``_l0``, ``_l1`` and so on.

    Parameters
    ----------
    units : int or list of int
        Number of units of each layer; one number for all.
    num_layers : int, optional
        Number of layers; by default 2, or the length of `units`.
    between_dropout : float
        Share of each layer's outputs dropped in training on their way to the next layer, in [0, 1): what
        ``torch.nn.LSTM`` calls ``dropout``. The ``dropout`` of `LSTM` is another one, at each layer's input
        and the same at all steps.
    bidirectional : bool
        Whether each layer is a `Bidirectional` one.
    merge_mode : {"concat", "sum", "mul", "ave"}
        How the two directions' outputs are merged.
    seed : int, optional
        Seed of all dropouts.
    return_sequences : bool
        Whether the last layer returns the output of all steps.
    return_state : bool
        Whether a call returns a list, the last states following the output: h and c of each layer, with two
        directions the forward one's first.
    **kwargs
        As in `LSTM`, for each layer, except ``go_backwards``; and in `Layer`.

    Raises
    ------
    TypeError, ValueError
        If an argument is unknown, out of range or not supported.
    """

    def __init__(
        self,
        units: int | Sequence[int],
        num_layers: int | None = None,
        *,
        between_dropout: float = 0.0,
        bidirectional: bool = False,
        merge_mode: str = "concat",
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        **kwargs: Any,
    ) -> None:
        names = ("name", "trainable", "input_shape", "activity_regularizer")
        own = {key: kwargs.pop(key) for key in names if key in kwargs}
        super().__init__(dtype=kwargs.get("dtype"), **own)
        sizes = _sizes(units, num_layers)
        self.between_dropout = checks.rate(between_dropout, "between_dropout")
        self.bidirectional = checks.flag(bidirectional, "bidirectional")
        self.merge_mode = checks.choice(merge_mode, "merge_mode", ("concat", "sum", "mul", "ave"))
        if kwargs.pop("go_backwards", False):
            raise ValueError("go_backwards: expected False for a stack, got True; reverse its input instead")
        self.return_sequences = checks.flag(return_sequences, "return_sequences")
        self.return_state = checks.flag(return_state, "return_state")
        self.seed = checks.optional_seed(seed, "seed")
        seeds = SeedGenerator(seed)
        self.layers: list[LSTM | Bidirectional] = []
        self._gaps: list[Dropout] = []
        for number, size in enumerate(sizes):
            name, last = f"{self.name}_l{number}", number == len(sizes) - 1
            layer = LSTM(
                size,
                name=name,
                seed=None if seed is None else seeds.next(),
                return_sequences=self.return_sequences or not last,
                return_state=self.return_state,
                **kwargs,
            )
            self.layers.append(Bidirectional(layer, self.merge_mode, name=name) if bidirectional else layer)
            if not last:
                gap_seed = None if seed is None else seeds.next()
                self._gaps.append(Dropout(self.between_dropout, gap_seed, name=f"{name}_dropout"))

    def _quantizable(self) -> Iterator[Layer]:
        yield from super()._quantizable()
        yield self

    def build(self, input_shape: Shape) -> None:
        """Make the weights of all layers; see `Layer.build`."""
        shape = input_shape
        for layer in self.layers:
            layer.build(shape)
            shape = layer.compute_output_shape(shape)
        super().build(input_shape)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the last layer's output; see `Layer.compute_output_shape`."""
        shape = input_shape
        for layer in self.layers:
            shape = layer.compute_output_shape(shape)
        return shape

    def checked_states(self, given: Sequence[npt.ArrayLike] | None, batch: int) -> list[Any] | None:
        """Check and convert the initial states of all layers; None stays None."""
        if given is None:
            return None
        groups = self._grouped(given, "initial_state")
        return [layer.checked_states(group, batch) for layer, group in zip(self.layers, groups, strict=True)]

    def forward(
        self,
        x: Array,
        training: bool = False,
        initial_state: list[Any] | None = None,
        mask: Mask | None = None,
    ) -> tuple[Any, Any]:
        """Compute the output; see `Layer.forward` and `__call__`."""
        last: list[Array] = []
        saved: list[Any] = []
        with in_step(self.layers):
            for number, layer in enumerate(self.layers):
                gap = None
                if number:
                    x, gap = self._gaps[number - 1].forward(x, training)
                initial = None if initial_state is None else initial_state[number]
                x, kept = layer.forward(x, training, initial, mask)
                saved.append((gap, kept))
                if self.return_state:
                    x, *states = x
                    last += states
        return [x, *last] if self.return_state else x, saved

    def traced(self, x: Array, initial_state: list[Any] | None, mask: Mask | None) -> tuple[list[Any], Array]:
        """Return what `trace` does, and the last layer's outputs of all steps."""
        found = []
        for number, layer in enumerate(self.layers):
            steps, x = layer.traced(x, None if initial_state is None else initial_state[number], mask)
            found.append(steps)
        return found, x

    def backprop(
        self,
        saved: Any,
        dy: Array | None,
        gradients: Gradients,
        need_dx: bool = True,
        dstates: Sequence[Array | None] | None = None,
    ) -> Array | None:
        """Compute gradients; see `LSTM.backprop`. There are ``dstates`` for all that ``return_state`` gave.

        Each layer's part of `saved` is given back when it is used.
        """
        groups = [None] * len(self.layers) if dstates is None else self._grouped(dstates, "dstates")
        if len(saved) != len(self.layers):
            raise RuntimeError(
                f"{self.name}: expected what no backward pass has used yet, got a used `saved`"
            )
        for number in reversed(range(len(self.layers))):
            gap, kept = saved.pop()
            dy = self.layers[number].backprop(kept, dy, gradients, need_dx or number > 0, groups[number])
            if number and dy is not None:
                dy = self._gaps[number - 1].backprop(gap, dy, gradients)
        return dy

    @property
    def state_gradients(self) -> tuple[Array, ...] | None:
        """Gradients of all initial states, from the last `backward`."""
        parts = [layer.state_gradients for layer in self.layers]
        return tuple(array for part in parts if part is not None for array in part) or None

    def reset_state(self) -> None:
        """Let all layers of a stateful stack start from zeros again."""
        with in_step(self.layers):
            for layer in self.layers:
                layer.reset_state()

    reset_states = reset_state  # Keras 2's name

    @property
    def _layers(self) -> Sequence[Layer]:
        return self.layers

    @property
    def seed_generators(self) -> list[SeedGenerator]:
        """The random streams whose state a resumed training needs."""
        parts: list[Layer] = [*self.layers, *self._gaps]
        return [seeds for part in parts for seeds in part.seed_generators]

    def get_config(self) -> dict[str, Any]:
        """Return JSON-able arguments that make an equal layer, without its weights."""
        parts = [layer.forward_layer if isinstance(layer, Bidirectional) else layer for layer in self.layers]
        return {
            **parts[0].get_config(),
            **super().get_config(),
            "units": [part.units for part in parts],
        }

    def _grouped(self, states: Sequence[Any], name: str) -> list[Any]:
        """Split a list of all layers' states by layer."""
        size = 4 if self.bidirectional else 2
        count = size * len(self.layers)
        if not isinstance(states, list | tuple) or len(states) != count:
            got = f"{len(states)}" if isinstance(states, list | tuple) else type(states).__name__
            raise ValueError(f"{name}: expected a list of {count} arrays, got {got}")
        return [states[start : start + size] for start in range(0, count, size)]


def unstacked(layers: Sequence[Layer]) -> list[Layer]:
    """Return layers with each stack's own ones in its place."""
    result: list[Layer] = []
    for layer in layers:
        result += layer.layers if isinstance(layer, StackedLSTM) else [layer]
    return result


def _sizes(units: int | Sequence[int], num_layers: int | None) -> list[int]:
    if not isinstance(units, list | tuple):
        if room() is not None:
            # A description names each layer's, so that a short one cannot ask for any number of layers.
            raise ValueError(f"units: expected a list with the units of each layer, got {units!r:.80}")
        count = 2 if num_layers is None else checks.positive_int(num_layers, "num_layers")
        return [checks.positive_int(units, "units")] * count
    if not units or num_layers not in (None, len(units)):
        expected = "at least one number" if not units else f"{num_layers} numbers, one for each layer"
        raise ValueError(f"units: expected {expected}, got {list(units)}")
    return [checks.positive_int(size, "units") for size in units]
