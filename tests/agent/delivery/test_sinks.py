"""The sinks: what they write, byte by byte, and how they take a destination that is not there, closes, or is slow."""

import io
import json
import os
import re
import signal
import socket
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import agent.delivery.sinks.syslog
from agent.alerting.alert import Alert
from agent.alerting.message import MAX_TEXT, alert_text, why
from agent.delivery.sinks import FORMS, open_sink, parse_destination
from agent.delivery.sinks.console import ConsoleSink, render
from agent.delivery.sinks.jsonl import JsonlSink
from agent.delivery.sinks.syslog import (
    TcpSink,
    UdpSink,
    UnixSink,
    count_octets,
    header_field,
    local_datagram,
    rfc5424,
    structured_data,
)
from agent.errors import ConfigError
from agent.scoring.reasons import DistanceReason, KnownText, Reason, decode_reason

pytestmark = pytest.mark.usefixtures("no_thread_left")
PARAMETER = re.compile(r' ([a-z_0-9]+)="((?:\\["\\\]]|[^"\\\]])*)"')  # RFC 5424 6: PARAM-VALUE
NOW = datetime(2026, 3, 9, 3, 12, 45, 120000, timezone(timedelta(hours=1)))


def alert_of(text: str, number: int = 1) -> Alert:
    """An alert with `text` in every place that holds one."""
    reason = DistanceReason(
        new_text=True, unknown_words=[text], nearest=KnownText(text, 1.5), expected=KnownText(text, 2.5)
    )
    origin = (text, text, text, text, number, number, text, text, text)
    return Alert(*origin, 3.2, 1.2, 0.5, "low", text, reason, [text], 2, text, text)


# text


def test_the_text_tells_what_why_how_odd_and_where(make_alert):
    assert alert_text(make_alert(12, count=10)) == (
        'high anomaly: cupsd: paper tray 12 is on fire | why: never seen; unknown words: "fire"; '
        'nearest known: "paper tray <num> is empty"; expected: "job <num> is done" '
        "| score 3.214 over 1.2 (p<0.0001), /var/log/syslog line 12, seen 10 times"
    )


def test_the_text_of_a_known_line_in_the_wrong_place(make_alert):
    reason = {
        "kind": "distance",
        "new_text": False,
        "unknown_words": [],
        "nearest": None,
        "expected": {"text": "door is shut"},
    }
    assert alert_text(make_alert(3, program="", message="door opens", reason=reason, p_value=0.0123)) == (
        'high anomaly: door opens | why: a known line, but not in this place; expected: "door is shut" '
        "| score 3.214 over 1.2 (p=0.012), /var/log/syslog line 3"
    )


def test_the_sender_of_a_line_is_told_in_every_form_where_it_is_known(make_alert, capsys, tmp_path):
    alert = make_alert(12, source="listen:tcp://:514", peer="192.0.2.7")
    assert alert_text(alert).endswith("(p<0.0001), listen:tcp://:514 line 12 from 192.0.2.7")
    assert ' line="12" peer="192.0.2.7" ' in structured_data(alert)
    assert "peer=" not in structured_data(make_alert(12)) and " from " not in alert_text(make_alert(12))
    for sink in ("console:", f"jsonl:{tmp_path}/alerts"):
        open_sink(sink, "h", str).send(alert)
    assert "web1.example.org listen:tcp://:514:12 from 192.0.2.7\n" in capsys.readouterr().out
    assert json.loads((tmp_path / "alerts").read_text())["peer"] == "192.0.2.7"


def test_a_long_peer_leaves_the_text_short(make_alert):
    text = alert_text(make_alert(peer="p" * 900, message="m" * 900, source="/" + "s" * 900))
    assert len(text.encode()) <= MAX_TEXT and " from pppp" in text


def test_a_program_that_the_message_names_is_not_named_again(make_alert):
    text = alert_text(make_alert(message="cupsd[7]: all trays burn"))
    assert text.startswith("high anomaly: cupsd[7]: all trays burn |")


