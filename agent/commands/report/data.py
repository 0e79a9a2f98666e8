"""What a report's page is given: JSON data, thinned so that a browser can hold it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.alerting.alert import Alert
from agent.alerting.message import named_texts, why
from agent.commands.report.loading import Report
from agent.commands.report.streams import stream_rows
from agent.commands.report.thin import thin
from agent.scorefile.table import ScoreTable
from agent.scoring.reasons import Reason
from agent.text.escape import escape

MAX_ALERTS = 5_000
_MAX_SHOWN = 1_500_000  # characters of messages, reasons and contexts
_SHORT = 200  # bytes of a message beyond that
_NAMES = {"line": "line", "session": "stream", "alert": "alert"}
_DIGITS = 6  # of a score


def page_data(report: Report, name: str) -> dict[str, Any]:
    """All that a page shows."""
    table, notes = report.table, list(report.table.warnings)
    listed = _highest(table, notes)
    x, timed = _axis(table, notes)
    rows = thin(x, table.score, listed)
    if len(rows) < int((np.isfinite(x) & ~np.isnan(table.score)).sum()):
        notes.append(
            f"the timeline shows {len(rows):,} of {len(x):,} {_NAMES[table.scope]}s: the least and the greatest score "
            "of each of its parts, and every listed alert; the tables below are counted from all of them"
        )
    streams, left = stream_rows(table)
    if left:
        notes.append(f"{left:,} more streams are not listed: those below have the most odd lines or the highest scores")
    return {
        "name": escape(name),
        "scope": table.scope,
        "sources": list(map(escape, table.sources)),
        "timed": timed,
        "facts": facts(table),
        "notes": notes,
        "chart": _chart(table, x, rows),
        "alerts": _alerts(report, listed, x, notes),
        "streams": streams,
    }


def _highest(table: ScoreTable, notes: list[str]) -> NDArray[np.int64]:
    """int64: the rows of the alerts that are listed, in their order."""
    anomalous = np.flatnonzero(table.anomaly)
    if len(anomalous) <= MAX_ALERTS:
        return anomalous
    notes.append(
        f"the {MAX_ALERTS:,} alerts with the highest scores of {len(anomalous):,} are listed; the others are not"
    )
    return np.sort(anomalous[np.argsort(-table.score[anomalous], kind="stable")[:MAX_ALERTS]])


def _axis(table: ScoreTable, notes: list[str]) -> tuple[NDArray[np.float64], bool]:
    """float64 [rows]: the time of each row, or its place in the file where most show none."""
    untimed = int(np.isnan(table.time).sum())
    if 2 * untimed < len(table.time):
        if untimed:
            notes.append(f"{untimed:,} {_NAMES[table.scope]}s show no time and are not in the timeline")
        return table.time, True
    if table.scope != "session":
        notes.append(
            f"{untimed:,} of {len(table.time):,} {_NAMES[table.scope]}s show no time: the timeline goes by their place "
            "in the file"
        )
    return np.arange(1, len(table.time) + 1, dtype=np.float64), False


def facts(table: ScoreTable) -> dict[str, Any]:
    """The figures of a whole file, by name; times in seconds."""
    times = table.time[~np.isnan(table.time)]
    scores = table.score[~np.isnan(table.score)]
    return {
        "rows": len(table.line),
        "scored": len(scores),
        "warming": len(table.score) - len(scores),
        "odd": int(table.anomaly.sum()),
        "sources": len(table.sources),
        "streams": len(np.unique(table.source.astype(np.int64) << 32 | table.stream)),
        "first": float(times.min()) if len(times) else None,
        "last": float(times.max()) if len(times) else None,
        "untimed": len(table.time) - len(times),
        "highest": _number(scores.max()) if len(scores) else None,
    }


def _chart(table: ScoreTable, x: NDArray[np.float64], rows: NDArray[np.int64]) -> dict[str, Any]:
    finite = table.score[rows][np.isfinite(table.score[rows])]
    most = float(finite.max()) if len(finite) else 1.0
    scores = np.nan_to_num(table.score[rows].astype(np.float64), posinf=most, neginf=0.0)
    limits = table.threshold[rows]
    same = len(limits) > 0 and bool((limits == limits[0]).all())
    return {
        "x": np.round(x[rows], 3).tolist(),
        "score": [_number(score) for score in scores.tolist()],
        "limit": _number(limits[0]) if same else [_number(limit) for limit in limits.tolist()],
        "line": table.line[rows].tolist(),
        "source": table.source[rows].tolist(),
        "odd": np.flatnonzero(table.anomaly[rows]).tolist(),
    }


def _number(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(f"{value:.{_DIGITS}g}")


def _alerts(
    report: Report, listed: NDArray[np.int64], x: NDArray[np.float64], notes: list[str]
) -> list[dict[str, Any]]:
    """The listed alerts in their order; those with the highest scores are told in full."""
    shown, short, room = {}, 0, _MAX_SHOWN
    for row in sorted(listed.tolist(), key=lambda row: -report.table.score[row]):
        alert = report.alert(row)
        whole = _alert_data(alert)
        size = sum(map(len, [whole["message"], whole["why"], *whole["quotes"].values(), *whole["context"]]))
        room -= size
        if room < 0 and size > _SHORT:
            whole |= {"message": escape(alert.message, _SHORT), "quotes": {}, "context": []}
            short += 1
        shown[row] = whole | {"x": None if np.isnan(x[row]) else round(float(x[row]), 3)}
    if short:
        notes.append(f"{short:,} alerts with lower scores are told in short, without their context")
    return [shown[row] for row in listed.tolist()]


def _alert_data(alert: Alert) -> dict[str, Any]:
    """One alert, as the page takes it."""
    peer = {"peer": alert.peer} if alert.peer else {}
    return {
        "time": escape(alert.time),
        "severity": escape(alert.severity),
        "source": escape(alert.source),
        "stream": escape(alert.stream),
        "program": escape(alert.program),
        "host": escape(alert.host),
        "line": alert.line,
        "score": _number(alert.score),
        "limit": _number(alert.threshold),
        "count": alert.count,
        "message": escape(alert.message),
        "why": why(alert) if alert.reason else "",
        "quotes": _quotes(alert.reason),
        "context": [escape(line) for line in alert.context],
        "fields": {escape(name): escape(value) for name, value in (peer | alert.fields).items()},
    }


def _quotes(reason: Reason) -> dict[str, str]:
    """The lines that a reason names."""
    return {name: escape(text) for name, text in named_texts(reason).items()}
