"""What all optimizers share: learning rate, clipping, slots, state."""

from __future__ import annotations

import copy
import math
import re
import warnings
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fusedlstm import ops
from fusedlstm.base import checks, devices, versions
from fusedlstm.base.copying import Copied
from fusedlstm.base.names import checked_name
from fusedlstm.base.registry import Configured, serialize
from fusedlstm.base.variable import Variable, unique_paths
from fusedlstm.optimizers import schedules
from fusedlstm.optimizers.schedules import LearningRateSchedule

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from typing_extensions import Self

    from fusedlstm.base.types import Array

LearningRate: TypeAlias = float | LearningRateSchedule
Arrays: TypeAlias = "list[Array]"
Slots: TypeAlias = "dict[str, list[Array]]"


class Rate(float):
    """A learning rate as Keras's variable: a number that can be assigned to its optimizer."""

    __slots__ = ("_optimizer",)

    _optimizer: Optimizer

    def __new__(cls, value: float, optimizer: Optimizer) -> Self:
        """Make the number."""
        made = super().__new__(cls, value)
        made._optimizer = optimizer
        return made

    def assign(self, value: float) -> None:
        """Set the optimizer's learning rate; this number stays as it is."""
        self._optimizer.learning_rate = value

    def numpy(self) -> np.float64:
        """Return it as a number of NumPy's."""
        return np.float64(self)

    def __reduce__(self) -> tuple[type[float], tuple[float]]:
        """Let copies be plain numbers."""
        return float, (float(self),)