def test_a_program_that_the_message_only_mentions_is_named(make_alert):
    text = alert_text(make_alert(message="the cupsd of old is gone"))
    assert text.startswith("high anomaly: cupsd: the cupsd of old is gone |")


def test_many_unknown_words_are_counted(make_alert):
    text = alert_text(make_alert(reason={"kind": "distance", "new_text": True, "unknown_words": list("abcdef")}))
    assert 'unknown words: "a", "b", "c", "d" and 2 more |' in text


@given(st.text(max_size=3000), st.integers(0, 2**63))
def test_the_text_is_one_short_printable_line(text, number):
    said = alert_text(alert_of(text, number))
    assert len(said.encode()) <= MAX_TEXT and said.isprintable()


def test_cutting_keeps_every_part(make_alert):
    known = {"text": "k" * 5000}
    reason = {
        "kind": "distance",
        "new_text": True,
        "unknown_words": ["w" * 900] * 9999,
        "nearest": known,
        "expected": known,
    }
    places = {"message": "é" * 2000, "program": "p" * 900, "source": "/" + "s" * 900, "severity": "critical"}
    figures = {"score": 1.2345e-100, "threshold": 1.2345e-100, "p_value": 0.00012, "count": 10**9}
    text = alert_text(make_alert(10**12, reason=reason, peer="p" * 99, **places, **figures))
    assert len(text.encode()) <= MAX_TEXT
    assert all(
        part in text
        for part in (
            "why: never seen",
            "nearest known:",
            "expected:",
            "score 1.234e-100",
            "line 1000000000000 from",
        )
    )


def surprise(words: list[dict[str, Any]], **more: object) -> dict[str, Any]:
    """A reason of a language model."""
    return {"kind": "surprise", "new_text": True, "words": words, **more}


def test_the_text_of_a_surprise_names_the_words_and_what_was_expected(make_alert):
    expected = [{"text": "session", "p": 0.6}, {"text": "connection", "p": 0.1}, {"text": "link", "p": 0.1}]
    words = [
        {"text": "melting", "unknown": True, "bits": 14.23, "expected": expected},
        {"text": "panic", "bits": 9.1, "expected": [{"text": "job", "p": 0.019}]},
        {"text": "", "end": True, "bits": 4.0, "expected": [{"text": "<unk>", "p": 0.3, "unknown": True}]},
        {"text": "fourth", "bits": 3.9},
    ]
    assert alert_text(make_alert(3, message="panic", reason=surprise(words))) == (
        'high anomaly: cupsd: panic | why: never seen; surprising: unknown "melting" 14.2 bits '
        '(expected "session", "connection"), "panic" 9.1 bits, the line\'s end 4.0 bits (expected an unknown one) '
        "| score 3.214 over 1.2 (p<0.0001), /var/log/syslog line 3"
    )


def test_the_text_of_a_surprise_in_a_record_names_the_fields(make_alert):
    likely = [{"text": "ws1", "p": 0.5}, {"text": "</s>", "p": 0.2, "end": True}]
    unknown = [{"text": f"<unk {part}>", "p": 0.4, "unknown": True} for part in ("pc", "auth")]
    words = [
        {"text": "ws9", "field": "pc", "bits": 13.3, "expected": likely},
        {"text": "", "field": "auth", "bits": 2, "expected": unknown},
    ]
    assert why(make_alert(reason=surprise(words))) == (
        'never seen; surprising: pc "ws9" 13.3 bits (expected "ws1", the line\'s end), '
        'auth "" 2.0 bits (expected an unknown one)'
    )


@pytest.mark.parametrize(
    ("carried", "said"), [(True, "a known line, but rare here"), (False, "a known line, but a rare one")]
)
def test_a_known_line_is_rare_and_not_misplaced_to_a_model_of_lines(make_alert, carried, said):
    assert why(make_alert(reason=surprise([], new_text=False, carried=carried))) == said


