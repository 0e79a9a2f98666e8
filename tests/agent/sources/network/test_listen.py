"""Syslog messages from sockets: every message one line, whatever it holds and however it is cut on the way."""

import os
import select
import signal
import socket
import stat
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from helpers.processes import require_program
from helpers.waiting import free_port, until, whole_lines
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import ConfigError, SourceError
from agent.sources.decoding.multiline import Multiline
from agent.sources.decoding.settings import ReadingSettings
from agent.sources.network.connections import Connections
from agent.sources.network.framing import MOST_COUNTED, Framer, one_line
from agent.sources.network.listen import open_listener, parse_listen
from agent.sources.network.receiver import Receiver

pytestmark = pytest.mark.usefixtures("no_thread_left")
STAMP = b"Mar  9 03:12:45"


@pytest.fixture
def listen() -> Iterator[Callable[..., Receiver]]:
    sources = []

    def make(name: str, mark: bytes | None = None, max_line: int = 65536) -> Receiver:
        sources.append(open_listener(name, mark, ReadingSettings(max_line)))
        return sources[-1]

    yield make
    for source in sources:
        source.close()


def wait(source: Receiver, seconds: float = 5.0) -> bool:
    return bool(select.select(list(source.descriptors), [], [], seconds)[0])


def some_lines(source: Receiver) -> list[bytes]:
    """What is there, in as many calls as it takes."""
    lines = []
    while wait(source, 0):
        block = source.read()
        lines += [] if block is None else list(block.lines())
    return lines


def lines_of(source: Receiver, count: int) -> list[bytes]:
    """At least `count` lines, waited for."""
    lines = []
    until(lambda: len(lines.extend(some_lines(source)) or lines) >= count)
    return lines


def udp(name: str, *datagrams: bytes) -> None:
    _, host, port = parse_listen(name)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for datagram in datagrams:
            sender.sendto(datagram, (host, port))


def tcp(name: str) -> socket.socket:
    return socket.create_connection(parse_listen(name)[1:], 5)


@pytest.fixture
def udp_name() -> str:
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return f"listen:udp://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def tcp_name() -> str:
    return f"listen:tcp://127.0.0.1:{free_port()}"


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (b"<13>%b web1 sshd[7]: hi" % STAMP, b"%b web1 sshd[7]: hi" % STAMP),
        (b"<34>1 2026-03-09T03:12:45.5Z web1 su - ID47 - hi", b"<34>1 2026-03-09T03:12:45.5Z web1 su - ID47 - hi"),
        (b"<165>1 - - - - - -", b"<165>1 - - - - - -"),
        (b"<13>1 thing is odd", b"1 thing is odd"),
        (b"<192>no PRI", b"<192>no PRI"),
        (b"<013>no PRI", b"<013>no PRI"),
        (b"<13>%b sshd[7]: hi" % STAMP, b"%b peer sshd[7]: hi" % STAMP),
        (b"<13>%b CRON: hi" % STAMP, b"%b peer CRON: hi" % STAMP),
        (b"<13>%b kernel:" % STAMP, b"%b peer kernel:" % STAMP),
        (b"<13>2026-03-09T03:12:45+01:00 su: hi", b"2026-03-09T03:12:45+01:00 peer su: hi"),
        (b"<13>%b fe80::1 su: hi" % STAMP, b"%b fe80::1 su: hi" % STAMP),
        (b"<13>one\ntwo\0three\ttab\x7f\r\n", b"one#012two#000three#011tab#177"),
        (b"<13>\n\0", b""),
        (b"", b""),
        ('<13>röd \\ "q" 🔥'.encode(), 'röd \\ "q" 🔥'.encode()),
        (b"\xff\xfe", b"\xff\xfe"),
    ],
)
def test_a_message_becomes_a_line(message: bytes, line: bytes) -> None:
    assert one_line((message, 0), b"peer", 1000) == (line, 0)


def test_a_long_message_is_cut_and_counted_once() -> None:
    assert one_line((b"<13>" + b"x" * 20, 5), b"peer", 10) == (b"x" * 10, 15)
    assert one_line((b"<13>xx\n\n\nx", 0), b"peer", 10) == (b"xx#012#012", 5)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_message_makes_two_lines(message: bytes) -> None:
    line, left_out = one_line((message, 0), b"peer", 40)
    assert not any(byte < 32 or byte == 127 for byte in line) and len(line) <= 40
    assert left_out == 0 or len(line) == 40


