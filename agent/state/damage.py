"""Finding out that a state's database is damaged, and setting it aside."""

import logging
import sqlite3
import struct
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec

from agent.errors import ConfigError
from agent.state.lock import DAMAGED, OPEN, StateLock
from agent.state.schema import APPLICATION, DAMAGES, ODD_SCHEMA, SCHEMA_VERSION, columns, create, second_version, tables

_LOG = logging.getLogger(__name__)
KEPT = 3  # damaged states
_FLIPPED = 2  # bits by which a number in the header may differ from ours and be ours, damaged
CHECKED_ALWAYS = 64_000_000  # bytes: what is read in a second; a larger state is checked only after an unclean end
_MAGIC = b"SQLite format 3\0"
_WAL_MAGIC = (0x377F0682, 0x377F0683)


def find_damage(file: Path, lock: StateLock) -> str | None:
    """What is wrong with the database in a file, or None where nothing is or there is none.

    The database of another program or of a newer agent is a ConfigError, whatever its condition.
    """
    log = file.with_name(file.name + "-wal")
    if not file.exists():
        return f"is gone, but {log.name} is there" if log.exists() else None
    header = read_start(file, 100)
    if not header.startswith(_MAGIC):
        return "is damaged: it is no database" if header else "is damaged: it is empty"
    ours = _refuse_header(file, header)
    damage = _recorded_damage(lock.status) or _log_damage(log, lock.status) or _shortage(file, header, log)
    damage = damage or _header_damage(header)
    if ours and damage:
        return damage
    return _inspect(file, damage, lock.clean and file.stat().st_size > CHECKED_ALWAYS)


def read_start(file: Path, most: int) -> bytes:
    """The first bytes of a file."""
    with file.open("rb") as opened:
        return opened.read(most)


def _refuse_header(file: Path, header: bytes) -> bool:
    """Whether the header says that the file is a state; it may not yet where a log of SQLite was never taken over."""
    if len(header) < 100:
        return False
    version, application = struct.unpack_from(">I4xI", header, 60)
    if application and not _is_ours(application):
        raise _foreign(file)
    if application == APPLICATION and not _may_be_flipped(version):
        _refuse_newer(file, version)
    return _is_ours(application)


def _is_ours(application: int) -> bool:
    return (application ^ APPLICATION).bit_count() <= _FLIPPED


def _may_be_flipped(version: int) -> bool:
    """Whether a newer version is that of this agent with some bits changed; the second record tells."""
    return (version ^ SCHEMA_VERSION).bit_count() <= _FLIPPED


def _refuse_newer(file: Path, version: int) -> None:
    if version > SCHEMA_VERSION:
        raise ConfigError(
            f"state {file} has version {version}, this agent knows up to {SCHEMA_VERSION}; "
            "update oddline or choose another folder with --state"
        )


def _foreign(file: Path) -> ConfigError:
    return ConfigError(f"state {file} is a database of another program; choose another folder with --state")


def _recorded_damage(status: str) -> str | None:
    return "is damaged: " + status.removeprefix(DAMAGED) if status.startswith(DAMAGED) else None


def _log_damage(log: Path, status: str) -> str | None:
    """What is wrong with the log of SQLite (its WAL), in which the last changes are; its absence is no damage."""
    header = read_start(log, 32) if log.exists() else b""
    if not header or (status != OPEN and not header.strip(b"\0")):  # zeros: it was begun when the power failed
        return None
    return None if _is_log(header) else f"is damaged: {log.name} with its last changes cannot be read"


def _is_log(header: bytes) -> bool:
    """Whether this is the header of a WAL: https://www.sqlite.org/fileformat2.html#wal_file_format."""
    if len(header) < 32 or struct.unpack(">I", header[:4])[0] not in _WAL_MAGIC:
        return False
    words = struct.unpack(">6I" if header[3] & 1 else "<6I", header[:24])
    first = second = 0
    for one, other in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return (first, second) == struct.unpack(">2I", header[24:])


def _header_damage(header: bytes) -> str | None:
    """What in the header would have SQLite refuse to write, or read otherwise than we wrote; its section 1.3."""
    sound = (
        {header[18], header[19]} <= {1, 2}  # journal or WAL
        and header[20:24] == b"\0\x40\x20\x20"
        and int.from_bytes(header[44:48]) in range(5)  # 0 as long as all is in the log
        and int.from_bytes(header[56:60]) in (0, 1)  # UTF-8
    )
    return None if sound else "is damaged: its header is not one that SQLite makes"


def _shortage(file: Path, header: bytes, log: Path) -> str | None:
    """Whether the file ends before its last page; what a log of SQLite still holds may be missing in it."""
    if len(header) < 100:
        return "is damaged: it is cut short"
    if log.exists() and log.stat().st_size:
        return None
    page, counter, pages, valid = struct.unpack_from(">16xH6xII60xI", header)
    size, whole = file.stat().st_size, (65536 if page == 1 else page) * pages
    return f"is damaged: it is cut short after {size} of {whole} bytes" if counter == valid and size < whole else None


