"""The attributes of ONNX's LSTM operator that say what its cell computes, from and to `CellOptions`.

ONNX's gates come in the order i, o, f, c~, and its peepholes in the order i, o, f.
"""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.activations import TABLE
from fusedlstm.ops.options import ACTIVATIONS, Activation, CellOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusedlstm.base.types import Array

# Keras's gates i, f, c~, o in ONNX's order and back; peepholes i, f, o likewise.
TO_ONNX = (0, 3, 1, 2)
FROM_ONNX = (0, 2, 3, 1)
PEEPHOLES = (0, 2, 1)  # is its own inverse

_ACTIVATIONS = {name: row for name, row in TABLE.items() if row.onnx_cell is not None}
# ONNX Runtime takes names in any case.
_KERNEL_NAMES = {str(row.onnx_cell).lower(): name for name, row in _ACTIVATIONS.items()}
# By the kernels' numbers, which is how CellOptions.activations has them; relu is a leaky_relu with alpha = 0.
_BY_NUMBER = {number: name for name, (number, *_) in ACTIVATIONS.items()}
# The fields of CellOptions that an LSTM node can say.
_WHICH = ("recurrent_activation", "activation", "output_activation")
_SAID = (*_WHICH, "peepholes", "coupled", "gate_clip")
_USUAL = ["Sigmoid", "Tanh", "Tanh"]


def cell_options(attributes: dict[str, Any], directions: int) -> list[CellOptions | None]:
    """Return each direction's options, without its peepholes; None for the plain cell.

    Parameters
    ----------
    attributes : dict
        Those of an LSTM node.
    directions : int
        1 or 2.

    Raises
    ------
    ValueError
        If they contradict each other, or the kernels do not have what they say; the message names the
        attribute.
    """
    names = [str(name) for name in attributes.get("activations", _USUAL * directions)]
    if len(names) != 3 * directions:
        raise ValueError(f"activations: expected {3 * directions} names, got {names}")
    for name in names:
        if name.lower() not in _KERNEL_NAMES:
            known = [row.onnx_cell for row in _ACTIVATIONS.values()]
            raise ValueError(f"activations: expected names among {known}, got {name!r}")
    kernel_names = [_KERNEL_NAMES[name.lower()] for name in names]
    defaults = [_ACTIVATIONS[name].onnx_defaults for name in kernel_names]
    alphas = _distributed("activation_alpha", attributes, names, [values[:1] for values in defaults])
    betas = _distributed("activation_beta", attributes, names, [values[1:] for values in defaults])
    activations: list[Activation] = [
        (name, *alpha, *beta)  # type: ignore[misc]  # as many parameters as the activation has
        for name, alpha, beta in zip(kernel_names, alphas, betas, strict=True)
    ]
    clip = float(attributes.get("clip", 0.0))
    if "clip" in attributes and not 0 < clip < np.inf:
        raise ValueError(f"clip: expected a positive number, got {clip}")
    coupled = attributes.get("input_forget", 0)
    if coupled not in (0, 1):
        raise ValueError(f"input_forget: expected 0 or 1, got {coupled}")
    plain = CellOptions()
    result: list[CellOptions | None] = []
    for first in range(0, len(activations), 3):
        f, g, h = activations[first : first + 3]
        options = CellOptions(f, g, h, coupled=bool(coupled), gate_clip=clip or None)
        is_plain = options.activations == plain.activations and not coupled and not clip
        result.append(None if is_plain else options)
    return result


def _distributed(
    key: str, attributes: dict[str, Any], names: list[str], defaults: Sequence[tuple[float | None, ...]]
) -> list[tuple[float, ...]]:
    """Give each activation that takes one the next of the parameters, in their order.

    Some exporters write a parameter for every activation, whether it takes one or not. Such a list is taken
    where both readings agree.
    """
    given = [float(value) for value in attributes.get(key, ())]
    takers = [number for number, default in enumerate(defaults) if default]
    if len(given) > len(takers) and (
        len(given) != len(names) or any(given[i] != given[n] for i, n in enumerate(takers))
    ):
        raise ValueError(f"{key}: expected {len(takers)} numbers for the activations {names}, got {given}")
    result: list[tuple[float, ...]] = [()] * len(names)
    for position, number in enumerate(takers):
        value = given[position] if position < len(given) else defaults[number][0]
        if value is None:
            raise ValueError(f"{key}: expected a number for {names[number]}, which has no default")
        result[number] = (value,)
    return result


def cell_attributes(options: Sequence[CellOptions | None], dtype: str) -> dict[str, Any]:
    """Return the attributes of an LSTM node whose directions have these options, peepholes apart.

    Parameters
    ----------
    options : sequence of CellOptions or None
        One for each direction.
    dtype : str
        Of the layer: attributes are float32 numbers, and those of a float64 layer must not be rounded.

    Raises
    ------
    ValueError
        If ONNX cannot say one of the options; the message names it.
    """
    each = [CellOptions() if one is None else one for one in options]
    for one in each:
        _refuse_unknown(one)
    for name in ("coupled", "gate_clip"):
        if len({getattr(one, name) for one in each}) > 1:
            raise ValueError(f"{name}: expected the same in both directions")
    names: list[str] = []
    alphas: list[float] = []
    betas: list[float] = []
    for one in each:
        for which, (kind, alpha, beta) in zip(_WHICH, one.activations, strict=True):
            name = _BY_NUMBER[kind]
            if name == "leaky_relu" and alpha == 0:
                name = "relu"
            if name not in _ACTIVATIONS:
                raise ValueError(f"{which}: ONNX's LSTM has no {name!r}")
            row = _ACTIVATIONS[name]
            values = [exact(value, dtype, which) for value in (alpha, beta)[: len(row.onnx_defaults)]]
            names.append(str(row.onnx_cell))
            alphas += values[:1]
            betas += values[1:]
    result: dict[str, Any] = {}
    if names != _USUAL * len(each):
        result["activations"] = names
        result.update({"activation_alpha": alphas} if alphas else {})
        result.update({"activation_beta": betas} if betas else {})
    if each[0].coupled:
        result["input_forget"] = 1
    if each[0].gate_clip is not None:
        result["clip"] = exact(float(each[0].gate_clip), dtype, "gate_clip")
    return result


def exact(value: float, dtype: str, name: str) -> float:
    """Return a number that an attribute keeps; `ValueError` if it would be rounded for a float64 layer."""
    if dtype == "float64" and float(np.float32(value)) != value:
        raise ValueError(f"{name}: ONNX keeps {value} in float32 only, which is not exact in float64")
    return value


def _refuse_unknown(options: CellOptions) -> None:
    for field in fields(options):
        if field.name in _SAID or field.default is MISSING:
            continue
        value = getattr(options, field.name)
        if value is not field.default and value != field.default:
            raise ValueError(f"{field.name}: ONNX's LSTM cannot say {value!r}")


def reordered(array: Array, order: Sequence[int], blocks: int) -> Array:
    """Return an array whose last axis holds ``blocks`` equal blocks with those in another order."""
    split = array.reshape(*array.shape[:-1], blocks, array.shape[-1] // blocks)
    return np.ascontiguousarray(split[..., list(order), :].reshape(array.shape))
