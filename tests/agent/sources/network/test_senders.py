"""Who sent a line, and what one sender can take of the agent: connections, time and memory."""

import array
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.waiting import free_port, until

from agent.sources.decoding.settings import ReadingSettings
from agent.sources.network import connections
from agent.sources.network.connections import IDLE, Connections
from agent.sources.network.listen import open_listener
from agent.sources.network.receiver import host_of

pytestmark = pytest.mark.usefixtures("no_thread_left")


class Sockets:
    """Senders to a TCP source, closed at the end, and a clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        port = free_port()
        source = open_listener(f"listen:tcp://127.0.0.1:{port}", None)
        assert isinstance(source, Connections)
        self.source, self._address, self._open = source, ("127.0.0.1", port), []
        source._clock = lambda: self.now

    def connect(self, host: str = "127.0.0.1") -> socket.socket:
        """A connection from an address of this host, which the source has accepted or refused."""
        sender = socket.create_connection(self._address, 5, (host, 0))
        self._open.append(sender)
        self.lines()
        return sender

    def lines(self) -> list[bytes]:
        """What comes in a few looks, each of which takes all that is there."""
        blocks = [self.source.read() for _ in range(3)]
        return [line for block in blocks if block is not None for line in block.lines()]

    def close(self) -> None:
        """Closes everything."""
        for sender in self._open:
            sender.close()
        self.source.close()


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    made = Sockets()
    yield made
    made.close()


def is_ended(sender: socket.socket) -> bool:
    """Whether the other side has closed a connection."""
    sender.setblocking(False)
    try:
        return not sender.recv(1)
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def peers(source: object, count: int) -> list[tuple[bytes, dict[str, str]]]:
    """At least so many lines, each with what is known of it beside."""
    found: list[tuple[bytes, dict[str, str]]] = []

    def look() -> bool:
        if (block := source.read()) is not None:
            found.extend((line, source.fields(index)) for index, line in enumerate(block.lines()))
        return len(found) >= count

    until(look)
    return found


def test_the_peer_of_each_line_is_its_connections_address_and_no_claim(sockets: Sockets) -> None:
    one, other = sockets.connect("127.0.0.1"), sockets.connect("127.0.0.2")
    one.sendall(b"<34>Nov 30 10:00:00 bank sshd[1]: a\n\n<34>b\n")
    other.sendall(b"6 <34>c\n")
    found = {line[-1:]: known["peer"] for line, known in peers(sockets.source, 3)}
    assert found == {b"a": "127.0.0.1", b"b": "127.0.0.1", b"c": "127.0.0.2"}


def test_the_peer_of_a_datagram_is_its_address() -> None:
    port = free_port(socket.SOCK_DGRAM)
    source = open_listener(f"listen:udp://127.0.0.1:{port}", None)
    with socket.socket(type=socket.SOCK_DGRAM) as sender:
        sender.bind(("127.0.0.3", 0))
        for datagram in (b"", b"one", b"\n", b"two"):
            sender.sendto(datagram, ("127.0.0.1", port))
    assert peers(source, 2) == [(b"one", {"peer": "127.0.0.3"}), (b"two", {"peer": "127.0.0.3"})]
    source.close()


def test_the_peer_of_a_unix_datagram_is_its_user_and_descriptors_are_not_taken(tmp_path: Path) -> None:
    path = os.fspath(tmp_path / "log")
    source = open_listener(f"listen:unix:{path}", None, ReadingSettings(100))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, open(__file__) as file:
        sender.connect(path)
        before = len(os.listdir("/proc/self/fd"))
        passed = array.array("i", [file.fileno()] * 20)
        sender.sendmsg([b"one"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)])
        sender.send(b"x" * 500)
        user = {"peer": f"uid {os.getuid()}"}
        assert peers(source, 2) == [(b"one", user), (b"x" * 100, user)]
        assert len(os.listdir("/proc/self/fd")) == before and source.cut_bytes == 400
    source.close()


@pytest.mark.parametrize(
    ("address", "host"),
    [("192.0.2.7", "192.0.2.7"), ("::ffff:192.0.2.7", "192.0.2.7"), ("2001:db8::1", "2001:db8::1")],
)
def test_an_address_of_ipv4_is_one_however_it_was_taken(address: str, host: str) -> None:
    assert host_of((address, 514)) == host


def test_a_connection_without_a_byte_ends_after_a_while(sockets: Sockets, said: list[str]) -> None:
    silent, busy, partial = sockets.connect(), sockets.connect(), sockets.connect()
    partial.sendall(b"a part")
    assert sockets.lines() == []
    sockets.now = IDLE - 1
    busy.sendall(b"one\n")
    assert sockets.lines() == [b"one"] and sockets.source.connected == 3
    sockets.now = IDLE + 1
    assert sockets.lines() == [b"a part"] and sockets.source.connected == 1
    assert is_ended(silent) and is_ended(partial) and not is_ended(busy)
    assert any("is ended: nothing came for 600 s" in text for text in said)
    assert sockets.source.losses == 1, "the message without an end alone"


def test_a_pause_of_the_reader_ends_no_connection_that_has_sent(sockets: Sockets) -> None:
    late = sockets.connect()
    late.sendall(b"late\n")
    sockets.now = 2 * IDLE
    assert sockets.lines() == [b"late"] and sockets.source.connected == 1


def test_one_address_cannot_take_all_connections(
    sockets: Sockets, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST_OF_PEER", 4)
    hogs = []
    for _ in range(10):
        sockets.now += 1
        hogs.append(sockets.connect())
    assert sockets.source.connected == 4 and [is_ended(hog) for hog in hogs] == [True] * 6 + [False] * 4
    assert sockets.source.losses == 6 and len(said) == 1
    assert "127.0.0.1 has more than 4 connections" in said[0] and "is ended for a new one" in said[0]
    other = sockets.connect("127.0.0.2")
    other.sendall(b"here\n")
    assert sockets.lines() == [b"here"] and sockets.source.connected == 5


def test_a_connection_that_has_sent_makes_no_room_for_another(
    sockets: Sockets, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST_OF_PEER", 2)
    held = [sockets.connect(), sockets.connect()]
    for sender in held:
        sender.sendall(b"waits\n")
    assert not sockets.source._has_room("127.0.0.1") and sockets.source._has_room("127.0.0.2")
    assert sockets.lines() == [b"waits"] * 2 and sockets.source.connected == 2


def test_what_is_held_of_unfinished_messages_is_bounded_in_all(
    sockets: Sockets, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_MOST_HELD", 100_000)
    senders = [sockets.connect() for _ in range(4)]
    for number, sender in enumerate(senders):
        sender.sendall(b"16000000 <34>" + b"%d" % number * (30_000 + number))
    lines: list[bytes] = []
    until(lambda: lines.extend(sockets.lines()) or sockets.source.connected < 4)
    assert [line[:3] for line in lines] == [b"333"] and len(lines[0]) == 30_003
    assert sockets.source._held == sum(one.framer.held for one in sockets.source._connections.values()) < 100_000
    assert "are held of unfinished messages, in the middle of a message" in said[0]
