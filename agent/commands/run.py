"""How a command ends: its exit code, and one line on standard error where it refuses."""

import errno
import importlib
import os
import sys
from contextlib import suppress
from typing import NoReturn

import typer

from agent.app.signals import Signals
from agent.delivery.sinks.stdout import drop_output
from agent.errors import OddlineError, SinkError
from agent.host.log import setup_logging

_OF_TRAINING = (
    "torch",
    "onnx",
    "onnxscript",
    "onnx_ir",
    "lightning_fabric",
    "safetensors",
    "sklearn",
    "scipy",
    "matplotlib",
)


def mounted() -> typer.Typer:
    """The command line of `oddline`, with those of agent, training and export in it."""
    whole = typer.Typer(
        name="oddline",
        help="Finds the odd line in a host's logs.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    for name, module in (
        ("agent", "agent.commands.command_line"),
        ("training", "training.cli"),
        ("export", "export.cli"),
    ):
        whole.add_typer(importlib.import_module(module).app, name=name)
    return whole


def run_app(app: typer.Typer, name: str, signals: Signals | None = None) -> NoReturn:
    """Runs a command line. A refusal is one line; a traceback of a fault of ours shows with ODDLINE_DEBUG=1 alone.

    signals: what notes them already, for the commands that act on them.
    """
    setup_logging()
    try:
        code = app(prog_name=name, standalone_mode=False, obj=signals) or 0
        _flush()
    except OddlineError as error:
        code = _refuse(str(error), error.exit_code)
    except (BrokenPipeError, SystemExit):  # typer makes the second of the first, and of nothing else
        code = 0
    except KeyboardInterrupt:
        code = _refuse("interrupted", 130)
    except Exception as error:  # noqa: BLE001 - a fault of ours is one line, too
        code = _other(error)
    try:
        _flush()
    except OSError:  # else Python would try again at its very end, and complain
        drop_output()
    sys.exit(code if isinstance(code, int) else 0)


def _other(error: Exception) -> int:
    if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] in _OF_TRAINING:
        return _refuse(f"{error.name} is not installed; this command needs pip install 'oddline[cpu,train]'", 2)
    usage = getattr(error, "format_message", None)
    if usage:
        return _refuse(f"{' '.join(usage().split())} (--help shows how)", 2)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None:
        return _refuse(f"the output cannot be written: {error.strerror}", SinkError.exit_code)
    if os.environ.get("ODDLINE_DEBUG"):
        raise error
    return _refuse(
        f"fault of oddline: {type(error).__name__}: {error}; run again with ODDLINE_DEBUG=1 and report what it shows", 1
    )


def _flush() -> None:
    if sys.stdout is not None:  # as where it was closed
        sys.stdout.flush()


def _refuse(message: str, code: int) -> int:
    """Tells the reason, where standard error takes it; the exit code stays."""
    if sys.stderr is not None:
        with suppress(OSError):
            print(f"error: {' '.join(message.splitlines())}", file=sys.stderr, flush=True)
    return code