TEXT = st.binary(max_size=30).map(lambda text: b"<7>" + text.replace(b"\n", b"."))
RAW = st.sampled_from([b"181109 203615 148 INFO x", b"12 monkeys", b"1", b"12345678901 <", b"plain", b"9999 ", b""])


@settings(deadline=None)
@given(st.lists(st.one_of(TEXT.map(lambda text: (True, text)), st.tuples(st.just(False), TEXT | RAW))), st.data())
def test_framing_is_recognised_however_it_is_cut(messages: list[tuple[bool, bytes]], data: st.DataObject) -> None:
    messages = [(counted, text if counted else text.replace(b"\0", b"")) for counted, text in messages]
    stream = b"".join(b"%d %b" % (len(text), text) if counted else text + b"\n" for counted, text in messages)
    framer, found = Framer(1000, lambda complaint: None), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += framer.feed(stream[:size])
        stream = stream[size:]
    assert [message for message in found if message[0]] == [(text, 0) for _, text in messages if text]
    assert framer.finish() is None and framer.partial == 0


def test_a_counted_message_may_hold_line_feeds() -> None:
    framer = Framer(1000, pytest.fail)
    assert framer.feed(b"9 <13>a\nb\n\n10 <13>c\n<1>d<13>e\n") == [
        (b"<13>a\nb\n\n"[:9], 0),
        (b"<13>c\n<1>d", 0),
        (b"<13>e", 0),
    ]


def test_only_the_head_of_a_long_message_is_held() -> None:
    framer = Framer(10, lambda complaint: None)
    for _ in range(1000):
        assert framer.feed(b"x" * 1000) == []
    assert len(framer._head) == 10 and framer.partial == 1_000_000
    assert framer.feed(b"\n20 <7>" + b"y" * 28) == [(b"x" * 10, 999_990), (b"<7>" + b"y" * 7, 10)]
    assert framer.finish() == (b"y" * 10, 1)


def test_a_count_that_cannot_be_meant_ends_at_the_line_feed() -> None:
    complaints = []
    framer = Framer(100, complaints.append)
    assert framer.feed(b"%d <7>\nnext\n" % (MOST_COUNTED + 1)) == [(b"16777217 <7>", 0), (b"next", 0)]
    assert len(complaints) == 1 and "16777217 bytes is announced" in complaints[0]


def test_datagrams_are_lines(listen: Callable[..., Receiver], udp_name: str, said: list[str]) -> None:
    source = listen(udp_name)
    assert source.read() is None
    datagrams = [
        b"<13>%b web1 su: one\ntwo" % STAMP,
        b"",
        b"\0\n",
        b"\xff\0",
        b"<13>%b su: %b" % (STAMP, b"x" * 60_000),
    ]
    udp(udp_name, *datagrams)
    assert wait(source)
    block = source.read()
    assert list(block.lines()) == [
        b"%b web1 su: one#012two" % STAMP,
        b"\xff",
        b"%b 127.0.0.1 su: " % STAMP + b"x" * 60_000,
    ]
    assert (block.source, block.first, source.lines_read) == (udp_name, 1, 3)
    assert (source.bytes_taken, source.bytes_read) == (sum(map(len, datagrams)), len(block.data))
    assert (said, source.losses, source.ended) == ([], 0, False)


def test_one_call_takes_a_bounded_number_of_datagrams(listen: Callable[..., Receiver], udp_name: str) -> None:
    source = listen(udp_name)
    udp(udp_name, *[b"", b"x"] * 100)
    assert 1 <= len(source.read(1000)) < 20
    assert len(some_lines(source)) > 80


def test_long_datagrams_are_cut(listen: Callable[..., Receiver], udp_name: str, said: list[str]) -> None:
    source = listen(udp_name, max_line=100)
    udp(udp_name, b"<13>" + b"x" * 100, b"<13>" + b"y" * 1000, b"\n" * 60 + b"z")
    assert lines_of(source, 3) == [b"x" * 100, b"y" * 100, b"#012" * 25]
    assert (source.cut_lines, source.cut_bytes) == (2, 900 + 141)
    (sentence,) = said
    assert sentence.startswith(
        f"{udp_name}: a message of 127.0.0.1 is longer than max_line (100 bytes): its head is scored, the rest, 900 "
    )


