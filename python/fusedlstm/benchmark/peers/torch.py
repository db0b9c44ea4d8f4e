"""PyTorch as a contender: ``torch.nn.LSTM`` in its own layout (T, B, I), ``LSTMCell`` for single steps."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from fusedlstm.benchmark.job import Job

if TYPE_CHECKING:
    from fusedlstm.benchmark.workloads import Array, Workload


class Torch:
    """Eager PyTorch. Its gates come in the order i, f, c~, o, as here; its weights are transposed."""

    def __init__(self, threads: int, dtype: str, *, cell: bool, padded: bool) -> None:
        torch.set_num_threads(threads)
        # As PyTorch has it: a model of bfloat16 for inference, and one of float32 in training, whose products
        # are of bfloat16.
        self.short = dtype == "bfloat16"
        self.quantized = dtype == "int8"
        torch.set_default_dtype(torch.float32 if self.short or self.quantized else getattr(torch, dtype))
        self.cell, self.padded = cell, padded

    def version(self) -> str:
        """Return the version."""
        return f"torch {torch.__version__}"

    def prepare(self, workload: Workload, arrays: dict[str, Array]) -> Job:
        """Make the job; see `Contender`."""
        if workload.kind == "mnist":
            return _mnist(arrays, short=self.short)
        if workload.kind == "step" and self.cell:
            return _cell_step(workload, arrays)
        lstm = torch.nn.LSTM(workload.I, workload.H)
        _set_lstm(lstm, arrays["kernel"], arrays["recurrent_kernel"], arrays["bias"])
        if workload.kind in ("training", "lengths"):
            lengths = None if self.padded else arrays.get("lengths")
            return _training(lstm, arrays, lengths, short=self.short)
        x = _steps_first(arrays["x"][:, None] if workload.kind == "step" else arrays["x"])
        states = None
        if workload.kind == "step":
            states = (torch.from_numpy(arrays["h0"])[None], torch.from_numpy(arrays["c0"])[None])
        if self.short:
            lstm, x = lstm.bfloat16(), x.bfloat16()
            states = states and (states[0].bfloat16(), states[1].bfloat16())
        lstm.eval()
        if self.quantized:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that torchao is its place in future
                whole = torch.nn.ModuleDict({"lstm": lstm})
                lstm = torch.ao.quantization.quantize_dynamic(whole, {torch.nn.LSTM}, torch.qint8)["lstm"]

        def run() -> Any:
            with torch.inference_mode():
                return lstm(x, states)

        def check() -> dict[str, Array]:
            y, (h, c) = run()
            numbers = torch.float32 if self.short else y.dtype
            result = {"h": h[0].to(numbers).numpy(), "c": c[0].to(numbers).numpy()}
            if workload.kind == "forward":
                result["y"] = _rows_first(y.to(numbers))
            return result

        return Job(run, check)


def _steps_first(x: Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.swapaxes(x, 0, 1)))


def _rows_first(tensor: torch.Tensor) -> Array:
    return np.ascontiguousarray(np.swapaxes(tensor.detach().numpy(), 0, 1))


def _set_lstm(module: Any, kernel: Array, recurrent_kernel: Array, bias: Array) -> None:
    """Fill an ``LSTM`` or ``LSTMCell``, which adds two biases; the second becomes zero."""
    values = (kernel.T, recurrent_kernel.T, bias, np.zeros_like(bias))
    with torch.no_grad():
        for parameter, value in zip(module.parameters(), values, strict=True):
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(value)))


def _cell_step(workload: Workload, arrays: dict[str, Array]) -> Job:
    cell = torch.nn.LSTMCell(workload.I, workload.H)
    _set_lstm(cell, arrays["kernel"], arrays["recurrent_kernel"], arrays["bias"])
    x, h, c = (torch.from_numpy(arrays[name]) for name in ("x", "h0", "c0"))

    def run() -> Any:
        with torch.inference_mode():
            return cell(x, (h, c))

    def check() -> dict[str, Array]:
        h_new, c_new = run()
        return {"h": h_new.numpy(), "c": c_new.numpy()}

    return Job(run, check)


def _training(lstm: torch.nn.LSTM, arrays: dict[str, Array], lengths: Array | None, *, short: bool) -> Job:
    x = _steps_first(arrays["x"]).requires_grad_()
    dy = _steps_first(arrays["dy"])
    wanted = [x, *list(lstm.parameters())[:3]]

    def outputs() -> Any:
        if lengths is None:
            return lstm(x)[0]
        packed = pack_padded_sequence(x, torch.from_numpy(lengths), enforce_sorted=False)
        return pad_packed_sequence(lstm(packed)[0])[0]

    def run() -> Any:
        with torch.autocast("cpu", torch.bfloat16, enabled=short):
            y = outputs()
        return torch.autograd.grad(y, wanted, dy.to(y.dtype))

    def check() -> dict[str, Array]:
        dx, dkernel, drecurrent, dbias = run()
        return {
            "dx": _rows_first(dx),
            "dkernel": dkernel.numpy().T.copy(),
            "drecurrent_kernel": drecurrent.numpy().T.copy(),
            "dbias": dbias.numpy(),
        }

    return Job(run, check)


def _mnist(arrays: dict[str, Array], *, short: bool) -> Job:
    x, labels = torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["labels"])

    def build(dropout: float) -> tuple[Any, Any]:
        w = [arrays[f"w{index}"] for index in range(10)]
        model = torch.nn.ModuleDict(
            {
                "lstm1": torch.nn.LSTM(28, 128, batch_first=True),
                "lstm2": torch.nn.LSTM(128, 128, batch_first=True),
                "dense1": torch.nn.Linear(128, 32),
                "dense2": torch.nn.Linear(32, 10),
                "dropout": torch.nn.Dropout(dropout),
            }
        )
        _set_lstm(model["lstm1"], *w[:3])
        _set_lstm(model["lstm2"], *w[3:6])
        with torch.no_grad():
            for dense, kernel, bias in ((model["dense1"], w[6], w[7]), (model["dense2"], w[8], w[9])):
                dense.weight.copy_(torch.from_numpy(kernel.T.copy()))
                dense.bias.copy_(torch.from_numpy(bias))
        # The second biases stay zero: here they are no parameters of the model.
        trained = [p for name, p in model.named_parameters() if not name.endswith("bias_hh_l0")]
        return model, torch.optim.Adam(trained, lr=1e-3, eps=1e-7)

    def logits_of(model: Any) -> Any:
        """Run the model up to the logits; the softmax is part of the loss, as usual in PyTorch."""
        dropout = model["dropout"]
        sequence = dropout(model["lstm1"](x)[0])
        state = dropout(model["lstm2"](sequence)[0][:, -1])
        return model["dense2"](dropout(torch.relu(model["dense1"](state))))

    def step(model: Any, optimizer: Any) -> tuple[float, float]:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=short):
            logits = logits_of(model)
            loss = torch.nn.functional.cross_entropy(logits, labels)
        loss.backward()
        optimizer.step()
        accuracy = (logits.argmax(1) == labels).float().mean()
        return loss.item(), accuracy.item()

    def check() -> dict[str, Array]:
        model, optimizer = build(0.0)
        losses = [step(model, optimizer)[0]]
        weights: list[Any] = []
        for lstm in (model["lstm1"], model["lstm2"]):
            kernel, recurrent, bias, _ = (p.detach().numpy().copy() for p in lstm.parameters())
            weights += [kernel.T, recurrent.T, bias]
        for dense in (model["dense1"], model["dense2"]):
            weights += [dense.weight.detach().numpy().T.copy(), dense.bias.detach().numpy().copy()]
        losses += [step(model, optimizer)[0] for _ in range(2)]
        return {"losses": np.array(losses), **{f"w{i}": array for i, array in enumerate(weights)}}

    model, optimizer = build(0.2)
    return Job(lambda: step(model, optimizer), check)
