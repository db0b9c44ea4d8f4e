"""`Structure`: how a model takes several arrays, or gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from fusedlstm.base.symbolic import KerasTensor

if TYPE_CHECKING:
    from collections.abc import Sequence


class Structure(NamedTuple):
    """One thing, a list of things in their order, or a dict.

    Parameters
    ----------
    kind : {"one", "list", "dict"}
        Which of these.
    names : tuple of str
        Names of the things: a dict's keys in Keras's order, which is the alphabet's.
    """

    kind: str
    names: tuple[str, ...]

    @classmethod
    def of(cls, given: Any, argument: str) -> tuple[Structure, list[KerasTensor]]:
        """Return the structure of symbolic tensors, and these one after the other.

        Raises
        ------
        TypeError, ValueError
            If it is another one, or there is something else in it.
        """
        keys: list[str] = []
        items = [given]
        kind = "one"
        if isinstance(given, dict):
            for key in given:
                if not isinstance(key, str):
                    raise TypeError(f"{argument}: expected names in a dict, got {key!r:.80}")
            keys, kind = sorted(given), "dict"
            items = [given[key] for key in keys]
        elif isinstance(given, list | tuple):
            kind, items = "list", list(given)
        if not items:
            raise ValueError(f"{argument}: expected at least one symbolic tensor, got none")
        for item in items:
            if not isinstance(item, KerasTensor):
                raise TypeError(
                    f"{argument}: expected a symbolic tensor as `Input` gives, or a list or dict of them, "
                    f"got {type(item).__name__}"
                )
        names = keys or [item.node.layer.name for item in items]
        return cls(kind, tuple(names)), items

    def flatten(self, given: Any, argument: str, *, optional: bool = False) -> list[Any]:
        """Return the things that were handed over one after the other.

        Parameters
        ----------
        given : object
            One thing, a list or tuple in the order of ``names``, or a dict with these keys.
        argument : str
            The argument's name, for messages.
        optional : bool
            Whether things may be missing in a dict, and None elsewhere.

        Raises
        ------
        ValueError
            If there are more or fewer, or others.
        """
        count = len(self.names)
        if isinstance(given, dict):
            unknown = [name for name in given if name not in self.names]
            missing = [name for name in self.names if name not in given]
            if unknown or (missing and not optional):
                raise ValueError(
                    f"{argument}: expected the names {list(self.names)}, got {[str(name) for name in given]}"
                )
            return [given.get(name) for name in self.names]
        if self.kind == "one" or (count == 1 and not isinstance(given, list | tuple)):
            return [given]
        if not isinstance(given, list | tuple) or len(given) != count:
            got = f"{len(given)}" if isinstance(given, list | tuple) else type(given).__name__
            raise ValueError(f"{argument}: expected a list of {count}, for {list(self.names)}, got {got}")
        return list(given)

    def argument(self, argument: str, number: int) -> str:
        """Return how messages call one of the things."""
        return argument if self.kind == "one" else f"{argument}[{self.names[number]!r}]"

    def pack(self, items: Sequence[Any]) -> Any:
        """Return things as the structure has them."""
        if self.kind == "dict":
            return dict(zip(self.names, items, strict=True))
        return items[0] if len(items) == 1 else list(items)

    def whole(self, items: Sequence[Any]) -> Any:
        """Return things as `of` takes them, a list of one too."""
        return list(items) if self.kind == "list" else self.pack(items)

    def of_one(self, items: Sequence[Any]) -> Any:
        """Return the only thing, or a list, as a layer's output."""
        return items[0] if len(items) == 1 else list(items)
