"""The scripts `agent` and `oddline`. What imports much is imported once signals are noted, which takes a second."""

import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

from agent.app.signals import Signals

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import NoReturn

_SERVICES = ("run", "tail")


def main() -> "NoReturn":
    """The script `agent`."""
    with _noted(sys.argv[1:2]) as signals:
        from agent.commands.command_line import app
        from agent.commands.run import run_app

        run_app(app, "agent", signals)


def oddline() -> "NoReturn":
    """The script `oddline`: `oddline agent`, `oddline training` and `oddline export`."""
    with _noted(sys.argv[2:3] if sys.argv[1:2] == ["agent"] else []) as signals:
        from agent.commands.run import mounted, run_app

        run_app(mounted(), "oddline", signals)


def _noted(command: list[str]) -> "AbstractContextManager[Signals | None]":
    """Signals for a command that acts on them; any other is ended by them as usual."""
    return Signals() if command and command[0] in _SERVICES else nullcontext()
