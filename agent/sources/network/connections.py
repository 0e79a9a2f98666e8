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
from agent.sources.network.receiver import Receiver, host_of
from agent.text.lines import Block

_LOG = logging.getLogger(__name__)

MOST_CONNECTIONS, MOST_OF_PEER = 256, 64
IDLE = 600.0  # seconds without a byte, after which a connection is ended
_MOST_HELD = 1 << 26  # bytes of unfinished messages, of all connections together
_PIECE = 1 << 16  # bytes of one recv
_PAUSE = 1.0  # seconds until connections are accepted again


class _Connection:
    """One sender: its socket, what it is called, and its unfinished message."""

    def __init__(
        self, sock: socket.socket, address: tuple[Any, ...], now: float, limit: int, complain: Callable[[str], None]
    ) -> None:
        self.socket, self.heard = sock, now
        self.host = host_of(address)
        self.name = f"[{self.host}]:{address[1]}" if ":" in self.host else f"{self.host}:{address[1]}"
        self.framer = Framer(limit, lambda problem: complain(f"{self.name}: {problem}"))

    @property
    def is_quiet(self) -> bool:
        """Whether nothing waits to be read."""
        try:
            return not self.socket.recv(1, socket.MSG_PEEK)
        except OSError as error:
            return isinstance(error, BlockingIOError)


class Connections(Receiver):
    """TCP: a bounded number of connections, the lines of each in order (RFC 6587).

    Of each at most `max_line` bytes of an unfinished message are held, and of all together 64 MiB; all else waits in
    the kernel, and so with the sender. A connection ends that brings nothing for ten minutes. One address has 64 at
    most: the longest idle one makes room for the next. What a sender wrote that was never read, since a process was
    killed, it takes for delivered.
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
        self._held = 0  # bytes of unfinished messages
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
        self._end_idle()
        events = self._epoll.poll(0, max(1, limit // _PIECE))
        for descriptor, _ in events:
            if descriptor in self._connections:
                self._receive(self._connections[descriptor], min(limit, _PIECE))
            else:
                self._accept()
        self.ended = self._draining and not events
        return self._next_block()

    def finish(self) -> Block | None:
        """The unfinished message of each connection, as a line; the connections are closed."""
        for connection in list(self._connections.values()):
            self._end(connection, "was left")
        return self._next_block()

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
        limit = self._reading.max_line + SPARE
        connection = _Connection(accepted, address, self._clock(), limit, self._complain)
        if not self._has_room(connection.host):
            self._refuse(connection, f"there are {MOST_OF_PEER} of that address already")
        elif self.connected >= MOST_CONNECTIONS:
            self._refuse(connection, f"there are {MOST_CONNECTIONS} already")
        else:
            self._register(connection)

    def _has_room(self, host: str) -> bool:
        """Whether an address may have one more connection; its longest idle one is ended for that."""
        of_peer = [one for one in self._connections.values() if one.host == host]
        if len(of_peer) < MOST_OF_PEER:
            return True
        idle = next((one for one in sorted(of_peer, key=lambda one: one.heard) if one.is_quiet), None)
        if idle is None:
            return False
        text = (
            f"{self.name}: {host} has more than {MOST_OF_PEER} connections; the one from {idle.name}, which was idle "
            "longest, is ended for a new one"
        )
        self._limited_log.warning("many", "%s", self.lose(text))
        self._end(idle, "was ended")
        return True

    def _end_idle(self) -> None:
        heard = self._clock() - IDLE
        for connection in [one for one in self._connections.values() if one.heard <= heard and one.is_quiet]:
            self._limited_log.warning(
                "idle", "%s: the connection of %s is ended: nothing came for %d s", self.name, connection.name, IDLE
            )
            self._end(connection, "was ended")

    def _accept_again(self) -> None:
        if self._paused_until and self._clock() >= self._paused_until:
            self._paused_until = 0.0
            self._epoll.register(self._socket, select.EPOLLIN)

    def _refuse(self, connection: _Connection, why: str) -> None:
        connection.socket.close()
        text = f"{self.name}: a connection from {connection.name} is refused: {why}; what it sends is not read"
        self._limited_log.warning("refused", "%s", self.lose(text))

    def _register(self, connection: _Connection) -> None:
        connection.socket.setblocking(False)
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 20)
        self._connections[connection.socket.fileno()] = connection
        self._epoll.register(connection.socket, select.EPOLLIN)

    def _receive(self, connection: _Connection, limit: int) -> None:
        try:
            chunk = connection.socket.recv(limit)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(connection, f"was broken off ({error.strerror})")
            return
        if not chunk:
            self._end(connection, "ended")
            return
        self.bytes_taken += len(chunk)
        connection.heard = self._clock()
        self._held -= connection.framer.held
        for message in connection.framer.feed(chunk):
            self._add_line(message, connection.host, connection.host.encode())
        self._held += connection.framer.held
        if self._held > _MOST_HELD:
            longest = max(self._connections.values(), key=lambda one: one.framer.held)
            self._end(longest, f"was ended, since {_MOST_HELD >> 20} MiB are held of unfinished messages,")

    def _end(self, connection: _Connection, how: str) -> None:
        """Closes a connection; its unfinished message is a line, with a warning."""
        del self._connections[connection.socket.fileno()]
        connection.socket.close()  # which takes it out of the epoll too
        self._held -= connection.framer.held
        left, rest = connection.framer.partial, connection.framer.finish()
        if rest is None:
            return
        text = (
            f"{self.name}: the connection of {connection.name} {how} in the middle of a message; the {left} bytes of "
            "it that came are read as a line"
        )
        self._limited_log.warning("broken", "%s", self.lose(text))
        self._add_line(rest, connection.host, connection.host.encode())

    def _complain(self, problem: str) -> None:
        self._limited_log.warning("framing", "%s", self.lose(f"{self.name}: {problem}"))
