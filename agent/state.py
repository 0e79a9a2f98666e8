"""The agent's durable state: how far each source is read, the streams, what blocks remember, and the outbox of alerts.

SQLite in WAL mode with synchronous=FULL. All that a block of lines changes is one transaction, so that positions,
streams and alerts fit together whenever the process or the host stops.
"""

import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from agent.alerts import Alert
from agent.errors import ConfigError, SinkError

FILE, LOCK = "oddline.sqlite3", "oddline.lock"
SCHEMA_VERSION = 1
MAX_RECENT = 10_000  # ids of alerts that are remembered after they were sent
MAX_OUTBOX = 100_000  # alerts
APPLICATION = 0x6F64646C  # "oddl", in the header of the file
_READ_AT_ONCE = 1000  # streams

# A replaced row gets the highest number, so that the order of `number` is that of the last write.
_SCHEMA = """
CREATE TABLE positions (source BLOB PRIMARY KEY, position BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE streams (
    number INTEGER PRIMARY KEY, source BLOB NOT NULL, key BLOB NOT NULL, blob BLOB NOT NULL, UNIQUE (source, key)
);
CREATE TABLE memory (name BLOB PRIMARY KEY, blob BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE sinks (name BLOB PRIMARY KEY, delivered INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE recent (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE);
CREATE TABLE outbox (number INTEGER PRIMARY KEY, alert BLOB NOT NULL);
"""
# Added after version 1 was in use; an agent that does not know the table goes on without it.
_LOST = """
CREATE TABLE IF NOT EXISTS lost (
    sink BLOB NOT NULL, cause TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (sink, cause)
) WITHOUT ROWID
"""
# The numbers in the outbox have no gaps: alerts are queued one after another and leave it at its old end alone. So
# numbers are counted by subtraction, which takes no longer with a full outbox.
_FIRST = "(SELECT MIN(number) FROM outbox)"
_LAST = "(SELECT MAX(number) FROM outbox)"

_T = TypeVar("_T")


