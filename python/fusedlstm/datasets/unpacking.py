"""Gzip files, read piece by piece.

The module gzip takes a step of Python's for each zero byte and for each empty member after the end of the
data, of which a file may have any number.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from fusedlstm.base import limits

if TYPE_CHECKING:
    from typing import BinaryIO

_PIECE = 1 << 16
# For zlib: a header and a checksum of gzip, any window.
_GZIP = 31


class Unpacked:
    """The data of all members of a gzip file, one after the other; zero bytes may follow each.

    Parameters
    ----------
    file : binary file
        Closed with this.
    name : str
        What errors call it.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name
        self._packed = b""
        self._member = zlib.decompressobj(_GZIP)
        self._first = True

    def __enter__(self) -> Unpacked:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, count: int) -> bytes:
        """Return at least one and at most `count` bytes, or none at the end.

        Raises
        ------
        EOFError
            If the file ends inside of a member.
        ValueError
            If there are more members than a file may have.
        zlib.error
            If it is damaged.
        """
        while True:
            if (self._first or self._member.eof) and not self._begin():
                return b""
            data = self._member.decompress(self._packed, count)
            if self._member.eof:
                self._packed = self._member.unused_data
            else:
                self._packed = self._member.unconsumed_tail or self._file.read(_PIECE)
            if data:
                return data
            if not self._packed and not self._member.eof:
                raise EOFError("the file ends inside of a member")

    def _begin(self) -> bool:
        """Go to the next member; return whether there is one."""
        while True:
            if not self._packed:
                self._packed = self._file.read(_PIECE)
                if not self._packed:
                    return False
            if not self._first:
                self._packed = self._packed.lstrip(b"\0")
            if self._packed:
                break
        if not self._first:
            limits.claim_description(limits.OBJECT, f"{self._name}: members of the file")
        self._member, self._first = zlib.decompressobj(_GZIP), False
        return True
