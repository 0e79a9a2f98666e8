"""What a report is of: a table of scores, and its odd rows as alerts."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from agent.alerting.alert import Alert
from agent.host.progress import Advance, nowhere
from agent.scorefile.reader import LineScore, SessionScore, choose_score, read_records, seconds
from agent.scorefile.table import ScoreTable, score_table
from agent.scoring.reasons import Reason, decode_reason


@dataclass(frozen=True)
class Report:
    """What a report shows.

    table  a row a line, stream or alert; its scope is "line", "session" or "alert"
    alert  gives what is told of an odd row
    """

    table: ScoreTable
    alert: Callable[[int], Alert]


def load_report(path: Path, advance: Advance = nowhere) -> Report:
    """Reads a score file, or the alerts that a jsonl sink wrote; its content tells which it is.

    A SourceError where it is neither, or of another version.
    """
    warnings: list[str] = []
    blocks: Iterator[list[Any]] = read_records(path, _choose, warnings, advance)
    first = next(blocks)
    if isinstance(first[0], Alert):
        every = chain.from_iterable(chain([first], blocks))
        return _of_alerts([alert for alert in every if not alert.is_notice], warnings)
    table = score_table(chain([first], blocks), warnings)
    return Report(table, partial(_alert, table))


def _choose(name: str, first: dict[str, Any]) -> type[Alert] | type[LineScore] | type[SessionScore]:
    return Alert if {"severity", "p_value"} <= first.keys() else choose_score(name, first)


def _of_alerts(alerts: list[Alert], warnings: list[str]) -> Report:
    sources: dict[str, int] = {}
    streams: dict[str, int] = {}
    with np.errstate(over="ignore"):
        table = ScoreTable(
            "alert",
            list(dict.fromkeys(alert.source for alert in alerts)),
            list(dict.fromkeys(alert.stream for alert in alerts)),
            np.array([sources.setdefault(alert.source, len(sources)) for alert in alerts], np.int32),
            np.array([streams.setdefault(alert.stream, len(streams)) for alert in alerts], np.int32),
            np.array([min(max(alert.line, 0), 2**63 - 1) for alert in alerts], np.int64),
            np.array([seconds(alert.time) for alert in alerts]),
            np.array([alert.score for alert in alerts], np.float64).astype(np.float32),
            np.array([alert.threshold for alert in alerts], np.float64).astype(np.float32),
            np.ones(len(alerts), bool),
            {},
            warnings,
        )
    return Report(table, alerts.__getitem__)


def _alert(table: ScoreTable, row: int) -> Alert:
    """An odd row as an alert; what its record does not tell is empty."""
    details, time = table.details.get(row, {}), float(table.time[row])
    shown = "" if np.isnan(time) else datetime.fromtimestamp(time, UTC).isoformat()
    message = details.get("message", "")
    if table.scope == "session" and details:
        message = f"{details['lines']:,} lines, from line {table.line[row]:,} to line {details['last_line']:,}"
    return Alert(
        id="",
        time=shown,
        host="",
        source=table.sources[table.source[row]],
        offset=0,
        line=int(table.line[row]),
        stream=table.streams[table.stream[row]],
        program=details.get("program", ""),
        message=message,
        score=float(table.score[row]),
        threshold=float(table.threshold[row]),
        p_value=0.0,
        severity=details.get("severity", ""),
        bundle="",
        reason=decode_reason(Reason, details.get("reason", {})),
        context=details.get("context", []),
        count=1,
        first_seen=shown,
        last_seen=shown,
    )
