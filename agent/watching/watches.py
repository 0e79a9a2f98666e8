"""The inotify watches of many paths, one for each directory, and which paths an event concerns."""

from collections import Counter
from collections.abc import Hashable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import Generic, TypeVar

from agent.watching.inotify import GONE, IGNORED, QUEUE_OVERFLOW, SELF, STRUCTURE, Inotify
from agent.watching.path_trace import ANY, PathTrace, Use

_Key = TypeVar("_Key", bound=Hashable)


@dataclass(slots=True)
class _Spot(Generic[_Key]):
    """A path that is watched: by whom, for which names, and what prevents it."""

    watch: int = -1
    problem: str = ""
    names: dict[bytes, set[_Key]] = field(default_factory=dict)
    masks: Counter[int] = field(default_factory=Counter)

    @property
    def mask(self) -> int:
        return reduce(or_, self.masks, 0)


@dataclass(frozen=True)
class WatchEvents(Generic[_Key]):
    """The keys that events concern; those of them whose trace may be another one now; whether events were lost."""

    keys: set[_Key]
    stale: set[_Key]
    lost: bool


class Watches(Generic[_Key]):
    """Watches the path traces of keys. Without an inotify instance every path has that problem until `renew`."""

    def __init__(self) -> None:
        self._spots: dict[str, _Spot[_Key]] = {}
        self._paths: dict[int, set[str]] = {}  # of a watch: bind mounts show one directory at several paths
        self._traces: dict[_Key, PathTrace] = {}
        self._inotify: Inotify | None = None
        self._refusal = ""
        self._open()

    @property
    def descriptor(self) -> int:
        """What becomes readable when there are events; -1 where none can be had."""
        return -1 if self._inotify is None else self._inotify.descriptor

    def follow(self, key: _Key, path_trace: PathTrace) -> bool:
        """Watches this trace for a key in place of an earlier one, again where it was watched already.

        Returns whether a watch is another one than before: what happened up to now may have passed unseen.
        """
        before = self._traces.get(key, ())
        self._traces[key] = path_trace
        for use in path_trace:
            if use not in before:
                self._add_use(key, use)
        fresh = [self._attach(path) for path in dict.fromkeys(use.path for use in path_trace)]
        self._remove(key, [use for use in before if use not in path_trace])
        return any(fresh)

    def trace(self, key: _Key) -> PathTrace:
        """What is watched for a key."""
        return self._traces.get(key, ())

    def forget(self, key: _Key) -> None:
        """Ends the watching for a key."""
        self._remove(key, self._traces.pop(key, ()))

    def renew(self) -> None:
        """Tries again to get an inotify instance where there is none."""
        if self._inotify is None:
            self._open()

    def problems(self, key: _Key) -> dict[str, str]:
        """The paths on the trace of a key that cannot be watched, and why; not those only passed through."""
        uses = [use for use in self._traces.get(key, ()) if use.mask != SELF]
        return {use.path: problem for use in uses if (problem := self._spots[use.path].problem)}

    def read(self) -> WatchEvents[_Key]:
        """Takes the events that have come; never waits."""
        events, lost = WatchEvents[_Key](set(), set(), False), False
        for watch, mask, name in self._inotify.read() if self._inotify else ():
            lost = lost or bool(mask & QUEUE_OVERFLOW)
            for path in tuple(self._paths.get(watch, ())):
                self._match(self._spots[path], mask, name, events)
                if mask & IGNORED:  # the kernel has removed it
                    self._detach(path)
        return WatchEvents(events.keys, events.stale, lost)

    def close(self) -> None:
        """Ends all watches."""
        if self._inotify is not None:
            self._inotify.close()
        self._inotify, self._refusal = None, "closed"
        self._spots, self._paths, self._traces = {}, {}, {}

    def _open(self) -> None:
        try:
            self._inotify = Inotify()
        except OSError as error:
            self._refusal = error.strerror or str(error)

    def _match(self, spot: _Spot[_Key], mask: int, name: bytes, events: WatchEvents[_Key]) -> None:
        if name:
            named: Iterable[_Key] = spot.names.get(name, ())
            events.keys.update(named, spot.names.get(ANY, ()) if mask & STRUCTURE else ())
            events.stale.update(named if mask & STRUCTURE else ())
        elif mask & GONE:
            events.keys.update(*spot.names.values())
            events.stale.update(*spot.names.values())
        else:
            events.keys.update(spot.names.get(b"", ()))

    def _add_use(self, key: _Key, use: Use) -> None:
        spot = self._spots.setdefault(use.path, _Spot())
        spot.names.setdefault(use.name, set()).add(key)
        spot.masks[use.mask] += 1

    def _remove(self, key: _Key, uses: Iterable[Use]) -> None:
        kept = {(use.path, use.name) for use in self._traces.get(key, ())}
        for use in uses:
            spot = self._spots[use.path]
            if (use.path, use.name) not in kept:
                spot.names[use.name].discard(key)
                if not spot.names[use.name]:
                    del spot.names[use.name]
            spot.masks[use.mask] -= 1
            if not spot.masks[use.mask]:
                del spot.masks[use.mask]
                self._narrow(use.path)

    def _narrow(self, path: str) -> None:
        """Watches a path for less than before, or no more."""
        if self._spots[path].masks:
            self._attach(path)
        else:
            self._detach(path)
            del self._spots[path]

    def _attach(self, path: str) -> bool:
        spot = self._spots[path]
        try:
            watch = self._add(path)
        except OSError as error:
            spot.problem = error.strerror or str(error)
            self._detach(path)
            return False
        spot.problem = ""
        if watch == spot.watch:
            return False
        self._detach(path)
        spot.watch = watch
        self._paths.setdefault(watch, set()).add(path)
        return True

    def _add(self, path: str) -> int:
        if self._inotify is None:
            raise OSError(0, self._refusal)
        watch = self._inotify.add(path, self._spots[path].mask)
        others = self._paths.get(watch, set()) - {path}
        if others:
            self._inotify.add(path, reduce(or_, (self._spots[other].mask for other in others | {path})))
        return watch

    def _detach(self, path: str) -> None:
        """Gives the watch of a path back, unless another path has the same one."""
        watch, self._spots[path].watch = self._spots[path].watch, -1
        paths = self._paths.get(watch, set())
        paths.discard(path)
        if watch >= 0 and not paths:
            self._paths.pop(watch, None)
            if self._inotify is not None:
                with suppress(OSError):
                    self._inotify.remove(watch)
