"""The alert: what a sink gets of an anomalous line, and the id that names it."""

import hashlib
from itertools import islice

import msgspec

from agent.scoring.reasons import Reason, decode_reason
from agent.text.escape import MAX_NAME, escape

MOST_FIELDS = 32
_MAX_FIELD_NAME, _MAX_FIELD = 64, 1024  # bytes


class Alert(msgspec.Struct, forbid_unknown_fields=True):
    """One anomalous line, or a notice of the agent on itself, as it is kept in the outbox and sent as JSON.

    time, first_seen, last_seen: ISO 8601 with a zone: the line's own time, or when it was read where it has none.
    source, offset, line: the file, the byte and the line number (from 1). message, context: escaped and cut. host,
    program, peer, fields: escaped and cut here, whoever made the alert.
    p_value: the share of normal lines with such a score or a higher one. count: how often its text was anomalous in
    a row of repeats. fields: what else the source knows of the line, such as the unit that a journal names. kind:
    `alert` or `notice`; a notice has no score, threshold and p_value. read: when the line was read, ISO 8601 with a
    zone. peer: the address that it came from, where it came over a network, which its text cannot claim.
    """

    id: str
    time: str
    host: str
    source: str
    offset: int
    line: int
    stream: str
    program: str
    message: str
    score: float | None
    threshold: float | None
    p_value: float | None
    severity: str
    bundle: str
    reason: Reason
    context: list[str]
    count: int
    first_seen: str
    last_seen: str
    fields: dict[str, str] = {}
    kind: str = "alert"
    read: str = ""
    peer: str = ""

    def __post_init__(self) -> None:
        self.host, self.program, self.peer = (escape(one, MAX_NAME) for one in (self.host, self.program, self.peer))
        self.fields = {
            escape(name, _MAX_FIELD_NAME): escape(value, _MAX_FIELD)
            for name, value in islice(self.fields.items(), MOST_FIELDS)
        }

    @property
    def is_notice(self) -> bool:
        """Whether it is the agent's word on itself and not of a line."""
        return self.kind == "notice"


def decode_alert(blob: bytes) -> Alert:
    """An alert of the outbox, in MessagePack; a DecodeError or TypeError where it is none."""
    return msgspec.msgpack.decode(blob, type=Alert, dec_hook=decode_reason)


def alert_id(bundle: str, file: str, offset: int, line: bytes) -> str:
    """16 hexadecimal digits that name one line of one file under one bundle, the same after a restart."""
    return hashlib.sha256(f"{bundle}\0{file}\0{offset}\0".encode() + line).hexdigest()[:16]
