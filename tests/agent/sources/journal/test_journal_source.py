"""The journal as a source: every entry once, through the end of journalctl, of journald and of old files."""

import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from helpers.processes import environment, require_program
from helpers.waiting import until
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import ConfigError, SourceError
from agent.sources.decoding.settings import ReadingSettings
from agent.sources.journal.entries import fields_of, line_of
from agent.sources.journal.entry_splitter import EntrySplitter, Unreadable
from agent.sources.journal.follower import JournalCheckpoint, JournalSource
from agent.sources.journal.journalctl import parse_journal
from agent.text.headers import parse_header

pytestmark = pytest.mark.usefixtures("no_thread_left")


@pytest.fixture
def open_journal() -> Iterator[Callable[..., JournalSource]]:
    sources = []

    def make(
        name: str, mark: bytes | None = None, start: str = "start", max_line: int = 65536, **more: object
    ) -> JournalSource:
        sources.append(JournalSource(name, mark, start, ReadingSettings(max_line), **more))
        return sources[-1]

    yield make
    for source in sources:
        source.close()


def some_lines(source: JournalSource) -> list[bytes]:
    block = source.read()
    return [] if block is None else list(block.lines())


def lines_of(source: JournalSource, last: bytes) -> list[bytes]:
    """The lines up to one whose message begins with `last`, waited for."""
    lines = []
    until(lambda: len(lines.extend(some_lines(source)) or lines) and messages(lines)[-1].startswith(last))
    return lines


def messages(lines: list[bytes]) -> list[bytes]:
    """What the made-up program said, of lines of all programs."""
    return [line.partition(b": ")[2] for line in lines if re.search(rb" probe(\[\d+\])?: ", line)] or [b""]


class Journald:
    """A systemd-journald of our own, for a namespace (its manual, "Journal namespaces")."""

    def __init__(self, program: str) -> None:
        self._program, self.namespace = program, f"oddline-source{os.getpid()}"
        self._folder = Path(f"/run/systemd/journal.{self.namespace}")
        self._folder.mkdir(parents=True)
        self.name = f"journal:?namespace={self.namespace}&identifier=probe"

    def start(self) -> None:
        (self._folder / "socket").unlink(missing_ok=True)
        self._process = subprocess.Popen([self._program, self.namespace], stderr=subprocess.DEVNULL)
        until((self._folder / "socket").exists)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)

    def remove(self) -> None:
        for folder in (self._folder, *self.folders()):
            shutil.rmtree(folder, ignore_errors=True)

    def folders(self) -> list[Path]:
        """Where it keeps its files."""
        return [folder for base in ("/run", "/var") for folder in Path(base, "log/journal").glob(f"*.{self.namespace}")]

    def rotate(self) -> None:
        before = len(self.files())
        self._process.send_signal(signal.SIGUSR2)
        until(lambda: len(self.files()) > before)

    def files(self) -> list[Path]:
        return [file for folder in self.folders() for file in folder.glob("*.journal")]

    def vacuum(self) -> None:
        """Removes all files but the one that is written."""
        command = ["journalctl", f"--namespace={self.namespace}", "--vacuum-files=1"]
        subprocess.run(command, check=True, capture_output=True)
        assert len(self.files()) == 1

    def send(self, *texts: str | bytes, **fields: str) -> None:
        """Has a made-up program log these messages."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.connect(f"{self._folder}/socket")
            for text in texts:
                sender.send(native({"SYSLOG_IDENTIFIER": "probe", "MESSAGE": text} | fields))

    def kept(self) -> int:
        """How many entries of the made-up program it holds."""
        command = ["journalctl", f"--namespace={self.namespace}", "-t", "probe", "-o", "json", "-q"]
        return subprocess.run(command, capture_output=True).stdout.count(b"\n")


def native(fields: dict[str, str | bytes]) -> bytes:
    """An entry in the journal's native protocol, each field with its length."""
    parts = []
    for name, value in fields.items():
        raw = value.encode() if isinstance(value, str) else value
        parts.append(name.encode() + b"\n" + len(raw).to_bytes(8, "little") + raw + b"\n")
    return b"".join(parts)


