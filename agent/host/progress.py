"""A bar over the bytes of files that are read, on a terminal."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from agent.errors import cannot_read

Advance = Callable[[int], None]
"""Takes how many bytes more were read."""


def nowhere(size: int) -> None:
    """Shows nothing."""


def size_of(files: list[str]) -> int | None:
    """The bytes of all files, None where one is packed or standard input; a SourceError where one does not exist."""
    total, known = 0, True
    for file in files:
        if file == "-" or file.endswith(".gz"):
            known = False
        if file != "-":
            try:
                total += os.path.getsize(file)
            except OSError as error:
                raise cannot_read(file, error) from None
    return total if known else None


@contextmanager
def progress(title: str, total: int | None) -> Iterator[Advance]:
    """A bar over the bytes read, on a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn(title), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as shown:
        task = shown.add_task("", total=total)
        yield lambda size: shown.advance(task, size)
