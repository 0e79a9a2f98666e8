"""The files of a bundle: regular files of plain names in one folder, read whole up to a size."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from agent.errors import BundleError
from agent.text.escape import escape

MOST_BYTES = 256 << 20  # of a file
MOST_TOTAL = 512 << 20  # of all files together
MOST_JSON = 32 << 20
_MOST_NAME = 255  # bytes, as on Linux
_DEEPEST = 48  # lists and objects in each other
_LARGEST = 2**63  # of an integer


def check_name(name: str) -> str:
    """`name` where it is that of a file in the bundle's own folder, else a BundleError."""
    plain = name.isprintable() and "/" not in name and name not in ("", ".", "..")
    if not plain or len(name.encode("utf-8", "surrogatepass")) > _MOST_NAME:
        raise BundleError(
            f"the file name '{escape(name, 60)}' is none that a bundle may hold: printable, without /, "
            f"{_MOST_NAME} bytes at most; export it again"
        )
    return name


def read_file(folder: Path, name: str, most: int = MOST_BYTES) -> bytes:
    """The content of a file of a bundle; a BundleError where it is missing, no regular file, or too large.

    A link is none, so that nothing outside the folder is read, and neither a pipe nor a device is waited for.
    """
    try:
        descriptor = os.open(folder / check_name(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise BundleError(f"bundle {folder}: {name} is no regular file; copy the whole folder again")
            content = b"" if found.st_size > most else file.read(most + 1)
    except FileNotFoundError:
        raise BundleError(f"bundle {folder}: {name} is missing; export it again, or copy the whole folder") from None
    except OSError as error:
        why = "it is a link" if (folder / name).is_symlink() else error.strerror
        raise BundleError(f"bundle {folder}: {name} cannot be read: {why}; copy the whole folder again") from None
    if found.st_size > most or len(content) > most:
        raise BundleError(f"bundle {folder}: {name} is too large: {found.st_size} bytes, the most are {most}")
    return content


def decode_json(content: bytes, what: str) -> Any:
    """JSON of a bundle as plain data; a BundleError, which names it as `what`, where it is none or too deep."""
    try:
        data = msgspec.json.decode(content)
    except (UnicodeDecodeError, msgspec.DecodeError) as error:
        raise BundleError(f"{what} cannot be read: {error}") from None
    except RecursionError:
        raise BundleError(f"{what} cannot be read: it is nested too deeply") from None
    for value, depth in walk(data):
        if depth > _DEEPEST:
            raise BundleError(f"{what} cannot be read: it is nested too deeply")
        if isinstance(value, int) and abs(value) >= _LARGEST:
            raise BundleError(f"{what} cannot be read: it holds an integer of more than 64 bits")
    return data


def walk(data: Any) -> Iterator[tuple[Any, int]]:
    """Every value and key in JSON data, with how deep it lies."""
    waiting = [(data, 0)]
    while waiting:
        value, depth = waiting.pop()
        yield value, depth
        if isinstance(value, dict):
            waiting += [(one, depth + 1) for pair in value.items() for one in pair]
        elif isinstance(value, list):
            waiting += [(one, depth + 1) for one in value]