def test_an_empty_line_is_said_to_be_one(make_alert):
    alert = make_alert(program="", message="", reason=surprise([{"text": "", "bits": 14.6}]))
    assert alert_text(alert).startswith(
        "high anomaly: (empty line) | why: never seen; surprising: an empty line 14.6 bits |"
    )


hostile_words = st.lists(
    st.fixed_dictionaries(
        {"text": st.text(max_size=300), "bits": st.floats(0, 1e9)},
        optional={
            "field": st.text(max_size=300),
            "unknown": st.just(True),
            "end": st.just(True),
            "expected": st.lists(
                st.fixed_dictionaries({"text": st.text(max_size=300), "p": st.floats(0, 1)}), max_size=3
            ),
        },
    ),
    max_size=5,
)


def hostile_alert(words: list[dict[str, Any]], text: str, number: int) -> Alert:
    alert = alert_of(text, number)
    tokens = [{"expected": [], **word} for word in words]
    reason = surprise(words, tokens=tokens, tokenizer="char" if number % 2 else "fields", carried=True)
    alert.reason = decode_reason(Reason, reason)
    return alert


@given(hostile_words, st.text(max_size=900), st.integers(0, 2**63))
def test_a_surprise_is_told_in_one_short_printable_line(words, text, number):
    said = alert_text(hostile_alert(words, text, number))
    assert len(said.encode()) <= MAX_TEXT and said.isprintable()
    assert ("surprising: " in why(hostile_alert(words, text, number))) == bool(words)


def test_cutting_keeps_every_part_of_a_surprise(make_alert):
    word = {"text": "é" * 900, "field": "f" * 900, "unknown": True, "bits": 123456.7}
    words = [word | {"expected": [{"text": "é" * 900 + mark, "p": 0.4} for mark in "ab"]}] * 3
    places = {"message": "é" * 2000, "program": "p" * 900, "source": "/" + "s" * 900, "severity": "critical"}
    figures = {"score": 1.2345e-100, "threshold": 1.2345e-100, "p_value": 0.00012, "count": 10**9}
    text = alert_text(make_alert(10**12, reason=surprise(words), peer="p" * 99, **places, **figures))
    assert len(text.encode()) <= MAX_TEXT
    parts = ("unknown ffff", "123456.7 bits (expected", "score 1.234e-100", "line 1000000000000 from")
    assert all(part in text for part in parts) and text.count(" bits") >= 2


# syslog


def test_the_local_form(make_alert):
    when = datetime(2026, 1, 5, 9, 8, 7)
    assert local_datagram(make_alert(severity="critical"), "text é", when, 42) == (
        "<26>Jan  5 09:08:07 oddline[42]: text é".encode()
    )


@pytest.mark.parametrize(("severity", "code"), [("critical", 26), ("high", 27), ("medium", 28), ("low", 29)])
def test_the_severity_is_syslogs(make_alert, severity, code):
    alert = make_alert(severity=severity)
    assert local_datagram(alert, "t", NOW, 1).startswith(b"<%d>" % code)
    assert rfc5424(alert, "t", NOW, 1, "h").startswith(b"<%d>1 " % code)


def test_the_network_form(make_alert):
    alert = make_alert(
        7, stream='a"b\\c]d', message="x", reason={"kind": "distance", "new_text": False}, p_value=0.00123
    )
    assert rfc5424(alert, "the text", NOW, 42, "gate").decode() == (
        "<27>1 2026-03-09T03:12:45.120000+01:00 gate oddline 42 anomaly "
        '[oddline@32473 id="0000000000000007" time="2026-03-09T03:12:45.5+01:00" severity="high" score="3.214" '
        'threshold="1.2" p="0.00123" host="web1.example.org" source="/var/log/syslog" offset="700" line="7" '
        'stream="a\\"b\\\\c\\]d" program="cupsd" bundle="default" count="1" '
        'first_seen="2026-03-09T03:12:45.5+01:00" last_seen="2026-03-09T03:12:45.5+01:00" new="0"] the text'
    )


