"""Gradients that nothing here differentiates once more."""

from __future__ import annotations

from typing import Any

import torch


class _Closed(torch.autograd.Function):  # type: ignore[misc]
    """Gradients that cannot be differentiated again.

    `once_differentiable` of PyTorch would let them pass for constants where what comes in is one.
    """

    @staticmethod
    def forward(ctx: Any, results: list[Any], reason: str, *sources: Any) -> Any:  # noqa: ARG004
        ctx.reason = reason
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise RuntimeError(ctx.reason)


def close(results: list[Any], reason: str, *sources: Any) -> None:
    """Let results depend on their sources, by what raises `reason` when it is differentiated."""
    wanted = [k for k, result in enumerate(results) if result is not None]
    made = _Closed.apply([results[k] for k in wanted], reason, *sources)
    for k, result in zip(wanted, made, strict=True):
        results[k] = result
