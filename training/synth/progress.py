"""A progress bar for a long log, on a terminal alone."""

import sys
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from training.synth.host import Line

_STEP = 500  # lines between two looks at the clock


def with_progress(lines: Iterable[Line], total: int, slow: bool) -> Iterator[Line]:
    """The same lines; meanwhile a bar on standard error where that is a terminal. `slow` lines are shown one by one."""
    columns = (TextColumn("writing"), BarColumn(), MofNCompleteColumn(), TextColumn("lines"), TimeRemainingColumn())
    step = 1 if slow else _STEP
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("", total=total)
        for index, line in enumerate(lines, 1):
            yield line
            if index % step == 0:
                bar.update(task, completed=index)
