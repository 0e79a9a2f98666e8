"""The agent's durable state: how far each source is read, the streams, blobs by name, and the outbox of alerts.

SQLite in WAL mode with synchronous=FULL. All that a block of lines changes is one transaction, so that positions,
streams and alerts fit together whenever the process or the host stops.
"""

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from agent.alerting.alert import Alert, decode_alert
from agent.errors import StateDamaged
from agent.state import outbox
from agent.state.database import Database
from agent.state.file import FILE
from agent.state.lock import LOCK
from agent.state.schema import APPLICATION, SCHEMA_VERSION

__all__ = ["APPLICATION", "FILE", "LOCK", "MAX_OUTBOX", "SCHEMA_VERSION", "State"]
_LOG = logging.getLogger(__name__)
MAX_OUTBOX = 100_000  # alerts
MAX_OUTBOX_BYTES, _IN_MEMORY = 256 << 20, 16 << 20  # of these, on a disk and without a folder
_READ_AT_ONCE = 64  # streams


class State:
    """The durable state in a folder, which one agent holds at a time; with None for the folder it is in memory only.

    Safe to use from several threads. A folder that cannot be used is a ConfigError. A fault of SQLite later is a
    StateUnavailable where it may pass, as a full disk does: nothing of the call is stored then, and the same call may
    be made again. Where it cannot pass it is a StateDamaged, which stays in `fault`; the next start sets such a state
    aside. max_outbox: how many alerts wait at most, of 256 MiB; where more come the oldest are dropped, counted for
    each sink that lacks them, and `on_drop` is told how many each lost. Damage, and what was done about it, is logged.
    """

    def __init__(self, folder: Path | None, max_outbox: int = MAX_OUTBOX) -> None:
        self.max_outbox = max_outbox
        self.max_outbox_bytes = _IN_MEMORY if folder is None else MAX_OUTBOX_BYTES
        self.on_drop: Callable[[dict[str, int]], None] = lambda lost: None
        self.database = Database(folder)
        self._unreadable = set[int]()  # the numbers of alerts in the outbox
        self._changed = threading.Condition(self.database.mutex)

    @property
    def file(self) -> str:
        """The path of the database."""
        return self.database.file

    @property
    def fault(self) -> StateDamaged | None:
        """Why the state can be used no more, or None."""
        return self.database.fault

    def close(self) -> None:
        """Closes the file and lets another agent have the folder; a second call does nothing."""
        self.database.close()

    def condemn(self, reason: str) -> StateDamaged:
        """Has the next start set the state aside, since something in it cannot be understood; the error to raise."""
        return self.database.condemn(reason)

    def checkpoint(self, source: str) -> bytes | None:
        """How far a source was read, as it told, or None where it is new."""
        with self.database.transaction() as db:
            row = db.execute("SELECT position FROM positions WHERE source = ?", (os.fsencode(source),)).fetchone()
        return None if row is None else row[0]

    def checkpoints(self) -> dict[str, bytes]:
        """How far every source was read that is known."""
        with self.database.transaction() as db:
            rows = db.execute("SELECT source, position FROM positions").fetchall()
        return {os.fsdecode(name): checkpoint for name, checkpoint in rows}

    def streams(self, source: str) -> Iterator[tuple[bytes, bytes]]:
        """The key and blob of every stream of a source, the one written longest ago first."""
        last = 0
        while rows := self.next_streams(source, last):
            last = rows[-1][0]
            for _, key, blob in rows:
                yield key, blob

    def next_streams(self, source: str, last: int) -> list[tuple[int, bytes, bytes]]:
        """The number, key and blob of the next streams of a source, written after that of a number."""
        query = "SELECT number, key, blob FROM streams WHERE source = ? AND number > ? ORDER BY number LIMIT ?"
        with self.database.transaction() as db:
            return db.execute(query, (os.fsencode(source), last, _READ_AT_ONCE)).fetchall()

    def blob(self, name: str) -> bytes | None:
        """What was committed last under a name, or None."""
        with self.database.transaction() as db:
            row = db.execute("SELECT blob FROM memory WHERE name = ?", (os.fsencode(name),)).fetchone()
        return None if row is None else row[0]

    def commit(
        self,
        checkpoints: Iterable[tuple[str, bytes]] = (),
        streams: Iterable[tuple[str, bytes, bytes]] = (),
        ended: Iterable[tuple[str, bytes]] = (),
        blobs: Iterable[tuple[str, bytes]] = (),
        alerts: Iterable[Alert] = (),
    ) -> None:
        """Stores what a block changed, all or nothing; after a StateUnavailable the same may be stored again.

        checkpoints: sources and how far each is read. streams: source, key, blob of each that changed, in the order of
        the last lines. ended: source and key of those that are gone; one that is also in `streams` has come anew.
        blobs: each with its name. alerts: queued, but for those that are queued or were sent already (by id). A
        checkpoint and the blob of a stream are MessagePack: a state in which one is not counts as damaged when it is
        opened.
        """
        lost: dict[bytes, int] = {}
        with self.database.change() as db:
            rows = [(os.fsencode(name), position) for name, position in checkpoints]
            db.executemany("INSERT OR REPLACE INTO positions VALUES (?, ?)", rows)
            rows = [(os.fsencode(source), key) for source, key in ended]
            db.executemany("DELETE FROM streams WHERE source = ? AND key = ?", rows)
            changed = ((os.fsencode(source), key, blob) for source, key, blob in streams)
            db.executemany("INSERT OR REPLACE INTO streams (source, key, blob) VALUES (?, ?, ?)", changed)
            rows = [(os.fsencode(name), blob) for name, blob in blobs]
            db.executemany("INSERT OR REPLACE INTO memory VALUES (?, ?)", rows)
            queued = outbox.queue(db, alerts)
            if queued:
                lost = outbox.drop_oldest(db, self.max_outbox, self.max_outbox_bytes)
        if queued:
            self.wake()
        if lost:
            self.on_drop({os.fsdecode(name): count for name, count in lost.items()})

    def forget(self, source: str, obsolete: Iterable[str] = (), blobs: Iterable[tuple[str, bytes]] = ()) -> None:
        """Deletes what is stored of a source and the blobs of some names, and stores others."""
        with self.database.change() as db:
            name = os.fsencode(source)
            db.execute("DELETE FROM positions WHERE source = ?", (name,))
            db.execute("DELETE FROM streams WHERE source = ?", (name,))
            db.executemany("DELETE FROM memory WHERE name = ?", [(os.fsencode(one),) for one in obsolete])
            rows = [(os.fsencode(name), blob) for name, blob in blobs]
            db.executemany("INSERT OR REPLACE INTO memory VALUES (?, ?)", rows)

    def register_sinks(self, names: Iterable[str]) -> dict[str, int]:
        """Says which sinks there are; a new one gets what is queued from now on.

        Returns the sinks that are there no more and had alerts to come, with the number of those; they are given up.
        """
        with self.database.change() as db:
            left = outbox.register(db, {os.fsencode(name) for name in names})
        return {os.fsdecode(name): count for name, count in left.items() if count}

    def pending(self, sink: str, most: int) -> list[tuple[int, Alert]]:
        """The first alerts that a sink does not have yet, each with its number, in order.

        Alerts that cannot be read any more are left out and counted as lost once the sink is past them.
        """
        with self.database.transaction() as db:
            rows = outbox.read_from(db, os.fsencode(sink), most)
        alerts = [(number, self._decode(number, blob)) for number, blob in rows]
        readable = [(number, alert) for number, alert in alerts if alert is not None]
        if alerts and alerts[0][1] is None:
            self.delivered(sink, readable[0][0] - 1 if readable else alerts[-1][0])
        return readable

    def _decode(self, number: int, blob: bytes) -> Alert | None:
        try:
            return decode_alert(blob)
        except (msgspec.DecodeError, TypeError, ValueError, RecursionError) as error:
            with self._changed:
                new = number not in self._unreadable
                self._unreadable.add(number)
            if new:
                _LOG.warning(
                    "alert %d of state %s is damaged (%s): it is skipped and counted as lost", number, self.file, error
                )
            return None

    def lacks(self, sink: str, number: int) -> bool:
        """Whether a sink still is to get the alert of a number: neither has it, nor was it dropped meanwhile."""
        with self.database.transaction() as db:
            return outbox.has(db, os.fsencode(sink)) < number

    def delivered(self, sink: str, number: int, refused: int = 0) -> None:
        """Notes that a sink has the alerts up to a number; those that every sink has are deleted.

        refused: how many of them it does not have because it did not want them; they are counted as lost.
        """
        with self.database.change() as db:
            name = os.fsencode(sink)
            before = outbox.has(db, name)
            damaged = sum(before < one <= number for one in self._unreadable)
            outbox.advance(db, name, number, {"refused": refused, "damaged": damaged})
        self.wake()

    def delivered_count(self, sink: str) -> int:
        """How many alerts a sink took since it was first configured."""
        return int(self.blob(f"delivered:{sink}") or 0)

    def backlog(self, sink: str) -> int:
        """How many alerts a sink does not have yet."""
        with self.database.transaction() as db:
            return outbox.backlog(db, os.fsencode(sink))

    def lost(self, sink: str) -> dict[str, int]:
        """How many alerts a sink will never get, by cause: `full` (the outbox was), `refused` (by it) and `damaged`."""
        with self.database.transaction() as db:
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
