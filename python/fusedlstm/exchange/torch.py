"""Stacks of LSTM layers as ``torch.nn.LSTM`` and its state_dict have them.

PyTorch's gates come in the order i, f, c~, o, as here; its matrices are transposed, and it has two biases for
each layer, which add up. A projection's matrix is ``weight_hr``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.base import checks
from fusedlstm.base.filling import filling
from fusedlstm.base.versions import of_one_version
from fusedlstm.exchange.integers import POLICY
from fusedlstm.exchange.torch_quantized import quantized_tensors
from fusedlstm.layers import LSTM, Dropout, InputLayer
from fusedlstm.layers.stacked import StackedLSTM, unstacked
from fusedlstm.models.sequential import Sequential

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusedlstm.base.types import Array
    from fusedlstm.layers import Layer

_NAMES = "(weight_ih|weight_hh|bias_ih|bias_hh|weight_hr)_l(0|[1-9][0-9]{0,8})"
_KEY = re.compile(_NAMES)
# Under these keys is what a weight is computed from, by torch.nn.utils.parametrize and by older hooks.
_PARAMETRIZED = re.compile(r"((?:.*\.)?)parametrizations\.([^.]+)\..*")
# A quantized module packs the weights of a layer under such a key.
_PACKED = re.compile(r"(?:.*\.)?_all_weight_values\.[0-9]+\.param")
_HOOKED = re.compile(_NAMES + "_(g|v|u|orig|mask)")


def from_torch(source: Any, *, prefix: str = "", return_sequences: bool = True) -> Sequential:
    """Make a model of LSTM layers with the weights of a ``torch.nn.LSTM``.

    Nothing but weights and dropout is read: forward hooks of a module, and a ``forward`` of its own that a
    subclass has, are not in the model.

    Parameters
    ----------
    source : torch.nn.LSTM or mapping of str to tensor
        The module, or its state_dict; arrays do as well as tensors. It is copied. Weights that
        ``torch.nn.utils.parametrize`` computes are read from a module as they are now. Of a module that
        ``torch.ao.quantization.quantize_dynamic`` has quantized it is the module, with the LSTM itself or
        at `prefix`, as its state_dict has packed weights.
    prefix : str
        What the LSTM's keys begin with in a larger module or its state_dict, such as ``"encoder.lstm."``;
        other keys are left alone.
    return_sequences : bool
        Whether the last layer returns all steps, as PyTorch does.

    Returns
    -------
    Sequential
        From (B, T, I) to (B, T, H), or (B, H), in the weights' dtype, whatever ``batch_first`` is. Between
        layers there is a `Dropout` if the LSTM is a module with dropout. The two biases of a layer are
        summed. Quantized to ``qint8``, layers have the policy ``"int8_from_float32"`` and the dequantized
        weights, which they round for each column (`Layer.quantize`); to ``float16``, the rounded weights in
        float32.

    Raises
    ------
    TypeError
        If an argument or one of the source's values is of a wrong type, or not float32 or float64, or a
        tensor does not have all its numbers in memory, as sparse, nested and meta tensors.
    ValueError
        If it is bidirectional, a key or shape is not that of a ``torch.nn.LSTM``, or its dropout is not in
        [0, 1).
    """
    if not isinstance(prefix, str):
        raise TypeError(f"prefix: expected a string, got {prefix!r:.80}")
    found = quantized_tensors(source, prefix)
    arrays, quantized = (_tensors(source, prefix), False) if found is None else found
    weights = [_keras_weights(layer, number) for number, layer in enumerate(_by_layer(arrays, prefix))]
    dtype, inputs = weights[0]["kernel"].dtype, weights[0]["kernel"].shape[0]
    for number, weight in enumerate(weights):
        kernel, recurrent_kernel = weight["kernel"], weight["recurrent_kernel"]
        name = f"{prefix}weight_ih_l{number}"
        wanted = inputs if number == 0 else weights[number - 1]["recurrent_kernel"].shape[0]
        if kernel.dtype != dtype or recurrent_kernel.dtype != dtype:
            raise TypeError(f"{name}: expected dtype {dtype} like the others, got {kernel.dtype}")
        if kernel.shape[0] != wanted:
            raise ValueError(f"{name}: expected {wanted} inputs, got shape {kernel.T.shape}")
    # PyTorch allows any share for a single layer, after which nothing is dropped.
    check = checks.rate if len(weights) > 1 else checks.share
    rate = check(_dropout(source, prefix), f"source: {prefix}dropout")
    layers: list[Layer] = [InputLayer((None, inputs))]
    with filling():
        for number, weight in enumerate(weights):
            if number and rate:
                layers.append(Dropout(rate, dtype=dtype))
            layers.append(
                LSTM(
                    weight["kernel"].shape[1] // 4,
                    use_bias="bias" in weight,
                    projection_units=weight["projection"].shape[1] if "projection" in weight else None,
                    return_sequences=return_sequences or number + 1 < len(weights),
                    dtype=POLICY if quantized else dtype,
                )
            )
        model = Sequential(layers)
    model.set_weights([array for layer in weights for array in layer.values()])
    return model


@of_one_version
def to_torch(source: Sequential | LSTM | StackedLSTM | Sequence[Layer]) -> dict[str, Any]:
    """Return the weights of LSTM layers as the state_dict of a ``torch.nn.LSTM``.

    Parameters
    ----------
    source : Sequential, LSTM, StackedLSTM or list of layers
        Built LSTM layers, on their own or stacked, of one number of units, each over the output of the one
        before; `Dropout` layers between them have no weights and are passed over.

    Returns
    -------
    dict of str to torch.Tensor
        Copies, for ``torch.nn.LSTM(I, H, num_layers)`` or `fusedlstm.torch.LSTM`: the bias is ``bias_ih``,
        and ``bias_hh`` is zero. Load it into a module with ``bias=False`` if there is none, and with
        ``proj_size=R`` if the layers have R projection units.

    Raises
    ------
    ImportError
        When PyTorch is not installed.
    TypeError, ValueError
        If something else is among the layers, or they are not of a form that ``torch.nn.LSTM`` has.
    """
    try:
        import torch
    except ImportError as error:
        raise ImportError('to_torch needs PyTorch: pip install "fusedlstm[torch]"') from error
    result: dict[str, Any] = {}
    for number, layer in enumerate(_lstm_layers(source)):
        result[f"weight_ih_l{number}"] = torch.from_numpy(layer.kernel.numpy().T.copy(order="C"))
        result[f"weight_hh_l{number}"] = torch.from_numpy(layer.recurrent_kernel.numpy().T.copy(order="C"))
        if layer.bias is not None:
            bias = torch.from_numpy(layer.bias.numpy())
            result[f"bias_ih_l{number}"], result[f"bias_hh_l{number}"] = bias, torch.zeros_like(bias)
        if layer.projection is not None:
            result[f"weight_hr_l{number}"] = torch.from_numpy(layer.projection.numpy().T.copy(order="C"))
    return result


def _is_module(source: Any) -> bool:
    # Without PyTorch in the process there are no modules of it.
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(source, torch.nn.Module)


def _tensors(source: Any, prefix: str) -> dict[str, Any]:
    """Return the tensors of a module or mapping whose names begin with a prefix, by the rest."""
    tensors = source.state_dict() if _is_module(source) else source
    if not isinstance(tensors, Mapping):
        raise TypeError(f"source: expected a torch.nn.LSTM or its state_dict, got {type(source).__name__}")
    result = {}
    for key, value in tensors.items():
        if not isinstance(key, str):
            raise TypeError(f"source: expected names of tensors, got the key {key!r:.80}")
        found = _PARAMETRIZED.fullmatch(key) if _is_module(source) else None
        name = key if found is None else found[1] + found[2]
        if name.startswith(prefix):
            result[name[len(prefix) :]] = value if found is None else attrgetter(name)(source)
    return result


def _dropout(source: Any, prefix: str) -> Any:
    """Return what the LSTM of a module drops between its layers, nothing if it is a mapping's."""
    if (prefix and not prefix.endswith(".")) or not _is_module(source):
        return 0.0
    try:
        return attrgetter(f"{prefix}dropout")(source)
    except AttributeError:
        return 0.0


