"""Sources that others send syslog messages to: datagrams and connections, each message one line."""

import logging
import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

from agent.host.rate_limited_log import RateLimitedLog
from agent.sources.decoding.line_reader import Reading, too_long
from agent.sources.live import LiveSource, StreamCheckpoint, message_reading
from agent.sources.network.framing import SPARE, Framer, Message, one_line
from agent.text.lines import Block

_LOG = logging.getLogger(__name__)

MOST_CONNECTIONS = 256
_PIECE = 1 << 16  # bytes of one recv
_OVERHEAD = 64  # bytes that a message counts for besides its own, so that empty ones are bounded too
_PAUSE = 1.0  # seconds until connections are accepted again
_SO_MEMINFO, _DROPS = 55, 8  # Linux since 4.12: sk_meminfo's u32 fields, and which of them counts what was dropped


class Receiver(LiveSource):
    """What the sources share that listen at a socket: `bound` is non-blocking, `unbind` is called at the close."""

    def __init__(
        self,
        name: str,
        checkpoint: StreamCheckpoint | None,
        reading: Reading,
        bound: socket.socket,
        unbind: Callable[[], None],
    ) -> None:
        super().__init__(name, checkpoint, message_reading(name, reading))
        self._socket, self._unbind = bound, unbind
        self._limited_log = RateLimitedLog(_LOG)
        self._host = socket.gethostname().encode()
        self._hurried = self._closed = False

    def hurry(self) -> None:
        self._hurried = True

    def close(self) -> None:
        if self._closed:
            return
        self._closed = self.ended = True
        self._release()
        self._socket.close()
        self._unbind()

    def _release(self) -> None:
        """Gives back what is held besides the socket."""

    def _line(self, message: Message, host: bytes) -> bytes:
        text, left_out = one_line(message, host, self._reading.max_line)
        if left_out:
            self._count_cut(left_out, host)
        return text + b"\n" if text else b""

    def _count_cut(self, left_out: int, host: bytes) -> None:
        if not self.cut_lines:
            sender = host.decode("utf-8", "backslashreplace")
            _LOG.warning("%s: %s", self.name, too_long(f"a message of {sender}", self._reading.max_line, left_out))
        self.cut_lines += 1
        self.cut_bytes += left_out

    def _block(self, lines: list[bytes]) -> Block | None:
        data = b"".join(lines)
        return self._counted(self._lines.feed(data)) if data else None

    def _counted(self, block: Block | None) -> Block | None:
        cut = self.cut_lines, self.cut_bytes  # of messages, which were cut before they became lines
        super()._counted(block)
        self.cut_lines, self.cut_bytes = cut
        return block


class Datagrams(Receiver):
    """UDP (RFC 5426) or a unix datagram socket: one datagram, one message.

    What comes over UDP while nobody reads, or faster than it is read, is dropped by the kernel: the latter is counted.
    """

    def __init__(
        self,
        name: str,
        checkpoint: StreamCheckpoint | None,
        reading: Reading,
        bound: socket.socket,
        unbind: Callable[[], None],
    ) -> None:
        super().__init__(name, checkpoint, reading, bound, unbind)
        self.descriptors = (bound.fileno(),)
        self._buffer = bytearray(reading.max_line + SPARE)
        self._dropped = 0
        self._counts = bound.family != socket.AF_UNIX  # there the sender waits
        if checkpoint is not None and bound.family != socket.AF_UNIX:
            self.losses += 1
            _LOG.warning("%s: what was sent while nobody listened is lost, since UDP keeps nothing", name)

    def read(self, most: int = 1 << 20) -> Block | None:
        lines, size_read = [], 0
        while size_read < most and not self.ended:
            try:
                size, peer = self._socket.recvfrom_into(self._buffer, 0, socket.MSG_TRUNC)
            except BlockingIOError:
                self.ended = self._hurried and not size_read
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
            self.losses += more
            self._limited_log.warning(
                "dropped",
                "%s: the kernel dropped %d datagrams, %d so far, since they came faster than they were read; raise "
                "net.core.rmem_max, or have them sent over TCP",
                *(self.name, more, dropped),
            )


class _Connection:
    """One sender: its socket, what it is called, and its unfinished message."""

    def __init__(
        self, sock: socket.socket, address: tuple[Any, ...], most: int, complain: Callable[[str], None]
    ) -> None:
        self.socket = sock
        self.host = address[0].encode()
        self.peer = f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"
        self.framer = Framer(most, lambda problem: complain(f"{self.peer}: {problem}"))


