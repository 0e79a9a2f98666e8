"""Syslog messages as datagrams, one in each: UDP (RFC 5426) and unix datagram sockets."""

import logging
import socket
import struct
from collections.abc import Callable

from agent.sources.decoding.settings import ReadingSettings
from agent.sources.live import StreamCheckpoint
from agent.sources.network.framing import SPARE
from agent.sources.network.receiver import Receiver, host_of
from agent.text.lines import Block

_LOG = logging.getLogger(__name__)

_OVERHEAD = 64  # bytes that a message counts for besides its own, so that empty ones are bounded too
_UCRED = struct.Struct("=iII")  # unix(7): pid, uid, gid
_NOBODY = 0xFFFFFFFF  # the uid where the kernel knows none
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
        self._is_network = self._counts = bound.family != socket.AF_UNIX  # else the sender waits
        if not self._is_network:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        if checkpoint is not None and self._is_network:
            text = self.lose(f"{name}: what was sent while nobody listened is lost, since UDP keeps nothing")
            _LOG.warning("%s", text)

    def read(self, limit: int = 1 << 20) -> Block | None:
        size_read = 0
        while size_read < limit and not self.ended:
            try:
                size, peer = self._receive()
            except BlockingIOError:
                self.ended = self._draining and not size_read
                break
            except OSError as error:  # such as a network that went down, told through the socket
                self._limited_log.warning(
                    "receive", "%s: nothing can be received: %s; trying again", self.name, error.strerror
                )
                break
            kept = bytes(memoryview(self._buffer)[:size])
            self._add_line((kept, size - len(kept)), peer, peer.encode() if self._is_network else self._host)
            self.bytes_taken += size
            size_read += size + _OVERHEAD
        self._count_dropped()
        return self._next_block()

    def _receive(self) -> tuple[int, str]:
        """The size of the next datagram, whose head is in the buffer, and who sent it."""
        if self._is_network:
            size, address = self._socket.recvfrom_into(self._buffer, 0, socket.MSG_TRUNC)
            return size, host_of(address)
        room = socket.CMSG_SPACE(_UCRED.size)  # and none for descriptors
        size, sent, _, _ = self._socket.recvmsg_into([self._buffer], room, socket.MSG_TRUNC)
        return size, _user_of(sent)

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


def _user_of(sent: list[tuple[int, int, bytes]]) -> str:
    """The sender of a datagram as the kernel tells it in what came beside it, such as `uid 1000`; empty for nobody."""
    for level, kind, data in sent:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS) and len(data) == _UCRED.size:
            _, uid, _ = _UCRED.unpack(data)
            return "" if uid == _NOBODY else f"uid {uid}"
    return ""
