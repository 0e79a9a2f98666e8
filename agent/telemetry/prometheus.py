"""The agent's metrics in Prometheus' text exposition format 0.0.4."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from agent import __version__
from agent.sources.condition import Condition
from agent.telemetry.snapshot import Snapshot

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_CAUSES = ("full", "refused", "damaged")  # why an alert is dropped
_PER_SOURCE = {  # field of Counts: name, help
    "bytes_read": ("bytes_read", "Bytes of complete lines read"),
    "lines_read": ("lines_read", "Lines read"),
    "cut_lines": ("lines_cut", "Lines longer than max_line, of which only the head was read"),
    "cut_bytes": ("bytes_cut", "Bytes left out of lines longer than max_line"),
    "zero_bytes": ("zero_bytes", "NUL bytes left out, of runs that a crash left behind"),
    "undecodable": ("undecodable", "Pieces that are no text in the source's encoding, not UTF-8, and became U+FFFD"),
    "lines_scored": ("lines_scored", "Lines that got a score; others warm a window up or are the agent's own alerts"),
    "shortened_lines": ("lines_shortened", "Lines whose text is longer than the model reads, which had its head alone"),
    "own_lines": ("own_alert_lines", "Lines left out because they are alerts of this agent"),
    "rotations": ("rotations", "Times that another file took the path"),
    "truncations": ("truncations", "Times that the file was truncated or overwritten"),
    "reopened": ("reopens", "Times that the file was opened again after it was gone or could not be read"),
    "losses": ("losses", "Times that something was or may have been lost before it was read"),
    "bytes_lost": ("bytes_lost", "Bytes known to be lost before they were read; more may have been"),
    "alerts": ("alerts", "Alerts made"),
    "folded": ("alerts_folded", "Odd lines not told because they repeat one that was"),
    "forged": ("forged_lines", "Odd lines that look like alerts of this agent and are none"),
    "held_back": ("alerts_held_back", "Alerts held back because too many lines of the source were odd"),
}


@dataclass(frozen=True)
class MetricFamily:
    """A metric: its name, `counter` or `gauge`, its help, and a value for each set of labels."""

    name: str
    kind: str
    help_text: str
    samples: Sequence[tuple[dict[str, str], float]]


def exposition(families: Iterable[MetricFamily]) -> str:
    """The text that Prometheus reads."""
    return "".join(line + "\n" for family in families for line in _lines(family))


def families(snapshot: Snapshot) -> Iterator[MetricFamily]:
    """Every metric of the agent."""
    for field, (name, help_text) in _PER_SOURCE.items():
        values = [(_source(path), getattr(view.counts, field)) for path, view in snapshot.sources.items()]
        yield MetricFamily(f"oddline_{name}_total", "counter", help_text, values)
    yield from _backlogs(snapshot)
    yield from _conditions(snapshot)
    yield from _sinks(snapshot)
    yield from _process(snapshot)
    outcomes = [({"outcome": outcome}, count) for outcome, count in snapshot.reloads.items()]
    yield MetricFamily(
        "oddline_reloads_total", "counter", "Reloads of the configuration and the bundle (SIGHUP)", outcomes
    )


def _backlogs(snapshot: Snapshot) -> Iterator[MetricFamily]:
    sources = snapshot.sources.items()
    values = [(_source(path), view.backlog) for path, view in sources]
    yield MetricFamily("oddline_backlog_bytes", "gauge", "Bytes in the file that are not read yet", values)
    help_text = (
        "Seconds since lines were last read, while there is a backlog, else 0; "
        "how old the oldest unread byte is cannot be known"
    )
    yield MetricFamily(
        "oddline_backlog_seconds", "gauge", help_text, [(_source(path), view.behind) for path, view in sources]
    )


def _conditions(snapshot: Snapshot) -> Iterator[MetricFamily]:
    unscored = [(_source(path), view.counts.unscored_lines) for path, view in snapshot.sources.items()]
    help_text = "How many of the last lines got no score though they should, as where streams are shorter than windows"
    yield MetricFamily("oddline_unscored_lines", "gauge", help_text, unscored)
    names = get_args(Condition.__annotations__["condition"])
    values = [
        ({"source": label_text(one.path), "condition": name}, int(one.condition == name))
        for one in snapshot.conditions
        for name in names
    ]
    help_text = "1 for the condition that a path, pattern or URL of the configuration is in"
    yield MetricFamily("oddline_configured", "gauge", help_text, values)


def _sinks(snapshot: Snapshot) -> Iterator[MetricFamily]:
    sinks = [({"sink": label_text(name)}, view) for name, view in snapshot.sinks.items()]
    for name, kind, help_text, value in (
        ("alerts_delivered_total", "counter", "Alerts that the sink took", lambda view: view.delivered),
        ("outbox_alerts", "gauge", "Alerts that the sink does not have yet", lambda view: view.waiting),
        ("sink_failing", "gauge", "1 while the sink does not take what it is given", lambda view: int(view.failing)),
    ):
        yield MetricFamily(f"oddline_{name}", kind, help_text, [(labels, value(view)) for labels, view in sinks])
    help_text = "Alerts that the sink will never get: the outbox was full, it refused them, or they were damaged"
    dropped = [(labels | {"cause": cause}, view.lost.get(cause, 0)) for labels, view in sinks for cause in _CAUSES]
    yield MetricFamily("oddline_alerts_dropped_total", "counter", help_text, dropped)


def _process(snapshot: Snapshot) -> Iterator[MetricFamily]:
    bundle = {"id": snapshot.bundle[0], "name": label_text(snapshot.bundle[1]), "version": __version__}
    for name, help_text, labels, value in (
        ("streams", "Streams held in memory", {}, snapshot.streams),
        ("texts", "Canonical texts held in memory", {}, snapshot.texts),
        ("last_look_timestamp_seconds", "When the sources were last looked at, as a unix time", {}, snapshot.looked),
        ("start_time_seconds", "When the agent started, as a unix time", {}, snapshot.started),
        ("resident_memory_bytes", "Memory of the process that is resident", {}, resident_bytes()),
        ("bundle_info", "The bundle in use, by id and name, and the version of oddline; always 1", bundle, 1),
    ):
        yield MetricFamily(f"oddline_{name}", "gauge", help_text, [(labels, value)])


def resident_bytes() -> int:
    """The resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def label_text(name: str) -> str:
    """A name, such as a path with any bytes, in printable characters; different names give different texts."""
    doubled = name.replace("\\", "\\\\")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in doubled)


def _source(path: str) -> dict[str, str]:
    return {"source": label_text(path)}


def _lines(family: MetricFamily) -> Iterator[str]:
    yield f"# HELP {family.name} {_escape(family.help_text)}"
    yield f"# TYPE {family.name} {family.kind}"
    for labels, value in family.samples:
        inner = ",".join(f'{name}="{_escape(text, quote=True)}"' for name, text in labels.items())
        yield f"{family.name}{{{inner}}} {value}" if inner else f"{family.name} {value}"


def _escape(text: str, quote: bool = False) -> str:
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n")
    return escaped.replace('"', '\\"') if quote else escaped