@given(st.text(max_size=1000))
def test_structured_data_can_be_read_back(text):
    data = structured_data(alert_of(text))
    assert data.startswith("[oddline@32473 ") and data.endswith("]")
    body = data.removeprefix("[oddline@32473")[:-1]
    assert PARAMETER.sub("", body) == "", "nothing but parameters, each escaped as it must be"
    read = {name: re.sub(r'\\(["\\\]])', r"\1", value) for name, value in PARAMETER.findall(body)}
    assert read["stream"] == agent.delivery.sinks.syslog.escape(text, 512)
    assert read["program"] == agent.delivery.sinks.syslog.escape(text, 255)
    assert read["line"] == "1" and read["new"] == "1" and len(read) == 17
    assert data.isprintable()


@given(st.text(max_size=400))
def test_header_fields_are_printable_ascii(text):
    field = header_field(text, 255)
    assert re.fullmatch(r"[!-~]{1,255}", field)


@given(st.text(max_size=9000))
def test_every_message_is_utf8_without_mark_and_fits_a_datagram(text):
    alert = alert_of(text)
    message = rfc5424(alert, alert_text(alert), NOW, 2**22, text)
    assert len(message) <= 8192 and b"\n" not in message
    assert not message.startswith(b"\xef\xbb\xbf") and message.decode().isprintable()


@given(st.lists(st.binary(max_size=300)))
def test_counted_frames_can_be_taken_apart(messages):
    stream, found = b"".join(map(count_octets, messages)), []
    while stream:
        length, _, rest = stream.partition(b" ")
        assert length.isdigit() and not (length.startswith(b"0") and length != b"0")
        found.append(rest[: int(length)])
        stream = rest[int(length) :]
    assert found == messages


# sockets


class Listener:
    """A TCP or Unix stream server of one connection at a time, whose bytes are read when asked for."""

    def __init__(self, address, family=socket.AF_INET):
        self.socket = socket.socket(family)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(address)
        self.socket.listen()
        self.socket.settimeout(30)
        self.connection = None

    def accept(self):
        if self.connection:
            self.connection.close()
        self.connection = self.socket.accept()[0]
        self.connection.settimeout(30)

    def close(self):
        if self.connection:
            self.connection.close()
        self.socket.close()


@pytest.fixture
def listener():
    listener = Listener(("127.0.0.1", 0))
    yield listener
    listener.close()


def tcp_sink(listener):
    return TcpSink("tcp", listener.socket.getsockname(), "h", lambda text: f"#seal {text}")


def test_tcp_counts_octets_and_seals(listener, make_alert):
    sink = tcp_sink(listener)
    sink.send(make_alert(1, message="ö"))
    listener.accept()
    length, _, message = listener.connection.recv(65536).partition(b" ")
    assert int(length) == len(message)
    assert b"] #seal high anomaly: cupsd: \xc3\xb6 | why" in message
    sink.close()


def test_tcp_notices_a_peer_that_closed_before_it_sends(listener, make_alert):
    sink = tcp_sink(listener)
    sink.send(make_alert(1))
    listener.accept()
    listener.connection.recv(65536)
    listener.connection.close()
    sink.send(make_alert(2))
    listener.accept()
    assert b'line="2"' in listener.connection.recv(65536)
    sink.close()


def test_tcp_notices_a_peer_that_drops_what_was_sent(listener, make_alert):
    sink = tcp_sink(listener)
    sink.send(make_alert(1))
    listener.accept()
    listener.connection.close()  # unread data: a reset
    listener.socket.close()
    with pytest.raises(OSError, match="refused"):
        sink.send(make_alert(2))
    with pytest.raises(OSError, match="refused"):
        sink.send(make_alert(2))


def test_tcp_does_not_mind_a_peer_that_talks(listener, make_alert):
    sink = tcp_sink(listener)
    sink.send(make_alert(1))
    listener.accept()
    listener.connection.sendall(b"hello" * 2000)
    sink.send(make_alert(2))
    received = b""
    while b'line="2"' not in received:
        received += listener.connection.recv(65536)
    sink.close()


