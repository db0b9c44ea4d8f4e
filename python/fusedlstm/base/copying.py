"""What copies and pickles keep: for `copy`, `pickle` and all that is built on them, as joblib is."""

from __future__ import annotations

import copy
import copyreg
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fusedlstm.base import versions

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self

# Why tapes refuse.
TAPE = (
    "it holds what one forward pass left in this process's memory for its backward pass; keep the inputs and "
    "run the forward pass again, with training=True"
)


class Copied:
    """Base of what can be copied and pickled.

    A deep copy, and what a pickle gives, is independent of the original and goes on with the same bits. A
    shallow copy shares the objects inside, but not the lists and dicts that hold them.
    """

    # Names of attributes that belong to this object and process alone, such as locks and packed weights; a
    # class names its own only. They are None in copies, so that pickles are as small as the weights, or what
    # `__setstate__` makes.
    fresh: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Add the names of the classes that this one inherits from."""
        super().__init_subclass__(**kwargs)
        cls.fresh = tuple({name for base in cls.__mro__ for name in getattr(base, "fresh", ())})

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes that copies take over."""
        return {name: value for name, value in vars(self).items() if name not in self.fresh}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take attributes over."""
        vars(self).update(dict.fromkeys(self.fresh))
        vars(self).update(state)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return a deep copy, of weights of one version while other threads change them."""
        made = type(self).__new__(type(self))
        memo[id(self)] = made
        with versions.reading():
            made.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return made

    def __copy__(self) -> Self:
        """Return a shallow copy."""
        made = type(self).__new__(type(self))
        made.__setstate__(
            {
                name: copy.copy(value) if type(value) in (list, dict, set) else value
                for name, value in self.__getstate__().items()
            }
        )
        return made


def owned(array: NDArray[Any]) -> NDArray[Any]:
    """Return a restored array as one that may be written to: joblib hands out read-only maps of files."""
    plain = type(array) is np.ndarray and array.flags.owndata and array.flags.writeable
    return array if plain and array.flags.c_contiguous else np.array(array, order="C")


def refuse(kind: type, reason: str) -> None:
    """Make copies and pickles of a class a `TypeError` that gives the reason."""
    copyreg.pickle(kind, partial(_refused, reason))


def _refused(reason: str, value: object) -> str:
    raise TypeError(f"{type(value).__name__}: cannot be copied or pickled: {reason}")
