"""The checks of a configuration that need no running agent: what a start would refuse."""

import errno
import os
from dataclasses import replace
from pathlib import Path

from agent.alerting.echo_guard import EchoGuard, new_key
from agent.app.build import prepare, require_sources
from agent.app.loop_check import refuse_file_loops
from agent.config import AgentConfig
from agent.errors import ConfigError, blamed_on, cannot_read
from agent.sources.factory import source_name
from agent.sources.files.globs import is_url
from agent.sources.journal.journalctl import command_of
from agent.telemetry.monitor import Monitor


def preflight(config: AgentConfig) -> None:
    """Raises what the start of an agent would, as far as this user can tell without reading a log or opening a socket.

    A log that is missing or may not be read is no error of the configuration. Nothing is written.
    """
    with blamed_on("the configuration", ConfigError):
        _check(config)


def _check(config: AgentConfig) -> None:
    require_sources(config)
    refuse_file_loops(config)
    if config.state is not None:
        _check_state(Path(config.state))
    Monitor(replace(config.metrics_settings(), address=None))
    prepare(config, EchoGuard(new_key()))
    for source in config.inputs():
        _check_source(source.path)


def _check_state(folder: Path) -> None:
    """A ConfigError where a folder can never be had; one that does not exist is made by the agent."""
    try:
        os.stat(os.path.join(folder, ""))
    except NotADirectoryError:
        reason = os.strerror(errno.EEXIST if os.path.exists(folder) else errno.ENOTDIR)
        raise ConfigError(
            f"state {folder} cannot be used: {reason}; choose one that can be written to with --state"
        ) from None
    except OSError:  # it does not exist, or only the agent's user may look
        pass


def _check_source(path: str) -> None:
    if path.startswith("journal:"):
        command_of(path)
    elif not is_url(path) and os.path.isdir(path):
        raise cannot_read(source_name(path), IsADirectoryError())