@pytest.fixture
def journald() -> Iterator[Journald]:
    require_program("journalctl")
    program = shutil.which("systemd-journald", path="/usr/lib/systemd:/lib/systemd")
    if program is None or os.geteuid() != 0:
        missing = pytest.fail if os.environ.get("ODDLINE_REQUIRE_ALL") == "1" else pytest.skip
        missing("a journal of our own needs systemd-journald and root")
    daemon = Journald(program)
    try:
        daemon.start()
        yield daemon
        daemon.stop()
    finally:
        daemon.remove()


def test_entries_are_lines(journald: Journald, open_journal: Callable[..., JournalSource], said: list[str]) -> None:
    journald.send('röd "7" 🔥', "two\nlines\n", b"a\xff\x1b[31m\0b", "x" * 50_000, "last", PRIORITY="4", CODE_FUNC="go")
    until(lambda: journald.kept() == 5)
    source, blocks = open_journal(journald.name), []
    until(lambda: blocks.append(source.read()) or blocks[-1])
    lines = [line for block in blocks if block for line in block.lines()]
    until(lambda: len(lines.extend(some_lines(source)) or lines) == 5)
    shown = ['röd "7" 🔥'.encode(), b"two#012lines", b"a\xff#033[31m#000b", b"x" * 50_000, b"last"]
    assert messages(lines) == shown
    fields = source.fields(0)
    header = parse_header(lines[0], "iso8601", datetime.now().astimezone())
    assert (header.host, header.program, header.pid) == (socket.gethostname(), "probe", str(os.getpid()))
    assert abs(header.time.timestamp() - time.time()) < 60 and header.time.microsecond
    assert (fields["PRIORITY"], fields["CODE_FUNC"], fields["_PID"]) == ("4", "go", str(os.getpid()))
    assert fields["__CURSOR"].startswith("s=") and "MESSAGE" not in fields
    assert (source.lines_read, source.losses, said) == (5, 0, [])


def test_entries_are_read_as_they_come_and_on_after_a_restart(
    journald: Journald, open_journal: Callable[..., JournalSource], said: list[str]
) -> None:
    journald.send("old 1", "old 2")
    until(lambda: journald.kept() == 2)
    first = open_journal(journald.name, start="end")
    assert messages(list(first.context(9).lines())) == [b"old 1", b"old 2"]
    assert messages(list(first.context(1).lines())) == [b"old 2"] and first.context(0) is None
    assert first.read() is None
    journald.send("new 1", "new 2")
    assert messages(lines_of(first, b"new 2")) == [b"new 1", b"new 2"]
    first.close()
    journald.send("new 3", "new 4")
    second = open_journal(journald.name, first.checkpoint, "end")
    assert messages(lines_of(second, b"new 4")) == [b"new 3", b"new 4"]
    assert second.identity == first.identity and second.context(3) is None
    assert msgspec.msgpack.decode(second.checkpoint)["line"] == 5
    assert (said, second.losses) == ([], 0)