def _by_layer(tensors: Mapping[str, Any], prefix: str) -> list[dict[str, Array]]:
    """Sort tensors by layer and convert them; all layers have the same names."""
    layers: dict[int, dict[str, Array]] = {}
    for key, value in tensors.items():
        found = _KEY.fullmatch(key)
        if found is None:
            raise ValueError(
                f"{prefix + key:.80}: expected weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0 and so on, "
                f"got this key{_reason(key)}"
            )
        layers.setdefault(int(found[2]), {})[found[1]] = _array(value, prefix + key)
    if not layers:
        raise ValueError(f"source: expected the weights of an LSTM, got no key that begins with {prefix!r}")
    names = ["weight_ih", "weight_hh"]
    if any("bias_ih" in layer or "bias_hh" in layer for layer in layers.values()):
        names += ["bias_ih", "bias_hh"]
    if any("weight_hr" in layer for layer in layers.values()):
        names.append("weight_hr")
    for number in range(max(layers) + 1):
        for name in names:
            if name not in layers.get(number, {}):
                raise ValueError(f"{prefix}{name}_l{number}: expected a tensor, got none of this name")
    return [layers[number] for number in range(len(layers))]


def _reason(key: str) -> str:
    """Return what there is to say of a key that is none of an LSTM's."""
    if key.endswith("_reverse"):
        return ": layers of both directions are not supported"
    if _PACKED.fullmatch(key):
        return ", which holds packed weights: give the module itself, with a quantized LSTM at prefix"
    if _PARAMETRIZED.fullmatch(key):
        return ", from which a parametrized module computes a weight: give the module itself"
    if _HOOKED.fullmatch(key):
        return (
            ", from which a weight is computed before each call: torch.nn.utils.remove_weight_norm, "
            "remove_spectral_norm or prune.remove makes one tensor of it"
        )
    return "; prefix says where in a larger state_dict the LSTM is"


