"""The outbox of alerts in the state's database: what is queued, what each sink has, and what it will never get.

Every function works within a transaction of its caller. The numbers in the outbox have no gaps: alerts are queued one
after another and leave it at its old end alone. So they are counted by subtraction, which takes no longer with a full
outbox.
"""

import os
import sqlite3
from collections.abc import Iterable

import msgspec

from agent.alerting.alert import Alert

MAX_RECENT = 10_000  # ids of alerts that are remembered after they were sent
_FIRST = "(SELECT MIN(number) FROM outbox)"
_LAST = "(SELECT MAX(number) FROM outbox)"
_BYTES = b"outbox:bytes"  # the name under which `memory` holds how many there are
_FREED = 8  # part of the most bytes that is free after alerts were dropped for them


def queue(db: sqlite3.Connection, alerts: Iterable[Alert]) -> bool:
    """Adds alerts, but for those that are queued or were sent already (by id); whether there was any."""
    last, size = 0, 0
    for alert in alerts:
        cursor = db.execute("INSERT OR IGNORE INTO recent (id) VALUES (?)", (alert.id,))
        if cursor.rowcount:
            last = cursor.lastrowid or 0
            blob = msgspec.msgpack.encode(alert)
            db.execute("INSERT INTO outbox VALUES (?, ?)", (last, blob))
            size += len(blob)
    if last:
        _add_bytes(db, size)
        _forget_delivered(db)
    return last > 0


def register(db: sqlite3.Connection, sinks: set[bytes]) -> dict[bytes, int]:
    """Sets which sinks there are; gives those that are gone, with the number of alerts that they still lacked."""
    gone = [name for (name,) in db.execute("SELECT name FROM sinks").fetchall() if name not in sinks]
    left = {name: backlog(db, name) for name in gone}
    db.executemany("DELETE FROM sinks WHERE name = ?", [(name,) for name in gone])
    db.executemany("DELETE FROM lost WHERE sink = ?", [(name,) for name in gone])
    new = "INSERT OR IGNORE INTO sinks SELECT ?, COALESCE(MAX(number), 0) FROM recent"
    db.executemany(new, [(name,) for name in sorted(sinks)])
    _forget_delivered(db)
    return left


def read_from(db: sqlite3.Connection, sink: bytes, most: int) -> list[tuple[int, bytes]]:
    """The numbers and blobs of the first alerts that a sink does not have."""
    query = "SELECT number, alert FROM outbox WHERE number > ? ORDER BY number LIMIT ?"
    return db.execute(query, (has(db, sink), most)).fetchall()


def has(db: sqlite3.Connection, sink: bytes) -> int:
    """The number up to which a sink has, or has lost, the alerts."""
    row = db.execute("SELECT delivered FROM sinks WHERE name = ?", (sink,)).fetchone()
    if row is None:
        raise KeyError(f"sink {os.fsdecode(sink)} is not registered")
    return int(row[0])


def backlog(db: sqlite3.Connection, sink: bytes) -> int:
    """How many alerts a sink does not have yet."""
    first, last = db.execute(f"SELECT {_FIRST}, {_LAST}").fetchone()
    return 0 if last is None else max(0, last - max(has(db, sink), first - 1))


def advance(db: sqlite3.Connection, sink: bytes, number: int, lost: dict[str, int]) -> None:
    """Notes that a sink is done with the alerts up to a number; `lost`: how many of them it does not have, by cause."""
    between = "SELECT COUNT(*) FROM outbox WHERE number > ? AND number <= ?"
    taken = db.execute(between, (has(db, sink), number)).fetchone()[0] - sum(lost.values())
    # kept as text, so that SQLite itself can add
    total = "CAST(CAST(blob AS INTEGER) + CAST(excluded.blob AS INTEGER) AS BLOB)"
    add = f"INSERT INTO memory VALUES (?, ?) ON CONFLICT DO UPDATE SET blob = {total}"
    db.execute(add, (b"delivered:" + sink, str(taken).encode()))
    for cause, count in lost.items():
        _count_lost(db, sink, cause, count)
    db.execute("UPDATE sinks SET delivered = MAX(delivered, ?) WHERE name = ?", (number, sink))
    _forget_delivered(db)


def drop_oldest(db: sqlite3.Connection, most: int, most_bytes: int) -> dict[bytes, int]:
    """Deletes all but the last `most` alerts, and more where they have too many bytes; how many each sink lacked."""
    first, last = db.execute(f"SELECT {_FIRST}, {_LAST}").fetchone()
    if last is None:
        return {}
    newest = max(last - most, _last_beyond(db, most_bytes))
    if newest < first:
        return {}
    behind = db.execute("SELECT name, delivered FROM sinks WHERE delivered < ?", (newest,)).fetchall()
    lost = {name: newest - max(delivered, first - 1) for name, delivered in behind}
    for name, count in lost.items():
        _count_lost(db, name, "full", count)
    db.execute("UPDATE sinks SET delivered = MAX(delivered, ?)", (newest,))
    _forget_delivered(db)
    return lost


def _bytes(db: sqlite3.Connection) -> int:
    """The bytes of the alerts; counted where none has counted them yet."""
    row = db.execute("SELECT blob FROM memory WHERE name = ?", (_BYTES,)).fetchone()
    if row is not None:
        return int(row[0])
    size: int = db.execute("SELECT COALESCE(SUM(LENGTH(alert)), 0) FROM outbox").fetchone()[0]
    return size


def _add_bytes(db: sqlite3.Connection, size: int) -> None:
    """Counts the bytes of alerts that were just queued, or are just to be deleted."""
    row = db.execute("SELECT 1 FROM memory WHERE name = ?", (_BYTES,)).fetchone()
    now = _bytes(db) + (size if row is not None or size < 0 else 0)
    db.execute("INSERT OR REPLACE INTO memory VALUES (?, ?)", (_BYTES, str(now).encode()))


def _last_beyond(db: sqlite3.Connection, most: int) -> int:
    """The number of the last of the oldest alerts that have to go so that an eighth of the most bytes is free, or 0."""
    excess, last = _bytes(db) - most, 0
    if excess <= 0:
        return 0
    excess += most // _FREED
    for number, size in db.execute("SELECT number, LENGTH(alert) FROM outbox ORDER BY number"):
        if excess <= 0:
            break
        last, excess = number, excess - size
    return last


def _count_lost(db: sqlite3.Connection, sink: bytes, cause: str, count: int) -> None:
    if count:
        add = "INSERT INTO lost VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count"
        db.execute(add, (sink, cause, count))


def _forget_delivered(db: sqlite3.Connection) -> None:
    """Deletes the alerts that every sink has, and of the ids all but the last ones and those still in the outbox."""
    which = "FROM outbox WHERE number <= (SELECT COALESCE(MIN(delivered), 0x7fffffffffffffff) FROM sinks)"
    size = db.execute(f"SELECT COALESCE(SUM(LENGTH(alert)), 0) {which}").fetchone()[0]
    if size:
        _add_bytes(db, -size)
        db.execute(f"DELETE {which}")
    old = "number <= (SELECT MAX(number) FROM recent) - ?"
    db.execute(f"DELETE FROM recent WHERE {old} AND number < COALESCE({_FIRST}, 0x7fffffffffffffff)", (MAX_RECENT,))
