"""The program journalctl: asked once for a few entries, or run beside the agent and read without waiting."""

import logging
import os
import select
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO
from urllib.parse import unquote
from uuid import UUID

from agent.errors import ConfigError, SourceError
from agent.sources.journal.entries import OUTPUT_FIELDS, Entry, decode_entry

_LOG = logging.getLogger(__name__)

OPTIONS = (
    *("unit", "user-unit", "identifier", "priority", "facility"),
    *("namespace", "directory", "file", "root", "machine"),
)
_OTHER_FILES = ("--directory=", "--file=", "--root=", "--machine=")
_NO_MERGE = "--merge is not supported"
_ANSWER = 60.0  # seconds for a few entries
END_TIMEOUT = 1.0  # seconds to end
_MOST_ERRORS = 4096  # bytes that are kept of what it says on standard error


def parse_journal(name: str) -> list[str]:
    """The options of journalctl that `journal:?key=value&...` stands for; a ConfigError where it is not understood."""
    scheme, question, query = name.partition("?")
    pairs = [part.partition("=") for part in query.split("&")] if question else []
    for key, _, value in pairs:
        if key not in OPTIONS or not value or "\0" in unquote(value):
            raise ConfigError(f"{name}: {key}={value!r} is not understood; write KEY=VALUE of {', '.join(OPTIONS)}")
    if scheme != "journal:":
        raise ConfigError(f"{name} is not understood; write journal: or journal:?unit=ssh.service&priority=warning")
    return [f"--{key}={unquote(value)}" for key, _, value in pairs]


def command_of(name: str) -> list[str]:
    """The command that shows the entries of a journal, one JSON object a line; a SourceError where there is none."""
    options = parse_journal(name)
    program = shutil.which("journalctl")
    if program is None:
        raise SourceError(f"{name} cannot be read: journalctl is not installed; it comes with systemd")
    return [program, "--no-pager", "--output=json", "--all", f"--output-fields={OUTPUT_FIELDS}", *options]


def follow_options(command: Sequence[str]) -> list[str]:
    """What has a command go on for ever, over all boots, with the entries of this host.

    From systemd 250 on --follow leaves out the boots before the present one, and with them what was logged between the
    last look and a reboot; --merge keeps them in, but takes the journals of other hosts too, if there are any.
    """
    options = ["--follow", "--no-tail", "--merge"]
    if not any(option.startswith(_OTHER_FILES) for option in command):
        with suppress(OSError, ValueError):
            options.append(f"_MACHINE_ID={UUID(Path('/etc/machine-id').read_text('ascii').strip()).hex}")
    return options


def cannot_merge(errors: str) -> bool:
    """Whether this is what a journalctl of 250 to 253 says that still lacks the repair of --follow with --merge."""
    return _NO_MERGE in errors


def ask(name: str, command: Sequence[str]) -> list[Entry]:
    """The entries that a command shows, which should be few; its complaints are logged, a failure is a SourceError."""
    try:
        done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, timeout=_ANSWER)
    except subprocess.TimeoutExpired:
        raise SourceError(f"{name} cannot be read: journalctl did not answer within {_ANSWER:.0f} s") from None
    except OSError as error:
        raise SourceError(f"{name} cannot be read: journalctl cannot be started: {error.strerror}") from None
    errors = one_sentence(done.stderr)
    if done.returncode and errors:
        raise SourceError(
            f"{name} cannot be read: journalctl says: {errors}; check what is asked for, and whether the user is in "
            "the group systemd-journal"
        )
    if errors:
        _LOG.warning("%s: journalctl says: %s", name, errors)
    entries = []
    for line in done.stdout.splitlines():
        with suppress(ValueError):  # it will be told when it is read
            entries.append(decode_entry(line))
    return entries


def one_sentence(errors: bytes) -> str:
    """What a program said in several lines, as one."""
    return " ".join(errors.decode("utf-8", "backslashreplace").split())


class Journalctl:
    """A running journalctl, in a session of its own, so that Ctrl-C does not end it before the agent."""

    def __init__(self, command: Sequence[str]) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, start_new_session=True, bufsize=0
        )
        self._pipes: list[IO[bytes]] = [one for one in (self._process.stdout, self._process.stderr) if one]
        self.output, self._errors = (one.fileno() for one in self._pipes)
        for descriptor in (self.output, self._errors):
            os.set_blocking(descriptor, False)
        self._error_text = bytearray()

    @property
    def pid(self) -> int:
        return self._process.pid

    def watch(self, epoll: select.epoll) -> None:
        """Has an epoll wake up when there is something to read; `close` ends that too."""
        epoll.register(self.output, select.EPOLLIN)
        epoll.register(self._errors, select.EPOLLIN)

    def read(self, limit: int) -> bytes | None:
        """What it has shown: empty at its end, None where there is nothing at present."""
        try:
            return os.read(self.output, limit)
        except BlockingIOError:
            return None

    def errors(self) -> str:
        """What it wrote to standard error since the last call, as one sentence."""
        with suppress(BlockingIOError):
            while self._errors >= 0:
                piece = os.read(self._errors, _MOST_ERRORS)
                self._error_text += piece[: _MOST_ERRORS - len(self._error_text)]
                if not piece:
                    self._close_errors()
        text, self._error_text = one_sentence(bytes(self._error_text)), bytearray()
        return text

    def end(self, timeout: float = 0.0) -> int:
        """Its exit code, that of a signal negative; it is ended if it does not within `timeout` seconds."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.terminate()
        try:
            return self._process.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def close(self) -> None:
        """Ends it and gives its pipes back."""
        self.end()
        self._pipes[0].close()
        self._close_errors()

    def _close_errors(self) -> None:
        self._pipes[1].close()
        self._errors = -1