def _array(value: Any, key: str) -> Array:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return _numbers(torch, value, key)
    if not isinstance(value, np.ndarray) or value.dtype not in (np.float32, np.float64):
        got = getattr(value, "dtype", type(value).__name__)
        raise TypeError(f"{key}: expected a tensor of dtype float32 or float64, got {got}")
    return checks.numeric(value, key)


def _numbers(torch: Any, value: Any, key: str) -> Array:
    """Return a tensor's numbers; `TypeError` for one that does not have them in memory, one by one."""
    if torch.nn.parameter.is_lazy(value):
        raise TypeError(f"{key}: expected a tensor, got one of a lazy module that no call has initialized")
    if value.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"{key}: expected a tensor of dtype float32 or float64, got {value.dtype}")
    kind = "nested" if value.is_nested else "meta" if value.is_meta else str(value.layout)
    if kind != "torch.strided":
        hint = "" if kind in ("nested", "meta") else "; to_dense() makes one of it"
        raise TypeError(f"{key}: expected a dense tensor of numbers, got a {kind} tensor{hint}")
    try:
        last = value.storage_offset() + sum(
            (size - 1) * stride for size, stride in zip(value.shape, value.stride(), strict=True)
        )
        # Wrappers have no memory, and storages can be freed or cut below their tensors, which are read on.
        whole = value.data_ptr() != 0 and value.untyped_storage().nbytes() >= (last + 1) * value.itemsize
        if value.numel() and not whole:
            raise RuntimeError("its memory is not there")
        # Copies from other devices, and resolves views whose numbers are negated when they are read.
        array: Array = value.numpy(force=True)
    except RuntimeError as error:
        raise TypeError(
            f"{key}: expected a tensor of numbers in memory, got {type(value).__name__}: {error}"
        ) from error
    return array


