"""Notices: what the agent tells the sinks about itself, of each kind and source at most once in a while."""

import hashlib
import logging
from datetime import datetime

import msgspec

from agent.alerting.alert import Alert
from agent.host.log import TAG
from agent.scoring.reasons import NoticeReason
from agent.text.escape import escape
from agent.text.stored import DamagedBlob, decode_stored

BLOB = "notices"  # the name under which the state holds them
HOUR, DAY = 3600.0, 86_400.0
_MAX_SOURCE, _MAX_TEXT = 256, 1024  # bytes
_MOST = 200  # kinds and sources that are told apart
_LOG = logging.getLogger(__name__)


class _Entry(msgspec.Struct, array_like=True):
    """told: when it was, in seconds since 1970. every: how long it rests. waiting: how many times it came since.

    is_logged: whether each time was logged when it came.
    """

    told: float
    every: float
    waiting: int = 0
    text: str = ""
    severity: str = ""
    is_logged: bool = False


class Notices:
    """Counts what there is to tell by kind and source: the first is told at once, those of the hour after it together.

    Where there are very many sources, those that come last are told together. host: the name of this one.
    """

    def __init__(self, host: str, blob: bytes | None = None) -> None:
        self._host = host
        self._entries = {} if blob is None else _read(blob)
        self._waiting = {key for key, entry in self._entries.items() if entry.waiting}
        self._ready: list[Alert] = []
        self._changed = False

    def post(
        self,
        kind: str,
        source: str,
        text: str,
        now: datetime,
        severity: str = "medium",
        every: float = HOUR,
        is_logged: bool = False,
    ) -> None:
        """Has something told. text: the whole of what there is to say; of those told together the last is.

        is_logged: whether the log has it already.
        """
        key = (kind, escape(source, _MAX_SOURCE))
        if key not in self._entries and len(self._entries) >= _MOST:
            self._forget_old(now.timestamp())
            key = key if len(self._entries) < _MOST else (kind, "")
        entry = self._entries.setdefault(key, _Entry(float("-inf"), every))
        entry.waiting, entry.text = entry.waiting + 1, escape(text, _MAX_TEXT)
        entry.severity, entry.every, entry.is_logged = severity, every, is_logged
        self._changed = True
        self._waiting.add(key)
        self._tell_due(key, entry, now)

    def take(self, now: datetime) -> tuple[list[Alert], list[tuple[str, bytes]]]:
        """The notices that are due, and the named blob to be stored with them where anything has changed."""
        for key in [*self._waiting]:
            self._tell_due(key, self._entries[key], now)
        alerts, changed = self._ready, self._changed
        self._ready, self._changed = [], False
        return alerts, [(BLOB, self._blob())] if changed else []

    def _tell_due(self, key: tuple[str, str], entry: _Entry, now: datetime) -> None:
        if not 0 <= now.timestamp() - entry.told < entry.every:  # a clock that was set back holds nothing up
            self._ready.append(self._notice(*key, entry, now))
            entry.told, entry.waiting, entry.text, self._changed = now.timestamp(), 0, "", True
            self._waiting.discard(key)

    def _notice(self, kind: str, source: str, entry: _Entry, now: datetime) -> Alert:
        if not entry.is_logged:
            _LOG.warning("%s", entry.text)
        time = now.isoformat()
        return Alert(
            id=hashlib.sha256(f"notice\0{kind}\0{source}\0{time}".encode()).hexdigest()[:16],
            kind="notice",
            time=time,
            read=time,
            host=self._host,
            source=source,
            offset=0,
            line=0,
            stream="",
            program=TAG,
            message=entry.text,
            score=None,
            threshold=None,
            p_value=None,
            severity=entry.severity,
            bundle="",
            reason=NoticeReason(kind, entry.waiting),
            context=[],
            count=entry.waiting,
            first_seen=time,
            last_seen=time,
        )

    def _blob(self) -> bytes:
        known: dict[str, dict[str, _Entry]] = {}
        for (kind, source), entry in self._entries.items():
            known.setdefault(kind, {})[source] = entry
        return msgspec.msgpack.encode(known)

    def _forget_old(self, now: float) -> None:
        self._entries = {
            key: entry for key, entry in self._entries.items() if entry.waiting or 0 <= now - entry.told < entry.every
        }


def _read(blob: bytes) -> dict[tuple[str, str], _Entry]:
    """What was stored; nothing where it cannot be understood, so that all is told once more."""
    try:
        known = decode_stored(blob, dict[str, dict[str, _Entry]])
    except DamagedBlob:
        return {}
    return {(kind, source): entry for kind, of in known.items() for source, entry in of.items()}
