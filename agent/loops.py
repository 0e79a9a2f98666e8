"""Refusing configurations under which the agent would read what it writes."""

import os
import stat
import sys
from pathlib import Path

from agent.config import AgentConfig
from agent.errors import ConfigError, SinkError, SourceError
from agent.scores import JsonLines
from agent.sources.patterns import is_pattern, is_url, matches

_Identity = tuple[int, int] | str | None


def refuse_loops(config: AgentConfig, scores: JsonLines | None) -> None:
    """A ConfigError where a file that is tailed is also written to directly, or a socket that is read is a sink.

    A SourceError or SinkError where standard input is to be read, or standard output written, and is closed.
    """
    tailed = _tailed(config)
    for url in config.sinks:
        kind, _, target = url.partition(":")
        if kind == "jsonl" and target != "-" and _identity(target) in tailed:
            raise ConfigError(f"{url} is a file that is tailed: the agent would read its own alerts; choose another")
        if kind == "unix" and f"listen:unix:{target}" in {wanted.path for wanted in config.inputs()}:
            raise ConfigError(f"{url} is a socket that is read: the agent would read its own alerts; choose another")
    to_output = {"console:", "jsonl:-"} & set(config.sinks)
    if to_output and sys.stdout is None:
        raise SinkError("standard output is closed; redirect it to a file or to /dev/null, or name another sink")
    if to_output and _identity(sys.stdout.fileno()) in tailed:
        raise ConfigError(
            "standard output goes to a file that is tailed: the agent would read its own alerts; redirect it elsewhere"
        )
    if config.metrics_file is not None and _identity(config.metrics_file) in tailed:
        raise ConfigError("metrics_file is a file that is tailed: it would be overwritten; choose another")
    if scores is not None and _identity(scores.fileno()) in tailed:
        raise ConfigError("--scores goes to a file that is tailed: the agent would read its own scores; choose another")


def _tailed(config: AgentConfig) -> set[_Identity]:
    named = {wanted.path for wanted in config.inputs()}
    found = {key for path in named if is_pattern(path) for _, key in matches(path)}
    if "-" in named and sys.stdin is None:  # its descriptor may be another file's by now
        raise SourceError("standard input is closed; pipe the log into the command")
    if "-" in named and stat.S_ISREG(os.fstat(0).st_mode):
        found.add(_identity(0))
    return (found | {_identity(path) for path in named if path != "-" and not is_url(path)}) - {None}


def _identity(file: str | Path | int) -> _Identity:
    """What tells a file from others: device and inode or, where it does not exist yet, where its path leads."""
    try:
        status = os.stat(file)
    except OSError:
        return None if isinstance(file, int) else os.path.realpath(file)
    return status.st_dev, status.st_ino
