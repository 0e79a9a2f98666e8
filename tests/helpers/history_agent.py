"""The agent in one thread of this process, on a state that is real, with faults that come when they are told to."""

import errno
import logging
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zlib import crc32

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from agent.alerting.alert import Alert
from agent.alerting.echo_guard import EchoGuard
from agent.alerting.pipeline import Pipeline
from agent.app import service
from agent.app.build import Setup
from agent.app.heartbeat import Heartbeat
from agent.app.ingest import Reader
from agent.app.service import Service
from agent.bundle.manifest import Scale, Threshold, Window
from agent.config import AgentConfig
from agent.delivery.workers import Delivery
from agent.errors import ConfigError, SourceError, StateUnavailable
from agent.inputs import open_sources as opened
from agent.scoring import engine, scorers
from agent.scoring.reasons import OtherReason
from agent.sources.base import Source
from agent.sources.files import follower as file
from agent.sources.files.checkpoint import FileCheckpoint
from agent.sources.files.clock import before_now
from agent.sources.files.follower import FileSource
from agent.sources.files.rotation_names import COMPRESSED
from agent.state import store
from agent.state.database import Database
from agent.state.store import FILE, State, outbox
from agent.text.lines import Block
from agent.text.text_table import TextTable
from agent.watching.watcher import Woken
from helpers.logs import Collector
from helpers.manual_clock import ManualClock

SINK = "history:"
NOW = datetime(2026, 3, 9, 3, 12, 45, tzinfo=UTC)
POINTS = ("read", "scored", "commit", "committing", "queue", "queued", "committed")


class Killed(BaseException):
    """kill -9."""


class Faults:
    """What goes wrong, from when it is set to when it is taken back, and where the agent is killed."""

    def __init__(self) -> None:
        self.kill_at, self.dying = "", False
        self.acting = False  # whether it is the agent that does something
        self.full = 0  # tries to write that fail
        self.doubtful = False  # the next commit is stored, and seems not to be
        self.files: int | None = None  # that can still be opened
        self.seen = Counter[str]()

    def reach(self, point: str) -> None:
        if self.acting and self.kill_at == point:
            self.kill_at, self.dying = "", True
            raise Killed(point)

    def take_file(self, kind: str) -> None:
        if not self.acting:
            return
        if self.files == 0:
            self.seen[f"files refused: {kind}"] += 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        if self.files is not None:
            self.files -= 1


