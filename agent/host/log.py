"""Where the agent's log goes: one line each on standard error, ready for the journal where that reads it."""

import logging
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

from agent.host.token_bucket import TokenBucket
from agent.text.escape import escape

TAG = "oddline"  # the name under which the agent is found in a log, also as the tag of syslog
Level = Literal["debug", "info", "warning", "error"]
_LOGGERS = ("agent", "training", "export")
BURST, RATE = 5000, 5.0  # messages of one place in the code: at once, and a second in the long run
_PRIORITIES = ((logging.ERROR, "<3>"), (logging.WARNING, "<4>"), (logging.INFO, "<6>"), (0, "<7>"))  # sd-daemon(3)


def setup_logging(level: Level = "info", seal: Callable[[str], str] | None = None) -> None:
    """Has what our loggers and those below them get written to standard error, from `level` on.

    seal: marks what goes to the journal, which may be read by this very agent, so that it knows its own. A later call
    changes the level and the seal.
    """
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    present = (one for logger in loggers for one in logger.handlers if isinstance(one, StderrHandler))
    handler = next(present, None) or StderrHandler()
    for logger in loggers:
        logger.addHandler(handler)  # does nothing where it is there already
        logger.setLevel(logging.DEBUG)
    handler.seal = seal
    handler.setLevel(level.upper())


class StderrHandler(logging.Handler):
    """Writes each message as one line with one write, so that lines of several threads do not run into each other.

    A place in the code that says very much is silenced for a while; how many of its messages were left out is said as
    soon as it may speak again, or at the end. Where standard error is closed, its disk full or its reader gone, there
    is nobody to tell, and no reason to end.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.seal: Callable[[str], str] | None = None
        self._clock = clock
        self._buckets: dict[tuple[str, int], TokenBucket] = {}
        self._dropped: dict[tuple[str, int], tuple[int, logging.LogRecord]] = {}  # how many, and the last one

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a message, after a word on those that were left out where there is something to say again."""
        for call_site in list(self._dropped):
            if self._buckets[call_site].take():
                self._log_dropped(call_site)
        call_site = record.pathname, record.lineno
        bucket = self._buckets.setdefault(call_site, TokenBucket(RATE, BURST, self._clock))
        if bucket.take():
            self._write(record.levelno, _text(record))
        else:
            self._dropped[call_site] = self._dropped.get(call_site, (0, record))[0] + 1, record

    def close(self) -> None:
        """Says what was left out and not told yet."""
        self.acquire()
        try:
            for call_site in list(self._dropped):
                self._log_dropped(call_site)
        finally:
            self.release()
        super().close()

    def _log_dropped(self, call_site: tuple[str, int]) -> None:
        count, last = self._dropped.pop(call_site)
        self._write(last.levelno, f"{count} more like it left out; the last: {_text(last)}")

    def _write(self, level: int, text: str) -> None:
        line = f"{self._prefix(level)}{self._marked(escape(text))}\n"
        # the second where it is closed, the third where a signal handler speaks during a write
        with suppress(OSError, ValueError, RuntimeError):
            if sys.stderr is not None:
                sys.stderr.write(line)
                sys.stderr.flush()

    def _marked(self, text: str) -> str:
        # set where any output of the service goes to the journal: rather sealed once too often than an echo
        return self.seal(text) if self.seal and "JOURNAL_STREAM" in os.environ else f"{TAG}: {text}"

    def _prefix(self, level: int) -> str:
        """The priority that the journal takes off a line, where standard error goes straight to it."""
        if not _is_journal():
            return ""
        return next(prefix for least, prefix in _PRIORITIES if level >= least)


def _text(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # a fault of ours in a message is no reason to lose it
        return f"{record.msg} {record.args}"


def _is_journal() -> bool:
    """Whether standard error is the stream that systemd names: its device and inode, systemd.exec(5)."""
    named = os.environ.get("JOURNAL_STREAM")
    if not named or sys.stderr is None:
        return False
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):  # it is closed or no file, as in tests
        return False
    return named == f"{status.st_dev}:{status.st_ino}"
