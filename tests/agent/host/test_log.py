"""What the agent tells its operator: one line each on standard error, sealed for the journal, and never a flood."""

import io
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from agent.alerting.echo_guard import EchoGuard, new_key
from agent.host.log import BURST, RATE, StderrHandler, setup_logging
from agent.text.lines import LineSplitter

_LOG = logging.getLogger("agent.some.module")
_LEVELS = [(logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.DEBUG, 7)]


@pytest.fixture(autouse=True)
def fresh_handler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever another test has set up is away, and comes back."""
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    loggers = [logging.getLogger(name) for name in ("agent", "training", "export")]
    before = [logger.handlers for logger in loggers]
    for logger in loggers:
        logger.handlers = []
    yield
    for logger, handlers in zip(loggers, before, strict=True):
        logger.handlers = handlers


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, str], bytes]]:
    """Logs where standard error is the stream that systemd names; gives what came through it."""
    ours, other = socket.socketpair()
    other.settimeout(10)
    status = os.fstat(ours.fileno())
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")

    def log(level: int, message: str) -> bytes:
        with open(ours.fileno(), "w", encoding="utf-8", closefd=False) as stream, monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", stream)
            _LOG.log(level, message)
        return other.recv(1 << 16)

    with ours, other:
        yield log


def test_a_message_is_one_line_of_printable_text(capfd):
    setup_logging()
    _LOG.info("%s was\ntruncated \x1b[31m", "a log")
    assert capfd.readouterr().err == "oddline: a log was\\ntruncated \\x1b[31m\n"


@pytest.mark.parametrize(
    ("level", "shown"),
    [("debug", "dbg inf wrn err"), ("info", "inf wrn err"), ("warning", "wrn err"), ("error", "err")],
)
def test_what_is_below_the_level_is_left_out(capfd, level, shown):
    setup_logging(level)
    for number, word in ((10, "dbg"), (20, "inf"), (30, "wrn"), (40, "err")):
        _LOG.log(number, word)
    assert capfd.readouterr().err.replace("oddline: ", "").split() == shown.split()


def test_a_second_call_changes_the_level_and_the_seal_of_the_one_handler(capfd, monkeypatch, said):
    setup_logging("error")
    setup_logging("info", lambda text: f"#seal {text}")
    _LOG.info("once")
    monkeypatch.setenv("JOURNAL_STREAM", "0:0")
    _LOG.info("sealed")
    setup_logging()
    _LOG.info("as before")
    assert capfd.readouterr().err == "oddline: once\n#seal sealed\noddline: as before\n"
    assert said == ["once", "sealed", "as before"], "other handlers stay"


def test_words_of_several_threads_do_not_run_into_each_other(capfd):
    setup_logging()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(_LOG.info, ["a word"] * 2000))
    assert capfd.readouterr().err == "oddline: a word\n" * 2000


class Closed(io.StringIO):
    def write(self, text: str) -> int:
        raise ValueError("I/O operation on closed file")


class Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("stderr", [None, Closed(), Full()])
def test_where_there_is_nobody_to_tell_nothing_happens(monkeypatch, stderr):
    setup_logging()
    monkeypatch.setattr(sys, "stderr", stderr)
    _LOG.error("is anybody there?")


def test_a_full_device_and_a_closed_standard_error_end_nothing():
    code = (
        "import logging; from agent.host.log import setup_logging; setup_logging(); "
        "logging.getLogger('agent').info('x'); print('done')"
    )
    for redirected in ("2>/dev/full", "2>&-"):
        done = subprocess.run(
            ["sh", "-c", f'"{sys.executable}" -c "$0" {redirected}', code], capture_output=True, check=False
        )
        assert (done.returncode, done.stdout) == (0, b"done\n")


def test_a_message_that_does_not_fit_its_arguments_is_told_all_the_same(capfd, monkeypatch):
    monkeypatch.setattr(logging.getLogger("agent"), "propagate", False)  # pytest's own handler would raise
    setup_logging()
    _LOG.info("%d lines", "many")
    assert capfd.readouterr().err == "oddline: %d lines ('many',)\n"


def test_a_signal_handler_may_speak_while_a_message_is_written(capfd):
    """Neither waits for the other for ever; the lines stay whole."""
    setup_logging()
    previous = signal.signal(signal.SIGALRM, lambda *_: _LOG.warning("a signal"))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        for _ in range(2000):
            _LOG.info("a word")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    lines = capfd.readouterr().err.splitlines()
    assert lines.count("oddline: a word") == 2000 and set(lines) <= {"oddline: a word", "oddline: a signal"}


# the journal


@pytest.mark.parametrize(("level", "priority"), _LEVELS)
def test_in_the_journal_a_line_begins_with_its_priority(journal, level, priority):
    setup_logging("debug", lambda text: f"#seal {text}")
    assert journal(level, "a word") == f"<{priority}>#seal a word\n".encode()


def test_before_there_is_a_seal_the_journal_gets_the_plain_line(journal):
    setup_logging()
    assert journal(logging.WARNING, "a word") == b"<4>oddline: a word\n"


def test_where_standard_error_is_no_longer_what_systemd_made_it_the_line_is_sealed_without_priority(capfd, monkeypatch):
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    setup_logging("info", lambda text: f"#seal {text}")
    _LOG.warning("a word")
    assert capfd.readouterr().err == "#seal a word\n"


@pytest.mark.parametrize("strips", [True, False])
@pytest.mark.parametrize(
    "head", ["Jan  1 10:00:00 web1 oddline[77]: ", "2026-01-01T10:00:00.1+01:00 web1 oddline[77]: "]
)
def test_what_comes_back_from_the_journal_is_known_as_our_own(journal, head, strips):
    """strips: SyslogLevelPrefix=, which is yes where it is not set."""
    guard = EchoGuard(new_key())
    setup_logging("info", guard.seal)
    line = journal(logging.WARNING, 'sink  tcp://x fails: "böse" \x00').decode()
    lines = head + (line[3:] if strips else line) + f"{head}somebody else\n"
    assert guard.own(LineSplitter("log").feed(lines.encode())).tolist() == [0]


# a flood


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The time of a handler that is installed, level info."""
    clock = Clock()
    logging.getLogger("agent").addHandler(StderrHandler(clock))
    logging.getLogger("agent").setLevel(logging.DEBUG)
    return clock


