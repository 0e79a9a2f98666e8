"""What the soak found: every number beside the one that it must equal, and all that does not add up."""

import re
import statistics
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from soak_agent import SEEN_AFTER, Agent, Run, Sample
from soak_logs import Logs

WARM = 30.0  # seconds after a start that are left out of the slope of the memory: windows and caches fill
GROWTH = 0.1  # share of its memory by which the agent may grow over the second half of its longest life
_NUMBER = re.compile(r"seq (\d+)")


class Told(msgspec.Struct):
    """What is wanted of an alert."""

    id: str
    source: str
    offset: int
    line: int
    message: str
    kind: str = "alert"


@dataclass
class Report:
    """Rows of a table, and what is wrong."""

    rows: list[tuple[str, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def add(self, name: str, value: object) -> None:
        """A row that is only told."""
        self.rows.append((name, f"{value:,}" if isinstance(value, int) else str(value)))

    def equal(self, name: str, found: int, due: int) -> None:
        """A row of a number that must be `due`."""
        self.add(name, f"{found:,} of {due:,}" if due else found)
        if found != due:
            self.faults.append(f"{name}: {found:,} where {due:,} are due ({found - due:+,})")

    def most(self, name: str, found: float, most: float, unit: str = "") -> None:
        """A row of a number that may not be above `most`."""
        self.add(name, f"{found:,.1f}{unit} (at most {most:,.1f})")
        if found > most:
            self.faults.append(f"{name}: {found:,.1f}{unit}, above {most:,.1f}")

    def show(self) -> str:
        """The table, and below it what is wrong."""
        table = ["| what | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in self.rows)]
        ends = [f"WRONG: {fault}" for fault in self.faults] or ["All adds up."]
        return "\n".join([*table, "", *ends])


def _lived(run: Run, at: float) -> bool:
    """Whether a life of the agent goes from well before to well after a moment."""
    return bool(run.samples) and run.samples[0].at < at < run.samples[-1].at - 3


def check_counts(report: Report, logs: Logs, status: dict[str, Any], runs: list[Run]) -> None:
    """Every line and byte that was written against what the agent counted, in all and log by log."""
    totals = status["totals"]
    report.equal("lines read, of those written", totals["lines_read"], logs.lines)
    report.equal("bytes read, of those written", totals["bytes_read"], logs.bytes)
    report.equal("rotations and truncations counted", totals["rotations"] + totals["truncations"], logs.rotations)
    doubts = sum(not any(_lived(run, at) for run in runs) for at in logs.removed)
    report.most("losses that may have been, of logs removed while the agent was down", totals["losses"], doubts)
    for name in ("bytes_lost", "cut_lines", "zero_bytes", "own_lines", "held_back", "reopened"):
        report.equal(name.replace("_", " "), totals[name], 0)
    counts = {source["path"]: source for source in status["sources"]}
    known = [log for log in logs.every if str(log.path) in counts]
    wrong = [log for log in known if counts[str(log.path)]["counts"]["lines_read"] != log.lines]
    report.equal("logs of which the count is wrong", len(wrong), 0)
    for log in wrong[:5]:
        read = counts[str(log.path)]["counts"]["lines_read"]
        report.faults.append(f"{log.path.name}: {read} lines read, {log.lines} written")
    others = [path for path in counts if path not in {str(log.path) for log in logs.every}]
    report.equal("files read that are no log", len(others), 0)
    report.faults += [f"{path} was read" for path in others[:5]]
    report.add("of logs that are gone, still in the state", sum(log.ended for log in known))
    behind = sum(source["backlog"] for source in status["sources"])
    report.equal("bytes that the status calls unread", behind, 0)


def check_metrics(report: Report, served: str, status: dict[str, Any]) -> None:
    """What the agent served last at /metrics against what it kept."""
    kept = {source["path"]: source["counts"] for source in status["sources"]}
    for name in ("lines_read", "bytes_read", "alerts"):
        found = dict(re.findall(rf'^oddline_{name}_total{{source="(.*)"}} (\d+)$', served, re.MULTILINE))
        wrong = [path for path, counts in kept.items() if path in found and counts[name] != int(found[path])]
        missing = [path for path in kept if Path(path).exists() and path not in found]
        report.equal(f"logs of which the metric {name} is missing or another one", len(wrong + missing), 0)


def check_alerts(report: Report, logs: Logs, agent: Agent, status: dict[str, Any], reference: Path | None) -> None:
    """Every alert once, repeated after a kill at most, and of the line that it names."""
    every, torn = read_alerts(agent.alerts)
    told = [(place, one) for place, one in every if one.kind == "alert"]
    notices = {one.id for _, one in every if one.kind == "notice"}
    first: dict[str, int] = {}
    repeats, early = 0, 0
    for place, alert in told:
        if alert.id in first:
            repeats += 1
            early += not _killed_between(agent.runs, first[alert.id], place)
        first.setdefault(alert.id, place)
    unique = {alert.id: alert for _, alert in told}
    (sink,) = status["sinks"]
    report.equal("alerts in the sink, each once, of those counted", len(unique), status["totals"]["alerts"])
    report.add("notices in the sink", len(notices))
    report.equal(
        "alerts and notices delivered, as the state counts them", sink["delivered"], len(unique) + len(notices)
    )
    report.equal("alerts that wait or are lost", sink["waiting"] + sum(sink["lost"].values()), 0)
    report.add("alerts repeated after a kill", repeats - early)
    report.equal("alerts repeated without a kill between", early, 0)
    report.equal("alerts that are cut", torn, 0)
    _check_lines(report, logs, list(unique.values()))
    if reference is not None:
        _compare(
            report,
            set(map(_number, unique.values())),
            {_number(one) for _, one in read_alerts(reference)[0] if one.kind == "alert"},
        )


def _check_lines(report: Report, logs: Logs, alerts: list[Told]) -> None:
    """An alert names the log, the byte and the line at which its line was written; no line has two alerts."""
    numbers = Counter(map(_number, alerts))
    report.equal("lines with two alerts", sum(count > 1 for count in numbers.values()), 0)
    wrong = [alert for alert in alerts if _source(logs, _number(alert)) != alert.source]
    report.equal("alerts that name another log", len(wrong), 0)
    odd = [alert for alert in alerts if _number(alert) in logs.odd]
    misplaced = [one for one in odd if logs.odd[_number(one)] != (one.offset, one.line)]
    report.equal("alerts that name another byte or line", len(misplaced), 0)
    for alert in misplaced[:5]:
        report.faults.append(f"{alert.source} byte {alert.offset} line {alert.line}: {logs.odd[_number(alert)]} is due")
    report.add("odd lines with an alert", f"{len(odd):,} of {len(logs.odd):,}")


def _source(logs: Logs, number: int) -> str:
    """The log to which a line was written; empty for a number that no line has."""
    return str(logs.every[logs.owner[number]].path) if 0 <= number < logs.lines else ""


def _compare(report: Report, found: set[int], due: set[int]) -> None:
    report.equal("alerts that an agent also has which reads it all at one go", len(found & due), len(due))
    report.equal("alerts that it has not", len(found - due), 0)


def _number(alert: Told) -> int:
    """The number of the line of an alert; -1 where it has none."""
    found = _NUMBER.search(alert.message)
    return int(found[1]) if found else -1


def read_alerts(file: Path) -> tuple[list[tuple[int, Told]], int]:
    """The alerts in a file, each with the byte at which it stands, and how many lines are none."""
    found, torn, at = [], 0, 0
    for line in file.read_bytes().splitlines(keepends=True) if file.exists() else ():
        try:
            found.append((at, msgspec.json.decode(line, type=Told)))
        except msgspec.DecodeError:
            torn += 1
        at += len(line)
    return found, torn


def _killed_between(runs: list[Run], first: int, again: int) -> bool:
    """Whether the agent was killed between the writing of two bytes of the file of alerts."""
    return any(first < run.sent <= again and run.how != "SIGTERM" for run in runs)


def check_resources(report: Report, agent: Agent, lag: float) -> None:
    """Memory and file handles that stay as they are, and how fast the agent was."""
    samples = [sample for run in agent.runs for sample in run.samples]
    report.add("peak of the resident memory", f"{max((one.resident for one in samples), default=0) / 1e6:.0f} MB")
    for rank, run in enumerate(sorted(agent.runs, key=_length, reverse=True)[:3]):
        warm = [one for one in run.samples if one.age >= WARM]
        if len(warm) >= 30:
            slope, mean = _slope(warm), statistics.mean(one.resident for one in warm) / 1e6
            hours = (warm[-1].age - warm[0].age) / 3600
            name = f"memory over {warm[-1].age:.0f} s without a restart"
            report.add(name, f"{mean:.0f} MB, {slope:+.1f} MB/h, {slope * hours:+.2f} MB in all")
            if rank == 0:
                _check_growth(report, name, warm)
    settled = [one.handles for one in samples if one.age >= SEEN_AFTER]
    quarter = len(settled) // 4
    if quarter:
        before, after = statistics.median(settled[:quarter]), statistics.median(settled[-quarter:])
        report.most("open file handles, median of the last quarter", after, 1.1 * before + 10, f" after {before:.0f}")
    report.add("share of one core", f"{100 * agent.cpu / max(agent.up, 1e-9):.1f} %")
    report.add("longest backlog, restarts included", f"{lag:.1f} s")
    report.add("slowest start after an end", f"{max(agent.starts, default=0.0):.1f} s")


def _check_growth(report: Report, name: str, warm: list[Sample]) -> None:
    """The caches have bounds, which they reach in the first half of a long life; in the second nothing may grow."""
    late = warm[len(warm) // 2 :]
    grown = _slope(late) * (late[-1].age - late[0].age) / 3600
    report.add("growth in its second half", f"{grown:+.2f} MB")
    report.add("of it every 30 s, in MB", " ".join(f"{one.resident / 1e6:.1f}" for one in warm[::30]))
    if grown > GROWTH * statistics.mean(one.resident for one in late) / 1e6:
        report.faults.append(f"{name}: it grew by {grown:.1f} MB in its second half")


def _length(run: Run) -> float:
    return run.samples[-1].age if run.samples else 0.0


def _slope(samples: list[Sample]) -> float:
    """The growth of the resident memory by least squares, in MB an hour."""
    ages, sizes = np.array([one.age for one in samples]), np.array([one.resident for one in samples])
    return float(np.polyfit(ages / 3600, sizes / 1e6, 1)[0])
