"""What is made from arguments that it keeps, and the classes of a kind by the names that mean them."""

from __future__ import annotations

from types import FunctionType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from fusedlstm.base import checks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from typing_extensions import Self

_KWARGS = 0x08  # the flag of functions that take ``**kwargs``


class Configured:
    """Base of objects that keep each argument as an attribute of the same name."""

    def get_config(self) -> dict[str, Any]:
        """Return JSON-able arguments that make an equal object."""
        kept = vars(self)
        return {name: _described(kept[name]) for name in arguments_of(type(self)) if name in kept}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make an object from `get_config`'s result.

        Raises
        ------
        TypeError, ValueError
            If it is no dict of arguments, or one of them is unknown or wrong.
        """
        return cls(**checks.arguments(config, cls.__name__))


def arguments_of(cls: type) -> Iterator[str]:
    """Yield the names of a class's arguments, with those of its bases as far as ``**kwargs`` go."""
    for base in cls.__mro__:
        make = vars(base).get("__init__")
        if isinstance(make, FunctionType):
            code = make.__code__
            yield from code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
            if not code.co_flags & _KWARGS:
                return


def _described(value: Any) -> Any:
    if isinstance(value, Configured):
        return serialize(value)
    if isinstance(value, FunctionType):
        return value.__name__
    return list(value) if isinstance(value, tuple) else value


def serialize(thing: Configured | None) -> Any:
    """Return a JSON-able description from which `get` makes an equal object; None stays None."""
    return None if thing is None else {"class_name": type(thing).__name__, "config": thing.get_config()}


T = TypeVar("T", bound=Configured)


class Registry(Generic[T]):
    """The classes of one kind.

    Parameters
    ----------
    kind : type
        Their base.
    names : mapping of str to type
        Classes by Keras's names; their own names mean them too.
    others : iterable of type
        Classes that are known in descriptions only.
    """

    def __init__(self, kind: type[T], names: Mapping[str, type[T]], others: Iterable[type[T]] = ()) -> None:
        self._kind, self.names = kind, names
        self._by_class_name = {cls.__name__: cls for cls in names.values()}
        self.classes = self._by_class_name | {cls.__name__: cls for cls in others}

    def get(self, identifier: Any, name: str = "identifier") -> T:
        """Return the object that ``identifier`` means.

        Parameters
        ----------
        identifier : str or dict or object or type
            Keras's name or the class's, a description as of `serialize`, an object itself, or a class.
        name : str
            The argument's name, for the message.

        Raises
        ------
        TypeError, ValueError
            If it is unknown, the message listing the known names, or an argument in it is wrong.
        """
        if isinstance(identifier, self._kind):
            return identifier
        if isinstance(identifier, type) and issubclass(identifier, self._kind):
            return identifier()
        if isinstance(identifier, dict) and set(identifier) == {"class_name", "config"}:
            return self.restore(identifier, name)
        if isinstance(identifier, str) and identifier in self._by_class_name:
            return self._by_class_name[identifier]()
        return checks.lookup(identifier, name, self.names)()

    def optional(self, identifier: Any, name: str = "identifier") -> T | None:
        """Return the object that ``identifier`` means, as `get` does; None stays None."""
        return None if identifier is None else self.get(identifier, name)

    def restore(self, description: dict[str, Any], name: str) -> T:
        """Return the object of a description; parameters and errors as of `get`."""
        cls = checks.lookup(checks.member(description, "class_name", str, name), name, self.classes)
        return cls.from_config(checks.member(description, "config", dict, f"{name}: {cls.__name__}"))
