"""The journal's native protocol, read back by a socket of our own and by a real journal."""

import array
import fcntl
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from helpers.processes import require_program
from helpers.waiting import until
from hypothesis import given
from hypothesis import strategies as st

from agent.alerting.alert import Alert
from agent.delivery.sinks import open_sink
from agent.delivery.sinks.journald import entry
from agent.errors import ConfigError
from agent.scoring.reasons import OtherReason


class Journal:
    """A socket that takes entries as journald does: as datagrams or, where they are large, as sealed files."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(os.fspath(path))
        self.socket.settimeout(30)

    def receive(self) -> tuple[dict[str, bytes], bool]:
        """The next entry, and whether it came as a file."""
        data, control, _, _ = self.socket.recvmsg(1 << 20, socket.CMSG_SPACE(4))
        if not control:
            return parse(data), False
        assert data == b"", "with a file come no bytes"
        (descriptor,) = array.array("i", control[0][2])
        with open(descriptor, "rb") as file:
            seals = fcntl.fcntl(file, fcntl.F_GET_SEALS)
            assert seals == fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
            file.seek(0)
            return parse(file.read()), True


def parse(data: bytes) -> dict[str, bytes]:
    """The fields of an entry; those whose lines have no `=` tell their length."""
    fields: dict[str, bytes] = {}
    while data:
        line, _, data = data.partition(b"\n")
        name, found, value = line.partition(b"=")
        if not found:
            length = int.from_bytes(data[:8], "little")
            value, end, data = data[8 : 8 + length], data[8 + length : 9 + length], data[9 + length :]
            assert len(value) == length and end == b"\n"
        assert name.decode().isascii() and name.replace(b"_", b"").isalnum() and name == name.upper()
        assert name not in fields
        fields[name.decode()] = value
    return fields


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path / "socket")
    yield journal
    journal.socket.close()


def sink_of(folder: Path, seal: Callable[[str], str] = str):
    return open_sink(f"journald:{folder}/socket", "h", seal)


def test_every_field_of_an_alert_arrives(journal, tmp_path, make_alert):
    alert = make_alert(7, severity="critical", stream="a=b\nPRIORITY=7", message="ö", peer="192.0.2.7")
    sink = sink_of(tmp_path, lambda text: f"#seal {text}")
    sink.send(alert)
    fields, as_file = journal.receive()
    assert not as_file and fields["MESSAGE"].decode().startswith("#seal critical anomaly: cupsd: ö | why")
    names = ("PRIORITY", "SYSLOG_FACILITY", "SYSLOG_IDENTIFIER", "SYSLOG_PID", "ODDLINE_STREAM")
    wanted = [b"2", b"3", b"oddline", b"%d" % os.getpid(), b"a=b\nPRIORITY=7"]
    assert [fields[name] for name in names] == wanted
    assert fields["ODDLINE_PEER"] == b"192.0.2.7"
    assert json.loads(fields["ODDLINE_REASON"]) == msgspec.to_builtins(alert.reason)
    assert json.loads(fields["ODDLINE_CONTEXT"]) == alert.context
    assert {f"ODDLINE_{name.upper()}" for name in Alert.__struct_fields__} < fields.keys()
    sink.close()


@given(st.text(max_size=300))
def test_no_text_can_make_up_a_field(text):
    origin = ("1", "t", "h", text, 1, 1, text, text, text)
    fields = parse(
        entry(Alert(*origin, 3.2, 1.2, 0.5, "low", text, OtherReason(kind=text), [text], 2, text, text), text, 1)
    )
    assert len(fields) == 5 + len(Alert.__struct_fields__)
    shown = text.encode("utf-8", "backslashreplace")
    assert fields["MESSAGE"] == fields["ODDLINE_STREAM"] == fields["ODDLINE_SOURCE"] == shown


def test_an_entry_too_large_for_a_datagram_goes_as_a_sealed_file(journal, tmp_path, make_alert):
    sink, stream = sink_of(tmp_path), "x" * 1_000_000
    before = len(os.listdir("/proc/self/fd"))
    sink.send(make_alert(1, stream=stream))
    fields, as_file = journal.receive()
    assert as_file and fields["ODDLINE_STREAM"].decode() == stream and fields["ODDLINE_LINE"] == b"1"
    sink.send(make_alert(2))
    assert journal.receive()[0]["ODDLINE_LINE"] == b"2"
    assert len(os.listdir("/proc/self/fd")) == before + 1, "only the socket stays open"
    sink.close()


def test_a_journal_that_comes_later_or_is_restarted_is_found(tmp_path, make_alert):
    sink = sink_of(tmp_path)
    for number in (1, 2):
        with pytest.raises(FileNotFoundError):
            sink.send(make_alert(number))
        journal = Journal(tmp_path / "socket")
        sink.send(make_alert(number))
        assert journal.receive()[0]["ODDLINE_LINE"] == b"%d" % number
        journal.socket.close()
        (tmp_path / "socket").unlink()
    sink.close()


def test_a_path_that_is_too_long_is_refused():
    with pytest.raises(ConfigError, match="a socket's path has at most 107 bytes"):
        open_sink("journald:/" + "x" * 107, "h", str)


@pytest.fixture
def real_journal() -> Iterator[str]:
    """The namespace of a systemd-journald of our own (its manual, "Journal namespaces"), which root may start."""
    daemon = shutil.which("systemd-journald", path="/usr/lib/systemd:/lib/systemd")
    if daemon is None or os.geteuid() != 0:
        missing = pytest.fail if os.environ.get("ODDLINE_REQUIRE_ALL") == "1" else pytest.skip
        missing("a journal of our own needs systemd-journald and root")
    name = f"oddline{os.getpid()}"
    folder = Path(f"/run/systemd/journal.{name}")
    folder.mkdir(parents=True)
    with subprocess.Popen([daemon, name], stderr=subprocess.DEVNULL) as process:
        try:
            until((folder / "socket").exists)
            yield name
        finally:
            process.terminate()
            process.wait(30)
            kept = [Path(base, "log/journal").glob(f"*.{name}") for base in ("/run", "/var")]
            for left in (folder, *kept[0], *kept[1]):
                shutil.rmtree(left, ignore_errors=True)


def test_a_real_journal_keeps_the_fields(real_journal, make_alert):
    program = require_program("journalctl")
    sink = open_sink(f"journald:/run/systemd/journal.{real_journal}/socket", "h", str)
    alert = make_alert(1, id=os.urandom(8).hex(), stream="two\nlines")
    sink.send(alert)
    sink.close()
    command = [program, f"--namespace={real_journal}", "-o", "json", "--all", "--quiet", f"ODDLINE_ID={alert.id}"]
    until(lambda: subprocess.run(command, capture_output=True).stdout)
    kept = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert (kept["ODDLINE_STREAM"], kept["SYSLOG_IDENTIFIER"], kept["PRIORITY"]) == ("two\nlines", "oddline", "3")
