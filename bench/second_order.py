"""Measure second derivatives: against a training step of the same layer, and against PyTorch where it is.

    python bench/second_order.py [--shape 64,28,128,128] [--seconds 20]

Two tables on standard output, of calls that take turns. The first has the array-level passes, each as a
multiple of forward + backward. The second has whole steps in PyTorch, by torch.nn.LSTM and by
fusedlstm.torch.LSTM, whose gradients are compared first.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from limits import arrays, take_turns, training  # type: ignore[import-not-found]

from fusedlstm import ops

if TYPE_CHECKING:
    from collections.abc import Callable

Shape = tuple[int, int, int, int]


def with_second(shape: Shape, **names: bool) -> Callable[[], object]:
    """Make a call of forward, backward and second backward along the named arrays, in float32."""
    x, parts, dy = arrays(shape)
    weights = ops.LSTMWeights(*parts)
    inputs = {"ddx": x, "ddkernel": parts[0], "ddrecurrent_kernel": parts[1], "ddbias": parts[2]}
    direction = {name: inputs[name] for name in names}

    def run() -> object:
        tape = ops.lstm_forward(x, weights, training=True).tape
        assert tape is not None
        first = ops.lstm_backward(tape, dy, keep=True)
        assert first.tape is not None
        return ops.lstm_second_backward(first.tape, **direction)

    return run


def tangents(shape: Shape) -> Callable[[], object]:
    """Make a call of forward and the tangents of its results along x and the weights."""
    x, parts, _ = arrays(shape)
    weights = ops.LSTMWeights(*parts)
    direction = dict(zip(("x", "kernel", "recurrent_kernel", "bias"), (x, *parts), strict=True))

    def run() -> object:
        tape = ops.lstm_forward(x, weights, training=True).tape
        assert tape is not None
        return ops.lstm_jvp(tape, **direction)

    return run


def torch_steps(module: Any, shape: Shape) -> dict[str, Callable[[], list[Any]]]:
    """Make steps of a module: plain training, a gradient penalty, a Hessian-vector product."""
    import torch

    B, T, I, _ = shape  # noqa: E741
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(B, T, I, generator=generator).requires_grad_()
    parameters = list(module.parameters())
    directions = [0.1 * torch.randn(p.shape, generator=generator) for p in parameters]

    def plain() -> list[Any]:
        return list(torch.autograd.grad(module(x)[0].square().sum(), [x, *parameters]))

    def penalty() -> list[Any]:
        (dx,) = torch.autograd.grad(module(x)[0].sum(), x, create_graph=True)
        loss = (dx.square().sum((1, 2)).sqrt() - 1).square().mean()
        return list(torch.autograd.grad(loss, parameters))

    def hessian() -> list[Any]:
        first = torch.autograd.grad(module(x)[0].square().sum(), parameters, create_graph=True)
        return list(torch.autograd.grad(first, parameters, directions))

    return {"training step": plain, "gradient penalty": penalty, "Hessian times a vector": hessian}


def show_torch(shape: Shape, seconds: float) -> None:
    """Compare the two modules, which have the same parameters."""
    import torch

    import fusedlstm.torch

    torch.set_num_threads(ops.get_num_threads())
    torch.manual_seed(0)
    theirs = torch.nn.LSTM(shape[2], shape[3], batch_first=True)
    ours = fusedlstm.torch.LSTM(shape[2], shape[3], batch_first=True)
    ours.load_state_dict(theirs.state_dict())
    steps = [torch_steps(module, shape) for module in (theirs, ours)]
    for name in steps[0]:
        for a, b in zip(steps[0][name](), steps[1][name](), strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), atol=2e-4 * float(a.abs().max()), err_msg=name)
    calls = [own[name] for name in steps[0] for own in steps]
    times = take_turns(calls, seconds)
    click.echo("| step | torch.nn.LSTM | fusedlstm.torch.LSTM | ratio |")
    click.echo("| --- | --- | --- | --- |")
    for k, name in enumerate(steps[0]):
        a, b = times[2 * k : 2 * k + 2]
        click.echo(f"| {name} | {a * 1e3:.2f} ms | {b * 1e3:.2f} ms | {a / b:.2f} |")


@click.command(help=__doc__)
@click.option("--shape", default="64,28,128,128", show_default=True, help="B,T,I,H")
@click.option("--seconds", type=click.FloatRange(0.1), default=20.0, show_default=True, help="Per table.")
def main(shape: str, seconds: float) -> None:
    """Show both tables."""
    B, T, I, H = map(int, shape.split(","))  # noqa: E741
    sizes = (B, T, I, H)
    every = ("ddx", "ddkernel", "ddrecurrent_kernel", "ddbias")
    cases = {
        "forward + backward": training(sizes),
        "forward + tangents": tangents(sizes),
        "with second derivatives, along dx": with_second(sizes, ddx=True),
        "with second derivatives, along all": with_second(sizes, **dict.fromkeys(every, True)),
    }
    click.echo(f"({shape}), float32, {ops.get_instruction_set()}, {ops.get_num_threads()} threads\n")
    times = take_turns(list(cases.values()), seconds)
    click.echo("| passes | time | of forward + backward |")
    click.echo("| --- | --- | --- |")
    for name, own in zip(cases, times, strict=True):
        click.echo(f"| {name} | {own * 1e3:.2f} ms | {own / times[0]:.2f} |")
    if importlib.util.find_spec("torch") is not None:
        click.echo()
        show_torch(sizes, seconds)


if __name__ == "__main__":
    main()
