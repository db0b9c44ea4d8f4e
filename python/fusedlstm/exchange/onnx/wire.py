"""The messages and fields of an ONNX file, counted before they are parsed: one is two bytes of the file."""

from __future__ import annotations

from typing import Any

from fusedlstm.base import limits

# What a message takes in Python's protobuf and in the checker's, and what any other field does, rounded up
# for the time that counting takes.
_MESSAGE = 256
_FIELD = 96
# What each byte of a list of integers takes that are packed in one field.
_PACKED = 32
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5
# The numbers that protobuf gives to the types of fields whose lists have one byte or more for each integer.
_INTEGERS = {3, 4, 5, 8, 13, 14, 17, 18}
# Claimed in pieces, as a claim takes longer than a field.
_PIECE = 1 << 20


class _DamagedError(Exception):
    """The bytes end too early; the parser says so better."""


def claim_messages(content: bytes, descriptor: Any) -> None:
    """Claim the memory of all messages and fields in a serialized one.

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
    # For each type: the types of messages in it, and its lists of integers, by the numbers of fields.
    known: dict[str, tuple[dict[int, Any], set[int]]] = {}
    left = [(0, len(content), descriptor)]
    taken = 0
    try:
        while left:
            at, end, kind = left.pop()
            if kind.full_name not in known:
                fields = list(kind.fields)
                messages = {one.number: one.message_type for one in fields if one.message_type is not None}
                known[kind.full_name] = messages, {one.number for one in fields if one.type in _INTEGERS}
            messages, integers = known[kind.full_name]
            while at < end:
                key, at = _varint(content, at, end)
                taken += _FIELD
                if key & 7 == _VARINT:
                    _, at = _varint(content, at, end)
                elif key & 7 == _EIGHT_BYTES:
                    at += 8
                elif key & 7 == _FOUR_BYTES:
                    at += 4
                elif key & 7 == _LENGTH:
                    size, at = _varint(content, at, end)
                    of = messages.get(key >> 3)
                    if of is not None and at + size <= end:
                        taken += _MESSAGE
                        if size:
                            left.append((at, at + size, of))
                    elif key >> 3 in integers:
                        limits.claim(_PACKED * min(size, end - at), "numbers of the graph")
                    at += size
                if taken > _PIECE:
                    limits.claim_description(taken, "graph")
                    taken = 0
    except _DamagedError:
        pass
    limits.claim_description(taken, "graph")


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
