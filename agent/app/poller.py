"""Which sources may have something new: those that an event names, and now and then others without any event."""

from agent.app.heartbeat import Heartbeat
from agent.app.ingest import Reader
from agent.app.schedule import Poll, Schedule
from agent.host.clock import SYSTEM_CLOCK, Clock
from agent.inputs.manager import each_descriptor
from agent.watching.watcher import Watcher, Woken


class Poller:
    """Chooses the sources to be read in each round of the loop, searches for new files, and waits for events.

    heartbeat: beats at each poll, about every second.
    """

    def __init__(self, reader: Reader, watcher: Watcher, heartbeat: Heartbeat, clock: Clock = SYSTEM_CLOCK) -> None:
        self._reader, self._watcher, self._heartbeat = reader, watcher, heartbeat
        self._schedule = Schedule(clock)

    def poll_all_now(self) -> set[str]:
        """Has all sources read, whose names it gives; in a run that does not wait they learn it."""
        self._reader.drain()
        self._schedule.poll_all_now()
        return set(self._reader.sources)

    def choose(self, woken: Woken | None) -> set[str]:
        """The sources that may have something new: with an event, unsettled ones every second, in a while all."""
        self.search(woken)
        return self._due() if woken is None else self._due() | self._woken(woken)

    def search(self, woken: Woken | None = None) -> None:
        """Looks for new files of patterns after an event in their directories, and once in a while."""
        is_due = self._schedule.is_search_due(woken is not None and woken.folders)
        if is_due and self._reader.inputs.has_patterns:
            with self._schedule.searching():
                found = self._reader.scan()
            if found:
                self._schedule.poll_now()

    def watch(self) -> None:
        """Has the events of what is open now watched, and no others."""
        sources = self._reader.sources
        paths = {path for source in sources.values() for path in source.paths}
        self._watcher.watch(paths, self._reader.inputs.folders, set(each_descriptor(sources)))

    def wait(self, at_once: bool) -> Woken | None:
        """Sleeps until an event or the next poll; what woke it. at_once: only takes the events that are there."""
        return self._watcher.wait(0.0 if at_once else self._schedule.pause())

    def _woken(self, woken: Woken) -> set[str]:
        return {
            name
            for name, source in self._reader.sources.items()
            if not woken.paths.isdisjoint(source.paths) or not woken.descriptors.isdisjoint(source.descriptors)
        }

    def _due(self) -> set[str]:
        poll = self._schedule.start_poll()
        if poll is Poll.NONE:
            return set()
        self.watch()
        self._heartbeat.beat()
        self._reader.open_pipes()
        return {name for name, source in self._reader.sources.items() if poll is Poll.ALL or not source.settled}
