"""Reading back what was stored: whatever the bytes are, they are understood, or it is a DamagedBlob."""

from typing import TypeVar

import msgspec

T = TypeVar("T")


class DamagedBlob(ValueError):
    """Bytes of the state are not what was stored; the message says why."""


def decode_stored(blob: bytes, kind: type[T]) -> T:
    """The value of a type in MessagePack; a DamagedBlob where there is none."""
    try:
        return msgspec.msgpack.decode(blob, type=kind)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:  # the second where a text is no UTF-8
        raise DamagedBlob(str(error)) from None
