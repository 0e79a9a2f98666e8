"""Refusing configurations under which the agent would read what it writes."""

import glob
import os
import stat
import sys
from fnmatch import fnmatchcase
from pathlib import Path

from agent.config import AgentConfig
from agent.errors import ConfigError, SinkError, SourceError
from agent.scorefile.writer import JsonLines
from agent.sources.files.globs import is_pattern, is_url
from agent.sources.files.rotation_names import COMPRESSED
from agent.state.store import FILE, LOCK

_SOCKET = "listen:unix:"
_STATE = (FILE, f"{FILE}-wal", f"{FILE}-shm", LOCK)
_Identity = tuple[int, int] | tuple[int, int, str] | str | None


def refuse_loops(config: AgentConfig, scores: JsonLines | None) -> None:
    """A ConfigError where what is read is also written to, now or as soon as it is made, or as standard output.

    A SourceError or SinkError where standard input is to be read, or standard output written, and is closed.
    """
    refuse_file_loops(config)
    tailed = _tailed(config) | _standard_input(config)
    to_output = {"console:", "jsonl:-"} & set(config.sinks)
    if to_output and sys.stdout is None:
        raise SinkError("standard output is closed; redirect it to a file or to /dev/null, or name another sink")
    if to_output and (source := tailed.get(_identity(sys.stdout.fileno()))):
        raise ConfigError(
            f"standard output goes to a file that is tailed ({source}): the agent would read its own alerts; redirect "
            "it elsewhere"
        )
    if scores is not None and (source := tailed.get(_identity(scores.fileno()))):
        raise _scores_loop(source)


def refuse_file_loops(config: AgentConfig) -> None:
    """A ConfigError where a file or socket that is read is also a sink, the metrics file or of the state.

    It may not exist yet: what is refused is what a source would name.
    """
    tailed = _tailed(config)
    for url in config.sinks:
        kind, _, target = url.partition(":")
        if kind == "jsonl" and target != "-" and (source := _reader(target, tailed)):
            raise ConfigError(
                f"{url} is a file that is tailed ({source}): the agent would read its own alerts; choose another"
            )
        if kind == "unix" and _identity(target) in _sockets(config):
            raise ConfigError(f"{url} is a socket that is read: the agent would read its own alerts; choose another")
    if config.metrics_file is not None and (source := _reader(config.metrics_file, tailed)):
        raise ConfigError(f"metrics_file is a file that is tailed ({source}): it would be overwritten; choose another")
    files = [] if config.state is None else [os.path.join(config.state, name) for name in _STATE]
    if source := next(filter(None, (_reader(file, tailed) for file in files)), None):
        raise ConfigError(
            f"state {config.state} has files that are tailed ({source}): the agent would read its own state; choose "
            "another"
        )


def refuse_scores(config: AgentConfig, target: str) -> None:
    """A ConfigError where the file of --scores, which need not exist, is tailed."""
    if target != "-" and (source := _reader(target, _tailed(config))):
        raise _scores_loop(source)


def _scores_loop(source: str) -> ConfigError:
    return ConfigError(
        f"--scores goes to a file that is tailed ({source}): the agent would read its own scores; choose another"
    )


def _tailed(config: AgentConfig) -> dict[_Identity, str]:
    """The files that are read, each with the source that names it, and for each source what it names literally."""
    paths = [one.path for one in config.inputs() if one.path != "-" and not is_url(one.path)]
    found = {_identity(path): path for path in reversed(paths)}
    for path in filter(is_pattern, paths):
        named = filter(_is_log, glob.glob(os.path.abspath(path), recursive=True))
        found = {_identity(name): path for name in named} | found
    return found


def _standard_input(config: AgentConfig) -> dict[_Identity, str]:
    if all(one.path != "-" for one in config.inputs()):
        return {}
    if sys.stdin is None:  # its descriptor may be another file's by now
        raise SourceError("standard input is closed; pipe the log into the command")
    return {_identity(0): "standard input"} if stat.S_ISREG(os.fstat(0).st_mode) else {}


def _sockets(config: AgentConfig) -> set[_Identity]:
    urls = [one.path for one in config.inputs() if one.path.startswith(_SOCKET)]
    return {_identity(url.removeprefix(_SOCKET)) for url in urls}


def _reader(file: str, tailed: dict[_Identity, str]) -> str | None:
    """The source that reads a file or, where it does not exist yet, would read it."""
    if source := tailed.get(_identity(file)):
        return source
    patterns = filter(is_pattern, dict.fromkeys(tailed.values()))
    return next((path for path in patterns if _is_log(file) and _would_name(path, os.path.realpath(file))), None)


def _is_log(path: str) -> bool:
    """Whether a pattern that names a path reads it: a file, also one that is still to be made, that is not packed."""
    return os.path.splitext(path)[1] not in COMPRESSED and (os.path.isfile(path) or not os.path.exists(path))


def _would_name(pattern: str, file: str) -> bool:
    """Whether a pattern names a file once it is made, whatever links lead from the pattern to its folder."""
    folder = next(parent for parent in Path(file).parents if os.path.isdir(parent))
    rest, parts = Path(file).relative_to(folder).parts, Path(os.path.abspath(pattern)).parts
    for cut in range(1, len(parts) + 1):
        deep = parts[cut - 1] == "**"  # it may stand for folders before `folder` as well as for those after it
        if _fits(rest, parts[cut - deep :]) and _leads(os.path.join(*parts[:cut], ""), folder):
            return True
    return False


def _leads(pattern: str, folder: Path) -> bool:
    return _identity(folder) in map(_identity, glob.iglob(pattern, recursive=True))


def _fits(names: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    """Whether names are as the parts of a pattern want them; glob's wildcards pass over what is hidden."""
    if not parts or not names:
        return not parts and not names
    name, part = names[0], parts[0]
    hidden = name.startswith(".") and not part.startswith(".")
    if part == "**":
        return _fits(names, parts[1:]) or (not hidden and (_fits(names[1:], parts) or len(names) == len(parts) == 1))
    same = fnmatchcase(name, part) and not hidden if glob.has_magic(part) else name == part
    return same and _fits(names[1:], parts[1:])


def _identity(file: str | Path | int) -> _Identity:
    """What tells a file from others: device and inode; before it exists those of its folder, and its name.

    Where there is no folder either it is where the path leads.
    """
    try:
        status = os.stat(file)
    except OSError:
        return None if isinstance(file, int) else _file_identity(os.path.realpath(file))
    return status.st_dev, status.st_ino


def _file_identity(path: str) -> tuple[int, int, str] | str:
    try:
        folder = os.stat(os.path.dirname(path))
    except OSError:
        return path
    return folder.st_dev, folder.st_ino, os.path.basename(path)
