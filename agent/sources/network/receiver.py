"""What the sources share that listen at a socket: each message that comes becomes one line."""

import logging
import socket
from collections.abc import Callable
from typing import Any

from agent.host.rate_limited_log import RateLimitedLog
from agent.sources.decoding.line_reader import too_long
from agent.sources.decoding.settings import ReadingSettings
from agent.sources.live import LiveSource, StreamCheckpoint, message_reading
from agent.sources.network.framing import Message, one_line
from agent.text.lines import Block

_LOG = logging.getLogger(__name__)


class Receiver(LiveSource):
    """What the sources share that listen at a socket: `bound` is non-blocking, `unbind` is called at the close."""

    def __init__(
        self,
        name: str,
        checkpoint: StreamCheckpoint | None,
        reading: ReadingSettings,
        bound: socket.socket,
        unbind: Callable[[], None],
    ) -> None:
        super().__init__(name, checkpoint, message_reading(name, reading))
        self._socket, self._unbind = bound, unbind
        self._limited_log = RateLimitedLog(_LOG)
        self._host = socket.gethostname().encode()
        self._draining = self._closed = False
        self._read_lines: list[bytes] = []  # of the next block, and the peer of each
        self._read_peers: list[str] = []
        self._peers: list[str] = []  # of the last block

    def fields(self, index: int) -> dict[str, str]:
        """The address of a line's sender as the kernel tells it, as `peer`."""
        return {"peer": self._peers[index]} if self._peers[index] else {}

    def drain(self) -> None:
        self._draining = True

    def close(self) -> None:
        if self._closed:
            return
        self._closed = self.ended = True
        self._release()
        self._socket.close()
        self._unbind()

    def _release(self) -> None:
        """Gives back what is held besides the socket."""

    def _add_line(self, message: Message, peer: str, host: bytes) -> None:
        """Has a message in the next block, unless there is nothing in it. host: stands in where it names none."""
        text, left_out = one_line(message, host, self._reading.max_line)
        if left_out:
            self._count_cut(left_out, host)
        if text:
            self._read_lines.append(text + b"\n")
            self._read_peers.append(peer)

    def _count_cut(self, left_out: int, host: bytes) -> None:
        if not self.cut_lines:
            sender = host.decode("utf-8", "backslashreplace")
            _LOG.warning("%s: %s", self.name, too_long(f"a message of {sender}", self._reading.max_line, left_out))
        self.cut_lines += 1
        self.cut_bytes += left_out

    def _next_block(self) -> Block | None:
        if not self._read_lines:
            return None
        block = self._lines.feed(b"".join(self._read_lines))
        self._peers, self._read_lines, self._read_peers = self._read_peers, [], []
        return self._counted(block)

    def _counted(self, block: Block | None) -> Block | None:
        cut = self.cut_lines, self.cut_bytes  # of messages, which were cut before they became lines
        super()._counted(block)
        self.cut_lines, self.cut_bytes = cut
        return block


def host_of(address: tuple[Any, ...]) -> str:
    """The IP address of a socket's address; one of IPv4 as such, also where an IPv6 socket took it."""
    host = str(address[0])
    return host.removeprefix("::ffff:") if "." in host else host