class State:
    """The durable state in a folder, which one agent holds at a time; with None for the folder it is in memory only.

    Safe to use from several threads. A folder that cannot be used is a ConfigError; a fault of SQLite later (a full
    disk, a damaged file) is a SinkError: nothing of the call is stored then, and it may be tried again.
    max_outbox: how many alerts wait at most; where more come the oldest are dropped, counted for each sink that lacks
    them, and `on_drop` is told how many each sink lost.
    """

    def __init__(self, folder: Path | None, max_outbox: int = MAX_OUTBOX) -> None:
        self.max_outbox = max_outbox
        self.on_drop: Callable[[dict[str, int]], None] = lambda lost: None
        self._changed = threading.Condition(threading.RLock())
        self.file = ":memory:" if folder is None else str(folder / FILE)
        self._lock = None if folder is None else _lock(folder)
        try:
            self._db = _open(self.file)
        except BaseException:
            self._unlock()
            raise

    def close(self) -> None:
        """Closes the file and lets another agent have the folder; a second call does nothing."""
        with self._changed:
            self._db.close()
            self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._changed:
            try:
                self._db.execute("BEGIN")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException as error:
                with suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise SinkError(f"state {self.file} cannot be used: {error}; {_remedy(error)}") from None
                raise

    def _decode(self, blob: bytes, kind: type[_T]) -> _T:
        try:
            return msgspec.msgpack.decode(blob, type=kind)
        except msgspec.DecodeError as error:
            raise SinkError(f"state {self.file} is damaged: {error}; move it away to start anew") from None

    def mark(self, source: str) -> bytes | None:
        """How far a source was read, as it told, or None where it is new."""
        with self._transaction() as db:
            row = db.execute("SELECT position FROM positions WHERE source = ?", (os.fsencode(source),)).fetchone()
        return None if row is None else row[0]

    def streams(self, source: str) -> Iterator[tuple[bytes, bytes]]:
        """The key and blob of every stream of a source, the one written longest ago first."""
        last = 0
        while True:
            with self._transaction() as db:
                rows = db.execute(
                    "SELECT number, key, blob FROM streams WHERE source = ? AND number > ? ORDER BY number LIMIT ?",
                    (os.fsencode(source), last, _READ_AT_ONCE),
                ).fetchall()
            if not rows:
                return
            last = rows[-1][0]
            for _, key, blob in rows:
                yield key, blob

    def recall(self, name: str) -> bytes | None:
        """What was committed last under a name, or None."""
        with self._transaction() as db:
            row = db.execute("SELECT blob FROM memory WHERE name = ?", (os.fsencode(name),)).fetchone()
        return None if row is None else row[0]

    def commit(
        self,
        mark: tuple[str, bytes] | None = None,
        streams: Iterable[tuple[str, bytes, bytes]] = (),
        ended: Iterable[tuple[str, bytes]] = (),
        memory: Iterable[tuple[str, bytes]] = (),
        alerts: Iterable[Alert] = (),
    ) -> None:
        """Stores what a block changed, all or nothing.

        mark: a source and how far it is read. streams: source, key, blob of each that changed, in the order of the
        last lines. ended: source and key of those that are gone; one that is also in `streams` has come anew. memory:
        names and blobs. alerts: queued, but for those that are queued or were sent already (by id).
        """
        lost: dict[str, int] = {}
        with self._transaction() as db:
            if mark is not None:
                row = (os.fsencode(mark[0]), mark[1])
                db.execute("INSERT OR REPLACE INTO positions VALUES (?, ?)", row)
            rows = [(os.fsencode(source), key) for source, key in ended]
            db.executemany("DELETE FROM streams WHERE source = ? AND key = ?", rows)
            rows = [(os.fsencode(source), key, blob) for source, key, blob in streams]
            db.executemany("INSERT OR REPLACE INTO streams (source, key, blob) VALUES (?, ?, ?)", rows)
            rows = [(os.fsencode(name), blob) for name, blob in memory]
            db.executemany("INSERT OR REPLACE INTO memory VALUES (?, ?)", rows)
            queued = _queue(db, alerts)
            if queued:
                lost = _drop_oldest(db, self.max_outbox)
        if queued:
            self.wake()
        if lost:
            self.on_drop(lost)

    def register_sinks(self, names: Iterable[str]) -> dict[str, int]:
        """Says which sinks there are; a new one gets what is queued from now on.

        Returns the sinks that are there no more and had alerts to come, with the number of those; they are given up.
        """
        with self._transaction() as db:
            encoded = {os.fsencode(name) for name in names}
            gone = [name for (name,) in db.execute("SELECT name FROM sinks").fetchall() if name not in encoded]
            left = {os.fsdecode(name): _backlog(db, name) for name in gone}
            db.executemany("DELETE FROM sinks WHERE name = ?", [(name,) for name in gone])
            db.executemany("DELETE FROM lost WHERE sink = ?", [(name,) for name in gone])
            new = "INSERT OR IGNORE INTO sinks SELECT ?, COALESCE(MAX(number), 0) FROM recent"
            db.executemany(new, [(name,) for name in encoded])
            _forget_delivered(db)
        return {name: count for name, count in left.items() if count}

    def pending(self, sink: str, most: int) -> list[tuple[int, Alert]]:
        """The first alerts that a sink does not have yet, each with its number, in order."""
        with self._transaction() as db:
            rows = db.execute(
                "SELECT number, alert FROM outbox WHERE number > ? ORDER BY number LIMIT ?",
                (_delivered(db, os.fsencode(sink)), most),
            ).fetchall()
        return [(number, self._decode(blob, Alert)) for number, blob in rows]

    def lacks(self, sink: str, number: int) -> bool:
        """Whether a sink still is to get the alert of a number: neither has it, nor was it dropped meanwhile."""
        with self._transaction() as db:
            return _delivered(db, os.fsencode(sink)) < number

    def delivered(self, sink: str, number: int, refused: int = 0) -> None:
        """Notes that a sink has the alerts up to a number; those that every sink has are deleted.

        refused: how many of them it does not have because it did not want them; they are counted as lost.
        """
        with self._transaction() as db:
            name = os.fsencode(sink)
            _count_delivered(db, name, number, refused)
            _count_lost(db, name, "refused", refused)
            db.execute("UPDATE sinks SET delivered = MAX(delivered, ?) WHERE name = ?", (number, name))
            _forget_delivered(db)
        self.wake()

    def delivered_count(self, sink: str) -> int:
        """How many alerts a sink took since it was first configured."""
        return int(self.recall(f"delivered:{sink}") or 0)

    def backlog(self, sink: str) -> int:
        """How many alerts a sink does not have yet."""
        with self._transaction() as db:
            return _backlog(db, os.fsencode(sink))

    def lost(self, sink: str) -> dict[str, int]:
        """How many alerts a sink will never get, by cause: `full` (the outbox was) and `refused` (by the sink)."""
        with self._transaction() as db:
            rows = db.execute("SELECT cause, count FROM lost WHERE sink = ?", (os.fsencode(sink),)).fetchall()
        return dict(rows)

    def wait(self, ready: Callable[[], bool], timeout: float | None = None) -> bool:
        """Sleeps until `ready()`, at most `timeout` seconds; looks when alerts came or went and at each `wake`."""
        with self._changed:
            return self._changed.wait_for(ready, timeout)

    def wake(self) -> None:
        """Has every thread in `wait` look again."""
        with self._changed:
            self._changed.notify_all()


def _queue(db: sqlite3.Connection, alerts: Iterable[Alert]) -> bool:
    """Whether any of the alerts was not known yet."""
    last = 0
    for alert in alerts:
        cursor = db.execute("INSERT OR IGNORE INTO recent (id) VALUES (?)", (alert.id,))
        if cursor.rowcount:
            last = cursor.lastrowid or 0
            db.execute("INSERT INTO outbox VALUES (?, ?)", (last, msgspec.msgpack.encode(alert)))
    if last:
        _forget_delivered(db)
    return last > 0


