"""`LSTM`: ``torch.nn.LSTM`` computed by this package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from fusedlstm import ops
from fusedlstm.torch import places
from fusedlstm.torch.rows import Rows
from fusedlstm.torch.sequence import Job, Sequence

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[Any]

_DTYPES = (torch.float32, torch.float64)
_PLACES = ("cpu", "cuda")
_PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")


class LSTM(torch.nn.LSTM):  # type: ignore[misc]
    """``torch.nn.LSTM`` computed by this package: same arguments, parameters, start values and results.

    A state_dict goes from one to the other in both directions. Letters: ``B`` batch rows, ``T`` steps, ``I``
    inputs, ``H`` units, ``L`` layers, ``D`` directions (2 if bidirectional, else 1), ``R`` the size of h, H
    without a projection.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    num_layers : int
        L.
    bias : bool
        Whether there are biases; as in PyTorch two for each layer and direction, which add up.
    batch_first : bool
        Whether input and output are (B, T, features) rather than (T, B, features).
    dropout : float
        Share dropped of every layer's output but the last one's, in training, by PyTorch's generator.
    bidirectional : bool
        Whether each layer also reads the sequence from its end.
    proj_size : int
        R, less than H, with a projection of h from H numbers to R (LSTMP); 0 for none.
    device : torch.device, optional
        A CPU or a CUDA device.
    dtype : torch.dtype, optional
        float32 or float64; PyTorch's default by default.

    Raises
    ------
    TypeError
        If dtype is another one, or an argument is of a wrong type.
    ValueError
        If the device is another one, or an argument is out of range.

    Notes
    -----
    Weights are packed for the kernels when a call finds that they have changed since the last one, on a CUDA
    device by each call, since to compare them would wait for the device.

    CUDA tensors go to CuPy and back by DLPack, without copies, on PyTorch's current stream.

    With gradients off nothing is kept for a backward pass. In ``eval`` mode with gradients on, a backward
    pass runs the forward pass again rather than keeping its tape. Gradients can be differentiated once more
    (``create_graph=True``), by `fusedlstm.ops.lstm_second_backward`; third derivatives raise an error, and on
    a CUDA device second ones do.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if device is not None and torch.device(device).type not in _PLACES:
            raise ValueError(f"device: expected a CPU or a CUDA device, got {device}")
        _check_dtype(torch.get_default_dtype() if dtype is None else dtype, "dtype")
        super().__init__(
            input_size,
            hidden_size,
            num_layers=num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            proj_size=proj_size,
            device=device,
            dtype=dtype,
        )
        self._packed: dict[str, tuple[list[Array | None], ops.LSTMWeights]] = {}

    def forward(self, input: Any, hx: tuple[Any, Any] | None = None) -> tuple[Any, tuple[Any, Any]]:  # noqa: A002
        """Run the layers over a batch of sequences, or over one sequence.

        Parameters
        ----------
        input : tensor (T, B, I), (B, T, I) with ``batch_first``, (T, I); or PackedSequence
            Sequences, on the parameters' device and of their dtype.
        hx : pair of tensors (L D, B, R) and (L D, B, H), or without B for one sequence, optional
            Start values of h and c; zeros by default.

        Returns
        -------
        output : tensor (T, B, D R), (B, T, D R) or (T, D R); or PackedSequence
            Hidden states of the last layer, as ``input`` comes.
        (h, c) : pair of tensors, of the shape of ``hx``
            States after each sequence's last step (first step for the reverse direction).

        Raises
        ------
        TypeError
            If something is not a tensor or its dtype is not the parameters'.
        ValueError
            If a shape does not fit or a tensor is not a dense one on the parameters' device.
        ImportError
            If tensors are on a CUDA device, and CuPy or the kernels for it are not installed.
        NotImplementedError
            If they are on a CUDA device, whose kernels lack what is asked for.
        """
        packed = input if isinstance(input, PackedSequence) else None
        x = input if packed is None else packed.data
        self._check_input(x, packed is not None)
        one = packed is None and x.dim() == 2
        rows = Rows()
        if packed is not None:
            # Without its permutation: rows stay in the order of falling lengths, states are permuted instead.
            x, lengths = pad_packed_sequence(PackedSequence(x, packed.batch_sizes), batch_first=True)
            rows = Rows(lengths, x.device)
        elif one:
            x = x.unsqueeze(0)
        elif not self.batch_first:
            x = x.transpose(0, 1)
        y, h, c = self._stack(x, self._states(hx, x, one, packed), rows)
        if packed is not None:
            unsorted = packed.unsorted_indices
            output = PackedSequence(rows.pack(y), packed.batch_sizes, packed.sorted_indices, unsorted)
            return output, (_permuted(h, unsorted), _permuted(c, unsorted))
        if one:
            return y.squeeze(0), (h.squeeze(1), c.squeeze(1))
        # In PyTorch the time-major output is contiguous, and scripts take views of it.
        return y if self.batch_first else y.transpose(0, 1).contiguous(), (h, c)

    def __getstate__(self) -> dict[str, Any]:
        # Packed weights belong to this process and follow from the parameters.
        return {**super().__getstate__(), "_packed": {}}

    def _stack(self, x: Any, states: tuple[Any, Any], rows: Rows) -> tuple[Any, Any, Any]:
        """Run all layers over x (B, T, I); the result is y (B, T, D R), h (L D, B, R) and c (L D, B, H)."""
        last: list[tuple[Any, Any]] = []
        for layer in range(self.num_layers):
            if layer and self.dropout and self.training:
                x = rows.drop(x, self.dropout)
            outputs = []
            for suffix in ("", "_reverse") if self.bidirectional else ("",):
                h0, c0 = (None if state is None else state[len(last)] for state in states)
                y, h, c = self._sequence(x, h0, c0, f"_l{layer}{suffix}", rows, reverse=bool(suffix))
                outputs.append(y)
                last.append((h, c))
            x = torch.cat(outputs, 2) if self.bidirectional else outputs[0]
        return x, torch.stack([h for h, _ in last]), torch.stack([c for _, c in last])

    def _sequence(
        self, x: Any, h0: Any, c0: Any, suffix: str, rows: Rows, *, reverse: bool
    ) -> tuple[Any, Any, Any]:
        """Run one direction of one layer; outputs are in the order of the input's steps."""
        parameters = tuple(getattr(self, name + suffix, None) for name in _PARAMETERS)
        # The kernels read backwards by themselves where all rows are of one length.
        go_backwards = reverse and rows.lengths is None
        tensors = (rows.reversed(x) if reverse and not go_backwards else x, h0, c0, *parameters)
        place = places.place_of(x)
        with place.scope():
            lengths = None if rows.lengths is None else place.array(rows.lengths)
            job = Job(place, self._weights(place, suffix, parameters, x.device), lengths, go_backwards)
            if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors):
                y, h, c = Sequence.apply(*tensors, job, self.training)
            else:
                (y, h, c), _ = job.run(*tensors[:3], training=False)
        return (rows.reversed(y) if reverse else y), h, c

    def _weights(
        self, place: places.Place, suffix: str, parameters: tuple[Any, ...], device: Any
    ) -> ops.LSTMWeights:
        """Return packed weights, on a CPU those of the last call if no parameter has changed since.

        Several threads may ask at once: each entry is replaced as a whole, at worst twice.
        """
        for name, tensor in zip(_PARAMETERS, parameters, strict=True):
            if tensor is not None:
                _check_place(tensor, name + suffix, device)
                _check_dtype(tensor.dtype, name + suffix)
        arrays = [None if tensor is None else place.array(tensor) for tensor in parameters]
        if not place.host:
            # Packing is a copy there, from any layout, which takes less than to wait for a comparison.
            return _packed(arrays, lambda array: array)
        known = self._packed.get(suffix)
        # Numbers are compared, in some hundredths of a packing's time: PyTorch's count of changes misses
        # those through `.data` (moving averages, gradcheck), NumPy views and other processes.
        if known is not None and all(map(_same, known[0], arrays)):
            return known[1]
        copies = [None if array is None else array.copy() for array in arrays]
        packed = _packed(copies, np.ascontiguousarray)
        self._packed[suffix] = (copies, packed)
        return packed

    def _check_input(self, x: Any, packed: bool) -> None:
        if not isinstance(x, torch.Tensor):
            raise TypeError(f"input: expected a tensor or a PackedSequence, got {type(x).__name__}")
        _check_place(x, "input", x.device)
        dtype = getattr(self, "weight_ih_l0").dtype  # noqa: B009  (a module's attributes have no types)
        if x.dtype != dtype:
            raise TypeError(f"input: expected dtype {dtype} like the parameters, got {x.dtype}")
        if not packed and x.dim() not in (2, 3):
            raise ValueError(f"input: expected 2 or 3 axes, got shape {tuple(x.shape)}")
        if x.shape[-1] != self.input_size:
            raise ValueError(f"input: expected {self.input_size} features, got shape {tuple(x.shape)}")

    def _states(self, hx: Any, x: Any, one: bool, packed: Any) -> tuple[Any, Any]:
        if hx is None:
            return None, None
        if not isinstance(hx, tuple | list) or len(hx) != 2:
            raise TypeError(f"hx: expected a pair (h0, c0), got {type(hx).__name__}")
        layers = self.num_layers * (2 if self.bidirectional else 1)
        for state, size in zip(hx, (self.proj_size or self.hidden_size, self.hidden_size), strict=True):
            shape = (layers, size) if one else (layers, x.shape[0], size)
            if not isinstance(state, torch.Tensor):
                raise TypeError(f"hx: expected tensors, got {type(state).__name__}")
            _check_place(state, "hx", x.device)
            if state.dtype != x.dtype:
                raise TypeError(f"hx: expected dtype {x.dtype} like the parameters, got {state.dtype}")
            if tuple(state.shape) != shape:
                raise ValueError(f"hx: expected shape {shape}, got {tuple(state.shape)}")
        h0, c0 = (state.unsqueeze(1) if one else state for state in hx)
        if packed is None:
            return h0, c0
        return _permuted(h0, packed.sorted_indices), _permuted(c0, packed.sorted_indices)