class Connections(Receiver):
    """TCP: a bounded number of connections, the lines of each in order (RFC 6587).

    Of each at most `max_line` bytes of an unfinished message are held; all else waits in the kernel, and so with the
    sender. What a sender wrote that was never read, since a process was killed, it takes for delivered.
    """

    def __init__(
        self,
        name: str,
        checkpoint: StreamCheckpoint | None,
        reading: Reading,
        bound: socket.socket,
        unbind: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name, checkpoint, reading, bound, unbind)
        self._connections: dict[int, _Connection] = {}
        self._clock, self._paused_until = clock, 0.0
        self._epoll = select.epoll()
        self._epoll.register(bound, select.EPOLLIN)
        self.descriptors = (self._epoll.fileno(),)

    @property
    def connected(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    def read(self, most: int = 1 << 20) -> Block | None:
        if self.ended:
            return None
        self._accept_again()
        events = self._epoll.poll(0, max(1, most // _PIECE))
        lines = []
        for descriptor, _ in events:
            if descriptor in self._connections:
                lines += self._receive(self._connections[descriptor], min(most, _PIECE))
            else:
                self._accept()
        self.ended = self._hurried and not events
        return self._block(lines)

    def finish(self) -> Block | None:
        """The unfinished message of each connection, as a line; the connections are closed."""
        lines = [line for connection in list(self._connections.values()) for line in self._end(connection, "was left")]
        return self._block(lines)

    def _release(self) -> None:
        left = [connection.framer.partial for connection in self._connections.values() if connection.framer.partial]
        if left:
            self.losses += len(left)
            self.bytes_lost += sum(left)
            _LOG.warning(
                "%s: %d messages have no end; the %d bytes that came are lost", self.name, len(left), sum(left)
            )
        for connection in self._connections.values():
            connection.socket.close()
        self._connections.clear()
        self._epoll.close()
        self.descriptors = ()

    def _accept(self) -> None:
        try:
            accepted, address = self._socket.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:  # such as too many open files: the connections wait in the kernel
            self._limited_log.warning(
                "accept", "%s: a connection cannot be accepted: %s; trying again", self.name, error.strerror
            )
            self._epoll.unregister(self._socket)
            self._paused_until = self._clock() + _PAUSE
            return
        connection = _Connection(accepted, address, self._reading.max_line + SPARE, self._complain)
        if self.connected >= MOST_CONNECTIONS:
            self._refuse(connection)
        else:
            self._welcome(connection)

    def _accept_again(self) -> None:
        if self._paused_until and self._clock() >= self._paused_until:
            self._paused_until = 0.0
            self._epoll.register(self._socket, select.EPOLLIN)

    def _refuse(self, connection: _Connection) -> None:
        connection.socket.close()
        self.losses += 1
        self._limited_log.warning(
            "refused",
            "%s: a connection from %s is refused: there are %d already; what it sends is not read",
            *(self.name, connection.peer, MOST_CONNECTIONS),
        )

    def _welcome(self, connection: _Connection) -> None:
        connection.socket.setblocking(False)
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 20)
        self._connections[connection.socket.fileno()] = connection
        self._epoll.register(connection.socket, select.EPOLLIN)

    def _receive(self, connection: _Connection, most: int) -> list[bytes]:
        try:
            chunk = connection.socket.recv(most)
        except BlockingIOError:
            return []
        except OSError as error:
            return self._end(connection, f"was broken off ({error.strerror})")
        if not chunk:
            return self._end(connection, "ended")
        self.bytes_taken += len(chunk)
        return [self._line(message, connection.host) for message in connection.framer.feed(chunk)]

    def _end(self, connection: _Connection, how: str) -> list[bytes]:
        """Closes a connection; its unfinished message as a line, with a warning."""
        del self._connections[connection.socket.fileno()]
        connection.socket.close()  # which takes it out of the epoll too
        left, rest = connection.framer.partial, connection.framer.finish()
        if rest is None:
            return []
        self.losses += 1
        self._limited_log.warning(
            "broken",
            "%s: the connection of %s %s in the middle of a message; the %d bytes of it that came are read as a line",
            *(self.name, connection.peer, how, left),
        )
        return [self._line(rest, connection.host)]

    def _complain(self, problem: str) -> None:
        self.losses += 1
        self._limited_log.warning("framing", "%s: %s", self.name, problem)
