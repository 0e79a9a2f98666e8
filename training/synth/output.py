"""The forms of a made-up log, and its files: the log, its labels, its incidents."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Literal, TextIO

from agent.errors import ConfigError
from training.synth.host import Line

Text = Callable[[Line], str]
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
FORMATS = ("rfc3164", "iso8601", "json")


def format_line(line: Line, form: str) -> str:
    """The line as a syslog daemon writes it to a file, without a line feed; as json one object."""
    if form == "json":
        fields = {"time": line.time.isoformat(timespec="microseconds"), "host": line.host, "program": line.program}
        pid = {} if line.pid is None else {"pid": line.pid}
        return json.dumps({**fields, **pid, "message": line.message}, separators=(",", ":"))
    if form == "rfc3164":
        stamp = f"{_MONTHS[line.time.month - 1]} {line.time.day:2d} {line.time.isoformat()[11:19]}"
    elif form == "iso8601":
        stamp = line.time.isoformat(timespec="microseconds")
    else:
        raise ConfigError(f"unknown format {form!r}; choose one of {', '.join(FORMATS)}")
    tag = line.program if line.pid is None else f"{line.program}[{line.pid}]"
    return f"{stamp} {line.host} {tag}: {line.message}"


def write_log(
    out: str,
    lines: Iterable[Line],
    form: str = "rfc3164",
    rate: float | None = None,
    labels: str | None = None,
    kinds: str | None = None,
) -> int:
    """Writes lines to a new file, or to standard output where `out` is -; how many.

    `labels` and `kinds` are files that hold a line for each: 0 or 1, and the name of the incident or -. With a `rate`
    in lines a second it appends to the files in real time, as a syslog daemon does; each line bears the present time.
    A ConfigError where a file cannot be written, or exists and no rate is given.
    """
    if form not in FORMATS:
        raise ConfigError(f"unknown format {form!r}; choose one of {', '.join(FORMATS)}")
    if rate is not None and not 0 < rate <= 10_000:
        raise ConfigError(f"a rate of {rate:g} lines a second is not possible; from more than 0 to 10000 are")
    texts: dict[str | None, Text] = {labels: _label, kinds: _kind, out: lambda line: format_line(line, form)}
    names = [name for name in (out, labels, kinds) if name is not None]
    count = 0
    with ExitStack() as stack:
        files = _open_all(stack, names, "x" if rate is None else "a")
        columns = [(file, texts[name]) for file, name in zip(files, names, strict=True)]
        for line in lines if rate is None else _paced(lines, rate):
            for file, text in columns:
                file.write(text(line) + "\n")
                if rate is not None:
                    file.flush()
            count += 1
    return count


def _label(line: Line) -> str:
    return str(line.label)


def _kind(line: Line) -> str:
    return line.kind or "-"


def _open_all(stack: ExitStack, names: list[str], mode: Literal["x", "a"]) -> list[TextIO]:
    """All of the files, or none: those made are removed where a later one cannot be."""
    if len(set(names)) < len(names) or "-" in names[1:]:
        raise ConfigError("the log, the labels and the kinds are files of their own; name each differently")
    made: list[str] = []
    files = []
    try:
        for name in names:
            new = name != "-" and not os.path.lexists(name)
            files.append(stack.enter_context(_open(name, mode)) if name != "-" else sys.stdout)
            made += [name] * new
    except ConfigError:
        for name in made:
            Path(name).unlink()
        raise
    return files


def _open(name: str, mode: Literal["x", "a"]) -> TextIO:
    try:
        return Path(name).open(mode, encoding="utf-8")
    except FileExistsError:
        raise ConfigError(f"{name} exists; name a file that does not, or append to it with --rate") from None
    except OSError as error:
        raise ConfigError(f"{name} cannot be written: {os.strerror(error.errno or 0)}") from None


def _paced(lines: Iterable[Line], rate: float) -> Iterator[Line]:
    began = time.monotonic()
    for index, line in enumerate(lines):
        time.sleep(max(0.0, began + index / rate - time.monotonic()))
        yield line._replace(time=datetime.now().astimezone())