def _inspect(file: Path, damage: str | None, quick: bool) -> str | None:
    """What SQLite says of the file. damage: what is known to be wrong, which does not matter with another's file."""
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as db:
            found = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            application, version = (pragma(db, name) for name in ("application_id", "user_version"))
            if not _is_ours(application) and (application or found):
                raise _foreign(file)
            damage = damage or _mark_damage(db, file, application, version)
            if damage or version < 1 or not found >= tables(version):
                return damage or "is damaged: tables are missing in it"
            return _column_damage(db, found) or (None if quick else next(_faults(db, version), None))
    except sqlite3.DatabaseError as error:
        if damage is None and getattr(error, "sqlite_errorcode", DAMAGES[0]) & 0xFF not in (*DAMAGES, *ODD_SCHEMA):
            raise
        return damage or f"is damaged: {' '.join(str(error).split())}"
    except UnicodeDecodeError as error:  # of a name in the schema
        return damage or f"is damaged: {error}"


def _mark_damage(db: sqlite3.Connection, file: Path, application: int, version: int) -> str | None:
    """What is wrong with the application's number and the version; a ConfigError where a newer agent wrote it."""
    if application not in (0, APPLICATION):
        return f"is damaged: the number of its application is {application:#x}, not {APPLICATION:#x}"
    if version > SCHEMA_VERSION and not (_may_be_flipped(version) and second_version(db) == SCHEMA_VERSION):
        _refuse_newer(file, version)
    return f"is damaged: its version is {version} in one place only" if version > SCHEMA_VERSION else None


def _column_damage(db: sqlite3.Connection, found: set[str]) -> str | None:
    """What is wrong with the columns of our tables, of which a name may be another and still be one."""
    with closing(sqlite3.connect(":memory:")) as sound:
        create(sound)
        names = sorted(found & tables(SCHEMA_VERSION))
        odd = next((name for name in names if columns(db, name) != columns(sound, name)), None)
    return f"is damaged: its table {odd} has other columns" if odd else None


def warn_of_lost_log(file: Path, lock: StateLock) -> None:
    """Logs where the log of SQLite is gone, with the last changes unless another program has taken them over."""
    log = file.with_name(file.name + "-wal")
    if lock.status == OPEN and not (log.exists() and log.stat().st_size):
        lock.write("")
        _LOG.warning(
            "state %s: %s, which held the last changes, was removed, or another program took them over; going on from "
            "what the state holds: what was read after that is read again, and alerts may come twice",
            file,
            log.name,
        )


def pragma(db: sqlite3.Connection, name: str) -> int:
    """A number that SQLite keeps in the header of a database."""
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])


def _faults(db: sqlite3.Connection, version: int) -> Iterator[str]:
    """What is wrong with the pages and rows, from the quick to the slow; alerts are looked at when they are sent."""
    (word,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if word != "ok":
        yield "is damaged: " + " ".join(word.split())
    for what, rows in (
        ("a position", "SELECT position FROM positions"),
        ("a count", "SELECT blob FROM memory WHERE CAST(name AS TEXT) GLOB 'count:*'"),
        ("a row of repeats", "SELECT blob FROM memory WHERE CAST(name AS TEXT) GLOB 'fold:*'"),
        ("a stream", "SELECT blob FROM streams"),
    ):
        for (blob,) in db.execute(rows):
            try:
                msgspec.msgpack.decode(blob)
            except (msgspec.DecodeError, TypeError, ValueError, RecursionError) as error:
                yield f"is damaged: {what} in it cannot be read ({error})"
    for table in sorted(tables(version) - {"outbox"}):
        wrong = " OR ".join(f"typeof({name}) <> lower('{kind}')" for name, kind, _, _ in columns(db, table))
        if db.execute(f"SELECT 1 FROM {table} WHERE {wrong} LIMIT 1").fetchone():
            yield f"is damaged: a row of {table} in it has another type than its columns"


def set_aside(file: Path, damage: str) -> None:
    """Moves a damaged database, with the files of SQLite beside it, out of the way, and logs it; an OSError."""
    backup = _free_name(file)
    for end in ("", "-wal", "-shm"):  # the database first: where only a log is left, the next start finds that
        source = file.with_name(file.name + end)
        if source.exists():
            source.rename(backup.with_name(backup.name + end))
    _LOG.warning(
        "state %s %s; it is set aside as %s: the positions, windows and undelivered alerts in it are lost, and each "
        "source begins as configured (`from`)",
        file,
        damage,
        backup,
    )
    _remove_oldest(file)


def _free_name(file: Path) -> Path:
    """A name that comes after those of all that was set aside before, also of those within the same second."""
    stamp = f"{file.name}.damaged-{time.strftime('%Y%m%dT%H%M%S')}"
    same = [name.removeprefix(stamp) for name in _set_aside_before(file) if name.startswith(stamp)]
    last = max((int(end[1:] or 1) for end in same), default=0)
    return file.with_name(f"{stamp}-{last + 1}" if last else stamp)


def _set_aside_before(file: Path) -> list[str]:
    """The names of the states set aside, the oldest first."""
    names = (path.name for path in file.parent.glob(f"{file.name}.damaged-*"))
    return sorted({name.removesuffix("-wal").removesuffix("-shm") for name in names})


def _remove_oldest(file: Path) -> None:
    for name in _set_aside_before(file)[:-KEPT]:
        for end in ("", "-wal", "-shm"):
            file.with_name(name + end).unlink(missing_ok=True)
        _LOG.info("%s is removed: the last %d damaged states are kept", file.with_name(name), KEPT)
