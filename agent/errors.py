"""The error tree of oddline and the exit code of each branch.

OddlineError (1)
├── ConfigError (2)     a command line or configuration that cannot be used
├── BundleError (3)     a bundle that is missing, damaged or not understood
├── SourceError (4)     a log that cannot be read
├── SinkError (5)       a destination that cannot be used or did not take the alerts
│   ├── AlertRefused    a destination that answers that it does not want this alert
│   ├── StateUnavailable  a state that cannot be used at present
│   └── StateDamaged    a state that cannot be used any more
└── ProviderError (6)   no usable onnxruntime, or no such execution provider
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SHOWN = 300  # characters of what another library says


class OddlineError(Exception):
    """A fault that is told to the user in one line; `exit_code` is the process's exit code."""

    exit_code = 1


class ConfigError(OddlineError):
    """A command line or configuration that cannot be used."""

    exit_code = 2


class BundleError(OddlineError):
    """A bundle that is missing, damaged or not understood."""

    exit_code = 3


class SourceError(OddlineError):
    """A log that cannot be read; `errno` is what the system said, or 0."""

    exit_code = 4
    errno = 0


class SinkError(OddlineError):
    """A destination that cannot be used or did not take the alerts."""

    exit_code = 5


class AlertRefused(SinkError):
    """A destination that works and answers that it does not want this alert, now or later."""


class StateUnavailable(SinkError):
    """A state that cannot be used at present, as on a full disk: nothing of the call is stored, it may be repeated."""


class StateDamaged(SinkError):
    """A state that cannot be used any more; it is set aside when it is opened the next time."""


class ProviderError(OddlineError):
    """No usable onnxruntime is installed, or it lacks the execution provider that was asked for."""

    exit_code = 6


@contextmanager
def blamed_on(what: str, kind: type[OddlineError]) -> Iterator[None]:
    """Makes of whatever a hostile or damaged input leads to an error of its kind that names it in a line."""
    try:
        yield
    except OddlineError:
        raise
    except Exception as error:
        why = " ".join(str(error).split())[:_SHOWN]
        raise kind(f"{what} cannot be used: {why or 'no reason given'} ({type(error).__name__})") from error


def cannot_read(name: str | Path, error: OSError) -> SourceError:
    """The SourceError for what the system says of a file."""
    failure = SourceError(f"{name} {_why(error)}")
    failure.errno = error.errno or 0
    return failure


def _why(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "does not exist; check its name"
    if isinstance(error, IsADirectoryError):
        return "is a directory; name the log files in it"
    if isinstance(error, PermissionError):
        return "cannot be read: no permission; run as a user or in a group that may (often adm)"
    return f"cannot be read: {error.strerror or error}"
