"""The inotify watches of many paths, one for each directory, and who is to be told of which event."""

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
    """A place that is watched: by whom, for which names, and what prevents it."""

    watch: int = -1
    problem: str = ""
    names: dict[bytes, set[_Key]] = field(default_factory=dict)
    masks: Counter[int] = field(default_factory=Counter)

    @property
    def mask(self) -> int:
        return reduce(or_, self.masks, 0)


@dataclass(frozen=True)
class Heard(Generic[_Key]):
    """The keys that events concern; those of them whose trace may be another one now; whether events were lost."""

    keys: set[_Key]
    stale: set[_Key]
    lost: bool


class Watches(Generic[_Key]):
    """Watches the path traces of keys. Without an inotify instance every place has that problem until `renew`."""

    def __init__(self) -> None:
        self._spots: dict[str, _Spot[_Key]] = {}
        self._places: dict[int, set[str]] = {}  # of a watch: bind mounts show one directory at several places
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
                self._join(key, use)
        fresh = [self._attach(place) for place in dict.fromkeys(use.place for use in path_trace)]
        self._leave(key, [use for use in before if use not in path_trace])
        return any(fresh)

    def trace(self, key: _Key) -> PathTrace:
        """What is watched for a key."""
        return self._traces.get(key, ())

    def forget(self, key: _Key) -> None:
        """Ends the watching for a key."""
        self._leave(key, self._traces.pop(key, ()))

    def renew(self) -> None:
        """Tries again to get an inotify instance where there is none."""
        if self._inotify is None:
            self._open()

    def problems(self, key: _Key) -> dict[str, str]:
        """The places on the trace of a key that cannot be watched, and why; not those only passed through."""
        uses = [use for use in self._traces.get(key, ()) if use.mask != SELF]
        return {use.place: problem for use in uses if (problem := self._spots[use.place].problem)}

    def read(self) -> Heard[_Key]:
        """Takes the events that have come; never waits."""
        heard, lost = Heard[_Key](set(), set(), False), False
        for watch, mask, name in self._inotify.read() if self._inotify else ():
            lost = lost or bool(mask & QUEUE_OVERFLOW)
            for place in tuple(self._places.get(watch, ())):
                self._note(self._spots[place], mask, name, heard)
                if mask & IGNORED:  # the kernel has removed it
                    self._detach(place)
        return Heard(heard.keys, heard.stale, lost)

    def close(self) -> None:
        """Ends all watches."""
        if self._inotify is not None:
            self._inotify.close()
        self._inotify, self._refusal = None, "closed"
        self._spots, self._places, self._traces = {}, {}, {}

    def _open(self) -> None:
        try:
            self._inotify = Inotify()
        except OSError as error:
            self._refusal = error.strerror or str(error)

    def _note(self, spot: _Spot[_Key], mask: int, name: bytes, heard: Heard[_Key]) -> None:
        if name:
            named: Iterable[_Key] = spot.names.get(name, ())
            heard.keys.update(named, spot.names.get(ANY, ()) if mask & STRUCTURE else ())
            heard.stale.update(named if mask & STRUCTURE else ())
        elif mask & GONE:
            heard.keys.update(*spot.names.values())
            heard.stale.update(*spot.names.values())
        else:
            heard.keys.update(spot.names.get(b"", ()))

    def _join(self, key: _Key, use: Use) -> None:
        spot = self._spots.setdefault(use.place, _Spot())
        spot.names.setdefault(use.name, set()).add(key)
        spot.masks[use.mask] += 1

    def _leave(self, key: _Key, uses: Iterable[Use]) -> None:
        kept = {(use.place, use.name) for use in self._traces.get(key, ())}
        for use in uses:
            spot = self._spots[use.place]
            if (use.place, use.name) not in kept:
                spot.names[use.name].discard(key)
                if not spot.names[use.name]:
                    del spot.names[use.name]
            spot.masks[use.mask] -= 1
            if not spot.masks[use.mask]:
                del spot.masks[use.mask]
                self._lessen(use.place)

    def _lessen(self, place: str) -> None:
        """Watches a place for less than before, or no more."""
        if self._spots[place].masks:
            self._attach(place)
        else:
            self._detach(place)
            del self._spots[place]

    def _attach(self, place: str) -> bool:
        spot = self._spots[place]
        try:
            watch = self._add(place)
        except OSError as error:
            spot.problem = error.strerror or str(error)
            self._detach(place)
            return False
        spot.problem = ""
        if watch == spot.watch:
            return False
        self._detach(place)
        spot.watch = watch
        self._places.setdefault(watch, set()).add(place)
        return True

    def _add(self, place: str) -> int:
        if self._inotify is None:
            raise OSError(0, self._refusal)
        watch = self._inotify.add(place, self._spots[place].mask)
        others = self._places.get(watch, set()) - {place}
        if others:
            self._inotify.add(place, reduce(or_, (self._spots[other].mask for other in others | {place})))
        return watch

    def _detach(self, place: str) -> None:
        """Gives the watch of a place back, unless another place has the same one."""
        watch, self._spots[place].watch = self._spots[place].watch, -1
        places = self._places.get(watch, set())
        places.discard(place)
        if watch >= 0 and not places:
            self._places.pop(watch, None)
            if self._inotify is not None:
                with suppress(OSError):
                    self._inotify.remove(watch)
