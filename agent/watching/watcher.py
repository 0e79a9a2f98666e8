"""Waking up when something happens to the followed paths.

Events only wake: what is to be read is decided by stat and read. Where no events can be had, or they prove to be
missing, waiting becomes polling.
"""

import math
import os
import select
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from agent.watching.coverage import POLL, Coverage, Key

FOLDER_POLL = 5.0  # seconds between two looks into a folder where no events can be had: a glob is dearer than a read
_DEBOUNCE = 0.02  # seconds without a look at the events after they told only of files that nobody follows
_LONGEST = 86400.0  # seconds of a wait in one piece


@dataclass(frozen=True)
class Woken:
    """Why a wait ended.

    paths        those watched that had events since the last wait; also those that are polled, which may have changed
    folders      whether something was created, moved or removed in one of the watched folders, or may have been
    descriptors  what can be read now, is at its end, hung up or closed; a file on a disk always
    requested    whether `wake` was called
    """

    paths: frozenset[Path] = frozenset()
    folders: bool = False
    descriptors: frozenset[int] = frozenset()
    requested: bool = False


class Watcher:
    """Wakes a waiting thread when one of the paths is written, created, moved or removed; at times for nothing.

    Watched are the directories of the paths and of what they link to; of a directory that does not exist, the nearest
    parent that does. Polled is what lies on a network file system, what inotify's limits or a lack of permission keep
    from being watched, and what `missed` has proved to change without events; each is logged once, and the end of it
    too. All but `wake` is for one thread; there is no other one.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._coverage = Coverage(clock)
        self._given: tuple[frozenset[Path], frozenset[Path]] = frozenset(), frozenset()
        self._keys: frozenset[Key] = frozenset()
        self._descriptors: frozenset[int] = frozenset()
        self._unseen: set[Key] = set()  # to be told by the next wait
        self._wakeup_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._debounce_until = self._next_poll = self._next_folder_poll = 0.0

    @property
    def polling(self) -> bool:
        """Whether some path is polled at present."""
        return bool(self._coverage.polled)

    def watch(self, paths: Collection[Path], folders: Collection[Path] = (), descriptors: Collection[int] = ()) -> None:
        """Watches these in place of the earlier ones; `folders` are directories in which a glob may find new files.

        The next wait tells of what is new among them at once, since it may have changed before it was watched.
        """
        self._descriptors = frozenset(descriptors)
        given = frozenset(paths), frozenset(folders)
        if given == self._given:
            return
        self._given = given
        keys = frozenset((path, folder) for folder in (False, True) for path in given[folder])
        before, self._keys = self._keys, keys
        self._unseen &= keys
        self._unseen |= keys - before
        self._coverage.forget(before - keys)
        self._coverage.follow(keys - before)

    def wait(self, timeout: float) -> Woken | None:
        """Waits until something happens, `timeout` seconds at most; None when they have passed.

        A descriptor that is at its end or hung up wakes every wait at once: take it out with `watch`.
        """
        deadline = self._clock() + timeout
        while True:
            woken = self._collect(self._select(deadline))
            if woken != Woken():
                return woken
            if self._clock() >= deadline:
                return None

    def wake(self) -> None:
        """Ends the present or next wait; safe in signal handlers and from any thread."""
        if self._wakeup_fd >= 0:
            os.eventfd_write(self._wakeup_fd, 1)

    def missed(self, path: Path) -> None:
        """Tells that new data was found in a path that had no event, as on a file system that tells of none.

        One look proves nothing: the event may be under way, or the data be that of a file that was moved away and is
        still written. When the file at the path has changed from one call to the next and no event names it up to a
        second later, then events do not come: the paths on its mount are polled for a minute, and said to be once an
        hour at most; after that minute events are trusted again.
        """
        if (path, False) in self._keys:
            self._coverage.missed_events.record(path)

    def stop(self) -> None:
        """Ends the watching; a later wait only waits."""
        wakeup_fd, self._wakeup_fd = self._wakeup_fd, -1
        if wakeup_fd >= 0:
            os.close(wakeup_fd)
            self._coverage.close()
        self._given, self._keys, self._descriptors = (frozenset(), frozenset()), frozenset(), frozenset()
        self._unseen.clear()

    def _select(self, deadline: float) -> frozenset[int]:
        """The descriptors of which there is something to know, as soon as there is one or something is to be done.

        poll(2) remembers none from one wait to the next: a number that was closed and given out again is no trap.
        """
        poll = select.poll()
        for descriptor in self._descriptors:
            poll.register(descriptor, select.POLLIN)
        is_debouncing = self._clock() < self._debounce_until
        for descriptor, mask in (
            (self._wakeup_fd, select.POLLIN),
            (self._coverage.mounts.descriptor, select.POLLPRI),
            (-1 if is_debouncing else self._coverage.descriptor, select.POLLIN),
        ):
            if descriptor >= 0:
                poll.register(descriptor, mask)
        pause = self._due(deadline) - self._clock()
        return frozenset(ready for ready, _ in poll.poll(math.ceil(max(0.0, min(pause, _LONGEST)) * 1000)))

    def _due(self, deadline: float) -> float:
        """When to end the present pause if nothing happens."""
        if self._unseen:
            return self._clock()
        due = [deadline, self._coverage.due]
        kinds = {folder for _, folder in self._coverage.polled}
        due += [self._next_folder_poll if folder else self._next_poll for folder in kinds]
        return min(due + ([self._debounce_until] if self._clock() < self._debounce_until else []))

    def _collect(self, ready: frozenset[int]) -> Woken:
        requested = self._wakeup_fd in ready
        if requested:
            os.eventfd_read(self._wakeup_fd)
        if self._coverage.mounts.descriptor in ready:
            self._coverage.remount()
        keys = self._unseen | (self._read_events() if self._coverage.descriptor in ready else set())
        self._unseen = set()
        keys |= self._coverage.maintain() | self._due_polls()
        paths = frozenset(path for path, folder in keys if not folder)
        return Woken(paths, any(folder for _, folder in keys), ready & self._descriptors, requested)

    def _read_events(self) -> set[Key]:
        keys = self._coverage.read_events()
        if not keys:
            self._debounce_until = self._clock() + _DEBOUNCE
        return keys

    def _due_polls(self) -> set[Key]:
        now, due = self._clock(), set()
        if now >= self._next_poll:
            self._next_poll = now + POLL
            due |= {key for key in self._coverage.polled if not key[1]}
        if now >= self._next_folder_poll:
            self._next_folder_poll = now + FOLDER_POLL
            due |= {key for key in self._coverage.polled if key[1]}
        return due
