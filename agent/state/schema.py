"""The tables of the state's database, and how those of older versions become those of today."""

import logging
import sqlite3

_LOG = logging.getLogger(__name__)
APPLICATION = 0x6F64646C  # "oddl", in the header of the file
SCHEMA_VERSION = 2
DAMAGES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

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


def create(db: sqlite3.Connection) -> None:
    """Makes the tables in an empty database, all or none."""
    db.executescript(
        f"BEGIN; {_SCHEMA} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
    )


def migrate(db: sqlite3.Connection, file: str) -> None:
    """Brings the tables of an older version up to date in one transaction, and logs it."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version == SCHEMA_VERSION:
        return
    steps = "".join(_MIGRATIONS[number] for number in range(version, SCHEMA_VERSION))
    db.executescript(f"BEGIN IMMEDIATE; {steps} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
    _LOG.info(
        "state %s was of version %d and is brought to %d; an older agent cannot use it now",
        file,
        version,
        SCHEMA_VERSION,
    )
