"""Syslog messages over TCP (RFC 6587): many senders, each of whose lines stay in order."""

import logging
import select
import socket
import time
from collections.abc import Callable
from typing import Any

from agent.sources.decoding.settings import ReadingSettings
from agent.sources.live import StreamCheckpoint
from agent.sources.network.framing import SPARE, Framer
from agent.sources.network.receiver import Receiver
from agent.text.lines import Block

_LOG = logging.getLogger(__name__)

MOST_CONNECTIONS = 256
_PIECE = 1 << 16  # bytes of one recv
_PAUSE = 1.0  # seconds until connections are accepted again


class _Connection:
    """One sender: its socket, what it is called, and its unfinished message."""

    def __init__(
        self, sock: socket.socket, address: tuple[Any, ...], limit: int, complain: Callable[[str], None]
    ) -> None:
        self.socket = sock
        self.host = address[0].encode()
        self.peer = f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"
        self.framer = Framer(limit, lambda problem: complain(f"{self.peer}: {problem}"))


class Connections(Receiver):
    """TCP: a bounded number of connections, the lines of each in order (RFC 6587).

    Of each at most `max_line` bytes of an unfinished message are held; all else waits in the kernel, and so with the
    sender. What a sender wrote that was never read, since a process was killed, it takes for delivered.
    """

    def __init__(
        self,
        name: str,
        checkpoint: StreamCheckpoint | None,
        reading: ReadingSettings,
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

    def read(self, limit: int = 1 << 20) -> Block | None:
        if self.ended:
            return None
        self._accept_again()
        events = self._epoll.poll(0, max(1, limit // _PIECE))
        lines = []
        for descriptor, _ in events:
            if descriptor in self._connections:
                lines += self._receive(self._connections[descriptor], min(limit, _PIECE))
            else:
                self._accept()
        self.ended = self._draining and not events
        return self._block(lines)

    def finish(self) -> Block | None:
        """The unfinished message of each connection, as a line; the connections are closed."""
        lines = [line for connection in list(self._connections.values()) for line in self._end(connection, "was left")]
        return self._block(lines)

    def _release(self) -> None:
        left = [connection.framer.partial for connection in self._connections.values() if connection.framer.partial]
        if left:
            text = f"{self.name}: {len(left)} messages have no end; the {sum(left)} bytes that came are lost"
            _LOG.warning("%s", self.lose(text, len(left), sum(left)))
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
            self._register(connection)

    def _accept_again(self) -> None:
        if self._paused_until and self._clock() >= self._paused_until:
            self._paused_until = 0.0
            self._epoll.register(self._socket, select.EPOLLIN)

    def _refuse(self, connection: _Connection) -> None:
        connection.socket.close()
        text = (
            f"{self.name}: a connection from {connection.peer} is refused: there are {MOST_CONNECTIONS} already; "
            "what it sends is not read"
        )
        self._limited_log.warning("refused", "%s", self.lose(text))

    def _register(self, connection: _Connection) -> None:
        connection.socket.setblocking(False)
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 20)
        self._connections[connection.socket.fileno()] = connection
        self._epoll.register(connection.socket, select.EPOLLIN)

    def _receive(self, connection: _Connection, limit: int) -> list[bytes]:
        try:
            chunk = connection.socket.recv(limit)
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
        text = (
            f"{self.name}: the connection of {connection.peer} {how} in the middle of a message; the {left} bytes of "
            "it that came are read as a line"
        )
        self._limited_log.warning("broken", "%s", self.lose(text))
        return [self._line(rest, connection.host)]

    def _complain(self, problem: str) -> None:
        self._limited_log.warning("framing", "%s", self.lose(f"{self.name}: {problem}"))