def test_tcp_notices_a_peer_that_will_close_behind_what_it_said(listener, make_alert):
    sink = tcp_sink(listener)
    sink.send(make_alert(1))
    listener.accept()
    with listener.connection as first:
        first.sendall(b"bye" * 5000)
        first.shutdown(socket.SHUT_WR)
        listener.connection = None
        sink.send(make_alert(2))
        listener.accept()
    assert b'line="2"' in listener.connection.recv(65536)
    sink.close()


def test_tcp_is_not_satisfied_before_the_peer_has_all(make_alert, monkeypatch):
    monkeypatch.setattr(agent.delivery.sinks.syslog, "_ACKNOWLEDGE", 0.05)
    listener = Listener(("127.0.0.1", 0))
    listener.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
    sink = tcp_sink(listener)
    taken = 0
    with pytest.raises(TimeoutError, match="did not acknowledge within"):
        for number in range(1000):
            sink.send(make_alert(number))
            taken += 1
    listener.accept()
    received = b""
    with suppress(TimeoutError):
        listener.connection.settimeout(0.5)
        while data := listener.connection.recv(65536):
            received += data
    assert 0 < taken <= received.count(b"[oddline@32473")
    listener.close()


def test_tcp_over_ipv6(make_alert):
    listener = Listener(("::1", 0), socket.AF_INET6)
    sink = open_sink(f"tcp://[::1]:{listener.socket.getsockname()[1]}", "h", str)
    sink.send(make_alert(1))
    listener.accept()
    assert b"oddline@32473" in listener.connection.recv(65536)
    sink.close()
    listener.close()


@pytest.fixture
def udp_server():
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(30)
        yield server


def test_udp_sends_one_datagram(udp_server, make_alert):
    sink = UdpSink("udp", udp_server.getsockname(), "h", lambda text: f"#seal {text}")
    sink.send(make_alert(1))
    data = udp_server.recv(65536)
    assert data.startswith(b"<27>1 ") and b"] #seal high anomaly" in data
    sink.close()


def test_udp_notices_that_no_one_listens_and_goes_on_when_one_does(udp_server, make_alert):
    address = udp_server.getsockname()
    udp_server.close()
    sink = UdpSink("udp", address, "h", str)
    for _ in range(3):
        with pytest.raises(ConnectionRefusedError):
            sink.send(make_alert(1))
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(address)
        server.settimeout(30)
        sink.send(make_alert(2))
        assert b'line="2"' in server.recv(65536)
    sink.close()


def test_udp_cuts_what_does_not_fit(udp_server, make_alert, monkeypatch):
    monkeypatch.setattr(agent.delivery.sinks.syslog, "MAX_DATAGRAM", 701)
    sink = UdpSink("udp", udp_server.getsockname(), "h", str)
    sink.send(make_alert(1, message="é" * 400))
    data = udp_server.recv(65536)
    assert 699 <= len(data) <= 701 and data.decode()
    sink.close()


def test_an_unknown_host_is_an_error_of_the_send_alone(make_alert):
    for sink in (open_sink("tcp://no.invalid:1", "h", str), open_sink("udp://no.invalid:1", "h", str)):
        with pytest.raises(OSError):
            sink.send(make_alert(1))
        sink.close()


def test_the_local_socket_takes_datagrams(tmp_path, make_alert):
    path = str(tmp_path / "log")
    sink = UnixSink("unix", path, "h", lambda text: f"#seal {text}")
    with pytest.raises(FileNotFoundError):
        sink.send(make_alert(1))
    for number in (1, 2):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
            server.bind(path)
            server.settimeout(30)
            sink.send(make_alert(number))
            form = rb"<27>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d oddline\[%d\]: #seal high anomaly: .* line %d"
            assert re.fullmatch(form % (os.getpid(), number), server.recv(65536))
        os.unlink(path)
    with pytest.raises(FileNotFoundError):
        sink.send(make_alert(3))
    sink.close()


