"""The messages in an ONNX file, counted before they are made: an empty one is two bytes of the file."""

from __future__ import annotations

from typing import Any

from fusedlstm import limits

__all__ = ["claim_messages"]

# What a message takes in Python's protobuf and in the checker's, and what any other field with a length does.
_MESSAGE = 256
_TEXT = 48
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5


class _DamagedError(Exception):
    """The bytes end too early; the parser says so better."""


def claim_messages(content: bytes, descriptor: Any) -> None:
    """Claim the memory of all messages in a serialized one.

    Parameters
    ----------
    content : bytes
        The serialized message.
    descriptor : google.protobuf.descriptor.Descriptor
        Of its type.

    Raises
    ------
    ValueError
        If there are more than the file may ask for.
    """
    inner: dict[str, dict[int, Any]] = {}
    left = [(0, len(content), descriptor)]
    try:
        while left:
            at, end, kind = left.pop()
            if kind.full_name not in inner:
                inner[kind.full_name] = {
                    field.number: field.message_type
                    for field in kind.fields
                    if field.message_type is not None
                }
            messages = inner[kind.full_name]
            while at < end:
                key, at = _varint(content, at, end)
                if key & 7 == _VARINT:
                    _, at = _varint(content, at, end)
                elif key & 7 == _EIGHT_BYTES:
                    at += 8
                elif key & 7 == _FOUR_BYTES:
                    at += 4
                elif key & 7 == _LENGTH:
                    size, at = _varint(content, at, end)
                    of = messages.get(key >> 3)
                    limits.claim(_TEXT if of is None else _MESSAGE, "graph")
                    if of is not None and at + size <= end:
                        left.append((at, at + size, of))
                    at += size
    except _DamagedError:
        return


def _varint(content: bytes, at: int, end: int) -> tuple[int, int]:
    """Return a number of variable length and where it ends."""
    result = shift = 0
    while at < end and shift < 70:
        byte = content[at]
        at += 1
        result |= (byte & 127) << shift
        if byte < 128:
            return result, at
        shift += 7
    raise _DamagedError