class Journal:
    """What was stored, in order: blocks with what names their file, None where a source was forgotten; checkpoints."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, Block | None, str]] = []
        self.checkpoints: dict[str, FileCheckpoint] = {}
        self.taking: tuple[str, Block, str] | None = None


class Store(State):
    """The state, at whose calls the agent may be killed, and which notes what it stored."""

    faults: Faults
    journal: Journal

    def commit(self, checkpoints: Sequence[tuple[str, bytes]] = (), *change: Any, **more: Any) -> None:
        faults = self.faults
        faults.reach("commit")
        super().commit(checkpoints, *change, **more)
        self.journal.checkpoints.update(
            (name, msgspec.msgpack.decode(checkpoint, type=FileCheckpoint)) for name, checkpoint in checkpoints
        )
        if self.journal.taking is not None and change:
            assert self.journal.taking[0] in self.journal.checkpoints, "a block is stored, and not how far it was read"
            self.journal.entries.append(self.journal.taking)
            self.journal.taking = None
        faults.reach("committed")
        if faults.doubtful and change:
            faults.doubtful = False
            faults.seen["doubtful"] += 1
            raise StateUnavailable("the disk has not said whether it took it")

    def forget(self, source: str, *change: Any) -> None:
        super().forget(source, *change)
        self.journal.entries.append((source, None, ""))
        self.journal.checkpoints.pop(source, None)
        self.faults.reach("committed")


class FaultyDatabase(Database):
    """The database of the state, which fails and dies where the faults say so."""

    faults: Faults

    @contextmanager
    def change(self) -> Iterator[Any]:
        with super().change() as db:
            yield db
            if self.faults.full:
                self.faults.full -= 1
                self.faults.seen["full"] += 1
                db.execute("PRAGMA max_page_count = 1")  # which means as many as there are
                try:
                    db.execute("INSERT INTO memory VALUES ('filler', zeroblob(1 << 20))")
                finally:
                    db.execute("PRAGMA max_page_count = 1073741823")
            self.faults.reach("committing")

    def close(self) -> None:
        if self.faults.dying:
            self.kill()
        else:
            super().close()

    def kill(self) -> None:
        """Leaves the folder as kill -9 does: the log of SQLite beside the file, and the word in the lock."""
        if self._lock is None:
            return
        folder = Path(self.file).parent
        names = [name for name in (FILE, f"{FILE}-wal") if (folder / name).exists()]
        with suppress(Exception):
            self.connection.execute("ROLLBACK")
        for name in names:
            shutil.copyfile(folder / name, folder / f"{name}.killed")
        self.connection.close()
        for name in names:
            (folder / f"{name}.killed").rename(folder / name)
        self._release(clean=False)


class Checksum:
    """Scores a window by a checksum of all its texts."""

    cut_lines = 0

    def __init__(self, model: Any, texts: TextTable, cache: bool) -> None:
        self._texts = texts

    def told(self, window: NDArray[np.int32]) -> list[str]:
        return [self._texts[one] if one else "" for one in window.tolist()]

    def score(self, windows: NDArray[np.int32], features: object = None) -> NDArray[np.float32]:
        return np.array([crc32("\0".join(self.told(window)).encode()) / (1 << 32) for window in windows], np.float32)

    def is_cut(self, ids: NDArray[np.int32]) -> NDArray[np.bool_]:
        return np.zeros(len(ids), bool)


class Explainer:
    """Tells the window."""

    def __init__(self, scorer: Checksum, *rest: object) -> None:
        self._scorer = scorer

    def reason(self, text: str, window: NDArray[np.int32], *rest: object) -> OtherReason:
        return OtherReason(window=self._scorer.told(window))


MANIFEST = SimpleNamespace(
    name="checksum",
    scorer="vectors",
    header="none",
    masks=["num"],
    stream=None,
    window=Window(4, pad=True),
    settings={},
    state=[],
    relative=None,
    threshold=Threshold("fixed", value=0.5),
    scale=Scale(9, 0.5, 0.2, [0.0, 1.0], [0.0, 1.0]),
)
BUNDLE = SimpleNamespace(
    path="checksum", id="checksum", manifest=MANIFEST, known=None, tokenizer=SimpleNamespace(max_tokens=99)
)


def make_pipeline(config: AgentConfig) -> Pipeline:
    """A pipeline whose scores tell windows of 4 lines apart."""
    return Pipeline(BUNDLE, config.scoring_settings(), config.alert_settings(), EchoGuard(b"history"))


class SilentWatcher:
    """A watcher that is asked nothing: the turns are told what woke them."""

    def __init__(self, clock: object) -> None: ...

    def watch(self, *paths: object) -> None: ...

    def missed(self, path: Path) -> None: ...

    def wake(self) -> None: ...

    def stop(self) -> None: ...


class Held(Delivery):
    """A delivery whose threads do not run: who tests takes from the outbox."""

    def start(self) -> None: ...


class SilentHeartbeat(Heartbeat):
    """Tells nothing of how things stand."""

    def beat(self) -> None: ...


class NotingReader(Reader):
    """A reader that tells which block it takes."""

    world: "World"

    def _process(self, source: Source, block: Block) -> None:
        self.world.faults.reach("read")
        self.world.journal.taking = source.name, block, source.identity
        super()._process(source, block)


class Agent(Service):
    """A service whose loop is turned by hand."""

    def turn(self, hears: bool) -> bool:
        """One round of the loop, after an event of everything or none at all; whether there was a block."""
        every = {path for source in self.reader.sources.values() for path in source.paths}
        woken = Woken(frozenset(every), folders=True) if hears else None
        return bool(self.round(set(), woken))

    def places(self) -> object:
        """What changes when something was read."""
        return {name: (source.checkpoint, source.bytes_taken) for name, source in self.reader.sources.items()}

    def source(self, name: str) -> FileSource | None:
        """The source of a name."""
        return self.reader.sources.get(name)

    def end(self) -> None:
        """What follows the loop, but for the delivery."""
        self.delivery.stop(0)
        self.close()

    def pending(self, most: int) -> list[Alert]:
        """Takes alerts from the outbox as a sink does."""
        rows = self.state.pending(SINK, most)
        if rows:
            self.state.delivered(SINK, rows[-1][0])
        return [alert for _, alert in rows if alert.line]  # a notice has none


class World:
    """A state folder, the agent on it while it runs, its clock, and what it told."""

    def __init__(self, state: Path, patch: pytest.MonkeyPatch) -> None:
        self.config, self.clock = AgentConfig(state=str(state)), ManualClock(1000.0, NOW)
        self.date: Callable[[], int] = before_now  # as files are dated, in nanoseconds since 1970
        self.faults, self.journal = Faults(), Journal()
        self._collector = Collector()
        self.said = self._collector.messages
        self.told: list[Alert] = []
        self.size = 1 << 20  # bytes that are read at once
        self.agent: Agent | None = None
        self._patch(patch)

    def _patch(self, patch: pytest.MonkeyPatch) -> None:
        world, faults = self, self.faults

        begin, read = FileSource.__init__, FileSource.read

        def clocked(source: FileSource, *given: Any, **more: Any) -> None:
            begin(source, *given, **more, clock=world.clock.monotonic)

        def in_pieces(source: FileSource, most: int = 1 << 20) -> Block | None:
            return read(source, min(most, world.size))

        patch.setattr(FileSource, "__init__", clocked)
        patch.setattr(FileSource, "read", in_pieces)
        patch.setattr(service, "State", type("Store", (Store,), {"faults": faults, "journal": self.journal}))
        patch.setattr(store, "Database", type("FaultyDatabase", (FaultyDatabase,), {"faults": faults}))
        patch.setattr(service, "Watcher", SilentWatcher)
        patch.setattr(service, "Delivery", Held)
        patch.setattr(service, "Heartbeat", SilentHeartbeat)
        patch.setattr(service, "Reader", type("Reader", (NotingReader,), {"world": self}))
        patch.setattr(service, "prepare", self._prepare)
        patch.setattr(service, "raise_file_limit", lambda: None)
        patch.setattr(service, "gc", SimpleNamespace(collect=lambda: None))
        patch.setattr(service, "setup_logging", lambda level, seal=None: None)
        logger = logging.getLogger("agent")
        logger.setLevel(logging.DEBUG)
        patch.setattr(logger, "handlers", [self._collector])
        for module in (opened, file):
            patch.setattr(module, "before_now", lambda: world.date())  # noqa: PLW0108 - it changes
        patch.setattr(file, "time", SimpleNamespace(time_ns=lambda: world.date()))  # noqa: PLW0108
        self._patch_files(patch)
        self._patch_points(patch)

    def _patch_files(self, patch: pytest.MonkeyPatch) -> None:
        faults, real_open, real_open_packed, real_dup = self.faults, os.open, Path.open, os.dup

        def limited_open(path: Any, flags: int, *more: Any, **rest: Any) -> int:
            if kind := _log_kind(Path(path)):
                faults.take_file(kind)
            return real_open(path, flags, *more, **rest)

        def limited_open_packed(path: Path, *more: Any, **rest: Any) -> Any:
            if _log_kind(path) == "packed":
                faults.take_file("packed")
            return real_open_packed(path, *more, **rest)

        def limited_dup(descriptor: int) -> int:
            faults.take_file("rewound")
            return real_dup(descriptor)

        patch.setattr(os, "open", limited_open)
        patch.setattr(Path, "open", limited_open_packed)
        patch.setattr(os, "dup", limited_dup)

    def _patch_points(self, patch: pytest.MonkeyPatch) -> None:
        faults, process, queue = self.faults, Pipeline.process, outbox.queue

        def reaching_process(*given: Any) -> Any:
            done = process(*given)
            faults.reach("scored")
            return done

        def reaching_queue(*given: Any) -> bool:
            faults.reach("queue")
            done = queue(*given)
            faults.reach("queued")
            return done

        patch.setattr(Pipeline, "process", reaching_process)
        patch.setattr(outbox, "queue", reaching_queue)
        patch.setattr(engine, "validate_bundle", lambda bundle: None)
        patch.setitem(scorers.SCORERS, "vectors", Checksum)
        patch.setitem(scorers.EXPLAINERS, "vectors", Explainer)

    def _prepare(self, config: AgentConfig, guard: EchoGuard, notices: object = None) -> Setup:
        return Setup(config, make_pipeline(config), [SimpleNamespace(name=SINK, close=lambda: None)])

    def places(self, names: list[str]) -> list[FileCheckpoint]:
        """The stored positions of sources of these names."""
        return [at for name in names if (at := self.journal.checkpoints.get(name))]

    def can_tell(self, names: list[str], path: Path) -> bool:
        """Whether a copy of the file of a path is known for one: not where it is met and nothing of it is read."""
        places = self._places_in(names, path)
        return not places or any(at.offset > 0 for at in places)

    def knows(self, names: list[str], path: Path) -> bool:
        """Whether lines of what is in the file of a path now are stored as read of a source of these names."""
        content = path.read_bytes()
        return any(_fits(at, content) for at in self._places_in(names, path))

    def fits(self, names: list[str], content: bytes) -> bool:
        """Whether a stored position, which is not at the start of a file, can be in some content."""
        return any(_fits(at, content) for at in self.places(names))

    def _places_in(self, names: list[str], path: Path) -> list[FileCheckpoint]:
        """The stored positions of sources of these names that are in the file of a path."""
        return [at for at in self.places(names) if (at.device, at.inode) == _key(path)]

    @contextmanager
    def _acting(self, *refusals: type[Exception]) -> Iterator[None]:
        """The agent does something, at which it may be killed or end."""
        self.faults.acting = True
        try:
            yield
        except (Killed, StateUnavailable, *refusals) as error:
            self.faults.acting = False
            self.faults.seen[type(error).__name__] += 1
            self.kill()
        finally:
            self.faults.acting = False

    def holds(self, names: list[str], path: Path) -> bool:
        """Whether the agent has the file of this path open for a source of these names."""
        sources = [] if self.agent is None else [source for name in names if (source := self.agent.source(name))]
        return any(one.key == _key(path) for one in sources)

    def start(self) -> None:
        """Starts the agent unless it runs; it may be killed meanwhile, or refuse to start."""
        if self.agent is None:
            with self._acting(SourceError, ConfigError):
                self.agent = Agent(lambda: self.config, clock=self.clock)

    def stop(self) -> None:
        """SIGTERM."""
        if self.agent is not None:
            self.agent.end()
            self.agent = None

    def kill(self) -> None:
        """kill -9, whatever was going on."""
        if self.agent is not None:
            self.faults.dying = True
            self.agent.end()
            self.agent = None
        self.faults.dying, self.faults.kill_at = False, ""
        self.journal.taking = None

    def turn(self, hears: bool, seconds: float) -> bool:
        """One round of the loop, at which the agent may be killed; whether there was a block."""
        if self.agent is None:
            return False
        self.clock.sleep(seconds)
        with self._acting():
            return self.agent.turn(hears)
        return False

    def settle(self) -> None:
        """Time passes until nothing is new any more."""
        quiet = 0
        while self.agent is not None and quiet < 3:
            before = self.agent.places()
            quiet = 0 if self.turn(True, 1.5) or (self.agent and self.agent.places() != before) else quiet + 1

    def reload(self, config: AgentConfig) -> None:
        """SIGHUP."""
        self.config = config
        if self.agent is not None:
            with self._acting():
                self.agent.reload()

    def deliver(self, most: int) -> None:
        """A sink takes alerts."""
        if self.agent is not None:
            with suppress(StateUnavailable):
                self.told += self.agent.pending(most)


def _log_kind(path: Path) -> str:
    """What a file of the logs is by its name; empty for any other file."""
    if path.suffix in COMPRESSED:
        return "packed"
    if path.suffix == ".log" or path.name == "today":
        return "log"
    return "rotated" if re.search(r"\.log[.-]\d+$", path.name) else ""


def _fits(at: FileCheckpoint, content: bytes) -> bool:
    return at.offset > 0 and not at.fingerprint_mismatch(lambda most, start: content[start : start + most])


def _key(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