def test_a_full_local_socket_is_no_success(tmp_path, make_alert, monkeypatch):
    monkeypatch.setattr(agent.delivery.sinks.syslog, "_TIMEOUT", 0.05)
    sink = UnixSink("unix", str(tmp_path / "log"), "h", str)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "log"))
        taken = 0
        with pytest.raises(TimeoutError):
            for number in range(100_000):
                sink.send(make_alert(number))
                taken += 1
        server.setblocking(False)
        received = 0
        with suppress(BlockingIOError):
            while server.recv(65536):
                received += 1
    assert taken == received > 0
    sink.close()


def test_a_local_socket_of_streams_gets_records_that_a_nul_ends(tmp_path, make_alert):
    listener = Listener(str(tmp_path / "log"), socket.AF_UNIX)
    sink = UnixSink("unix", str(tmp_path / "log"), "h", str)
    records: list[bytes] = []

    def serve():
        for _ in range(2):
            listener.accept()
            records.append(listener.connection.recv(65536))
            listener.connection.close()

    server = threading.Thread(target=serve)
    server.start()
    sink.send(make_alert(1))
    sink.send(make_alert(2))
    server.join(30)
    assert [record[-7:] for record in records] == [b"line 1\0", b"line 2\0"]
    sink.close()
    listener.close()


# jsonl and console


def lines_of(path):
    return [json.loads(line)["line"] for line in path.read_text().splitlines()]


def test_jsonl_holds_the_whole_alert(tmp_path, make_alert):
    alert = make_alert(1, message="é\u2028")
    sink = JsonlSink("jsonl", str(tmp_path / "alerts.jsonl"))
    sink.send(alert)
    sink.close()
    content = json.loads((tmp_path / "alerts.jsonl").read_text())
    assert content == msgspec.to_builtins(alert)


def test_jsonl_goes_on_in_a_new_file_when_its_own_was_moved_or_deleted(tmp_path, make_alert):
    path = tmp_path / "alerts.jsonl"
    sink = JsonlSink("jsonl", str(path))
    sink.send(make_alert(1))
    path.rename(tmp_path / "old")
    sink.send(make_alert(2))
    sink.send(make_alert(3))
    assert lines_of(tmp_path / "old") == [1] and lines_of(path) == [2, 3]
    path.rename(tmp_path / "older")
    path.touch()
    sink.send(make_alert(3))
    assert lines_of(tmp_path / "older") == [2, 3] and lines_of(path) == [3]
    path.unlink()
    sink.send(make_alert(4))
    assert lines_of(path) == [4]
    sink.close()
    sink.send(make_alert(5))
    assert lines_of(path) == [4, 5]
    sink.close()


def test_jsonl_ends_a_line_that_a_crash_has_cut(tmp_path, make_alert):
    path = tmp_path / "alerts.jsonl"
    path.write_text('{"line": 1}\n{"li')
    sink = JsonlSink("jsonl", str(path))
    sink.send(make_alert(2))
    sink.close()
    first, cut, last = path.read_text().splitlines()
    assert (first, cut) == ('{"line": 1}', '{"li') and json.loads(last)["line"] == 2


def test_jsonl_leaves_no_part_of_an_alert_that_did_not_fit(tmp_path, make_alert, monkeypatch):
    path = tmp_path / "alerts.jsonl"
    sink = JsonlSink("jsonl", str(path))
    sink.send(make_alert(1))
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:100]))
        with pytest.raises(OSError, match="No space left"):
            sink.send(make_alert(2))
    assert lines_of(path) == [1]
    sink.send(make_alert(2))
    assert lines_of(path) == [1, 2]
    sink.close()


