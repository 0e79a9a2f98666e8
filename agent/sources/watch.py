"""Waking up when something happens to the followed paths."""

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch

POLL = 0.5  # seconds between two looks where no events can be had
_STRUCTURE = [DirCreatedEvent, DirDeletedEvent, DirMovedEvent, FileCreatedEvent, FileDeletedEvent, FileMovedEvent]
_EVENTS = [FileModifiedEvent, *_STRUCTURE]  # nothing that opening, reading and closing a file causes


def _say(sentence: str) -> None:
    sys.stderr.write(f"oddline: {sentence}\n")


class Watcher(FileSystemEventHandler):
    """Wakes a waiting thread when one of the paths is written, created, moved or removed; at times for nothing.

    Watched are the directories of the paths and of what they link to; of a directory that does not exist, the nearest
    parent that does. Where the system grants no watches (inotify's limits, no permission), waiting becomes polling, and
    `say` is told once.
    """

    def __init__(self, paths: Sequence[Path], say: Callable[[str], None] = _say) -> None:
        self._paths = [Path(os.path.abspath(path)) for path in paths]
        self._say = say
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._watches: dict[tuple[str, int, int], ObservedWatch] = {}
        self._names: frozenset[str] = frozenset()
        self._moved = False
        self._problem = ""
        self._observer = self._start_observer()
        self._watch()

    @property
    def polling(self) -> bool:
        """Whether some path cannot be watched."""
        return bool(self._problem)

    def wait(self, timeout: float) -> bool:
        """Waits for an event, `timeout` seconds at most; whether one came, or, when polling, may have."""
        woken = self._ring_or_timeout(min(timeout, POLL) if self.polling else timeout)
        if self._moved or not woken:
            self._moved = False
            woken = self._watch() or woken
        return woken or self.polling

    def wake(self) -> None:
        """Ends the present or next wait. A signal handler may call it: SimpleQueue.put is reentrant, Event.set not."""
        if self._bell.empty():
            self._bell.put(None)

    def stop(self) -> None:
        """Ends the watching and its threads."""
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None

    def dispatch(self, event: FileSystemEvent) -> None:
        """Called by watchdog's thread with every event of the watched directories."""
        if self._names.isdisjoint((os.fsdecode(event.src_path), os.fsdecode(event.dest_path))):
            return
        self._moved = self._moved or not isinstance(event, FileModifiedEvent)
        self.wake()

    def _ring_or_timeout(self, timeout: float) -> bool:
        try:
            self._bell.get(timeout=timeout)
        except Empty:
            return False
        with suppress(Empty):
            while True:
                self._bell.get_nowait()
        return True

    def _start_observer(self) -> BaseObserver | None:
        try:
            observer = Observer()
        except OSError as error:
            self._complain(f"no events of the file system can be had ({error.strerror or error})")
            return None
        observer.start()
        return observer

    def _watch(self) -> bool:
        """Brings the watches up to date; whether one was set, before which something may have happened unseen."""
        if self._observer is None:
            return False
        files = [file for path in self._paths for file in _real_paths(path)]
        self._names = frozenset(str(name) for file in files for name in (file, *file.parents))
        wanted = {_key(_nearest(file.parent)) for file in files}
        for gone in self._watches.keys() - wanted:
            self._observer.unschedule(self._watches.pop(gone))
        before = len(self._watches)
        problems = [problem for key in sorted(wanted - self._watches.keys()) if (problem := self._schedule(key))]
        self._complain(problems[0] if problems else "")
        return len(self._watches) > before

    def _schedule(self, key: tuple[str, int, int]) -> str:
        """Watches a directory; what prevents it, or an empty string."""
        if not os.access(key[0], os.R_OK, effective_ids=True):  # which watchdog does not tell
            return f"{key[0]} cannot be watched (no permission)"
        try:
            self._watches[key] = self._observer.schedule(self, key[0], event_filter=_EVENTS)
        except OSError as error:
            return f"{key[0]} cannot be watched ({error.strerror or error})"
        return ""

    def _complain(self, problem: str) -> None:
        if problem and problem != self._problem:
            self._say(f"{problem}; looking for new lines every {POLL} s instead")
        self._problem = problem


def _real_paths(path: Path) -> set[Path]:
    """A path without links in its directories, and what it links to itself."""
    return {Path(os.path.realpath(path.parent), path.name), Path(os.path.realpath(path))}


def _nearest(folder: Path) -> Path:
    """The directory, or its nearest parent that exists."""
    return next((parent for parent in (folder, *folder.parents) if os.path.isdir(parent)), Path("/"))


def _key(folder: Path) -> tuple[str, int, int]:
    """A directory by name and identity: one that was removed and made again needs a new watch."""
    try:
        status = folder.stat()
    except OSError:  # it has just gone; scheduling will say so
        return str(folder), 0, 0
    return str(folder), status.st_dev, status.st_ino