def reboot(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """From now on journalctl takes this for another boot than the one that the journal is of."""
    (folder / "boot_id").write_text("5b0e3c58-31a5-4a0e-9f0e-0d4f2a1c7b66\n")
    mount = f"mount --bind {folder}/boot_id /proc/sys/kernel/random/boot_id"
    script = f'#!/bin/sh\nexec unshare --mount sh -c \'{mount} && exec {shutil.which("journalctl")} "$@"\' sh "$@"\n'
    (folder / "journalctl").write_text(script)
    (folder / "journalctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_what_was_logged_before_a_reboot_is_read_after_it(
    journald: Journald,
    open_journal: Callable[..., JournalSource],
    said: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require_program("unshare")
    source = open_journal(journald.name)
    journald.send("one", "two")
    lines_of(source, b"two")
    source.close()
    journald.send("last words", "the end")
    until(lambda: journald.kept() == 4)
    reboot(monkeypatch, tmp_path)
    assert messages(lines_of(open_journal(journald.name, source.checkpoint), b"the end")) == [b"last words", b"the end"]
    assert not said


def test_a_journalctl_that_cannot_follow_over_boots_is_asked_again_and_again(
    journald: Journald,
    open_journal: Callable[..., JournalSource],
    said: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refusal = 'case " $* " in *" --merge "*) echo "--boot with --merge is not supported." >&2; exit 1;; esac'
    (tmp_path / "journalctl").write_text(f'#!/bin/sh\n{refusal}\nexec {shutil.which("journalctl")} "$@"\n')
    (tmp_path / "journalctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    source = open_journal(journald.name)
    for text in ("one", "two", "three"):
        journald.send(text)
        assert messages(lines_of(source, text.encode())) == [text.encode()]
    assert not said and source.reopened == 0


def test_a_mark_from_before_the_first_entry_loses_nothing(
    journald: Journald, open_journal: Callable[..., JournalSource]
) -> None:
    journald.send("old")
    until(lambda: journald.kept() == 1)
    first = open_journal(journald.name, start="end")
    first.close()
    journald.send("meanwhile")
    assert messages(lines_of(open_journal(journald.name, first.checkpoint), b"meanwhile")) == [b"meanwhile"]


def test_the_end_of_an_empty_journal_loses_nothing(
    journald: Journald, open_journal: Callable[..., JournalSource]
) -> None:
    source = open_journal(journald.name, start="end")
    assert source.context(3) is None
    journald.send("first")
    assert messages(lines_of(source, b"first")) == [b"first"]


def test_a_journalctl_that_is_killed_is_started_anew(
    journald: Journald, open_journal: Callable[..., JournalSource], said: list[str]
) -> None:
    now = [0.0]
    source = open_journal(journald.name, clock=lambda: now[0])
    for number in range(3):
        journald.send(f"before {number}")
        assert messages(lines_of(source, b"before %d" % number)) == [b"before %d" % number]
        pid, descriptors = source.pid, source.descriptors
        os.kill(pid, signal.SIGKILL)
        journald.send(f"meanwhile {number}")
        until(lambda: source.read() or source.reopened == number + 1)  # noqa: B023
        assert not Path(f"/proc/{pid}").exists(), "no zombie"
        assert source.read() is None and source.pid is None, "there is a pause before it"
        now[0] += 100
        assert messages(lines_of(source, b"meanwhile")) == [b"meanwhile %d" % number]
        assert source.descriptors == descriptors
    assert source.losses == 0 and len(said) >= 1
    assert "journalctl was ended by signal 9; it is started anew after the last entry that was read" in said[0]


def test_journald_may_restart_and_rotate(
    journald: Journald, open_journal: Callable[..., JournalSource], said: list[str]
) -> None:
    source = open_journal(journald.name)
    journald.send("one")
    lines = lines_of(source, b"one")
    journald.rotate()
    journald.send("two")
    lines += lines_of(source, b"two")
    journald.stop()
    journald.start()
    journald.send("three")
    lines += lines_of(source, b"three")
    journald.rotate()
    journald.vacuum()
    journald.send("four")
    lines += lines_of(source, b"four")
    assert messages(lines) == [b"one", b"two", b"three", b"four"]
    assert (said, source.losses, source.reopened) == ([], 0, 0)


def test_rotation_while_nobody_reads_loses_nothing(
    journald: Journald, open_journal: Callable[..., JournalSource], said: list[str]
) -> None:
    first = open_journal(journald.name)
    journald.send("one")
    lines_of(first, b"one")
    first.close()
    journald.send("two")
    journald.rotate()
    journald.send("three")
    second = open_journal(journald.name, first.checkpoint)
    assert messages(lines_of(second, b"three")) == [b"two", b"three"]
    assert (said, second.losses) == ([], 0)


@pytest.mark.parametrize("later", [True, False])
@pytest.mark.parametrize("once", [True, False])
def test_what_was_vacuumed_meanwhile_is_told(
    journald: Journald, open_journal: Callable[..., JournalSource], said: list[str], later: bool, once: bool
) -> None:
    first = open_journal(journald.name)
    journald.send("one")
    lines_of(first, b"one")
    first.close()
    journald.send("lost")
    until(lambda: journald.kept() == 2)
    journald.rotate()
    if later:
        journald.send("next", "last")
        until(lambda: journald.kept() == 4)
    journald.vacuum()
    second = open_journal(journald.name, first.checkpoint)
    if once:
        second.drain()
    if not later:
        assert not once or until(lambda: second.read() or second.ended) is None
        journald.send("next", "last")
    if later or not once:
        assert messages(lines_of(second, b"last")) == [b"next", b"last"]
    assert second.losses == 1 and len(said) == 1
    assert "is gone from it (rotated away and vacuumed, or another journal); the entries that followed" in said[0]


def test_what_was_vacuumed_while_journalctl_was_away_is_told(
    journald: Journald, open_journal: Callable[..., JournalSource], said: list[str]
) -> None:
    now = [0.0]
    source = open_journal(journald.name, clock=lambda: now[0])
    journald.send("one")
    lines_of(source, b"one")
    os.kill(source.pid, signal.SIGTERM)
    until(lambda: source.read() or source.reopened)
    journald.rotate()
    journald.vacuum()
    now[0] = 100.0
    journald.send("two")
    assert messages(lines_of(source, b"two")) == [b"two"]
    assert source.losses == 1 and len(said) == 2 and "is gone from it" in said[1]


def test_what_was_vacuumed_before_the_last_look_is_told(
    journald: Journald, open_journal: Callable[..., JournalSource], said: list[str]
) -> None:
    source = open_journal(journald.name)
    journald.send("one")
    lines_of(source, b"one")
    source._stop()
    journald.rotate()
    journald.vacuum()
    source.drain()
    until(lambda: source.read() or source.ended)
    assert source.losses == 1 and len(said) == 1 and "is gone from it" in said[0]


def test_another_journal_is_read_from_its_first_later_entry(
    journald: Journald, open_journal: Callable[..., JournalSource], said: list[str]
) -> None:
    """The cursor is of a time to come: seeking it finds nothing, then or ever."""
    journald.send("one")
    until(lambda: journald.kept() == 1)
    ahead = int((time.time() + 1e7) * 1e6)
    cursor = f"s={'a' * 32};i=9;b={'b' * 32};m=9;t={ahead:x};x=9"
    source = open_journal(journald.name, msgspec.msgpack.encode(JournalCheckpoint("o", 10, 3, cursor)))
    assert source.losses == 1 and len(said) == 1
    journald.send("two")
    assert messages(lines_of(source, b"two")) == [b"two"]


def test_a_run_that_does_not_wait_ends_at_the_present_end(
    journald: Journald, open_journal: Callable[..., JournalSource], said: list[str]
) -> None:
    texts = [f"number {number}" for number in range(3000)]
    for start in range(0, 3000, 100):
        journald.send(*texts[start : start + 100])
    until(lambda: journald.kept() == 3000)
    source = open_journal(journald.name)
    lines = lines_of(source, b"number")
    source.drain()
    until(lambda: lines.extend(some_lines(source)) or source.ended)
    assert messages(lines) == [text.encode() for text in texts]
    again = open_journal(journald.name, source.checkpoint)
    again.drain()
    until(lambda: again.read() or again.ended)
    assert again.lines_read == 0 and again.reopened == 0 and said == []


def test_one_call_takes_a_bounded_part(journald: Journald, open_journal: Callable[..., JournalSource]) -> None:
    journald.send(*[f"number {number} {'x' * 500}" for number in range(300)])
    until(lambda: journald.kept() == 300)
    source, sizes, lines = open_journal(journald.name), [], []
    while len(lines) < 300:
        block = source.read(20_000)
        sizes.append(len(block or []))
        lines += [] if block is None else list(block.lines())
    assert max(sizes) < 40 and len(lines) == 300


def test_options_choose_among_the_entries(journald: Journald, open_journal: Callable[..., JournalSource]) -> None:
    journald.send("quiet", PRIORITY="7")
    journald.send("loud", PRIORITY="3")
    journald.send("other", SYSLOG_IDENTIFIER="else", PRIORITY="3")
    until(lambda: journald.kept() == 2)
    assert messages(lines_of(open_journal(f"{journald.name}&priority=err"), b"loud")) == [b"loud"]
    both = open_journal(f"{journald.name}&identifier=else")
    both.drain()
    lines = []
    until(lambda: lines.extend(some_lines(both)) or both.ended)
    assert [line.rpartition(b" ")[2] for line in lines] == [b"quiet", b"loud", b"other"]
    (folder,) = journald.folders()
    assert messages(lines_of(open_journal(f"journal:?directory={folder}&priority=3"), b"loud")) == [b"loud"]


def test_a_long_message_is_cut_counted_and_said(
    journald: Journald, open_journal: Callable[..., JournalSource], said: list[str]
) -> None:
    journald.send("x" * 1000, "next")
    source = open_journal(journald.name, max_line=200)
    lines = lines_of(source, b"next")
    assert len(lines[0]) == 200 and (source.cut_lines, source.cut_bytes > 800) == (1, True)
    assert len(said) == 1 and f"{journald.name}: line 1 is longer than max_line (200 bytes)" in said[0]


def test_journalctl_ends_with_an_agent_that_was_killed(journald: Journald) -> None:
    program = (
        "import sys, time\nfrom agent.sources.journal.follower import JournalSource\n"
        "source = JournalSource(sys.argv[1], None, 'start')\nsource.read()\n"
        "print(source.pid, flush=True)\ntime.sleep(100)"
    )
    command = [sys.executable, "-c", program, journald.name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(None)) as process:
        pid = int(process.stdout.readline())
        process.kill()
    journald.send("one")
    until(lambda: not Path(f"/proc/{pid}").exists() or " Z " in Path(f"/proc/{pid}/stat").read_text())


def test_a_close_leaves_nothing(journald: Journald, said: list[str]) -> None:
    before = len(os.listdir("/proc/self/fd"))
    source = JournalSource(journald.name, None, "start")
    source.read()
    pid = source.pid
    assert os.getsid(pid) == pid, "Ctrl-C must not reach it"
    source.close()
    source.close()
    assert not Path(f"/proc/{pid}").exists() and len(os.listdir("/proc/self/fd")) == before
    assert source.read() is None and source.descriptors == () and said == []


def test_a_selector_is_woken_by_an_entry(journald: Journald, open_journal: Callable[..., JournalSource]) -> None:
    source = open_journal(journald.name)
    lines_of_before = some_lines(source)
    journald.send("one")
    lines = []
    while not lines:
        assert select.select(source.descriptors, [], [], 30)[0]
        lines = some_lines(source)
    assert lines_of_before == [] and messages(lines) == [b"one"]
    assert not select.select(source.descriptors, [], [], 0)[0]


@pytest.mark.parametrize(
    "name",
    [
        *("journal", "journald:", "journal:x", "journal:?", "journal:?unit", "journal:?unit=", "journal:?=x"),
        *("journal:?follow=1", "journal:?unit=a&&unit=b", "journal:?vacuum-files=1", "journal:?unit=a%00b"),
    ],
)
def test_a_name_that_is_not_understood_is_refused(name: str, said: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"is not understood; write (KEY=VALUE of unit, user-unit, |journal: or)"):
        JournalSource(name, None, "start")


def test_another_encoding_is_refused(said: list[str]) -> None:
    require_program("journalctl")
    with pytest.raises(ConfigError, match="encoding and multiline are for files and pipes"):
        JournalSource("journal:", None, "end", ReadingSettings(encoding="latin-1"))


def test_a_name_is_options_of_journalctl() -> None:
    assert parse_journal("journal:") == []
    name = "journal:?unit=a+b%26c.service&unit=d&priority=warning&directory=/x/%3d=y"
    assert parse_journal(name) == ["--unit=a+b&c.service", "--unit=d", "--priority=warning", "--directory=/x/==y"]


def test_a_journal_that_cannot_be_read_is_refused(tmp_path: Path, said: list[str]) -> None:
    require_program("journalctl")
    before = len(os.listdir("/proc/self/fd"))
    wrong = {
        f"directory={tmp_path}/none": "No such file or directory",
        "priority=purple": "Unknown log level purple; check what is asked for",
    }
    for option, message in wrong.items():
        with pytest.raises(SourceError, match=f"cannot be read: journalctl says: .*{message}"):
            JournalSource(f"journal:?{option}", None, "end")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_host_without_journalctl_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: list[str]) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError, match="journalctl is not installed; it comes with systemd"):
        JournalSource("journal:", None, "end")


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Puts a shell script in the place of journalctl, for what the real one does seldom."""

    def put(script: str) -> None:
        (tmp_path / "journalctl").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "journalctl").chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return put


def entry(number: int, **fields: object) -> str:
    values = {"__CURSOR": f"c{number}", "__REALTIME_TIMESTAMP": "1773022365000007", "SYSLOG_IDENTIFIER": "probe"}
    return json.dumps(values | {"MESSAGE": f"number {number}"} | fields)


def test_damaged_entries_are_told_and_left_out(
    stand_in: Callable[[str], None], open_journal: Callable[..., JournalSource], said: list[str]
) -> None:
    bad = ["-- No entries --", '{"x":', "{}", '{"__CURSOR":"\ud800"}', entry(2, MESSAGE=None), entry(3)]
    (Path(os.environ["PATH"].partition(":")[0]) / "entries").write_text(
        "\n".join([entry(1), *bad]), errors="surrogatepass"
    )
    stand_in(
        'case "$*" in *--lines=1*) echo "{"; exit 0;; esac; cat "${0%/*}/entries"; echo; printf \'{"__CURSOR":"half\''
    )
    source, lines = open_journal("journal:"), []
    source.drain()
    until(lambda: lines.extend(some_lines(source)) or source.ended)
    assert messages(lines) == [b"number 1", b"(message left out by journalctl)", b"number 3"]
    assert source.losses == 5 and msgspec.msgpack.decode(source.checkpoint)["cursor"] == "c3"
    assert "an entry of 5 bytes cannot be understood" in said[0] and "left out 1 messages" in said[1]
    assert source.bytes_lost == sum(map(len, ['{"x":', "{}", '{"__CURSOR":"xxx"}', '{"__CURSOR":"half']))


def test_an_entry_without_end_is_left_out(
    stand_in: Callable[[str], None],
    open_journal: Callable[..., JournalSource],
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agent.sources.journal.entry_splitter._MOST_ENTRY", 100_000)
    huge = f"head -c 1000000 /dev/zero; echo; echo '{entry(1)}'; head -c 70000 /dev/zero; echo; exec sleep 100"
    stand_in(f'case "$*" in *--lines=1*) exit 0;; esac; {huge}')
    source = open_journal("journal:")
    assert messages(lines_of(source, b"number 1")) == [b"number 1"]
    assert (source.losses, source.bytes_lost) == (1, 1_000_000)
    assert "an entry of 1000000 bytes is too large; it is left out" in said[0]


def test_a_bounded_part_of_an_entry_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.sources.journal.entry_splitter._MOST_ENTRY", 100)
    splitter = EntrySplitter()
    for _ in range(50):
        assert splitter.feed(b"{" * 30) == [] and splitter.partial <= 100
    too_large = Unreadable(1501, "an entry of 1501 bytes is too large")
    assert splitter.feed(b"}\nno entry\n" + entry(1, CODE_FILE="x").encode()[:90]) == [too_large]
    assert splitter.feed(entry(1, CODE_FILE="x").encode()[90:] + b"\n") == [json.loads(entry(1, CODE_FILE="x"))]


def test_what_journalctl_says_is_told_once(
    stand_in: Callable[[str], None], open_journal: Callable[..., JournalSource], said: list[str]
) -> None:
    stand_in('echo "Hint: You are\n      not seeing all." >&2; case "$*" in *--lines=1*) exit 0;; esac; exec sleep 100')
    source = open_journal("journal:")
    assert said == ["journal:: journalctl says: Hint: You are not seeing all."]
    until(lambda: source.read() or len(said) == 2)
    assert source.read() is None and len(said) == 2


def test_a_journalctl_that_always_fails_is_tried_ever_more_seldom(
    stand_in: Callable[[str], None], open_journal: Callable[..., JournalSource], said: list[str]
) -> None:
    now, starts = [0.0], []
    stand_in('case "$*" in *--lines=1*) exit 0;; esac; echo "Failed to open" >&2; exit 3')
    source = open_journal("journal:", clock=lambda: now[0])
    for _ in range(9):
        before = source.reopened
        while source.reopened == before:
            source.read()
            now[0] += 0.25 if source.pid is None else 0.0
        starts.append(now[0])
    waits = [round(later - former) for former, later in pairwise(starts)]
    assert waits == sorted(waits) and waits[0] <= 2 and waits[-1] in (60, 61)
    assert any("journalctl ended with exit code 3: Failed to open; it is started anew" in line for line in said)
    assert len(said) < 15


@pytest.mark.parametrize("pause", ["", "sleep 0.3; "])
def test_a_run_that_does_not_wait_tells_a_failure(
    stand_in: Callable[[str], None], open_journal: Callable[..., JournalSource], pause: str
) -> None:
    stand_in(f'case "$*" in *--lines=1*) exit 0;; esac; echo "Failed to open" >&2; {pause}exit 3')
    source = open_journal("journal:")
    source.drain()
    with pytest.raises(SourceError, match=r"cannot be read to its end: journalctl ended \(3\): Failed to open"):
        until(lambda: source.read() or source.ended)


def test_a_damaged_mark_is_told(
    stand_in: Callable[[str], None], open_journal: Callable[..., JournalSource], said: list[str]
) -> None:
    stand_in("exit 0")
    open_journal("journal:", b"\xc1")
    assert len(said) == 1 and "the mark in the state cannot be understood" in said[0]


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, b" - unknown: "),
        ({"MESSAGE": "m", "_COMM": "cron", "_PID": "7", "SYSLOG_PID": "8"}, b" - cron[7]: m"),
        ({"MESSAGE": "m", "SYSLOG_IDENTIFIER": "a b\nc", "SYSLOG_PID": "8", "_HOSTNAME": "h"}, b" h a_b_c[8]: m"),
        ({"MESSAGE": ["one", [116, 255], None]}, b" - unknown: one#012t\xff"),
        ({"MESSAGE": []}, b" - unknown: "),
        ({"MESSAGE": [0, 10, 255]}, b" - unknown: #000#012\xff"),
        ({"MESSAGE": [300, -1]}, b" - unknown: 300#012-1"),
        ({"SYSLOG_IDENTIFIER": ["first", "second"], "_HOSTNAME": [255]}, b" \xff first_second: "),
    ],
)
def test_odd_fields_make_a_line(fields: dict[str, object], wanted: bytes) -> None:
    line = line_of({"__REALTIME_TIMESTAMP": "1773022365000007"} | fields)
    assert re.fullmatch(rb"2026-03-0\dT\d\d:\d\d:45\.000007[+-]\d\d:\d\d" + re.escape(wanted) + b"\n", line)


JSON = st.recursive(st.none() | st.text() | st.integers() | st.booleans(), lambda items: st.lists(items, max_size=3))
NAMES = ["MESSAGE", "_HOSTNAME", "SYSLOG_IDENTIFIER", "_PID", "_SOURCE_REALTIME_TIMESTAMP", "PRIORITY", "__CURSOR"]


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), JSON))
def test_no_entry_makes_two_lines(entry: dict[str, object]) -> None:
    line = line_of(entry)
    assert line.endswith(b"\n") and line.count(b"\n") == 1 and b"\0" not in line
    assert all(isinstance(value, str) and len(value) <= 1024 for value in fields_of(entry).values())
