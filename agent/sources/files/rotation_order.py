"""In which order the rotated files of a log were written.

When they were last written tells it, of a file that was followed as of the last look at it as the log, since its writer
may go on in it after that. A name tells it only within one kind of names and only in the direction, rising or falling,
in which most neighbours by name agree: as they were written, as they were renamed, and as they were met. Names break
the ties of times then, and outweigh the time of a file that is one place off; where they agree less, times alone count.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from agent.sources.files.rotation_names import NUMBER, Key, Rotated

_MET = 2  # how much it counts in which order two files were met, beside two times
_SHIFT = 1  # places by which the time of a file may contradict its name
_MANY = 4  # files of which one may contradict its name by more, such as one that an administrator touched


def in_order(
    files: Sequence[Rotated], times: Mapping[Key, int] | None = None, met: Sequence[tuple[Key, Key]] = ()
) -> list[Rotated]:
    """The files, the oldest at the front.

    times: when those that were followed were last written as of the last look, in nanoseconds. met: an older file and a
    newer one each, as they were seen to come.
    """
    known = times or {}

    def written(file: Rotated) -> int:
        return min(file.modified, known.get(file.key, file.modified))

    kinds: dict[object, list[Rotated]] = {}
    for file in files:
        kinds.setdefault((file.form, file.kind), []).append(file)
    by_name = [_by_name(kind, written, met) for kind in kinds.values()]
    places = {file: place for kind in by_name for place, file in enumerate(kind)}
    by_time = sorted(files, key=lambda file: (written(file), places[file], file.changed, file.path))
    return by_name[0] if len(by_name) == 1 and _agree(by_name[0], by_time) else by_time


def _by_name(files: list[Rotated], written: Callable[[Rotated], int], met: Sequence[tuple[Key, Key]]) -> list[Rotated]:
    """Files of one kind of names in the direction for which most speaks, else as logrotate names them."""
    rising = sorted(files, key=lambda file: file.rank)
    told = [pair for pair in pairwise(rising) if _is_telling(*pair) or any(written(one) < one.modified for one in pair)]
    votes = sum(_sign(written(other) - written(one)) for one, other in told)
    votes += sum(_sign(other.changed - one.changed) for one, other in pairwise(filter(_is_renamed, rising)))
    places = {file.key: place for place, file in enumerate(rising) if not file.compressed}
    both = [(places[old], places[new]) for old, new in met if old in places and new in places]
    votes += _MET * sum(_sign(new - old) for old, new in both)
    falls = votes < 0 or (votes == 0 and rising[0].kind == NUMBER)
    return rising[::-1] if falls else rising


def _agree(by_name: list[Rotated], by_time: list[Rotated]) -> bool:
    """Whether names tell nothing else than times, but for what a late line or a touched file is.

    A late line leaves a file older by its last change than the one after it, to which it seems one place too new.
    """
    at = {file: place for place, file in enumerate(by_name)}
    far = [file for place, file in enumerate(by_time) if abs(at[file] - place) > _SHIFT]
    if far:
        others = [file for file in by_name if file != by_time[-1]]
        return far == by_time[-1:] and others == by_time[:-1] and _is_shifted(by_name)
    swapped = [(new, old) for old, new in pairwise(by_time) if at[old] > at[new]]
    return not any(old.changed < new.changed and _is_renamed(old) and _is_renamed(new) for new, old in swapped)


def _is_telling(one: Rotated, other: Rotated) -> bool:
    """Whether the times of writing of neighbours tell their order: not where one of them was written after a rename."""
    return one.compressed or other.compressed or _is_renamed(one) == _is_renamed(other)


def _is_renamed(file: Rotated) -> bool:
    """Whether its last change may have been its renaming: it was not written after that, nor made by compressing."""
    return file.changed != file.modified and not file.compressed


def _is_shifted(by_name: list[Rotated]) -> bool:
    """Whether several files have the numbers that they get where each rotation renames all of them."""
    last = by_name[-1].rank[0]
    numbers = [last + place for place in range(len(by_name) - 1, -1, -1)]
    is_plain = by_name[0].kind == NUMBER and len(by_name) >= _MANY and last <= 1
    return is_plain and [file.rank[0] for file in by_name] == numbers


def _sign(difference: int) -> int:
    return (difference > 0) - (difference < 0)
