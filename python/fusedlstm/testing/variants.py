"""The LSTM with options, in float64 or complex128 NumPy, step by step and row by row.

With complex numbers its derivatives are exact: a function that is computed at ``x + i h v`` with a tiny ``h``
has the derivative along ``v`` in its imaginary part, without cancellation (W. Squire and G. Trapp, "Using
Complex Variables to Estimate Derivatives of Real Functions", SIAM Review 40(1), 1998). Comparisons are those
of real parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fusedlstm.testing.layer_norm import layer_norm_reference
from fusedlstm.testing.reference import LSTMReference

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from fusedlstm.ops.options import CellOptions

_USUAL: dict[str, tuple[float, ...]] = {
    "hard_sigmoid": (1 / 6, 0.5),
    "relu": (0.0,),
    "leaky_relu": (0.2,),
    "elu": (1.0,),
    "linear": (1.0, 0.0),
    "scaled_tanh": (1.0, 1.0),
    "thresholded_relu": (1.0,),
}


def activation_reference(activation: Any, x: npt.ArrayLike) -> Any:
    """Apply an activation as `fusedlstm.ops.CellOptions` names it, in float64 or complex128.

    Parameters
    ----------
    activation : str or tuple
        A name, or a name and parameters.
    x : array_like
        Any shape.

    Returns
    -------
    ndarray
    """
    name, *given = (activation,) if isinstance(activation, str) else activation
    parameters = (*given, *_USUAL.get(name, ())[len(given) :])
    z = np.asarray(x) * 1.0
    positive = z.real > 0
    size = np.where(z.real < 0, -z, z)
    if name == "tanh":
        return np.tanh(z)
    if name == "sigmoid":
        e = np.exp(-size)
        return np.where(positive, 1.0, e) / (1.0 + e)
    if name == "hard_sigmoid":
        y = parameters[0] * z + parameters[1]
        return np.where(y.real <= 0, 0.0, np.where(y.real >= 1, 1.0, y))
    if name in ("relu", "leaky_relu"):
        return np.where(positive, z, parameters[0] * z)
    if name == "elu":
        return np.where(positive, z, parameters[0] * (np.exp(np.where(positive, 0.0, z)) - 1.0))
    if name == "softsign":
        return z / (1.0 + size)
    if name == "softplus":
        return np.where(positive, z, 0.0) + np.log(1.0 + np.exp(-size))
    if name == "linear":
        return parameters[0] * z + parameters[1]
    if name == "exponential":
        return np.exp(z)
    if name == "scaled_tanh":
        return parameters[0] * np.tanh(parameters[1] * z)
    if name == "thresholded_relu":
        return np.where(z.real < parameters[0], 0.0, z)
    raise ValueError(f"activation: expected a name that CellOptions knows, got {name!r}")


def zoneout_reference(seed: int, rate: float, state: str, steps: npt.ArrayLike, units: int) -> Any:
    """Tell where zoneout keeps the previous value, for rows that are at the given steps.

    Parameters
    ----------
    seed : int
        Its low 64 bits are used.
    rate : float
        In [0, 1).
    state : {"h", "c"}
        Which state is kept.
    steps : integer array (B,)
        How many real steps each row had before.
    units : int
        Numbers N in a row of the state.

    Returns
    -------
    bool array (B, N)
        Where a hash of the seed, the row, the step and the unit, as a fraction of 2^32, is below the rate.
        The hash is that of `fusedlstm.ops.dropout` for a row of elements with the number
        ``2^32 row + 2 step + (state == "h")``.
    """

    def mix(word: Any) -> Any:
        word = ((word ^ (word >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
        word = ((word ^ (word >> 15)) * 0x846CA68B) & 0xFFFFFFFF
        return word ^ (word >> 16)

    def plus(a: Any, b: Any) -> Any:
        return (a + b) & 0xFFFFFFFF

    low, high = (np.uint64(part) for part in (seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF))
    run = (2 * np.asarray(steps, np.uint64) + np.uint64(state == "h")) & np.uint64(0xFFFFFFFF)
    row = np.arange(len(run), dtype=np.uint64)
    key = mix(plus(mix(run ^ low), high)) ^ mix(plus(row, low))
    word = mix(mix(plus(key[:, None], np.arange(units, dtype=np.uint64))) ^ high)
    return word < rate * 2.0**32


def lstm_variant_reference(
    x: npt.ArrayLike,
    kernel: npt.ArrayLike,
    recurrent_kernel: npt.ArrayLike,
    bias: npt.ArrayLike,
    h0: npt.ArrayLike,
    c0: npt.ArrayLike,
    *,
    options: CellOptions,
    peepholes: npt.ArrayLike | None = None,
    projection: npt.ArrayLike | None = None,
    mask: npt.NDArray[np.bool_] | None = None,
    zero_output_for_mask: bool = False,
    recurrent_mask: npt.ArrayLike | None = None,
    zoneout_seed: int | None = None,
    layer_norm: Sequence[npt.ArrayLike] | None = None,
) -> LSTMReference:
    """Run an LSTM with options over a batch of sequences.

    Parameters
    ----------
    x : array_like (B, T, I)
    kernel, recurrent_kernel, bias : array_like (I, 4H), (R, 4H), (4H,)
    h0, c0 : array_like (B, R), (B, H)
    options : CellOptions
        Its peepholes are not looked at, and of its layer_norm only the epsilon.
    peepholes : array_like (3, H), optional
    projection : array_like (H, R), optional
        Without one R is H.
    mask : bool array (B, T), optional
        As for `fusedlstm.ops.lstm_forward`.
    zero_output_for_mask : bool
    recurrent_mask : array_like (B, R), optional
    zoneout_seed : int, optional
    layer_norm : four of array_like, optional
        gamma_input (4H,), gamma_recurrent (4H,), gamma_cell (H,) and beta_cell (H,), where `options` has a
        layer_norm.

    Returns
    -------
    LSTMReference
        ``(y, h, c)``, complex where an argument is.
    """
    x, h0, c0 = np.asarray(x), np.asarray(h0) * 1.0, np.asarray(c0) * 1.0
    steps = lstm_states_reference(
        x,
        kernel,
        recurrent_kernel,
        bias,
        h0,
        c0,
        options=options,
        peepholes=peepholes,
        projection=projection,
        mask=mask,
        recurrent_mask=recurrent_mask,
        zoneout_seed=zoneout_seed,
        layer_norm=layer_norm,
    )
    y = np.where(mask[..., None], steps.h, 0.0) if zero_output_for_mask and mask is not None else steps.h
    if not x.shape[1]:
        return LSTMReference(y, h0, c0)
    return LSTMReference(y, steps.h[:, -1], steps.c[:, -1])


class LSTMStatesReference(NamedTuple):
    """What `lstm_states_reference` returns, complex where an argument is.

    Attributes
    ----------
    h, c : ndarray (B, T, R), (B, T, H)
        States after each step; where it is not real, those that pass it.
    i, f, g, o : ndarray (B, T, H)
        Activated gates and candidate; NaN where a step is not real.
    """

    h: Any
    c: Any
    i: Any
    f: Any
    g: Any
    o: Any


def lstm_states_reference(
    x: npt.ArrayLike,
    kernel: npt.ArrayLike,
    recurrent_kernel: npt.ArrayLike,
    bias: npt.ArrayLike,
    h0: npt.ArrayLike,
    c0: npt.ArrayLike,
    *,
    options: CellOptions,
    peepholes: npt.ArrayLike | None = None,
    projection: npt.ArrayLike | None = None,
    mask: npt.NDArray[np.bool_] | None = None,
    recurrent_mask: npt.ArrayLike | None = None,
    zoneout_seed: int | None = None,
    layer_norm: Sequence[npt.ArrayLike] | None = None,
) -> LSTMStatesReference:
    """Compute the states and gates of every step; parameters as of `lstm_variant_reference`."""
    x, kernel, recurrent_kernel = np.asarray(x), np.asarray(kernel), np.asarray(recurrent_kernel)
    bias, h, c = np.asarray(bias), np.asarray(h0) * 1.0, np.asarray(c0) * 1.0
    p = np.zeros((3, c.shape[1])) if peepholes is None else np.asarray(peepholes)
    dropping = np.ones(h.shape) if recurrent_mask is None else np.asarray(recurrent_mask)
    gate, candidate = options.recurrent_activation, options.activation
    output = candidate if options.output_activation is None else options.output_activation
    steps = np.zeros(len(x), int)
    found: list[tuple[Any, ...]] = []

    def kept(state: str, rate: float, units: int) -> Any:
        return rate if zoneout_seed is None else zoneout_reference(zoneout_seed, rate, state, steps, units)

    def norm(a: Any, which: int, offset: npt.ArrayLike = 0.0) -> Any:
        if options.layer_norm is None or layer_norm is None:
            return a
        return layer_norm_reference(a, layer_norm[which], offset, options.layer_norm.epsilon)

    for t in range(x.shape[1]):
        z = norm(x[:, t] @ kernel, 0) + norm((h * dropping) @ recurrent_kernel, 1) + bias
        z_i, z_f, z_g, z_o = np.split(z, 4, axis=1)
        z_i, z_f, z_g = (_limited(z, options.gate_clip) for z in (z_i + p[0] * c, z_f + p[1] * c, z_g))
        i, g = activation_reference(gate, z_i), activation_reference(candidate, z_g)
        f = 1.0 - i if options.coupled else activation_reference(gate, z_f)
        new_c = _limited(f * c + i * g, options.cell_clip)
        o = activation_reference(gate, _limited(z_o + p[2] * new_c, options.gate_clip))
        seen = new_c if layer_norm is None else norm(new_c, 2, layer_norm[3])
        new_h = o * activation_reference(output, seen)
        if projection is not None:
            new_h = new_h @ np.asarray(projection)
        keep_c = kept("c", options.zoneout_c, c.shape[1])
        keep_h = kept("h", options.zoneout_h, h.shape[1])
        new_c = keep_c * c + (1.0 - keep_c) * new_c
        new_h = keep_h * h + (1.0 - keep_h) * new_h
        real = np.ones((len(x), 1), bool) if mask is None else mask[:, t, None]
        steps += real[:, 0]
        h, c = np.where(real, new_h, h), np.where(real, new_c, c)
        gates = (np.where(real, one, np.nan) for one in (i, f, g, o))
        found.append((h, c, *gates))
    if not found:
        sizes = (h.shape[1], *(5 * (c.shape[1],)))
        return LSTMStatesReference(*(np.zeros((*x.shape[:2], size)) for size in sizes))
    return LSTMStatesReference(*(np.stack(arrays, axis=1) for arrays in zip(*found, strict=True)))


def _limited(z: Any, limit: float | None) -> Any:
    if limit is None:
        return z
    return np.where(z.real > limit, limit, np.where(z.real < -limit, -limit, z))
