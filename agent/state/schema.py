"""The tables of the state's database, and how those of older versions become those of today."""

import logging
import sqlite3

_LOG = logging.getLogger(__name__)
APPLICATION = 0x6F64646C  # "oddl", in the header of the file
SCHEMA_VERSION = 2
DAMAGES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
ODD_SCHEMA = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH)  # its names are not ours
_VERSION_ROW = "CAST('version' AS BLOB)"  # in memory: the version again, which tells a flipped bit from a newer agent
_SET_VERSION = (
    f"INSERT OR REPLACE INTO memory VALUES ({_VERSION_ROW}, CAST('{SCHEMA_VERSION}' AS BLOB)); "
    f"PRAGMA user_version = {SCHEMA_VERSION};"
)

_LOST = """
CREATE TABLE IF NOT EXISTS lost (
    sink BLOB NOT NULL, cause TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (sink, cause)
) WITHOUT ROWID;
"""
# A replaced row gets the highest number, so that the order of `number` is that of the last write.
_SCHEMA = f"""
CREATE TABLE positions (source BLOB PRIMARY KEY, position BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE streams (
    number INTEGER PRIMARY KEY, source BLOB NOT NULL, key BLOB NOT NULL, blob BLOB NOT NULL, UNIQUE (source, key)
);
CREATE TABLE memory (name BLOB PRIMARY KEY, blob BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE sinks (name BLOB PRIMARY KEY, delivered INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE recent (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE);
CREATE TABLE outbox (number INTEGER PRIMARY KEY, alert BLOB NOT NULL);
{_LOST}
"""
_TABLES = {1: {"positions", "streams", "memory", "sinks", "recent", "outbox"}, 2: {"lost"}}  # new in each version

# What makes the version after it of a version. 2: losses are counted by sink, which some of version 1 do already; and
# positions have fields that an agent of version 1 does not take.
_MIGRATIONS = {1: _LOST}


def tables(version: int) -> set[str]:
    """The names of the tables that a version has at least; none where there is no such version."""
    return set().union(*(names for since, names in _TABLES.items() if since <= version))


def second_version(db: sqlite3.Connection) -> int | None:
    """The version as it stands in a table too; None where it does not."""
    row = db.execute(f"SELECT blob FROM memory WHERE name = {_VERSION_ROW}").fetchone()
    return int(row[0]) if row and bytes(row[0]).isdigit() else None


def columns(db: sqlite3.Connection, table: str) -> list[tuple[str, str, int, int]]:
    """The name and type of each column of a table, whether it may not be null, and its place in the key."""
    rows = db.execute(f"PRAGMA table_info({table})").fetchall()
    return [(name, kind, required, key) for _, name, kind, required, _, key in rows]


def create(db: sqlite3.Connection) -> None:
    """Makes the tables in an empty database, all or none."""
    db.executescript(f"BEGIN; {_SCHEMA} PRAGMA application_id = {APPLICATION}; {_SET_VERSION} COMMIT;")


def migrate(db: sqlite3.Connection, file: str) -> None:
    """Brings the tables of an older version up to date in one transaction, and logs it."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version == SCHEMA_VERSION:
        if second_version(db) is None:  # of an agent that did not write it yet
            db.executescript(f"BEGIN IMMEDIATE; {_SET_VERSION} COMMIT;")
        return
    steps = "".join(_MIGRATIONS[number] for number in range(version, SCHEMA_VERSION))
    db.executescript(f"BEGIN IMMEDIATE; {steps} {_SET_VERSION} COMMIT;")
    _LOG.info(
        "state %s was of version %d and is brought to %d; an older agent cannot use it now",
        file,
        version,
        SCHEMA_VERSION,
    )
