"""In which order the rotated files of a log were written.

Their names tell it where they are of one kind: the highest number is the oldest, as logrotate counts, and dates of one
format sort as text. Numbers rise where the times say so without exception: when the files were written and when they
were renamed, each later than the one before, which no rotation gives that renames the older files too. Where several
kinds or forms of names occur the times of writing tell it.
"""

from collections.abc import Sequence
from itertools import pairwise

from agent.sources.files.rotation_names import NUMBER, Rotated

_AT_ONCE = 100_000_000  # nanoseconds within which one rotation may have renamed two files


def in_order(files: Sequence[Rotated]) -> list[Rotated]:
    """The files, the oldest at the front."""
    if len({(file.form, file.kind) for file in files}) > 1:
        return sorted(files, key=lambda file: (file.modified, file.path))
    rising = sorted(files, key=lambda file: file.rank)
    falls = bool(files) and files[0].kind == NUMBER and not all(_rises(*pair) for pair in pairwise(rising))
    return rising[::-1] if falls else rising


def _rises(one: Rotated, other: Rotated) -> bool:
    """Whether the second of two files was written and renamed clearly after the first, and neither written after it."""
    renamed = all(file.compressed or file.changed != file.modified for file in (one, other))
    return renamed and other.modified > one.modified and other.changed > one.changed + _AT_ONCE
