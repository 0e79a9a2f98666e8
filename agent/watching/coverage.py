"""Which followed paths are covered by events of inotify, and which have to be polled."""

import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from agent.watching.inotify import CONTENT, SELF
from agent.watching.missed_events import MissedEvents
from agent.watching.mounts import Mount, Mounts
from agent.watching.path_trace import PathTrace, Use, trace, trace_folder
from agent.watching.watches import Watches

_LOG = logging.getLogger(__name__)

POLL = 0.5  # seconds between two looks where no events can be had
RETRY = 60.0  # seconds until all watches are set again, and those that failed are tried again
_CALM = 1.0  # seconds between two times of that at least
_ROUNDS = 8  # most tries to set the watches of a path trace that changes meanwhile; the rest is left to the next time

Key = tuple[Path, bool]  # a path or, with True, a folder


class Coverage:
    """Watches keys and knows which of them are to be polled. Why is logged once, and again when it is over."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._watches, self.mounts = Watches[Key](), Mounts()
        self._mount_of: dict[Key, Mount] = {}
        self._troubles: dict[Key, frozenset[tuple[str, str]]] = {}  # paths, and what is wrong with them
        self._warned: dict[str, str] = {}  # what is wrong, and the paths that a warning named
        self.missed_events = MissedEvents(clock)
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
        return min(self._next_check, self.missed_events.due)

    def follow(self, keys: Iterable[Key]) -> set[Key]:
        """Sets the watches of these keys; those of which one is new, so that something may have passed unseen."""
        before = dict(self._troubles)
        fresh = {key for key in keys if self._follow(key)}
        if self._troubles != before:
            self._warn()
            self._choose()
        return fresh

    def forget(self, keys: Iterable[Key]) -> None:
        """Ends the watching of these keys."""
        for key in keys:
            self._watches.forget(key)
            del self._mount_of[key]
            self._troubles.pop(key, None)
            self.missed_events.clear([key[0]])
        self._warn()
        self._choose()

    def read_events(self) -> set[Key]:
        """The keys that events concern; all of them where the kernel's queue of events overflowed."""
        events = self._watches.read()
        self.missed_events.clear(path for path, _ in (self._mount_of if events.lost else events.keys))
        fresh = self.follow(events.stale)
        if events.lost:
            self._hasten()
            return set(self._mount_of)
        return events.keys | fresh

    def remount(self) -> None:
        """Takes notice of what was mounted and unmounted."""
        self.mounts.refresh()
        self._hasten()

    def maintain(self) -> set[Key]:
        """Does what is due: traces all paths again, judges which events are missing. What may have passed unseen."""
        fresh: set[Key] = set()
        if self._clock() >= self._next_check:
            self._checked = self._clock()
            self._next_check = self._checked + RETRY
            self._watches.renew()
            fresh = self.follow(self._mount_of.copy())
        if self._clock() >= self.missed_events.due:
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
        """Traces a path until setting its watches brings no new one; whether one was new."""
        fresh = False
        for _ in range(_ROUNDS):
            path_trace = self._trace(key)
            if not self._watches.follow(key, path_trace):
                break
            fresh = True
        mount = self._mount_of[key] = self.mounts.of(path_trace[-1].path)
        troubles = {(path, f"cannot be watched ({why})") for path, why in self._watches.problems(key).items()}
        if mount.remote:
            troubles.add((mount.point, f"({mount.type}) may be written by others without an event"))
        self._troubles[key] = frozenset(troubles)
        if not troubles:
            del self._troubles[key]
        return fresh

    def _trace(self, key: Key) -> PathTrace:
        path, folder = os.fspath(key[0]), key[1]
        if folder:
            return trace_folder(path)
        path_trace = trace(path)
        file = os.path.join(path_trace[-1].path, os.fsdecode(path_trace[-1].name))
        # a file that is mounted by itself, as into containers, is written through another directory than its own
        return (*path_trace, Use(file, b"", CONTENT | SELF)) if self.mounts.is_point(file) else path_trace

    def _choose(self) -> None:
        blind = self.missed_events.blind
        unseen = {key for key, mount in self._mount_of.items() if mount.point in blind} if blind else set()
        self.polled = frozenset(self._troubles.keys() | unseen)

    def _judge(self) -> None:
        """Polls the mounts on which events prove to be missing, for as long as they are not trusted."""
        for path in self.missed_events.proved():
            mount = self._mount_of.get((path, False))
            if mount is not None and self.missed_events.distrust(mount.point, RETRY):
                _LOG.warning(
                    "%s changes without events (%s is %s); looking for new lines there every %s s instead, for a "
                    "minute each time",
                    *(path, mount.point, mount.type or "of unknown type", POLL),
                )
        self._choose()

    def _warn(self) -> None:
        paths: dict[str, set[str]] = {}
        for troubles in self._troubles.values():
            for path, trouble in troubles:
                paths.setdefault(trouble, set()).add(path)
        for trouble in paths.keys() - self._warned.keys():
            first, *others = sorted(paths[trouble])
            self._warned[trouble] = first + (f" and {len(others)} more" if others else "")
            _LOG.warning("%s %s; looking for new lines every %s s instead", self._warned[trouble], trouble, POLL)
        for trouble in self._warned.keys() - paths.keys():
            _LOG.info("%s: watched by events again", self._warned.pop(trouble))
