"""What ranks find out before the first step of a shared run: errors of any of them, and what differs."""

from __future__ import annotations

import hashlib
import platform
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm import ops
from fusedlstm.base import devices
from fusedlstm.base.seeds import get_random_states
from fusedlstm.layers.stateful import stateful_layers
from fusedlstm.models.fingerprint import differences, fingerprint
from fusedlstm.models.measured import check_sums

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fusedlstm.distributed import Communicator
    from fusedlstm.models.feeding import Feed
    from fusedlstm.models.sharing import Group


@contextmanager
def agreed(group: Group | None, name: str) -> Iterator[None]:
    """Return a context that raises on all ranks if it raises on any; its own error where there is one.

    Parameters
    ----------
    group : Group or None
        The ranks; without them the context does nothing.
    name : str
        What all ranks are to be about to do.

    Raises
    ------
    RuntimeError
        On ranks without an error of their own, with those of the others; or if others do something else.
    """
    if group is None or group.size == 1:
        yield
        return
    own: BaseException | None = None
    try:
        yield
    except BaseException as error:
        own = error
        raise
    finally:
        told = None if own is None else f"{type(own).__name__}: {own}"
        found = group.communicator.allgather((name, told))
        if own is None:
            _raise_others(found, name)


def _raise_others(found: list[tuple[str, str | None]], name: str) -> None:
    for rank, (other, _) in enumerate(found):
        if other != name:
            raise RuntimeError(f"distribute: expected {name} on all ranks, got {other} on rank {rank}")
    wrong = [(rank, error) for rank, (_, error) in enumerate(found) if error is not None]
    if wrong:
        rank, error = wrong[0]
        more = "" if len(wrong) == 1 else f" (and {len(wrong) - 1} others)"
        raise RuntimeError(f"distribute: rank {rank}{more} could not begin: {error}")


def check_shared(
    group: Group, model: Any, passes: Iterable[tuple[str, Feed]], *, measured: bool = True
) -> None:
    """Check what ranks can share.

    Parameters
    ----------
    group : Group
        The ranks.
    model
        The model.
    passes : iterable of (str, Feed)
        What is trained on, with the arguments' names.
    measured : bool
        Whether there will be losses and metrics.

    Raises
    ------
    ValueError
        If layers are stateful, messages of 16 bits are to go between GPUs, metrics do not say what they add
        up, a loss divides by the weights of all samples, or batches of the training have fewer samples than
        there are ranks.
    """
    for layer in stateful_layers(model.layers):
        raise ValueError(f"distribute: expected no stateful layers, got {layer.name}, whose states rows keep")
    if group.transport != "float32" and model.place is not devices.CPU:
        raise ValueError(
            f"transport: expected float32 for a model on {model.place.name}, got {group.transport}"
        )
    if measured:
        check_sums(metric for head in model.heads for metric in (*head.metrics, *head.weighted))
    for head in model.heads if measured and group.tree.shards > 1 else ():
        if head.loss is not None and head.loss.reduction == "mean_with_sample_weight":
            raise ValueError(
                "distribute: expected a reduction other than 'mean_with_sample_weight', got that of output "
                f"{head.name!r}: what all samples weigh is known after the last"
            )
    for name, feed in passes:
        size = feed.params["batch_size"] or feed.size
        if size < group.size:
            raise ValueError(
                f"{name}: expected batches of at least {group.size} samples, one for each rank, got {size}"
            )


def check_same(group: Group, model: Any, feed: Feed, held_out: Feed | None, **options: Any) -> None:
    """Check that all ranks are about to do the same with the same model; it is one error on all of them.

    Parameters
    ----------
    group : Group
        The ranks.
    model
        Compiled and built.
    feed, held_out : Feed
        Its data, and those of its validation.
    **options
        Values of JSON by arguments' names.

    Raises
    ------
    ValueError
        If anything differs; the message says what, with the values of two ranks.
    """
    if group.size == 1:
        return
    import fusedlstm

    what = (
        fingerprint(model, feed, held_out) if model.optimizer is not None else _without_training(model, feed)
    )
    facts = {
        **what,
        "versions": {
            "fusedlstm": fusedlstm.__version__,
            "NumPy": np.__version__,
            "machine": platform.machine(),
            "messages": group.communicator.name,
        },
        # Sums of the kernels hang on the width of vectors.
        **({"instruction set": ops.get_instruction_set()} if group.mode == "exact" else {}),
        "device": model.place.kind,
        "mode": [group.mode, group.shards, group.transport],
        "learning rate": float(model.optimizer.learning_rate) if model.optimizer is not None else None,
        "values of weights": _digest([weight.numpy() for weight in model.weights]),
        "seeds": [list(map(str, seeds.state)) for seeds in model.seed_generators],
        **options,
    }
    raise_differences(group.communicator, facts)


def raise_differences(communicator: Communicator, facts: dict[str, Any]) -> None:
    """Raise the same `ValueError` on all ranks if their facts differ."""
    found = communicator.allgather(facts)
    for rank, other in enumerate(found[1:], 1):
        names = differences(found[0], other, between=(f"on rank {rank}", "on rank 0"))
        if names:
            hint = ""
            if any(name.startswith(("seeds", "values of weights")) for name in names):
                hint = "; utils.set_random_seed(n), with the same n before models are made, makes them equal"
            raise ValueError(
                f"distribute: expected the same on all ranks, got other {', '.join(names)}{hint}"
            )


def _without_training(model: Any, feed: Feed) -> dict[str, Any]:
    weights = [f"{weight.dtype} {weight.shape}" for weight in model.weights]
    return {
        "layers": [type(layer).__name__ for layer in model.layers],
        "weights": weights,
        "x": feed.signature(),
    }


def _digest(arrays: list[Any]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for array in arrays:
        digest.update(array.tobytes())
    return digest.hexdigest()


def random_digest() -> str:
    """Return a digest of the streams that `fusedlstm.utils.set_random_seed` restarts."""
    return hashlib.blake2b(repr(get_random_states()).encode(), digest_size=8).hexdigest()
