"""`agent status`: what the state says of an agent, whether it runs or not, without changing or locking anything."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import msgspec

from agent.config import load_config
from agent.delivery.sinks.redaction import shown
from agent.errors import ConfigError
from agent.sources.condition import BLOB as CONFIGURED
from agent.sources.condition import Condition, because, nothing_to_read
from agent.sources.files.checkpoint import FileCheckpoint
from agent.sources.files.rotation_names import other_forms, own_form, rotated_files
from agent.state.store import APPLICATION, FILE, LOCK, SCHEMA_VERSION
from agent.telemetry.counters import GONE, Counts, blob_name, total
from agent.telemetry.snapshot import seconds_behind
from agent.text.escape import escape

_TRIES = 3  # the agent may start or end while its state is opened


class SourceStatus(msgspec.Struct):
    """A source: its path or name, up to where it is read, its size now (null where it is gone), and what is unread.

    backlog: bytes, those of a rotated predecessor included, and of an incomplete last line. behind: seconds since the
    last read, where there is a backlog. What is no file, such as the journal or a pipe, has no offset and no size, and
    its backlog is not known (0); it may have a cursor, which is the journal's own name of an entry.
    """

    path: str
    offset: int | None
    line: int | None
    size: int | None
    backlog: int
    behind: float
    counts: Counts
    cursor: str | None = None


class _Checkpoint(msgspec.Struct):
    """What the checkpoints of all kinds of sources may have; only those of files have an inode."""

    inode: int | None = None
    line: int | None = None
    cursor: str | None = None


class SinkStatus(msgspec.Struct):
    """A sink: how many alerts it took, wait for it, and will never reach it, by cause; its name without secrets."""

    name: str
    delivered: int
    waiting: int
    lost: dict[str, int]


class Status(msgspec.Struct):
    """What a state folder tells. agent: the process that holds it; null where none does.

    gone: counts of the files of patterns that were removed and forgotten, all together; the totals have them too.
    configured: how each source of the configuration is, or was when the agent ended.
    """

    state: str
    agent: int | None
    sources: list[SourceStatus]
    sinks: list[SinkStatus]
    totals: Counts
    gone: Counts = Counts()
    configured: list[Condition] = []


def chosen_folder(state: Path | None, config: Path | None) -> Path:
    """The state folder that is named, or that a configuration names, by default that of the service."""
    if state is not None:
        return state
    file = config or Path("/etc/oddline/agent.yaml")
    if config is None and not file.exists():
        raise ConfigError("no state is named; name its folder with --state, or the agent's configuration with --config")
    named = load_config(file).state
    if named is None:
        raise ConfigError(f"{file} names no state, so nothing is kept that could be shown; set `state` there")
    return Path(named)


def read_status(folder: Path, now: float | None = None) -> Status:
    """What the state in a folder says; a ConfigError where there is none, or it cannot be read or is damaged."""
    file = folder / FILE
    for left in reversed(range(_TRIES)):
        try:
            with closing(_open(file)) as db:
                return _read(db, folder, time.time() if now is None else now)
        except sqlite3.OperationalError as error:
            if not left:
                raise ConfigError(f"state {file} cannot be read: {error}; run as the user of the agent") from None
        except (sqlite3.DatabaseError, msgspec.DecodeError, ValueError) as error:
            raise ConfigError(f"state {file} is damaged: {error}; the next start of the agent sets it aside") from None
    raise AssertionError("unreachable")


def show(status: Status) -> str:
    """A status in lines for people."""
    lines = [f"state {status.state}: " + ("no agent runs" if status.agent is None else _held(status.agent))]
    for source in status.sources:
        lines.append(f"source {escape(source.path)}: {_reached(source)}")
        if source.backlog:
            lines.append(f"  {source.backlog} bytes not read yet, the last read was {source.behind:.0f} s ago")
        lines.append("  " + (_format_counts(source.counts) or "nothing counted yet"))
        if source.counts.unscored_lines:
            lines.append(f"  the last {source.counts.unscored_lines} lines got no score (under 1 in 100)")
    for sink in status.sinks:
        lost = "".join(f", {count} lost ({cause})" for cause, count in sink.lost.items() if count)
        lines.append(f"sink {escape(sink.name)}: {sink.delivered} delivered, {sink.waiting} waiting{lost}")
    at = "" if status.agent is not None else " when the agent ended"
    lines += [f"configured {escape(one.path)}: {one.condition}{at}{escape(because(one))}" for one in status.configured]
    if problem := nothing_to_read(status.configured):
        lines.append(escape(problem))
    if gone := _format_counts(status.gone):
        lines.append(f"files that are gone: {gone}")
    return "\n".join([*lines, "total: " + (_format_counts(status.totals) or "nothing counted yet")])


def _reached(source: SourceStatus) -> str:
    line = "" if source.line is None else f"line {source.line - 1}"
    if source.offset is None:
        cursor = "" if source.cursor is None else f"cursor {escape(source.cursor)}"
        return "read up to " + (", ".join(filter(None, (line, cursor))) or "a place of its own")
    size = "which is gone now" if source.size is None else f"of {source.size}"
    return f"read up to byte {source.offset} {size}, {line}"


def _held(process: int) -> str:
    return "held by an agent" + (f" (process {process})" if process else "")


def _format_counts(counts: Counts) -> str:
    fields = msgspec.structs.asdict(counts)
    del fields["last_read"]
    return ", ".join(f"{count} {field.replace('_', ' ')}" for field, count in fields.items() if count)


def _open(file: Path) -> sqlite3.Connection:
    """A connection that writes nothing, not even SQLite's own files beside the state."""
    try:
        file.open("rb").close()
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(
            f"state {file.parent} holds no state of an agent; name the folder that --state was given"
        ) from None
    except OSError as error:
        raise ConfigError(f"state {file} cannot be read: {error.strerror}; run as the user of the agent") from None
    log = file.with_name(file.name + "-wal")
    ended = not (log.exists() and log.stat().st_size)
    how = "immutable=1" if ended else "readonly_shm=1"
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro&{how}", uri=True, isolation_level=None)


