"""What of the followed paths is told by events, and what has to be polled because it is not."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from agent.watching.inotify import CONTENT, SELF
from agent.watching.missed_events import Suspicion
from agent.watching.mounts import Mount, Mounts
from agent.watching.path_trace import Use, trace, trace_folder
from agent.watching.watches import Watches

POLL = 0.5  # seconds between two looks where no events can be had
RETRY = 60.0  # seconds until all watches are set again, and those that failed are tried again
_CALM = 1.0  # seconds between two times of that at least
_ROUNDS = 8  # most tries to set the watches of a way that changes meanwhile; the rest is left to the next time

Key = tuple[Path, bool]  # a path or, with True, a folder


class Coverage:
    """Watches keys and knows which of them are to be polled. `say` is told why, once, and when it is over."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._say, self._clock = say, clock
        self._watches, self.mounts = Watches(), Mounts()
        self._mount_of: dict[Key, Mount] = {}
        self._troubles: dict[Key, frozenset[tuple[str, str]]] = {}  # places, and what is wrong with them
        self._told: dict[str, str] = {}  # what is wrong, and the places that it was said of
        self.suspicion = Suspicion(clock)
        self.polled: frozenset[Key] = frozenset()
        self._checked = clock()
        self._next_check = self._checked + RETRY

    @property
    def descriptor(self) -> int:
        """What becomes readable when there are events; -1 where none can be had."""
        return self._watches.descriptor

    @property
    def due(self) -> float:
        """When there is something to do at the latest, by the clock."""
        return min(self._next_check, self.suspicion.due)

    def follow(self, keys: Iterable[Key]) -> set[Key]:
        """Sets the watches of these keys; those of which one is new, so that something may have passed unseen."""
        before = dict(self._troubles)
        fresh = {key for key in keys if self._follow(key)}
        if self._troubles != before:
            self._tell()
            self._choose()
        return fresh

    def forget(self, keys: Iterable[Key]) -> None:
        """Ends the watching of these keys."""
        for key in keys:
            self._watches.forget(key)
            del self._mount_of[key]
            self._troubles.pop(key, None)
            self.suspicion.clear([key[0]])
        self._tell()
        self._choose()

    def hear(self) -> set[Key]:
        """The keys that events concern; all of them where the kernel's queue of events overflowed."""
        heard = self._watches.read()
        self.suspicion.clear(path for path, _ in (self._mount_of if heard.lost else heard.keys))
        fresh = self.follow(heard.stale)
        if heard.lost:
            self._hasten()
            return set(self._mount_of)
        return heard.keys | fresh

    def remount(self) -> None:
        """Takes notice of what was mounted and unmounted."""
        self.mounts.refresh()
        self._hasten()

    def tend(self) -> set[Key]:
        """Does what is due: goes all ways again, believes a suspicion or ends one. What may have passed unseen."""
        fresh: set[Key] = set()
        if self._clock() >= self._next_check:
            self._checked = self._clock()
            self._next_check = self._checked + RETRY
            self._watches.renew()
            fresh = self.follow(self._mount_of.copy())
        if self._clock() >= self.suspicion.due:
            self._judge()
        return fresh

    def close(self) -> None:
        """Ends all watching and polling."""
        self._watches.close()
        self.mounts.close()
        self._mount_of.clear()
        self.polled = frozenset()

    def _hasten(self) -> None:
        self._next_check = min(self._next_check, self._checked + _CALM)

    def _follow(self, key: Key) -> bool:
        """Goes a way until setting its watches brings no new one; whether one was new."""
        fresh = False
        for _ in range(_ROUNDS):
            way = self._way(key)
            if not self._watches.follow(key, way):
                break
            fresh = True
        mount = self._mount_of[key] = self.mounts.of(way[-1].place)
        troubles = {(place, f"cannot be watched ({why})") for place, why in self._watches.problems(key).items()}
        if mount.remote:
            troubles.add((mount.point, f"({mount.type}) may be written by others without an event"))
        self._troubles[key] = frozenset(troubles)
        if not troubles:
            del self._troubles[key]
        return fresh

    def _way(self, key: Key) -> tuple[Use, ...]:
        path, folder = os.fspath(key[0]), key[1]
        if folder:
            return trace_folder(path)
        way = trace(path)
        file = os.path.join(way[-1].place, os.fsdecode(way[-1].name))
        # a file that is mounted by itself, as into containers, is written through another directory than its own
        return (*way, Use(file, b"", CONTENT | SELF)) if self.mounts.is_point(file) else way

    def _choose(self) -> None:
        blind = self.suspicion.blind
        unseen = {key for key, mount in self._mount_of.items() if mount.point in blind} if blind else set()
        self.polled = frozenset(self._troubles.keys() | unseen)

    def _judge(self) -> None:
        """Polls the mounts on which events prove to be missing, as long as that is thought of them."""
        for path in self.suspicion.proved():
            mount = self._mount_of.get((path, False))
            if mount is not None and self.suspicion.distrust(mount.point, RETRY):
                self._say(
                    f"{path} changes without events ({mount.point} is {mount.type or 'of unknown type'}); "
                    f"looking for new lines there every {POLL} s instead, for a minute each time"
                )
        self._choose()

    def _tell(self) -> None:
        places: dict[str, set[str]] = {}
        for troubles in self._troubles.values():
            for place, trouble in troubles:
                places.setdefault(trouble, set()).add(place)
        for trouble in places.keys() - self._told.keys():
            first, *others = sorted(places[trouble])
            self._told[trouble] = first + (f" and {len(others)} more" if others else "")
            self._say(f"{self._told[trouble]} {trouble}; looking for new lines every {POLL} s instead")
        for trouble in self._told.keys() - places.keys():
            self._say(f"{self._told.pop(trouble)}: watched by events again")