def test_dropped_datagrams_are_counted(listen: Callable[..., Receiver], udp_name: str, said: list[str]) -> None:
    source = listen(udp_name)
    source._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    udp(udp_name, *[b"x" * 500] * 200)
    got = len(some_lines(source))
    assert 0 < got < 200 and source.losses == 200 - got
    assert len(said) == 1 and f"the kernel dropped {200 - got} datagrams" in said[0]


def test_a_system_that_fails_at_a_socket_is_told(
    listen: Callable[..., Receiver], udp_name: str, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(100, "Network is down")

    source = listen(udp_name)
    source.drain()
    with monkeypatch.context() as broken:
        broken.setattr(socket.socket, "recvfrom_into", fail)
        broken.setattr(socket.socket, "getsockopt", fail)
        assert source.read() is None and source.read() is None and not source.ended
    assert len(said) == 2 and said[0].endswith("nothing can be received: Network is down; trying again")
    assert "does not tell how many datagrams it drops" in said[1]
    udp(udp_name, b"one")
    assert lines_of(source, 1) == [b"one"]


def test_udp_has_a_large_buffer(listen: Callable[..., Receiver], udp_name: str) -> None:
    source = listen(udp_name)
    udp(udp_name, *[b"%04d" % number + b"x" * 1000 for number in range(1000)])
    assert [line[:4] for line in lines_of(source, 1000)] == [b"%04d" % number for number in range(1000)]


def test_a_restart_tells_that_udp_keeps_nothing(
    listen: Callable[..., Receiver], udp_name: str, tcp_name: str, tmp_path: Path, said: list[str]
) -> None:
    first = listen(udp_name)
    udp(udp_name, b"one")
    assert lines_of(first, 1) == [b"one"]
    first.close()
    second = listen(udp_name, first.checkpoint)
    udp(udp_name, b"two")
    assert wait(second)
    block = second.read()
    assert (block.first, block.offsets.tolist(), second.identity) == (2, [4], first.identity)
    assert second.losses == 1
    assert said == [f"{udp_name}: what was sent while nobody listened is lost, since UDP keeps nothing"]
    listen(tcp_name, first.checkpoint)
    listen(f"listen:unix:{tmp_path}/log", first.checkpoint)
    assert len(said) == 1, "there the sender knows"


def test_an_address_of_ip_version_6(listen: Callable[..., Receiver], udp_name: str) -> None:
    name = udp_name.replace("127.0.0.1", "[::1]")
    try:
        source = listen(name)
    except SourceError:
        pytest.skip("this host has no IPv6")
    udp(name, b"<13>%b su: hi" % STAMP)
    assert lines_of(source, 1) == [b"%b ::1 su: hi" % STAMP]


def test_without_a_host_nobody_else_can_send() -> None:
    assert parse_listen("listen:udp://:514") == (socket.SOCK_DGRAM, "127.0.0.1", 514)
    assert parse_listen("listen:tcp://[::]:65535") == (socket.SOCK_STREAM, "::", 65535)


@pytest.mark.parametrize(
    "name",
    [
        *("listen:", "listen:udp", "listen:udp://", "listen:udp://h", "listen:udp://h:0", "listen:udp://h:65536"),
        *("listen:tls://h:1", "listen:udp://::1:514", "listen:tcp://h:1/x", "listen:tcp://h:x", "listen:unix:"),
        *("listen:unix:/" + "x" * 107, "listen:unix:/a\0b"),
    ],
)
def test_an_address_that_is_not_understood_is_refused(name: str, said: list[str]) -> None:
    with pytest.raises(ConfigError, match="is not understood; write listen:"):
        open_listener(name, None)


def test_a_message_is_a_line_of_its_own(udp_name: str, said: list[str]) -> None:
    for reading in (ReadingSettings(encoding="utf-16"), ReadingSettings(multiline=Multiline(indentation=True))):
        with pytest.raises(ConfigError, match="encoding and multiline are for files and pipes"):
            open_listener(udp_name, None, reading)


def test_what_looks_like_another_encoding_is_none(listen: Callable[..., Receiver], udp_name: str) -> None:
    source = listen(udp_name)
    udp(udp_name, b"\xff\xfea", b"plain")
    assert lines_of(source, 2) == [b"\xff\xfea", b"plain"]


def test_an_address_that_cannot_be_had_is_refused(
    listen: Callable[..., Receiver], udp_name: str, tcp_name: str, said: list[str]
) -> None:
    listen(udp_name)
    listen(tcp_name)
    before = len(os.listdir("/proc/self/fd"))
    wrong = {
        udp_name: "another program listens there .*; choose another or stop it",
        tcp_name: "another program listens there",
        "listen:tcp://192.0.2.1:5140": "this host has no such address",
        "listen:udp://no-such-host.invalid:5140": "check the host",
    }
    for name, message in wrong.items():
        with pytest.raises(SourceError, match=message):
            open_listener(name, None)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_port_without_permission_is_told(monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    def refuse(self: object, address: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(SourceError, match="choose a port above 1023 or give the service CAP_NET_BIND_SERVICE"):
        open_listener("listen:udp://:514", None)


def test_connections_keep_their_lines_in_order(listen: Callable[..., Receiver], tcp_name: str, said: list[str]) -> None:
    source, lines = listen(tcp_name), []
    senders = [tcp(tcp_name) for _ in range(20)]
    for number in range(50):
        for index, sender in enumerate(senders):
            text = b"<13>%02d %d" % (index, number)
            sender.sendall(b"%d %b" % (len(text), text) if number % 2 else text + b"\n")
        lines += some_lines(source)
    for sender in senders:
        sender.close()
    lines += lines_of(source, 1000 - len(lines))
    for index in range(20):
        mine = [line for line in lines if line.startswith(b"%02d" % index)]
        assert mine == [b"%02d %d" % (index, number) for number in range(50)]
    until(lambda: some_lines(source) or not source.connected)
    assert (said, source.losses, source.bytes_read > 0) == ([], 0, True)


def test_a_connection_wakes_the_same_descriptor(listen: Callable[..., Receiver], tcp_name: str) -> None:
    source = listen(tcp_name)
    descriptors = source.descriptors
    assert not wait(source, 0)
    with tcp(tcp_name) as sender:
        assert wait(source) and source.read() is None and not wait(source, 0)
        sender.sendall(b"one\n")
        assert wait(source) and list(source.read().lines()) == [b"one"] and not wait(source, 0)
        assert source.descriptors == descriptors


def test_what_a_broken_connection_left_is_read_and_told(
    listen: Callable[..., Receiver], tcp_name: str, said: list[str]
) -> None:
    source = listen(tcp_name)
    with tcp(tcp_name) as sender:
        sender.sendall(b"100 <13>a part")
        peer = f"127.0.0.1:{sender.getsockname()[1]}"
    assert lines_of(source, 1) == [b"a part"]
    wanted = f"the connection of {peer} ended in the middle of a message; the 10 bytes of it that came are read"
    assert len(said) == 1 and wanted in said[0] and source.losses == 1


def test_a_reset_connection_is_told(listen: Callable[..., Receiver], tcp_name: str, said: list[str]) -> None:
    source = listen(tcp_name)
    with tcp(tcp_name) as sender:
        sender.sendall(b"one\ntwo")
        assert lines_of(source, 1) == [b"one"]
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert lines_of(source, 1) == [b"two"]
    assert "was broken off (Connection reset by peer) in the middle" in said[0] and not source.connected


def test_an_endless_message_is_cut(listen: Callable[..., Receiver], tcp_name: str, said: list[str]) -> None:
    source = listen(tcp_name, max_line=100)
    with tcp(tcp_name) as sender:
        for _ in range(20):
            sender.sendall(b"x" * 10_000)
            until(lambda: some_lines(source) or True)
        sender.sendall(b"\nnext\n")
        assert lines_of(source, 2) == [b"x" * 100, b"next"]
    assert (source.cut_lines, source.cut_bytes) == (1, 199_900)
    assert len(said) == 1 and "is longer than max_line (100 bytes)" in said[0]


def test_a_busy_sender_does_not_starve_the_others(listen: Callable[..., Receiver], tcp_name: str) -> None:
    source = listen(tcp_name)
    with tcp(tcp_name) as busy, tcp(tcp_name) as other:
        busy.setblocking(False)
        other.sendall(b"<13>here\n")
        seen = False
        for _ in range(40):
            with suppress(BlockingIOError):
                busy.send(b"noise\n" * 20_000)
            block = source.read(1 << 16)
            seen = seen or (block is not None and b"here" in block.lines())
        assert seen


def test_one_call_takes_a_part_of_many_connections(listen: Callable[..., Receiver], tcp_name: str) -> None:
    source, lines = listen(tcp_name), []
    senders = [tcp(tcp_name) for _ in range(10)]
    until(lambda: source.read() or source.connected == 10)
    for index, sender in enumerate(senders):
        sender.sendall(b"%d\n" % index)
    while len(lines) < 10:
        assert wait(source)
        block = source.read(1 << 17)
        assert block is not None and len(block) <= 2
        lines += block.lines()
    assert sorted(lines) == [b"%d" % index for index in range(10)]
    for sender in senders:
        sender.close()


def test_too_many_connections_are_refused(
    listen: Callable[..., Receiver], tcp_name: str, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.sources.network.connections.MOST_CONNECTIONS", 3)
    source = listen(tcp_name)
    senders = [tcp(tcp_name) for _ in range(5)]
    until(lambda: some_lines(source) or source.losses == 2)
    assert senders[4].recv(10) == b"" and len(said) == 1 and "is refused: there are 3 already" in said[0]
    senders[0].close()
    until(lambda: some_lines(source) or source.connected == 2)
    with tcp(tcp_name) as sender:
        sender.sendall(b"room\n")
        assert lines_of(source, 1) == [b"room"]
    for sender in senders:
        sender.close()


def test_a_lack_of_descriptors_is_a_pause(tcp_name: str, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    source = open_listener(tcp_name, None)
    assert isinstance(source, Connections)
    source._clock = lambda: now[0]
    whole = socket.socket.accept

    def fail(self: socket.socket) -> None:
        raise OSError(24, "Too many open files")

    with tcp(tcp_name) as sender:
        monkeypatch.setattr(socket.socket, "accept", fail)
        assert wait(source) and source.read() is None
        assert not wait(source, 0), "the loop must not be woken all the time"
        assert len(said) == 1 and "a connection cannot be accepted: Too many open files; trying again" in said[0]
        monkeypatch.setattr(socket.socket, "accept", whole)
        now[0] = 2.0
        sender.sendall(b"one\n")
        source.read()
        assert lines_of(source, 1) == [b"one"]
    source.close()


def test_a_run_that_does_not_wait_ends_when_nothing_is_there(
    listen: Callable[..., Receiver], tcp_name: str, udp_name: str, said: list[str]
) -> None:
    source = listen(tcp_name)
    with tcp(tcp_name) as sender:
        sender.sendall(b"one\ntwo")
        source.drain()
        assert lines_of(source, 1) == [b"one"]
        assert source.read() is None and source.ended
        assert list(source.finish().lines()) == [b"two"] and source.losses == 1 and len(said) == 1
    datagrams = listen(udp_name)
    udp(udp_name, b"one")
    datagrams.drain()
    assert lines_of(datagrams, 1) == [b"one"]
    assert datagrams.read() is None and datagrams.ended


def test_a_close_gives_everything_back_and_tells_what_is_lost(tcp_name: str, said: list[str]) -> None:
    before = len(os.listdir("/proc/self/fd"))
    source = open_listener(tcp_name, None)
    with tcp(tcp_name) as sender:
        sender.sendall(b"one\ntwo")
        assert lines_of(source, 1) == [b"one"]
        source.close()
        source.close()
    assert said == [f"{tcp_name}: 1 messages have no end; the 3 bytes that came are lost"]
    assert (source.losses, source.bytes_lost, source.read(), source.descriptors) == (1, 3, None, ())
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_unix_socket(listen: Callable[..., Receiver], tmp_path: Path, said: list[str]) -> None:
    path = tmp_path / "log"
    source = listen(f"listen:unix:{path}", max_line=200_000)
    mode = path.stat().st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o660
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(os.fspath(path))
        for datagram in (b"<13>%b su: one\ntwo" % STAMP, b"", b"x" * 150_000):
            sender.send(datagram)
    host = socket.gethostname().encode()
    assert lines_of(source, 2) == [b"%b %b su: one#012two" % (STAMP, host), b"x" * 150_000]
    source.close()
    source.close()
    assert not path.exists() and source.read() is None and said == []


def test_the_socket_of_a_killed_process_is_replaced(listen: Callable[..., Receiver], tmp_path: Path) -> None:
    path = tmp_path / "log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as killed:
        killed.bind(os.fspath(path))
    first = listen(f"listen:unix:{path}")
    with pytest.raises(SourceError, match="another program has the socket; choose another path"):
        listen(f"listen:unix:{path}")
    path.unlink()
    second = listen(f"listen:unix:{path}")
    first.close()
    assert path.exists(), "it is another's now"
    second.close()
    assert not path.exists()


def test_a_path_that_is_no_socket_is_kept(tmp_path: Path, said: list[str]) -> None:
    (tmp_path / "log").write_bytes(b"precious")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(SourceError, match="log exists and is no socket; choose another path"):
        open_listener(f"listen:unix:{tmp_path}/log", None)
    with pytest.raises(SourceError, match="No such file or directory; check the folder"):
        open_listener(f"listen:unix:{tmp_path}/none/log", None)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(f"{tmp_path}/stream")
        other.listen()
        with pytest.raises(SourceError, match="another program has the socket"):
            open_listener(f"listen:unix:{tmp_path}/stream", None)
    assert (tmp_path / "log").read_bytes() == b"precious"
    assert len(os.listdir("/proc/self/fd")) == before


CONFIG = """
global(workDirectory="@DIR@" maxMessageSize="64k")
module(load="imuxsock" SysSock.Use="off")
module(load="omuxsock")
template(name="plain" type="string" string="%TIMESTAMP% %HOSTNAME% %syslogtag%%msg:::sp-if-no-1st-sp%%msg%\\n")
ruleset(name="all") {
  action(type="omfile" file="@DIR@/file" template="plain" asyncWriting="off" flushOnTXEnd="on")
  @ACTION@
}
$RulesetCreateMainQueue on
input(type="imuxsock" Socket="@DIR@/in" RateLimit.Interval="0" ruleset="all")
"""
_FORWARD = 'action(type="omfwd" target="127.0.0.1" port="@PORT@" protocol="@KIND@" @MORE@)'
_FORMS = {
    "udp": ("udp", _FORWARD, ""),
    "tcp": ("tcp", _FORWARD, ""),
    "tcp-counted": ("tcp", _FORWARD, 'TCP_Framing="octet-counted"'),
    "tcp-rfc5424": ("tcp", _FORWARD, 'TCP_Framing="octet-counted" template="RSYSLOG_SyslogProtocol23Format"'),
    "unix": ("unix", "$OMUxSockSocket @DIR@/out\n*.* :omuxsock:", ""),
}
MESSAGES = [
    'tray "7" is [on fire] \\ % <13>1',
    "röd ünï 🔥",
    "first\nsecond\n\tthird",
    "escape \x1b[31m and bell \x07",
    "long " + "x" * 7000,
    *(f"number {n}" for n in range(200)),
]


@pytest.fixture
def forwarding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Path]]:
    """Starts a real rsyslogd of our own that forwards what is sent to its socket; gives its folder."""
    program, running = require_program("rsyslogd"), []

    def start(form: str, port: str) -> Path:
        folder = tmp_path_factory.mktemp("rsyslog")
        kind, action, more = _FORMS[form]
        text = CONFIG.replace("@ACTION@", action).replace("@MORE@", more).replace("@KIND@", kind)
        (folder / "conf").write_text(text.replace("@DIR@", str(folder)).replace("@PORT@", port))
        command = [program, "-n", "-f", folder / "conf", "-i", folder / "pid"]
        with open(folder / "err", "wb") as errors:
            running.append(subprocess.Popen(command, stdout=errors, stderr=errors))
        until((folder / "in").exists)
        return folder

    yield start
    for process in running:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@pytest.mark.parametrize("form", _FORMS)
def test_a_real_rsyslog_forwards_what_it_would_write(
    form: str, forwarding: Callable[..., Path], listen: Callable[..., Receiver], tmp_path: Path, said: list[str]
) -> None:
    port = str(free_port())
    folder = forwarding(form, port)
    kind = _FORMS[form][0]
    source = listen(f"listen:unix:{folder}/out" if kind == "unix" else f"listen:{kind}://:{port}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(f"{folder}/in")
        for text in MESSAGES:
            sender.send(b"<13>%b su[7]: %b" % (time.strftime("%b %e %H:%M:%S").encode(), text.encode()))
    lines = lines_of(source, len(MESSAGES))
    until(lambda: len(whole_lines(folder / "file")) == len(MESSAGES))
    written = whole_lines(folder / "file")
    if form == "tcp-rfc5424":
        assert all(line.startswith(b"<13>1 20") for line in lines)
        assert [line.partition(b" - - ")[2] for line in lines] == [line.partition(b"su[7]:")[2] for line in written]
    else:
        assert lines == written, (folder / "err").read_text()
    assert b"first#012second#012#011third" in lines[2] and len(lines[4]) > 7000
    assert said == [] and source.losses == 0
