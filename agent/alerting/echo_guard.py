"""The guard against scoring our own alerts, where they come back in a log that is read.

Every alert text that leaves for syslog carries a seal: `#` and a keyed hash (HMAC-SHA256, RFC 2104) of the text. A line
read with a seal that fits is our own and is dropped. The hash covers the text, so a line of anybody else cannot hide
behind a seal that it has seen; and the tag alone hides nothing.
"""

import hashlib
import hmac
import re
import secrets
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from agent.host.log import TAG
from agent.host.token_bucket import TokenBucket
from agent.text.headers import parse_header
from agent.text.lines import Block

KEY_BYTES = 32
_EPOCH = datetime.fromtimestamp(0, UTC)  # the time of such a line is not looked at
_SEALED = re.compile(rb"\b%s\b[^\n]*?(?: |<[0-7]>)#([0-9a-f]{16}) ([^\r\n]*)" % TAG.encode())
_PRIORITY = re.compile(r"<[0-7]>")  # before what went to the journal, where the journal was told to leave it
_FORGED_BURST = 10  # alerts a burst, and one a minute, about lines that look sealed but are not ours


def new_key() -> bytes:
    """A fresh secret."""
    return secrets.token_bytes(KEY_BYTES)


class EchoGuard:
    """Seals texts and recognises them; the key is kept with the state, so alerts of before a restart are recognised.

    A line that looks sealed but is not ours may come from another agent on the host, and the two could answer each
    other without end: a token bucket limits the alerts about such lines.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._bucket = TokenBucket(rate=1 / 60, burst=_FORGED_BURST)

    def seal(self, text: str) -> str:
        """`text` after its seal. Its runs of white space become one blank, since daemons change them."""
        text = " ".join(text.split())
        return f"#{self._digest(text.encode())} {text}"

    def own(self, block: Block) -> NDArray[np.int64]:
        """int64: the indices of the lines that are alerts of ours: nothing but a header, our tag and a sealed text."""
        if TAG.encode() not in block.data:
            return np.zeros(0, np.int64)
        rows = (
            np.searchsorted(block.starts, [match.start() for match in _SEALED.finditer(block.data)], side="right") - 1
        )
        return np.array([row for row in np.unique(rows).tolist() if self._is_own(block.line(row))], np.int64)

    def _is_own(self, line: bytes) -> bool:
        header = parse_header(line, "auto", _EPOCH)
        message = header.message.strip()
        priority = _PRIORITY.match(message)
        digest, _, text = message[priority.end() if priority else 0 :].removeprefix("#").partition(" ")
        return header.program == TAG and hmac.compare_digest(self._digest(text.encode()).encode(), digest.encode())

    def _digest(self, text: bytes) -> str:
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()[:16]

    def may_alert(self, line: bytes) -> bool:
        """Whether an alert about this line is allowed: always, unless it looks sealed and the bucket is empty."""
        return not _SEALED.search(line) or self._bucket.take()
