"""The guard against scoring our own alerts, where they come back in a log that is read.

Every alert text that leaves for syslog carries a seal: `#` and a keyed hash (HMAC-SHA256, RFC 2104) of the text. A line
read with a seal that fits is our own and is dropped. The hash covers the text, so a line of anybody else cannot hide
behind a seal that it has seen; and the tag alone hides nothing. Lines that only look sealed, such as the alerts of
another agent, are scored like all others; the circuit breaker ends what two agents may answer each other.
"""

import hashlib
import hmac
import re
import secrets
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from agent.host.log import TAG
from agent.text.headers import Header, parse_header
from agent.text.lines import Block

KEY_BYTES = 32
_EPOCH = datetime.fromtimestamp(0, UTC)  # the time of such a line is not looked at
_SEAL = re.compile(rb"#[0-9a-f]{16} ")
_SEALED = re.compile(r"(?:<[0-7]>)?#([0-9a-f]{16}) ")  # the priority where the journal was told to leave it


def new_key() -> bytes:
    """A fresh secret."""
    return secrets.token_bytes(KEY_BYTES)


class EchoGuard:
    """Seals texts and recognises them; the key is kept with the state, so alerts of before a restart are recognised.

    fold_key: another secret, made of it, for the hashes of texts.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.fold_key = hmac.new(key, b"repeats", hashlib.sha256).digest()

    def seal(self, text: str) -> str:
        """`text` after its seal. Its runs of white space become one blank, since daemons change them."""
        text = " ".join(text.split())
        return f"#{self._digest(text.encode())} {text}"

    def own(self, block: Block) -> NDArray[np.int64]:
        """int64: the indices of the lines that are alerts of ours: nothing but a header, our tag and a sealed text."""
        if TAG.encode() not in block.data:
            return np.zeros(0, np.int64)
        found = [match.start() for match in _SEAL.finditer(block.data)]
        rows = np.unique(np.searchsorted(block.starts, found, side="right") - 1)
        return np.array([row for row in rows.tolist() if self._is_own(block.line(row))], np.int64)

    def _is_own(self, line: bytes) -> bool:
        header = parse_header(line, "auto", _EPOCH)
        if not looks_sealed(header):
            return False
        digest, _, text = header.message.strip().partition("#")[2].partition(" ")
        return hmac.compare_digest(self._digest(text.encode()).encode(), digest.encode())

    def _digest(self, text: bytes) -> str:
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()[:16]


def looks_sealed(header: Header) -> bool:
    """Whether a line has the form of an alert of an agent, of this one or another or one that somebody made up."""
    return header.program == TAG and _SEALED.match(header.message.strip()) is not None
