"""The arrays of a bundle: archives as numpy.savez writes them, of which nothing is believed before it was checked."""

import io
import math
import zipfile
import zlib
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from agent.errors import BundleError

_MOST_UNPACKED = 256 << 20  # bytes
_MOST_ARRAYS = 1024
_KINDS = "biuf"
_DAMAGED = (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError)


def read_arrays(content: bytes, what: str) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz by their names; a BundleError, which names it as `what`, where it is damaged or too large.

    Sizes are looked at before anything is unpacked. Numbers and truth values alone are taken, no objects.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            size = sum(member.file_size for member in members)
            if len(members) > _MOST_ARRAYS or size > _MOST_UNPACKED:
                raise BundleError(
                    f"{what} is too large: {len(members)} arrays of {size} bytes, the most are {_MOST_ARRAYS} of "
                    f"{_MOST_UNPACKED}"
                )
            return {member.filename.removesuffix(".npy"): _array(archive.read(member)) for member in members}
    except (*_DAMAGED, MemoryError, RecursionError, SyntaxError) as error:
        raise BundleError(f"{what} cannot be read: {str(error)[:200] or type(error).__name__}") from None


def _array(content: bytes) -> NDArray[Any]:
    file = io.BytesIO(content)
    if npy.read_magic(file) != (1, 0):
        raise ValueError("its header is of another version than 1.0")
    shape, in_columns, dtype = npy.read_array_header_1_0(file)
    if dtype.kind not in _KINDS:
        raise ValueError(f"an array is of the type {dtype}, not of numbers")
    if any(length < 0 for length in shape) or math.prod(shape) * dtype.itemsize != len(content) - file.tell():
        raise ValueError(f"its bytes are not those of an array {list(shape)[:8]} of {dtype}")
    flat = np.frombuffer(content, dtype, offset=file.tell())
    return flat.reshape(shape, order="F" if in_columns else "C")
