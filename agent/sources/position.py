"""How far a file is read."""

import msgspec


class Position(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Where to go on reading a file.

    device, inode: which file it was. head: the length and the SHA-256 of its first bytes, at most 1024 and `offset`.
    offset: the byte from which reading goes on. line: the number of the line that starts there, from 1.
    """

    device: int
    inode: int
    head: str
    offset: int
    line: int
