"""Symbolic tensors: layers and models called on them make the graph of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusedlstm.base import copying

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusedlstm.base.types import Shape


class KerasTensor:
    """Stands for an array in the graph of a model; made by `Input` and by calling layers on others.

    Attributes
    ----------
    shape : tuple of int or None
        With the batch axis; None where any length will do.
    dtype : str
        Number type.
    name : str
        Name, for messages and summaries.
    node : Node
        The call that it comes from, and ``index``, the number among that call's outputs.
    """

    __slots__ = ("__weakref__", "dtype", "index", "name", "node", "shape")

    # NumPy's arrays leave ``array + tensor`` to the tensor, which refuses.
    __array_ufunc__ = None

    def __init__(self, shape: Shape, dtype: str, name: str, node: Node, index: int) -> None:
        self.shape, self.dtype, self.name, self.node, self.index = tuple(shape), dtype, name, node, index

    @property
    def ndim(self) -> int:
        """Number of axes, the batch axis among them."""
        return len(self.shape)

    def __repr__(self) -> str:
        return f"<KerasTensor shape={self.shape}, dtype={self.dtype}, name={self.name}>"

    def _refused(self, *_: Any) -> Any:
        raise TypeError(
            f"{self.name}: expected a layer to be called on a symbolic tensor, which has no values; "
            "layers.Add, Concatenate, Dot and others merge such tensors"
        )

    __array__ = __bool__ = __float__ = __int__ = __len__ = __iter__ = __getitem__ = _refused
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refused
    __matmul__ = __rmatmul__ = __neg__ = __pow__ = _refused


copying.refuse(KerasTensor, "it belongs to the graph that it was made in; copy the model")


class Node:
    """A call of a layer on symbolic tensors.

    Attributes
    ----------
    layer : Layer
        The layer or model; that of an input has no ``inputs``.
    inputs, states : tuple of KerasTensor
        What it was called on, and its initial states.
    listed : bool
        Whether the layer takes its inputs as a list.
    mask : KerasTensor or None
        The mask that the call was given.
    training : bool
        Whether it was called with ``training=True``, and so does what it does in training in every pass.
    outputs : tuple of KerasTensor
        What it returned.
    """

    __slots__ = ("__weakref__", "inputs", "layer", "listed", "mask", "outputs", "states", "training")

    def __init__(
        self,
        layer: Any,
        inputs: Sequence[KerasTensor],
        shapes: Sequence[Shape],
        *,
        dtype: str | None = None,
        states: Sequence[KerasTensor] = (),
        listed: bool = False,
        mask: KerasTensor | None = None,
        training: bool = False,
    ) -> None:
        self.layer, self.inputs, self.states = layer, tuple(inputs), tuple(states)
        self.listed, self.mask, self.training = listed, mask, training
        kind = layer.dtype if dtype is None else dtype
        names = [layer.name] if len(shapes) == 1 else [f"{layer.name}:{i}" for i in range(len(shapes))]
        self.outputs = tuple(
            KerasTensor(shape, kind, name, self, index)
            for index, (shape, name) in enumerate(zip(shapes, names, strict=True))
        )

    @property
    def parents(self) -> tuple[KerasTensor, ...]:
        """All tensors that the call needs."""
        given = (*self.inputs, *self.states)
        return given if self.mask is None else (*given, self.mask)


def is_symbolic(x: Any) -> bool:
    """Tell whether an argument is a symbolic tensor, or a list, tuple or dict that holds one."""
    if isinstance(x, KerasTensor):
        return True
    if type(x) in (list, tuple):
        return any(isinstance(item, KerasTensor) for item in x)
    return type(x) is dict and any(isinstance(item, KerasTensor) for item in x.values())


def tensors(x: Any, name: str) -> list[KerasTensor]:
    """Return a symbolic tensor, or those of a list or tuple, as a list.

    Raises
    ------
    TypeError
        If there are arrays or other things among them.
    """
    given = list(x) if isinstance(x, list | tuple) else [x]
    for item in given:
        if not isinstance(item, KerasTensor):
            raise TypeError(
                f"{name}: expected symbolic tensors only, as one of them is, got {type(item).__name__}"
            )
    return given