def flood(count: int) -> None:
    for number in range(count):
        _LOG.warning("line %d", number)


def test_what_is_said_in_normal_life_is_said_whole(clock, capfd):
    """A start with a thousand sources, and a rotation of them all every few minutes."""
    for _ in range(10):
        flood(1000)
        clock.now += 300
    assert len(capfd.readouterr().err.splitlines()) == 10_000


def test_what_a_place_says_too_often_is_counted_and_told_when_it_may_speak_again(clock, capfd):
    flood(BURST + 7)
    assert len(capfd.readouterr().err.splitlines()) == BURST
    _LOG.info("another place may speak meanwhile")
    assert capfd.readouterr().err == "oddline: another place may speak meanwhile\n"
    clock.now += 1 / RATE
    _LOG.info("the word of those left out is due")
    left = f"oddline: 7 more like it left out; the last: line {BURST + 6}\n"
    assert capfd.readouterr().err == left + "oddline: the word of those left out is due\n"
    clock.now += 1000
    flood(2)
    assert capfd.readouterr().err == "oddline: line 0\noddline: line 1\n"


def test_in_the_long_run_a_place_speaks_at_its_rate(clock, capfd):
    flood(BURST)
    capfd.readouterr()
    for _ in range(1000):
        clock.now += 0.1 / RATE
        flood(1)
    assert 95 <= len(capfd.readouterr().err.splitlines()) <= 205


def test_what_was_left_out_last_is_told_at_the_end(clock, capfd):
    flood(BURST + 3)
    capfd.readouterr()
    logging.getLogger("agent").handlers[0].close()
    assert capfd.readouterr().err == f"oddline: 3 more like it left out; the last: line {BURST + 2}\n"


def test_the_end_of_a_process_tells_what_was_left_out(tmp_path):
    code = (
        "import logging; from agent.host.log import setup_logging, BURST; setup_logging()\n"
        "for _ in range(BURST + 5000): logging.getLogger('agent').info('x')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert " more like it left out; the last: x" in done.stderr.splitlines()[-1]


def test_a_flood_of_a_thread_silences_no_other(clock, capfd):
    thread = threading.Thread(target=flood, args=(2 * BURST,))
    thread.start()
    for _ in range(100):
        _LOG.info("main")
    thread.join()
    assert capfd.readouterr().err.count("oddline: main\n") == 100
