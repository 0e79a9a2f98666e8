"""What the agent tells its operator: one line each on standard error."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress

from agent.alerting.echo_guard import EchoGuard
from agent.text.escape import escape


def say(message: str) -> None:
    """Tells the operator something on standard error."""
    _write(f"oddline: {escape(message)}")


def speaker(guard: EchoGuard) -> Callable[[str], None]:
    """`say` for a service whose standard error goes to the journal, and so perhaps to a log that is tailed: sealed."""
    if "JOURNAL_STREAM" not in os.environ:
        return say
    return lambda message: _write(guard.seal(escape(message)))


def _write(line: str) -> None:
    """One write a line: `print` makes two, and lines of several threads would run into each other.

    Where standard error is closed, its disk full or its reader gone there is nobody to tell, and no reason to end.
    """
    if sys.stderr is not None:
        with suppress(OSError):
            sys.stderr.write(line + "\n")
            sys.stderr.flush()