def _read(db: sqlite3.Connection, folder: Path, now: float) -> Status:
    db.execute("BEGIN")  # so that all that follows is of one moment
    application, version = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    if not application and not db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]:
        raise ValueError("it is empty")
    if application != APPLICATION:
        raise ConfigError(f"state {folder / FILE} is a database of another program; name the folder of an agent")
    if version > SCHEMA_VERSION:
        raise ConfigError(
            f"state {folder / FILE} has version {version}, this agent knows up to {SCHEMA_VERSION}; update oddline"
        )
    sources = [_source(db, os.fsdecode(path), blob, now) for path, blob in _rows(db, "positions", "source, position")]
    sinks = [_sink(db, name, number) for name, number in _rows(db, "sinks", "name, delivered")]
    gone = _counts(db, GONE)
    totals = total([gone, *(source.counts for source in sources)])
    conditions = _blob(db, os.fsencode(CONFIGURED))
    configured = [] if conditions is None else msgspec.msgpack.decode(conditions, type=list[Condition])
    return Status(str(folder), holder(folder), sources, sinks, totals, gone, configured)


def _rows(db: sqlite3.Connection, table: str, columns: str) -> list[tuple[Any, ...]]:
    return db.execute(f"SELECT {columns} FROM {table} ORDER BY 1").fetchall()


def _source(db: sqlite3.Connection, path: str, blob: bytes, now: float) -> SourceStatus:
    known = msgspec.msgpack.decode(blob, type=_Checkpoint)
    counts = _counts(db, path)
    if known.inode is None:
        return SourceStatus(path, None, known.line, None, 0, 0.0, counts, known.cursor or None)
    checkpoint = msgspec.msgpack.decode(blob, type=FileCheckpoint)
    size, backlog = _unread(Path(path), checkpoint)
    behind = seconds_behind(counts, backlog, now, now)
    return SourceStatus(path, checkpoint.offset, checkpoint.line, size, backlog, behind, counts)


def _counts(db: sqlite3.Connection, name: str) -> Counts:
    blob = _blob(db, os.fsencode(blob_name(name)))
    return Counts() if blob is None else msgspec.msgpack.decode(blob, type=Counts)


def _unread(path: Path, checkpoint: FileCheckpoint) -> tuple[int | None, int]:
    """How long the file is now, None where it is gone, and the bytes that are not read yet."""
    size, backlog = None, 0
    with suppress(OSError):
        status = path.stat()
        size = backlog = status.st_size
        if (status.st_dev, status.st_ino) == (checkpoint.device, checkpoint.inode):
            return size, max(0, size - checkpoint.offset) if size >= checkpoint.offset else size
    for other in rotated_files(path, [own_form(path), *other_forms(path)]):
        if (other.device, other.inode) == (checkpoint.device, checkpoint.inode):
            with suppress(OSError):
                backlog += max(0, other.path.stat().st_size - checkpoint.offset)
    return size, backlog


def _sink(db: sqlite3.Connection, name: bytes, number: int) -> SinkStatus:
    waiting = db.execute("SELECT COUNT(*) FROM outbox WHERE number > ?", (number,)).fetchone()[0]
    lost = {}
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'lost'").fetchone():
        lost = dict(db.execute("SELECT cause, count FROM lost WHERE sink = ?", (name,)).fetchall())
    return SinkStatus(shown(os.fsdecode(name)), int(_blob(db, b"delivered:" + name) or 0), waiting, lost)


def _blob(db: sqlite3.Connection, name: bytes) -> bytes | None:
    row = db.execute("SELECT blob FROM memory WHERE name = ?", (name,)).fetchone()
    return None if row is None else row[0]


def holder(folder: Path) -> int | None:
    """The process that holds a state folder, 0 where it cannot be named, None where there is none; locks nothing."""
    try:
        status, written = (folder / LOCK).stat(), (folder / LOCK).read_bytes()
    except OSError:
        return None
    written = written.partition(b" ")[0]
    process = int(written) if written.isdigit() else 0
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    for locked, by, where in _locks():
        if locked == status.st_ino and (by == process or where == device):
            return by if by > 0 else process
    return None


def _locks() -> Iterator[tuple[int, int, str]]:
    """The inode, process and device of every file that is locked as a whole, as proc_locks(5) tells."""
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if fields[1] == "FLOCK":
            device, _, inode = fields[5].rpartition(":")
            yield int(inode), int(fields[4]), device