def _permuted(state: Any, order: Any) -> Any:
    return state if order is None else state.index_select(1, order)


def _packed(arrays: list[Any], laid_out: Callable[[Any], Any]) -> ops.LSTMWeights:
    kernel, recurrent_kernel, b_ih, b_hh, projection = arrays
    # PyTorch's matrices are the transposes of ours.
    return ops.LSTMWeights(
        laid_out(kernel.T),
        laid_out(recurrent_kernel.T),
        None if b_ih is None else b_ih + b_hh,
        projection=None if projection is None else laid_out(projection.T),
    )


def _check_place(tensor: Any, name: str, device: Any) -> None:
    if tensor.device.type not in _PLACES or tensor.layout != torch.strided:
        raise ValueError(
            f"{name}: expected a dense tensor on a CPU or a CUDA device, "
            f"got a {tensor.layout} one on {tensor.device}"
        )
    if tensor.device != device:
        raise ValueError(f"{name}: expected a tensor on {device} like the input, got one on {tensor.device}")


def _check_dtype(dtype: Any, name: str) -> None:
    if dtype not in _DTYPES:
        raise TypeError(f"{name}: expected torch.float32 or torch.float64, got {dtype}")


def _same(left: Array | None, right: Array | None) -> bool:
    if left is None or right is None:
        return left is right
    return left.dtype == right.dtype and np.array_equal(left, right)