def test_jsonl_to_a_full_device_or_nowhere_is_an_error(tmp_path, make_alert):
    cases = {"/dev/full": "No space left", f"{tmp_path}/none/a": "No such file", str(tmp_path): "directory"}
    for path, reason in cases.items():
        sink = JsonlSink("jsonl", path)
        with pytest.raises(OSError, match=reason):
            sink.send(make_alert(1))
        sink.close()


def test_jsonl_to_a_pipe_that_no_one_reads_does_not_block(tmp_path, make_alert):
    os.mkfifo(tmp_path / "pipe")
    sink = JsonlSink("jsonl", str(tmp_path / "pipe"))
    with pytest.raises(OSError, match="No such device"):
        sink.send(make_alert(1))
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    sink.send(make_alert(1))
    assert json.loads(os.read(reader, 65536))["line"] == 1
    os.close(reader)
    sink.close()


def test_jsonl_to_standard_output(capsysbinary, make_alert):
    sink = open_sink("jsonl:-", "h", str)
    sink.send(make_alert(1))
    sink.send(make_alert(2))
    sink.close()
    assert [json.loads(line)["line"] for line in capsysbinary.readouterr().out.splitlines()] == [1, 2]


class Screen(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture
def shown(monkeypatch):
    """Sends an alert to a colour terminal of 40 columns; what that gets."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.delenv("NO_COLOR", raising=False)

    def show(alert):
        screen = Screen()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", screen)
            ConsoleSink("console:").send(alert)
        return screen.getvalue()

    return show


def test_the_console_shows_all_of_an_alert(capsys, make_alert):
    open_sink("console:", "h", str).send(make_alert(12, count=10, message="[red]tray[/red] :fire: burns"))
    assert capsys.readouterr().out == (
        "HIGH 2026-03-09T03:12:45.5+01:00 web1.example.org /var/log/syslog:12  seen 10 times\n"
        "  cupsd: [red]tray[/red] :fire: burns\n"
        '  why: never seen; unknown words: "fire"; score 3.214 over 1.2 (p<0.0001)\n'
        '  nearest known: "paper tray <num> is empty"\n'
        '  expected: "job <num> is done"\n'
        "  before: Mar  9 03:12:44 web1 cupsd[7]: job 4 starts\n"
        "\n"
    )


def test_the_console_shows_the_bits_of_each_word_of_a_surprise(capsys, make_alert):
    tokens = [{"text": letter, "bits": bits} for letter, bits in zip("to [b]!", (1, 2, 4, 0, 8, 0.5, 0), strict=True)]
    tokens.append({"text": "", "end": True, "bits": 5.4})
    reason = surprise([{"text": "b", "bits": 8}], tokens=tokens, tokenizer="char")
    open_sink("console:", "h", str).send(make_alert(reason=reason))
    assert "\n  bits: to[7] [[0] b[8] ]![0] (end)[5]\n" in capsys.readouterr().out


def test_the_console_shows_no_bits_of_a_single_word(capsys, make_alert):
    tokens = [{"text": "boom", "bits": 3}]
    open_sink("console:", "h", str).send(make_alert(reason=surprise(tokens, tokens=tokens, tokenizer="word")))
    assert "bits:" not in capsys.readouterr().out


def test_the_console_cuts_the_words_of_a_long_line(capsys, make_alert):
    tokens = [{"text": "x" * 999, "bits": 3}] * 999
    open_sink("console:", "h", str).send(make_alert(reason=surprise([], tokens=tokens, tokenizer="word")))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  bits:")]
    assert len(line) < 2200 and re.search(r"\.\.\.\[3\] and 9\d\d more$", line)


@given(hostile_words, st.text(max_size=900), st.integers(0, 2**63))
def test_the_console_shows_a_surprise_on_printable_lines(words, text, number):
    alert = hostile_alert(words, text, number)
    alert.time, alert.context = "2026-03-09T03:12:45", []
    shown = render(alert).plain.splitlines()
    assert all(line.isprintable() for line in shown) and len(shown) <= 4


def test_the_console_has_colours_on_a_terminal_only_and_no_other_sequence(shown, make_alert):
    text = shown(make_alert(1, message="\x1b]0;title\x07" + "x" * 90, context=["\x1b[2J"]))
    assert "\x1b[1;31mHIGH\x1b[0m" in text and "\x1b[2m  before: \\x1b[2J" in text
    assert re.findall(r"\x1b(?!\[[\d;]*m).", text) == [] and "\x07" not in text
    assert "x" * 90 in text, "a line is not folded, so that it can be searched for"


def test_the_console_obeys_no_color(shown, monkeypatch, make_alert):
    monkeypatch.setenv("NO_COLOR", "1")
    text = shown(make_alert(1))
    assert "HIGH" in text and not re.search(r"\x1b\[(?:\d+;)*[34]\d", text)


def test_the_console_spells_out_what_it_cannot_show(monkeypatch, make_alert):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    ConsoleSink("console:").send(make_alert(1, message="röd"))
    assert b"cupsd: r\\xf6d\n" in raw.getvalue()


@pytest.mark.parametrize("sink", [ConsoleSink("console:"), JsonlSink("jsonl:-", "-")], ids=["console", "jsonl"])
def test_where_the_reader_of_the_output_has_left_the_agent_is_asked_to_end(monkeypatch, make_alert, sink):
    reader, writer = os.pipe()
    os.close(reader)
    asked = []
    monkeypatch.setattr("_thread.interrupt_main", asked.append)
    with os.fdopen(writer, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        sink.send(make_alert(1))
        sink.send(make_alert(2))
    assert asked == [signal.SIGTERM]


# URLs


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("udp://loghost:5514", ("loghost", 5514)),
        ("tcp://192.0.2.7", ("192.0.2.7", 514)),
        ("tcp://[2001:db8::1]:6000", ("2001:db8::1", 6000)),
        ("udp://[fe80::1%eth0]", ("fe80::1%eth0", 514)),
    ],
)
def test_addresses(url, address):
    assert parse_destination(url) == address
    assert open_sink(url, "h", str).name == url


@pytest.mark.parametrize("url", ["console:", "jsonl:a", "unix:/no/such/socket", "tcp://192.0.2.1:9", "udp://h.invalid"])
def test_opening_needs_no_daemon(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sink = open_sink(url, "h", str)
    assert sink.name == url and not list(tmp_path.iterdir())
    sink.close()


BAD = ["", "syslog", "console", "console:x", "jsonl:", "unix:", "ftp://h:1", "/dev/log", "jsonl", "UDP://h:1"]
BAD_ADDRESSES = ["udp://", "tcp://:514", "tcp:h:1", "tcp://h:", "tcp://h:x", "tcp://h:1/", "tcp://u@h:1", "udp://::1"]


@pytest.mark.parametrize("url", BAD)
def test_a_url_that_is_no_sink_is_told_with_the_forms(url):
    with pytest.raises(ConfigError) as caught:
        open_sink(url, "h", str)
    assert repr(url) in str(caught.value) and FORMS in str(caught.value)


@pytest.mark.parametrize("url", BAD_ADDRESSES)
def test_a_bad_address_is_told(url):
    with pytest.raises(ConfigError, match=r"is not understood; write (udp|tcp)://HOST:PORT") as caught:
        open_sink(url, "h", str)
    assert repr(url) in str(caught.value)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("tcp://h:0", "a port is a number from 1 to 65535"),
        ("udp://h:65536", "a port is a number from 1 to 65535"),
        ("tcp://[nonsense]:1", "nonsense"),
        ("unix:/" + "x" * 200, "at most 107 bytes"),
    ],
)
def test_an_impossible_sink_is_told(url, reason):
    with pytest.raises(ConfigError, match=reason):
        open_sink(url, "h", str)


def test_the_time_of_a_message_has_its_zone(make_alert):
    when = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert b" 2026-01-02T03:04:05.000000+00:00 " in rfc5424(make_alert(1), "t", when, 1, "h")
