"""What a pass over batches needs of stateful layers and metrics, checked before its first batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fusedlstm.callbacks.base import HOOKS, is_foreign
from fusedlstm.layers.stateful import stateful_layers

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fusedlstm.callbacks import Callback
    from fusedlstm.layers.base import Layer


class Batches(NamedTuple):
    """A pass over samples: the argument that they came in, how many, and how many at a time."""

    name: str
    samples: int
    size: int


def may_reset(callbacks: Iterable[Callback]) -> bool:
    """Tell whether callbacks of the user's are among these, which may call ``reset_state``."""
    return any(is_foreign(callback, hook) for callback in callbacks for hook in HOOKS)


def check_stateful(layers: Sequence[Layer], passes: Sequence[Batches], *, resets: bool = False) -> None:
    """Check that each batch is as large as the one before it, where layers keep a state of each sample.

    Parameters
    ----------
    layers : sequence of Layer
        Those of the model.
    passes : sequence of Batches
        What comes one after the other, such as an epoch and its validation.
    resets : bool
        Between passes states may be reset: then only batches of the same pass are compared.

    Raises
    ------
    ValueError
        If a batch would not fit; the message names the argument, the layer and both sizes.
    """
    for layer in stateful_layers(layers):
        before = None if resets else layer.kept_batch
        for name, samples, size in passes:
            batch = min(samples, size)
            if samples % batch:
                raise ValueError(
                    f"{name}: expected whole batches of {batch} samples, as {layer.name} is stateful, "
                    f"got {samples} samples, whose last batch has {samples % batch}"
                )
            if before is not None and batch != before:
                raise ValueError(
                    f"{name}: expected {before} samples like the batch before, as {layer.name} is "
                    f"stateful, got {batch}; reset_state() starts anew"
                )
            before = None if resets else batch