class Optimizer(Copied, Configured):
    """Base of optimizers. A subclass names its slots and defines `update`.

    Parameters
    ----------
    learning_rate : float or LearningRateSchedule
        Step size; a number may be assigned later, to it or by its method ``assign``.
    weight_decay : float, optional
        Decoupled decay: each update first subtracts ``learning_rate * weight_decay * weight``.
    clipnorm : float, optional
        Each gradient whose norm is larger is scaled down to it.
    clipvalue : float, optional
        Gradients are clipped to [-clipvalue, clipvalue].
    global_clipnorm : float, optional
        All gradients are scaled down together if their common norm is larger.
    use_ema : bool
        Whether a moving average of each weight is kept, which `fit` puts in the weight's place at its end.
    ema_momentum : float
        Share of the old average in the new one.
    ema_overwrite_frequency : int, optional
        Weights are set to their averages after each so many updates, too.
    loss_scale_factor : float, optional
        In Keras's place; it changes nothing, as there are no gradients in 16 bits.
    name : str, optional
        Name; the class's in small letters by default.
    **older
        ``lr`` for ``learning_rate``, and ``decay``, which Keras ignores as well; both warn.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range, more than one kind of clipping is asked for, or an argument unknown.
    """

    def __init__(
        self,
        learning_rate: LearningRate,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        name: str | None = None,
        **older: Any,
    ) -> None:
        self.name = type(self).__name__.lower() if name is None else checked_name(name)
        self._rate = checked_rate(_renamed(older, learning_rate))
        self.weight_decay = (
            None if weight_decay is None else checks.non_negative(weight_decay, "weight_decay")
        )
        self.clipnorm = checks.optional_positive(clipnorm, "clipnorm")
        self.clipvalue = checks.optional_positive(clipvalue, "clipvalue")
        self.global_clipnorm = checks.optional_positive(global_clipnorm, "global_clipnorm")
        self.use_ema = checks.flag(use_ema, "use_ema")
        self.ema_momentum = checks.share(ema_momentum, "ema_momentum")
        self.ema_overwrite_frequency = (
            None
            if ema_overwrite_frequency is None
            else checks.positive_int(ema_overwrite_frequency, "ema_overwrite_frequency")
        )
        self.loss_scale_factor = checks.optional_positive(loss_scale_factor, "loss_scale_factor")
        given = [
            key for key in ("clipnorm", "clipvalue", "global_clipnorm") if getattr(self, key) is not None
        ]
        if len(given) > 1:
            raise ValueError(f"{given[1]}: expected at most one kind of gradient clipping, got {given}")
        self._undecayed: list[Variable] = []
        self._undecayed_names: list[str] = []
        # An array, since kernels count in it what they have done.
        self._count = Variable(np.zeros((), np.int64), "iterations", trainable=False)
        self._targets: list[Variable] = []
        self._slots: list[dict[str, Variable]] = []
        self._places: list[devices.Device] = []  # of the slots

    @property
    def learning_rate(self) -> Rate:
        """The learning rate of the next update, a float with Keras's ``assign`` and ``numpy``."""
        return Rate(self._rate_now(), self)

    @learning_rate.setter
    def learning_rate(self, value: LearningRate) -> None:
        rate = checked_rate(value)
        if self.scheduled and not callable(rate):
            raise TypeError(
                f"learning_rate: expected a schedule, as {type(self._rate).__name__} is one, got {value!r}; "
                "make the optimizer with a number to set it later"
            )
        self._rate = rate

    @property
    def scheduled(self) -> bool:
        """Whether the learning rate comes from a schedule, and cannot be set to a number."""
        return callable(self._rate)

    def _rate_now(self) -> float:
        return self._rate(self.iterations) if callable(self._rate) else self._rate

    @property
    def iterations(self) -> int:
        """The number of updates so far."""
        return int(self._count.newest()[0])

    @iterations.setter
    def iterations(self, value: int) -> None:
        self._count.assign(value)

    def slot_names(self) -> tuple[str, ...]:
        """Return the names of the arrays kept for each variable."""
        raise NotImplementedError(f"{type(self).__name__} must define slot_names")

    def slot_start(self, name: str) -> float:  # noqa: ARG002
        """Return what a slot's elements are before the first update."""
        return 0.0

    def _all_slot_names(self) -> tuple[str, ...]:
        return (*(("average",) if self.use_ema else ()), *self.slot_names())

    def update(self, variables: Arrays, grads: Arrays, slots: Slots, common: dict[str, Any]) -> None:
        """Update ``variables`` and ``slots`` in place. `iterations` is that of the updates before.

        Parameters
        ----------
        variables, grads : list of ndarray
            A gradient of the same shape and dtype for each variable.
        slots : dict of str to list of ndarray
            By the names of `slot_names`, an array for each variable.
        common : dict
            The keyword arguments of all updates in `fusedlstm.ops`, ``scale`` being a list.
        """
        raise NotImplementedError(f"{type(self).__name__} must define update")

    def build(self, variables: Sequence[Variable]) -> None:
        """Make the slots for ``variables``.

        Built once, it takes any of the same variables again: those frozen meanwhile keep their slots.

        Raises
        ------
        ValueError
            If it was built for others before.
        """
        if self._targets:
            known = [*variables] == self._targets
            if not known and not set(map(id, self._targets)).issuperset(map(id, variables)):
                raise ValueError(
                    "variables: expected those that this optimizer was built for "
                    f"({[v.path for v in self._targets]}), got {[v.path for v in variables]}; "
                    "make a new optimizer for another model, or after unfreezing layers"
                )
            self.follow()
            return
        self._slots = [
            {
                slot: Variable(self._start(slot, v), slot, f"{v.path}/{slot}", trainable=False)
                for slot in self._all_slot_names()
            }
            for v in variables
        ]
        self._targets = list(variables)
        self.follow()

    def _start(self, slot: str, variable: Variable) -> Array:
        return np.full(variable.shape, self.slot_start(slot), variable.dtype)

    def __copy__(self) -> Self:
        """Return an optimizer of the same variables with slots of its own."""
        made = super().__copy__()
        made._slots = [{name: copy.copy(slot) for name, slot in slots.items()} for slots in self._slots]
        made._count = copy.copy(self._count)
        return made

    def follow(self) -> None:
        """Move the slots to where their variables are."""
        places = [variable.device for variable in self._targets]
        if places == self._places:
            return
        for place, slots in zip(places, self._slots, strict=True):
            for slot in slots.values():
                slot.move(place)
        self._places = places

    def apply(self, grads: Sequence[Array | None], trainable_variables: Sequence[Variable]) -> None:
        """Update the variables in place, apply their constraints and count one iteration.

        An interrupt, as by Ctrl-C, leaves variables, slots and `iterations` as they were before, or as they
        are after.

        Parameters
        ----------
        grads : sequence of ndarray
            Gradients, same shapes and dtypes as the variables.
        trainable_variables : sequence of Variable
            Those of the first call, or some of them.

        Raises
        ------
        ValueError
            If the gradients do not fit; nothing is changed then.
        """
        checked = _check_grads(grads, trainable_variables)
        self.build(trainable_variables)
        common: dict[str, Any] = {
            "learning_rate": self._rate_now(),
            "weight_decay": self._decays(trainable_variables),
            "clipvalue": math.inf if self.clipvalue is None else self.clipvalue,
        }
        scales = self._scales(checked)
        for place, scale in enumerate(scales):
            if math.isnan(scale):  # All of the gradient is NaN then, as in Keras.
                checked[place], scales[place] = checked[place] * math.nan, 1.0
        common["scale"] = scales
        chosen = self.slots_of(trainable_variables)
        own = [slot for slots in chosen for slot in slots.values()]
        constrained = [variable for variable in trainable_variables if variable.constraint is not None]
        changed = [*trainable_variables, *own, self._count]
        with versions.writing(changed, drafts=bool(constrained)) as change:
            slots = {name: change.arrays([held[name] for held in chosen]) for name in self._all_slot_names()}
            *arrays, count = change.arrays([*trainable_variables, self._count])
            common["iterations"] = count
            after = int(count) + 1
            if self.use_ema:
                common["average"] = slots.pop("average")
                common["ema_momentum"] = self.ema_momentum if count else 0.0
                common["ema_overwrites"] = after % (self.ema_overwrite_frequency or after + 1) == 0
            self.update(arrays, checked, slots, common)
            count[...] = after  # It is already, unless `update` computes by itself.
            for variable in constrained:
                assert variable.constraint is not None
                variable.assign(variable.constraint(variable.value))

    def slots_of(self, variables: Sequence[Variable]) -> list[dict[str, Variable]]:
        """Return the slots of some of the targets."""
        if [*variables] == self._targets:
            return self._slots
        of_variable = dict(zip(map(id, self._targets), self._slots, strict=True))
        return [of_variable[id(variable)] for variable in variables]

    def finalize_variable_values(self, var_list: Sequence[Variable]) -> None:
        """Set variables to their moving averages, with ``use_ema`` and after an update; `fit` ends with it.

        Raises
        ------
        ValueError
            If the optimizer was built for others; nothing is changed then.
        """
        if not self.use_ema or not self.iterations:
            return
        self.build(var_list)
        chosen = self.slots_of(var_list)
        with versions.writing(var_list):
            for variable, slots in zip(var_list, chosen, strict=True):
                variable.assign(slots["average"].value)

    def exclude_from_weight_decay(
        self, var_list: Iterable[Variable] | None = None, var_names: Iterable[str] | None = None
    ) -> None:
        """Leave variables out of the weight decay.

        Parameters
        ----------
        var_list : iterable of Variable, optional
            Those themselves.
        var_names : iterable of str, optional
            Patterns: variables are left out in whose names one is found, as ``"bias"``.
        """
        self._undecayed = list(var_list or ())
        self._undecayed_names = list(var_names or ())

    def _decays(self, variables: Sequence[Variable]) -> float | list[float]:
        """Return the weight decay of all variables, or of each one."""
        decay = self.weight_decay or 0.0
        if not decay or not (self._undecayed or self._undecayed_names):
            return decay
        kept = set(map(id, self._undecayed))
        names = "|".join(self._undecayed_names)
        return [0.0 if id(v) in kept or (names and re.search(names, v.name)) else decay for v in variables]

    @property
    def targets(self) -> list[Variable]:
        """The variables that it was built for; empty before."""
        return list(self._targets)

    @property
    def variables(self) -> list[Variable]:
        """The slots, variable by variable; empty before the first update."""
        return [slot for slots in self._slots for slot in slots.values()]

    @property
    def everything(self) -> list[Variable]:
        """The slots, and the number of updates: all that updates change beside the weights."""
        return [*self.variables, self._count]

    def _by_path(self) -> dict[str, Variable]:
        slots = self.variables
        return dict(zip(unique_paths(slots), slots, strict=True))

    def get_state(self) -> dict[str, Array]:
        """Return copies of all that a resumed training needs: ``iterations`` and the slots by path.

        A learning rate that was changed after the optimizer was made is not part of it.
        """
        slots = {path: slot.numpy() for path, slot in self._by_path().items()}
        return {"iterations": np.asarray(self.iterations, np.int64), **slots}

    def set_state(self, state: dict[str, Array], variables: Sequence[Variable]) -> None:
        """Continue from `get_state`'s result.

        Parameters
        ----------
        state : dict
            From an optimizer of the same class and settings.
        variables : sequence of Variable
            What the other one was built for, with the same paths and shapes.

        Raises
        ------
        ValueError
            If names or shapes differ; nothing is changed then.
        """
        iterations = np.asarray(state.get("iterations"))
        if iterations.shape != () or iterations.dtype.kind not in "iu" or iterations < 0:
            raise ValueError(
                f"state: expected 'iterations', an integer >= 0, got {state.get('iterations')!r:.80}"
            )
        self.build(variables)
        slots = self._by_path()
        if set(state) - {"iterations"} != (set(slots) if len(state) > 1 else set()):
            raise ValueError(f"state: expected the keys {['iterations', *slots]}, got {list(state)}")
        for path, value in state.items():
            if path != "iterations" and np.shape(value) != slots[path].shape:
                raise ValueError(
                    f"state: expected shape {slots[path].shape} for {path}, got {np.shape(value)}"
                )
        with versions.writing([self._count, *slots.values()]):
            for path, slot in slots.items():
                slot.assign(state[path] if path in state else np.full(slot.shape, self.slot_start(slot.name)))
            self._count.assign(iterations)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal optimizer, with the learning rate, or schedule, of now."""
        rate = self._rate
        described = serialize(rate) if isinstance(rate, LearningRateSchedule) else rate
        return {**super().get_config(), "learning_rate": described}

    def _scales(self, grads: Sequence[Array]) -> list[float]:
        if self.clipnorm is not None:
            return [_shrink(self.clipnorm, ops.squared_norm(grad)) for grad in grads]
        if self.global_clipnorm is not None:
            total = math.fsum(ops.squared_norm(grad) for grad in grads)
            return [_shrink(self.global_clipnorm, total)] * len(grads)
        return [1.0] * len(grads)


def checked_rate(value: LearningRate) -> LearningRate:
    """Return a learning rate, or a schedule, of which dicts are descriptions."""
    if isinstance(value, dict):
        value = schedules.deserialize(value, "learning_rate")
    return value if isinstance(value, LearningRateSchedule) else checks.non_negative(value, "learning_rate")


def _renamed(older: dict[str, Any], learning_rate: LearningRate) -> LearningRate:
    """Return the learning rate, which older programs call ``lr``; `TypeError` for unknown arguments."""
    if older.pop("decay", None) is not None:
        warnings.warn("decay: no longer supported, and ignored; use a schedule", stacklevel=4)
    if "lr" in older:
        warnings.warn("lr: deprecated, use learning_rate instead", stacklevel=4)
        learning_rate = older.pop("lr")
    if older:
        raise TypeError(f"{next(iter(older))}: no argument of optimizers")
    return learning_rate


def _shrink(limit: float, squared_norm: float) -> float:
    """Return the factor that brings a norm down to ``limit``; a NaN norm gives NaN, as in Keras."""
    norm = math.sqrt(squared_norm)
    return 1.0 if norm <= limit else limit / norm


def _check_grads(grads: Sequence[Array | None], variables: Sequence[Variable]) -> list[Array]:
    if len(grads) != len(variables):
        raise ValueError(f"grads: expected {len(variables)} arrays, one per variable, got {len(grads)}")
    checked = []
    for grad, variable in zip(grads, variables, strict=True):
        if grad is None:
            raise ValueError(f"grads: expected a gradient of {variable.path}, got None")
        if grad.shape != variable.shape or grad.dtype != variable.dtype:
            raise ValueError(
                f"grads: expected {variable.dtype} {variable.shape} for {variable.path}, "
                f"got {grad.dtype} {grad.shape}"
            )
        checked.append(devices.contiguous(grad))
    return checked
