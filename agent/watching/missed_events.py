"""When to conclude that the kernel sends no events for the changes of a file."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

_GRACE = 1.0  # seconds that an event may take
_SILENCE = 3600.0  # seconds until the same warning is given again
_State = tuple[int, ...]


class MissedEvents:
    """Collects evidence that events are missing, by path, and which mounts are not trusted for a while.

    A path is suspect once the file that it names differs between two records with no event of it between or after them.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._recorded: dict[Path, _State] = {}
        self._due: dict[Path, float] = {}
        self._distrusted: dict[str, float] = {}
        self._warned: dict[str, float] = {}

    @property
    def due(self) -> float:
        """When something will be proved, or a distrust end, at the earliest."""
        return min((*self._due.values(), *self._distrusted.values()), default=float("inf"))

    @property
    def blind(self) -> frozenset[str]:
        """The mounts that are not trusted."""
        return frozenset(self._distrusted)

    def record(self, path: Path) -> None:
        """New data was found in a path without an event."""
        state = _state(path)
        if path not in self._recorded:
            self._recorded[path] = state
        elif state != self._recorded[path]:
            self._due.setdefault(path, self._clock() + _GRACE)

    def clear(self, paths: Iterable[Path]) -> None:
        """An event of each of these came, or may have come."""
        for path in paths:
            self._recorded.pop(path, None)
            self._due.pop(path, None)

    def proved(self) -> list[Path]:
        """The paths for which no event came in time; each once. Ends the distrust whose time is over."""
        now = self._clock()
        for point in [point for point, end in self._distrusted.items() if now >= end]:
            del self._distrusted[point]
        paths = [path for path, due in self._due.items() if now >= due]
        self.clear(paths)
        return paths

    def distrust(self, point: str, seconds: float) -> bool:
        """Does not trust a mount for so many seconds; whether to warn of it."""
        now = self._clock()
        self._distrusted[point] = now + seconds
        if point in self._warned and now < self._warned[point] + _SILENCE:
            return False
        self._warned[point] = now
        return True


def _state(path: Path) -> _State:
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
