"""Opening the state's database: checked, set aside where it is damaged, made where there is none, and migrated."""

import os
import sqlite3
import stat
from pathlib import Path

from agent.errors import ConfigError
from agent.host.atomic_file import sync_folder
from agent.host.trust import require_private_file
from agent.state.damage import find_damage, set_aside, warn_of_lost_log
from agent.state.lock import StateLock
from agent.state.schema import DAMAGES, create, migrate

FILE = "oddline.sqlite3"
_MAX_LOG = 8 << 20  # bytes to which SQLite cuts its log after a large transaction
_NEW = f"{FILE}.new"  # while its tables are made, so that an empty file is never one that was only begun
_ENDS = ("", "-journal", "-wal", "-shm")  # of a database and the files of SQLite beside it


def open_state(folder: Path, lock: StateLock) -> sqlite3.Connection:
    """A connection to the state in a folder, which is locked; a ConfigError where it cannot be had."""
    file = folder / FILE
    try:
        for name in (FILE, _NEW):
            for end in _ENDS:
                require_private_file(str(folder / (name + end)))
        if file.exists():
            _make_private(file)
        if damage := find_damage(file, lock):
            return _start_empty(folder, lock, damage)
        if not file.exists():
            _make(folder)
        warn_of_lost_log(file, lock)
        try:
            return _connect(file)
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in DAMAGES:
                raise
            return _start_empty(folder, lock, f"is damaged: {error}")
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"state {file} cannot be opened: {reason}; {remedy(error)}") from None


def _start_empty(folder: Path, lock: StateLock, damage: str) -> sqlite3.Connection:
    set_aside(folder / FILE, damage)
    lock.write("")
    _make(folder)
    return _connect(folder / FILE)


def open_memory() -> sqlite3.Connection:
    """A connection to a state that is kept nowhere."""
    db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    create(db)
    return db


def _make_private(file: Path) -> None:
    descriptor = os.open(file, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ConfigError(f"state {file} is no file; choose another folder with --state")
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def _make(folder: Path) -> None:
    """Makes a database that is there as a whole or not at all."""
    for end in _ENDS:
        (folder / (_NEW + end)).unlink(missing_ok=True)
    os.close(os.open(folder / _NEW, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    db = sqlite3.connect(folder / _NEW, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode = MEMORY")  # what a crash leaves of it is removed, and need not be mended
        create(db)
        db.execute("PRAGMA journal_mode = WAL")
    finally:
        db.close()
    (folder / _NEW).rename(folder / FILE)
    sync_folder(folder)


def _connect(file: Path) -> sqlite3.Connection:
    db = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA journal_size_limit = {_MAX_LOG}")
        migrate(db, str(file))
    except BaseException:
        db.close()
        raise
    return db


def remedy(error: Exception) -> str:
    """What the user can do about a fault of SQLite or the system."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in DAMAGES:
        return "move it away to start anew"
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return "free space on its disk; nothing was stored in part"
    return "see that this user may write to it and its folder, or choose another folder with --state"
