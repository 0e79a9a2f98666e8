"""The sources of a running agent: which are open, which files a pattern names now, and which names share a file."""

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from agent.config import AgentConfig, InputSpec
from agent.errors import OddlineError
from agent.inputs.conditions import conditions_of
from agent.inputs.glob_files import PatternFiles
from agent.inputs.identity import Key, keys_of
from agent.inputs.open_sources import OpenSources
from agent.sources.base import Source
from agent.sources.condition import Condition
from agent.sources.factory import is_fifo, read_checkpoint, source_name
from agent.sources.files.follower import FileSource
from agent.sources.files.globs import is_pattern
from agent.state.retrying import RetryingState
from agent.state.store import State

_LOG = logging.getLogger(__name__)


class Inputs:
    """The open sources by name, kept as a configuration and its patterns want them.

    on_removed: called with each name of a pattern that is gone, and what was said of a loss, or nothing.
    close_source: closes a source that is read no more; told whether another goes on with what it holds, as at a named
    pipe.
    """

    def __init__(
        self,
        state: State | RetryingState,
        on_removed: Callable[[str, str], None],
        close_source: Callable[[Source, bool], None] = lambda source, handover: source.close(),
    ) -> None:
        self._state = state
        self._opened = OpenSources(state, close_source)
        self._patterns = PatternFiles(self._opened, state, on_removed)
        self._reopened: list[str] = []
        self._single: dict[str, InputSpec] = {}

    @property
    def sources(self) -> dict[str, Source]:
        """The open sources by name."""
        return self._opened.by_name

    @property
    def has_patterns(self) -> bool:
        """Whether new files may have to be looked for."""
        return bool(self._patterns.specs)

    @property
    def folders(self) -> set[Path]:
        """The directories in which a file of a pattern may come."""
        return self._patterns.folders

    def configure(self, config: AgentConfig) -> list[Source]:
        """Opens what a configuration names and closes what it names no more; the sources that were opened.

        A source that cannot be opened is a SourceError; those that were opened before it are closed again, and those
        that are named no more stay open.
        """
        specs = config.inputs()
        single = {source_name(one.path): one for one in specs if not is_pattern(one.path)}
        patterns = [one for one in specs if is_pattern(one.path)]
        named = {*(one.path for one in patterns), *single, *map(os.path.realpath, single)}
        self._opened.named |= named  # before anything is opened
        opened = self._open_all({name: one for name, one in single.items() if self._opened.specs.get(name) != one})
        kept = {name for name, one in self._opened.specs.items() if one in patterns}
        for name in self.sources.keys() - single.keys() - kept:
            self._opened.close(name)
        for source in opened:
            self._opened.close(source.name, handover=True)
            self._opened.keep(source, single[source.name])
        self._patterns.specs, self._opened.named, self._single = patterns, named, single
        self._patterns.are_missing = True
        opened += self.scan()
        self._warn_misconfigured(set(single))
        return opened

    def conditions(self) -> list[Condition]:
        """How each source of the configuration is at present."""
        return conditions_of(self._single, self._patterns.specs, self._opened, self._patterns.refused)

    def scan(self) -> list[Source]:
        """Brings the files of the patterns up to date; the sources that were opened."""
        return self._patterns.scan()

    def open_pipes(self) -> list[Source]:
        """Opens the named pipes that were made where no file was; the sources that were opened.

        Such a pipe goes on in the place of the file, from which it has no checkpoint.
        """
        found = [one.name for one in self._opened.files() if not one.is_open]
        return [pipe for name in found if is_fifo(name) and (pipe := self._open_pipe(name))]

    def starts(self, opened: list[Source]) -> dict[str, list[tuple[str, bytes]]]:
        """What to commit of new sources: where reading starts, so that a kill before the first lines skips none.

        Also when patterns, and paths without a file, were first looked at: what comes to them later is read from its
        start. Empty where all is known.
        """
        return self._opened.starts(opened, self._patterns.specs)

    def checkpoints(self, source: Source) -> list[tuple[str, bytes]]:
        """How far a source is read, to be stored under its name and those others that name the same file."""
        return self._opened.checkpoints(source)

    def take_reopened(self) -> list[str]:
        """The names of sources that are others since a configuration was refused; each is told once."""
        names, self._reopened = self._reopened, []
        return names

    def close(self) -> None:
        """Closes every source."""
        for source in self.sources.values():
            source.close()

    def _warn_misconfigured(self, single: set[str]) -> None:
        """Says of patterns that name nothing, and of a file that is configured under two names."""
        for spec in self._patterns.specs:
            if spec not in self._opened.specs.values():
                _LOG.warning("%s names no file yet: waiting for one", spec.path)
        first: dict[Key, str] = {}
        for name in sorted(single):
            for key in keys_of(self.sources[name]):
                if first.setdefault(key, name) != name:
                    _LOG.warning("%s and %s are one file, which is read once for each: name it once", first[key], name)

    def _open_all(self, specs: dict[str, InputSpec]) -> list[Source]:
        opened: list[Source] = []
        closed: dict[str, InputSpec] = {}
        try:
            for name, spec in specs.items():
                old = self.sources.get(name)
                if old is not None and not isinstance(old, FileSource) and not is_fifo(name):
                    closed[name] = self._opened.specs[name]
                    self._opened.close(name)  # a port or a program cannot be had twice
                start, since = self._opened.starting_point(spec)
                opened.append(self._opened.open(name, self._opened.checkpoint(name), start, spec.reading, since))
        except (OddlineError, OSError):
            for source in opened:
                source.close()
            self._reopen(closed)
            raise
        return opened

    def _reopen(self, closed: dict[str, InputSpec]) -> None:
        """Goes on with sources that were closed for a configuration that is refused."""
        for name, spec in closed.items():
            try:
                source = self._opened.open(name, self._opened.checkpoint(name), "start", spec.reading)
            except (OddlineError, OSError) as error:
                _LOG.error("%s; nothing more is read of it until a reload can open it", error)
            else:
                self._opened.keep(source, spec)
                self._reopened.append(name)

    def _open_pipe(self, name: str) -> Source | None:
        spec, checkpoint = self._opened.specs[name], self._state.checkpoint(name)
        checkpoint = checkpoint if read_checkpoint(checkpoint) is None else None
        try:
            pipe = self._opened.open(name, checkpoint, "start", spec.reading)
        except OddlineError:  # it is gone again, or may not be read, which the file that is waited for tells
            return None
        self._opened.close(name)
        self._opened.keep(pipe, spec)
        return pipe


def each_descriptor(sources: dict[str, Source]) -> Iterator[int]:
    """What the open sources wait for besides paths."""
    for source in sources.values():
        yield from source.descriptors
