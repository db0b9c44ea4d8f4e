"""`LSTMBase`: what an LSTM layer is made of. What it does is in `fusedlstm.layers.lstm`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from fusedlstm import activations, initializers, ops
from fusedlstm.base import checks, devices, versions
from fusedlstm.base.seeds import SeedGenerator
from fusedlstm.layers.base import Layer
from fusedlstm.layers.recurrent import Recurrent
from fusedlstm.layers.shapes import feature_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fusedlstm.base.gradients import Gradients
    from fusedlstm.base.types import Array, Shape
    from fusedlstm.base.variable import Variable

# A version, and its weights for the kernels.
_Pack = tuple[int, ops.LSTMWeights]

# Weights that are packed for the kernels, and those that go with the cell's options.
_MATRICES = ("kernel", "recurrent_kernel", "bias", "projection")
_OPTION_WEIGHTS = ("peepholes",)
_NORM_WEIGHTS = ("gamma_input", "gamma_recurrent", "gamma_cell", "beta_cell")


class LSTMBase(Recurrent):
    """Arguments of `LSTM`, its weights, and both in the forms that the kernels take.

    An option of the cell is an argument here, an entry of `beyond_keras` where Keras does not have it, a
    name in `get_config` and a line of `_cell_options`. Weights that it has are made in `build` and named in
    `_OPTION_WEIGHTS`, as in `ops.CellOptions`, and in `ops.LSTMGradients` behind a ``d``.
    """

    weight_arguments: ClassVar[Mapping[str, str]] = {
        "kernel": "kernel",
        "recurrent_kernel": "recurrent",
        "bias": "bias",
    }
    only_values: ClassVar[Mapping[str, tuple[object, ...]]] = {
        **Layer.only_values,
        "implementation": (0, 1, 2),
        "time_major": (False,),
        "unroll": (False, True),
        "use_cudnn": ("auto", False, True),
    }

    beyond_keras: ClassVar[Mapping[str, tuple[object, ...]]] = {
        "use_peepholes": (False,),
        "peephole_initializer": (),
        "coupled": (False,),
        "cell_clip": (None,),
        "layer_norm": (False,),
        "layer_norm_epsilon": (),
        "projection_units": (None,),
        "projection_initializer": (),
        "zoneout_h": (0.0,),
        "zoneout_c": (0.0,),
    }

    fresh = ("_packed", "_options", "state_gradients")

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        *,
        use_peepholes: bool = False,
        peephole_initializer: Any = "zeros",
        coupled: bool = False,
        cell_clip: float | None = None,
        layer_norm: bool = False,
        layer_norm_epsilon: float = 1e-3,
        projection_units: int | None = None,
        projection_initializer: Any = "glorot_uniform",
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zoneout_h: float = 0.0,
        zoneout_c: float = 0.0,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        zero_output_for_mask: bool = False,
        **kwargs: Any,
    ) -> None:
        self.units = checks.positive_int(units, "units")
        self.activation = _in_kernel(activation, "activation")
        self.recurrent_activation = _in_kernel(recurrent_activation, "recurrent_activation")
        self.use_peepholes = checks.flag(use_peepholes, "use_peepholes")
        self.coupled = checks.flag(coupled, "coupled")
        self.cell_clip = None if cell_clip is None else checks.number(cell_clip, "cell_clip")
        self.layer_norm = checks.flag(layer_norm, "layer_norm")
        self.layer_norm_epsilon = checks.number(layer_norm_epsilon, "layer_norm_epsilon")
        if self.layer_norm_epsilon <= 0:
            raise ValueError(f"layer_norm_epsilon: expected a positive number, got {layer_norm_epsilon!r}")
        self.projection_units = (
            None if projection_units is None else checks.positive_int(projection_units, "projection_units")
        )
        self.dropout = checks.rate(dropout, "dropout")
        self.recurrent_dropout = checks.rate(recurrent_dropout, "recurrent_dropout")
        self.zoneout_h = checks.rate(zoneout_h, "zoneout_h")
        self.zoneout_c = checks.rate(zoneout_c, "zoneout_c")
        super().__init__(**kwargs)
        self.use_bias = checks.flag(use_bias, "use_bias")
        self.kernel_initializer = initializers.get(kernel_initializer, "kernel_initializer")
        self.recurrent_initializer = initializers.get(recurrent_initializer, "recurrent_initializer")
        self.bias_initializer = initializers.get(bias_initializer, "bias_initializer")
        self.peephole_initializer = initializers.get(peephole_initializer, "peephole_initializer")
        # Making one may draw a seed, which layers without a projection leave for the next layer's.
        self.projection_initializer: initializers.Initializer | None = None
        if self.projection_units is not None:
            self.projection_initializer = initializers.get(projection_initializer, "projection_initializer")
        self.unit_forget_bias = checks.flag(unit_forget_bias, "unit_forget_bias")
        self.return_sequences = checks.flag(return_sequences, "return_sequences")
        self.return_state = checks.flag(return_state, "return_state")
        self.go_backwards = checks.flag(go_backwards, "go_backwards")
        self.stateful = checks.flag(stateful, "stateful")
        self.zero_output_for_mask = checks.flag(zero_output_for_mask, "zero_output_for_mask")
        self.seed = seed
        # Made here for its checks; `build` adds the weights.
        self._options = self._cell_options()
        self._seeds = SeedGenerator(seed)
        self._packed: tuple[_Pack, ...] | None = None
        self._last_states: tuple[Array, Array] | None = None  # of a stateful layer
        self.state_gradients: tuple[Array, Array] | None = None  # from `backward`, as weights have a ``grad``

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Do what `Copied` does; the options are views of this layer's own weights."""
        super().__setstate__(state)
        self._options = self._cell_options()

    def build(self, input_shape: Shape) -> None:
        """Make the weights for inputs (B, T, I); see `Layer.build`."""
        features, units = feature_count(self, input_shape, 3, None), self.units
        self.kernel = self.add_weight((features, 4 * units), self.kernel_initializer, "kernel")
        self.recurrent_kernel = self.add_weight(
            (self.outputs, 4 * units), self.recurrent_initializer, "recurrent_kernel"
        )
        self.bias: Variable | None = None
        if self.use_bias:
            self.bias = self.add_weight((4 * units,), self.bias_initializer, "bias")
            if self.unit_forget_bias:
                bias = self.bias.numpy()
                bias[units : 2 * units] = 1
                self.bias.assign(bias)
        self.projection: Variable | None = None
        if self.projection_initializer is not None:
            self.projection = self.add_weight(
                (units, self.outputs), self.projection_initializer, "projection"
            )
        self.peepholes: Variable | None = None
        if self.use_peepholes:
            self.peepholes = self.add_weight((3, units), self.peephole_initializer, "peepholes")
        if self.layer_norm:
            for name in _NORM_WEIGHTS:
                size = units if name.endswith("cell") else 4 * units
                self.add_weight((size,), initializers.get("zeros" if name == "beta_cell" else "ones"), name)
        self._options = self._cell_options()
        super().build(input_shape)

    @property
    def options(self) -> ops.CellOptions | None:
        """The cell's options, or None for the plain cell; with weights that the calling thread sees."""
        given = self._options
        if given is None or (given.peepholes is None and given.layer_norm is None):
            return given
        for name, variable in self._variables.items():
            holder = given if name in _OPTION_WEIGHTS else given.layer_norm if name in _NORM_WEIGHTS else None
            if holder is not None and getattr(holder, name) is not variable.value:
                self._options = given = self._cell_options()
                break
        return given

    @options.setter
    def options(self, given: ops.CellOptions | None) -> None:
        self._options = given

    def _cell_options(self) -> ops.CellOptions | None:
        """Return the cell's options, or None for the plain cell."""
        options = ops.CellOptions(
            self.recurrent_activation.__name__,
            self.activation.__name__,
            cell_clip=self.cell_clip,
            coupled=self.coupled,
            zoneout_h=self.zoneout_h,
            zoneout_c=self.zoneout_c,
        )
        # Views of the variables, which mostly follow their changes.
        weights: dict[str, Any] = {
            name: v.value for name, v in self._variables.items() if name in _OPTION_WEIGHTS
        }
        if _NORM_WEIGHTS[0] in self._variables:
            parameters: dict[str, Any] = {name: self._variables[name].value for name in _NORM_WEIGHTS}
            weights["layer_norm"] = ops.LayerNorm(**parameters, epsilon=self.layer_norm_epsilon)
        if options == ops.CellOptions() and not weights:
            return None
        return dataclasses.replace(options, **weights)

    def move(self, place: devices.Device) -> None:
        """Do what `Layer.to` does; a stateful layer's states move too."""
        super().move(place)
        self._packed = None
        self._options = self._cell_options()
        if self._last_states is not None:
            h, c = (place.put(devices.to_host(state)) for state in self._last_states)
            self._last_states = h, c

    @property
    def outputs(self) -> int:
        """Numbers in a hidden state: those of the projection, or else of the units."""
        return self.units if self.projection_units is None else self.projection_units

    @property
    def state_sizes(self) -> tuple[int, int]:
        """Numbers in h and c of a sample."""
        return self.outputs, self.units

    def _matrices(self) -> dict[str, Variable]:
        return {name: variable for name, variable in self._variables.items() if name in _MATRICES}

    def pack(self, storage: str | None = None) -> ops.LSTMWeights:
        """Return newly packed weights; `storage`, as for `ops.LSTMWeights`, goes before the policy."""
        matrices = {name: variable.value for name, variable in self._matrices().items()}
        compute = self.dtype_policy.compute if storage is None else None
        return ops.LSTMWeights(**matrices, storage=storage, compute=compute)

    def _quantizable(self) -> Iterator[Layer]:
        yield self

    def _quantized(self) -> None:
        """Do what `Layer._quantized` does; weights are packed anew."""
        super()._quantized()
        self._packed = None

    def check_trains(self) -> None:
        """Raise `ValueError` where the policy has no gradients."""
        if self.dtype_policy.quantization_mode is not None:
            raise ValueError(
                f"{self.name}: expected a policy that trains, as float32 and mixed_bfloat16 do, got "
                f"{self.dtype_policy.name}, which is for inference"
            )

    @property
    def pack_version(self) -> int:
        """Grows whenever weights that `pack` reads change; that of what the calling thread sees."""
        if not versions.changing:  # The sum of `seen`, without calls, where nothing happens meanwhile.
            version = 0
            for name in _MATRICES:
                if name in self._variables:
                    version += self._variables[name].version
            if not versions.changing and not versions.keeping:
                return version
        return sum(variable.seen()[1] for variable in self._matrices().values())

    def packed(self) -> ops.LSTMWeights:
        """Return the packed weights, packed anew if a variable changed.

        Several threads may ask at once; at worst each of them packs. Weights that other threads' calls may
        have stay as they are, and while calls that began before a change go on with what was, those of two
        versions are remembered.
        """
        known = self._packed or ()
        if known and known[0][0] == self.pack_version and not (versions.changing or versions.keeping):
            return known[0][1]
        with versions.reading():
            version = self.pack_version
            for pack in known:
                if pack[0] == version:
                    return pack[1]
            if known and not versions.keeping and versions.alone():
                weights = known[0][1]
                weights.update(**{name: v.value for name, v in self._matrices().items()})
            else:
                weights = self.pack()
            self._packed = ((version, weights), *(known[:1] if versions.keeping else ()))
            return weights

    def _add_gradients(self, found: ops.LSTMGradients, gradients: Gradients) -> None:
        """Add each weight's gradient to others, and keep those of the states."""
        for name, variable in self._variables.items():
            source = found.dlayer_norm if name in _NORM_WEIGHTS else found
            gradients.add_groups(variable, getattr(source, f"d{name}"))

    @property
    def seed_generators(self) -> list[SeedGenerator]:
        """The random streams whose state a resumed training needs."""
        return [self._seeds]


def _in_kernel(given: object, name: str) -> activations.Activation:
    activation = activations.get(given, name)
    if activation.__name__ not in ops.ACTIVATIONS:
        choices = ", ".join(ops.ACTIVATIONS)
        raise ValueError(f"{name}: expected one of {choices} for an LSTM, got {activation.__name__!r}")
    return activation