def _keras_weights(layer: Mapping[str, Array], number: int) -> dict[str, Array]:
    """Return kernel (I, 4H), recurrent_kernel (R, 4H), the biases' sum bias (4H,) and projection (H, R)."""
    w_ih, w_hh, w_hr = layer["weight_ih"], layer["weight_hh"], layer.get("weight_hr")
    if w_hr is not None and (w_hr.ndim != 2 or w_hr.size == 0):
        raise ValueError(f"weight_hr_l{number}: expected shape (R, H), got {w_hr.shape}")
    square = w_hr is None and w_hh.ndim == 2 and w_hh.shape[0] == 4 * w_hh.shape[1] and w_hh.size > 0
    if not square and (w_hr is None or w_hh.shape != (4 * w_hr.shape[1], w_hr.shape[0])):
        expected = "(4H, H)" if w_hr is None else f"{(4 * w_hr.shape[1], w_hr.shape[0])}"
        raise ValueError(f"weight_hh_l{number}: expected shape {expected}, got {w_hh.shape}")
    gates = w_hh.shape[0]
    if w_ih.ndim != 2 or w_ih.shape[0] != gates or w_ih.size == 0:
        raise ValueError(f"weight_ih_l{number}: expected shape ({gates}, I), got {w_ih.shape}")
    result = {"kernel": w_ih.T, "recurrent_kernel": w_hh.T}
    if "bias_ih" in layer:
        for name in ("bias_ih", "bias_hh"):
            if layer[name].shape != (gates,):
                raise ValueError(f"{name}_l{number}: expected shape ({gates},), got {layer[name].shape}")
        result["bias"] = layer["bias_ih"] + layer["bias_hh"]
    if w_hr is not None:
        result["projection"] = w_hr.T
    return result


def _lstm_layers(source: Sequential | LSTM | StackedLSTM | Sequence[Layer]) -> list[LSTM]:
    given = source.layers if isinstance(source, Sequential) else source
    given = [given] if isinstance(given, LSTM | StackedLSTM) else given
    if not isinstance(given, list | tuple):
        raise TypeError(f"source: expected a Sequential, an LSTM or a list of layers, got {given!r}")
    layers = []
    for layer in unstacked(given):
        if isinstance(layer, LSTM):
            layers.append(layer)
        elif not isinstance(layer, Dropout):
            raise ValueError(f"source: expected LSTM and Dropout layers only, got {layer!r}")
    if not layers:
        raise ValueError("source: expected at least one LSTM layer, got none")
    first = layers[0]
    for layer in layers:
        if not layer.built:
            raise ValueError(f"source: expected built layers, {layer.name} has no weights yet")
        if layer.go_backwards:
            raise ValueError(
                f"source: expected layers that read forwards, {layer.name} has go_backwards=True"
            )
        plain = {"activation": ("tanh",), "recurrent_activation": ("sigmoid",), **layer.beyond_keras}
        del plain["projection_units"]
        config = layer.get_config()
        for key, values in plain.items():
            if values and config[key] not in values:
                raise ValueError(
                    f"source: expected {key}={values[0]!r} like torch.nn.LSTM, "
                    f"{layer.name} has {config[key]!r}"
                )
        if layer.projection_units is not None and layer.projection_units >= layer.units:
            raise ValueError(
                f"source: expected fewer projection units than units like torch.nn.LSTM, {layer.name} has "
                f"{layer.projection_units} of {layer.units}"
            )
        for key in ("units", "projection_units", "use_bias", "dtype"):
            if getattr(layer, key) != getattr(first, key):
                raise ValueError(
                    f"source: expected layers like {first.name} ({key}={getattr(first, key)!r}), got "
                    f"{layer.name} ({key}={getattr(layer, key)!r})"
                )
        if layer is not first and layer.kernel.shape[0] != first.outputs:
            raise ValueError(
                f"source: expected {first.outputs} inputs for {layer.name}, got {layer.kernel.shape[0]}"
            )
    return layers
