"""Syslog messages as datagrams, one in each: UDP (RFC 5426) and unix datagram sockets."""

import logging
import socket
import struct
from collections.abc import Callable

from agent.sources.decoding.settings import ReadingSettings
from agent.sources.live import StreamCheckpoint
from agent.sources.network.framing import SPARE
from agent.sources.network.receiver import Receiver
from agent.text.lines import Block

_LOG = logging.getLogger(__name__)

_OVERHEAD = 64  # bytes that a message counts for besides its own, so that empty ones are bounded too
_SO_MEMINFO, _DROPS = 55, 8  # Linux since 4.12: sk_meminfo's u32 fields, and which of them counts what was dropped


class Datagrams(Receiver):
    """UDP (RFC 5426) or a unix datagram socket: one datagram, one message.

    What comes over UDP while nobody reads, or faster than it is read, is dropped by the kernel: the latter is counted.
    """

    def __init__(
        self,
        name: str,
        checkpoint: StreamCheckpoint | None,
        reading: ReadingSettings,
        bound: socket.socket,
        unbind: Callable[[], None],
    ) -> None:
        super().__init__(name, checkpoint, reading, bound, unbind)
        self.descriptors = (bound.fileno(),)
        self._buffer = bytearray(reading.max_line + SPARE)
        self._dropped = 0
        self._counts = bound.family != socket.AF_UNIX  # there the sender waits
        if checkpoint is not None and bound.family != socket.AF_UNIX:
            text = self.lose(f"{name}: what was sent while nobody listened is lost, since UDP keeps nothing")
            _LOG.warning("%s", text)

    def read(self, limit: int = 1 << 20) -> Block | None:
        lines, size_read = [], 0
        while size_read < limit and not self.ended:
            try:
                size, peer = self._socket.recvfrom_into(self._buffer, 0, socket.MSG_TRUNC)
            except BlockingIOError:
                self.ended = self._draining and not size_read
                break
            except OSError as error:  # such as a network that went down, told through the socket
                self._limited_log.warning(
                    "receive", "%s: nothing can be received: %s; trying again", self.name, error.strerror
                )
                break
            kept = bytes(memoryview(self._buffer)[:size])
            lines.append(self._line((kept, size - len(kept)), peer[0].encode() if peer else self._host))
            self.bytes_taken += size
            size_read += size + _OVERHEAD
        self._count_dropped()
        return self._block(lines)

    def _release(self) -> None:
        self._count_dropped()
        self.descriptors = ()

    def _count_dropped(self) -> None:
        """Counts the datagrams for which the socket's buffer had no room (or whose checksum was wrong)."""
        if not self._counts or self._socket.fileno() < 0:
            return
        try:
            info = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 64)
        except OSError:
            self._counts = False
            _LOG.warning(
                "%s: this system does not tell how many datagrams it drops: they are lost uncounted", self.name
            )
            return
        dropped = struct.unpack_from("=I", info, 4 * _DROPS)[0]
        if more := (dropped - self._dropped) & 0xFFFFFFFF:
            self._dropped = dropped
            text = (
                f"{self.name}: the kernel dropped {more} datagrams, {dropped} so far, since they came faster than they "
                "were read; raise net.core.rmem_max, or have them sent over TCP"
            )
            self._limited_log.warning("dropped", "%s", self.lose(text, more))
