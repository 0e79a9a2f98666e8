"""The open database of a state: its connection and lock, transactions, and what a fault of SQLite means."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from agent.errors import SinkError, StateDamaged, StateUnavailable
from agent.state.file import FILE, open_memory, open_state, remedy
from agent.state.lock import DAMAGED, OPEN, StateLock
from agent.state.schema import DAMAGES, ODD_SCHEMA

_PASSING = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
)


class Database:
    """The database in a state folder, which is held until `close`; with None for the folder it is in memory only.

    mutex: held during each transaction; a thread may take it again. fault: what cannot pass, raised at each use from
    then on. The errors are those of State.
    """

    def __init__(self, folder: Path | None) -> None:
        self.file = ":memory:" if folder is None else str(folder / FILE)
        self.fault: StateDamaged | None = None
        self.mutex = threading.RLock()
        self._lock = None if folder is None else StateLock(folder)
        try:
            self.connection = open_memory() if folder is None or self._lock is None else open_state(folder, self._lock)
        except BaseException:
            self._release(clean=False)
            raise
        self._inode = None if folder is None else os.stat(self.file).st_ino
        self._before = self.connection.total_changes

    def close(self) -> None:
        """Closes the file and lets another agent have the folder; a second call does nothing."""
        with self.mutex:
            self.connection.close()
            self._release(clean=self.fault is None)

    def _release(self, clean: bool) -> None:
        if self._lock is not None:
            self._lock.release(clean)
            self._lock = None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All that is done with the connection meanwhile, or nothing of it where an error comes."""
        with self.mutex:
            if self.fault is not None:
                raise self.fault
            try:
                self.connection.execute("BEGIN")
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException as error:
                with suppress(sqlite3.Error):
                    self.connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise self._explain(error) from None
                raise
            self._record_write()

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """A transaction that writes; not into a file that is no longer where the next start looks for it."""
        with self.mutex:
            if self._inode is not None and self.fault is None and not self._exists():
                self.fault = StateDamaged(
                    f"state {self.file} was removed or replaced while the agent used it, so that nothing more can be "
                    "kept in it; start the agent again"
                )
            with self.transaction() as db:
                yield db

    def condemn(self, reason: str) -> StateDamaged:
        """Has the next start set the database aside, since something in it cannot be understood; the error to raise."""
        with self.mutex:
            self.fault = StateDamaged(
                f"state {self.file} is damaged: {reason}; the next start sets it aside and begins without the "
                "positions, windows and undelivered alerts in it"
            )
            if self._lock is not None:
                with suppress(OSError):
                    self._lock.write(DAMAGED + " ".join(reason.split()))
            return self.fault

    def _record_write(self) -> None:
        """Notes with the lock that something was written, since when SQLite has a log, once."""
        if self._lock is not None and self._lock.status != OPEN and self.connection.total_changes != self._before:
            with suppress(OSError):  # of a full disk, say; it is tried again after the next transaction
                self._lock.write(OPEN)

    def _exists(self) -> bool:
        try:
            return os.stat(self.file).st_ino == self._inode
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:  # SQLite will tell
            return True

    def _explain(self, error: sqlite3.Error) -> SinkError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (*DAMAGES, *ODD_SCHEMA):
            return self.condemn(str(error))
        kind = StateUnavailable if code in _PASSING else SinkError
        return kind(f"state {self.file} cannot be used: {error}; {remedy(error)}")
