"""How addresses are written, HOST:PORT or the path of a Unix socket, whoever listens or sends there."""

import ipaddress
import os
import re
from typing import NamedTuple

MAX_UNIX_PATH = 107  # bytes, unix(7)
_HOST_PORT = re.compile(r"(?:\[(?P<six>[^\[\]]+)\]|(?P<host>[^\[\]:/?#@\s]*))(?::(?P<port>[0-9]{1,5}))?")


class HostPort(NamedTuple):
    """A host, empty where none is named, and a port, None where none is; the host of brackets is to be IPv6."""

    host: str
    port: int | None = None
    in_brackets: bool = False

    def check_ipv6(self) -> None:
        """A ValueError where what stands in brackets is no IPv6 address."""
        if self.in_brackets:
            ipaddress.IPv6Address(self.host)


def split_host_port(text: str) -> HostPort | None:
    """The parts of HOST[:PORT], where an IPv6 address stands in brackets; None where it is written otherwise.

    The number of the port may be an impossible one: is_port.
    """
    match = _HOST_PORT.fullmatch(text)
    if match is None:
        return None
    port = None if match["port"] is None else int(match["port"])
    return HostPort(match["six"] or match["host"], port, match["six"] is not None)


def is_port(number: int) -> bool:
    """Whether a port can have this number."""
    return 0 < number < 65536


def fits_unix_path(path: str) -> bool:
    """Whether a Unix socket can have this path, of which the system keeps 107 bytes; an empty one fits."""
    return len(os.fsencode(path)) <= MAX_UNIX_PATH