def _delivered(db: sqlite3.Connection, sink: bytes) -> int:
    row = db.execute("SELECT delivered FROM sinks WHERE name = ?", (sink,)).fetchone()
    if row is None:
        raise KeyError(f"sink {os.fsdecode(sink)} is not registered")
    return row[0]


def _count_delivered(db: sqlite3.Connection, sink: bytes, number: int, refused: int) -> None:
    """Adds the alerts that a sink took now to those before; kept as text, so that SQLite itself can add."""
    wanted = "SELECT COUNT(*) FROM outbox WHERE number > ? AND number <= ?"
    count = db.execute(wanted, (_delivered(db, sink), number)).fetchone()[0] - refused
    add = "INSERT INTO memory VALUES (?1, ?2) ON CONFLICT DO UPDATE SET blob = CAST(CAST(blob AS INTEGER) + ?2 AS BLOB)"
    db.execute(add, (b"delivered:" + sink, str(count).encode()))


def _backlog(db: sqlite3.Connection, sink: bytes) -> int:
    first, last = db.execute(f"SELECT {_FIRST}, {_LAST}").fetchone()
    return 0 if last is None else max(0, last - max(_delivered(db, sink), first - 1))


def _drop_oldest(db: sqlite3.Connection, most: int) -> dict[str, int]:
    """Deletes all but the last `most` alerts of the outbox; how many each sink lacked of those that are gone."""
    first, last = db.execute(f"SELECT {_FIRST}, {_LAST}").fetchone()
    if last is None or last - first < most:
        return {}
    newest = last - most
    behind = db.execute("SELECT name, delivered FROM sinks WHERE delivered < ?", (newest,)).fetchall()
    lost = {name: newest - max(delivered, first - 1) for name, delivered in behind}
    for name, count in lost.items():
        _count_lost(db, name, "full", count)
    db.execute("UPDATE sinks SET delivered = MAX(delivered, ?)", (newest,))
    _forget_delivered(db)
    return {os.fsdecode(name): count for name, count in lost.items()}


def _count_lost(db: sqlite3.Connection, sink: bytes, cause: str, count: int) -> None:
    if count:
        add = "INSERT INTO lost VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count"
        db.execute(add, (sink, cause, count))


def _forget_delivered(db: sqlite3.Connection) -> None:
    """Deletes the alerts that every sink has, and of the ids all but the last ones and those still in the outbox."""
    db.execute("DELETE FROM outbox WHERE number <= (SELECT COALESCE(MIN(delivered), 0x7fffffffffffffff) FROM sinks)")
    old = "number <= (SELECT MAX(number) FROM recent) - ?"
    db.execute(f"DELETE FROM recent WHERE {old} AND number < COALESCE({_FIRST}, 0x7fffffffffffffff)", (MAX_RECENT,))


def _lock(folder: Path) -> int:
    """The descriptor of the folder's lock file, which holds the process id of the agent that has the lock."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise _unusable(folder, error) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
    except BlockingIOError:
        holder = os.read(descriptor, 20).decode(errors="replace") or "unknown"
        os.close(descriptor)
        raise ConfigError(
            f"state {folder} is in use by another agent (process {holder}); stop it or choose another with --state"
        ) from None
    except OSError as error:
        os.close(descriptor)
        raise _unusable(folder, error) from None
    return descriptor


def _unusable(folder: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"state {folder} cannot be used: {error.strerror}; choose one that can be written to with --state"
    )


def _open(file: str) -> sqlite3.Connection:
    """A connection to the state in a file, which is made where there is none."""
    try:
        if file != ":memory:":
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
            os.fchmod(descriptor, 0o600)
            os.close(descriptor)
        db = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(f"state {file} cannot be opened: {error}; {_remedy(error)}") from None
    try:
        _prepare(db, file)
    except sqlite3.Error as error:
        db.close()
        raise ConfigError(f"state {file} cannot be opened: {error}; {_remedy(error)}") from None
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection, file: str) -> None:
    application, version = (_pragma(db, name) for name in ("application_id", "user_version"))
    fresh = not db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
    if not fresh and application != APPLICATION:
        raise ConfigError(f"state {file} is a database of another program; choose another folder with --state")
    if version > SCHEMA_VERSION:
        raise ConfigError(
            f"state {file} has version {version}, this agent knows up to {SCHEMA_VERSION}; "
            "update oddline or choose another folder with --state"
        )
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    if fresh:
        db.executescript(
            f"BEGIN; {_SCHEMA} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
        )
    db.execute(_LOST)


def _pragma(db: sqlite3.Connection, name: str) -> Any:
    return db.execute(f"PRAGMA {name}").fetchone()[0]


def _remedy(error: Exception) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return "move it away to start anew"
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return "free space on its disk; nothing was stored in part"
    return "see that this user may write to it and its folder, or choose another folder with --state"
