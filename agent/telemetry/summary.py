"""What a run logs for its operator of the lines that it reads: formats, warnings, and totals at the end."""

import logging
from collections import Counter

from agent.alerting.pipeline import Pipeline
from agent.host.clock import SYSTEM_CLOCK, Clock
from agent.text.headers import detect
from agent.text.lines import Block

_LOG = logging.getLogger(__name__)
_WARN_EVERY = 3600.0  # seconds between two warnings of lines that were not read whole


class Summary:
    """Counts what a run reads and finds, through all reloads, and logs it.

    began: when the run did, by what the clock calls monotonic.
    """

    def __init__(self, pipeline: Pipeline, began: float, clock: Clock = SYSTEM_CLOCK) -> None:
        self.lines = 0
        self._pipeline, self._began, self._clock = pipeline, began, clock
        self._bytes = self._alerts = 0
        self._carried: Counter[str] = Counter()  # what the pipelines before the last reload counted
        self._announced: set[str] = set()  # the sources whose format was
        self._next_warnings = 0.0

    def use(self, pipeline: Pipeline) -> None:
        """Goes on with another pipeline, after the warnings and counts of the present one."""
        self._carried.update(self._counted())
        self._warn()
        self._pipeline = pipeline

    def add(self, block: Block, alerts: int) -> None:
        """Counts a block in which there were so many alerts; logs the format of a source at its first lines."""
        if block.source not in self._announced:
            self._announced.add(block.source)
            form = detect(block, self._pipeline.engine.header)
            _LOG.info("reading %s from line %s, format %s", block.source, block.first, form)
        self.lines += len(block)
        self._bytes += len(block.data)
        self._alerts += alerts

    def forget(self, source: str) -> None:
        """Logs the format of a source of this name anew when there is one again."""
        self._announced.discard(source)

    def counts(self) -> str:
        """The lines and alerts so far, for one who asks how the run is going."""
        return f"{self.lines} lines read, {self._alerts} alerts"

    def log_warnings(self) -> None:
        """Says what of the lines could not be read whole, at once the first time and then hourly."""
        if self._clock.monotonic() >= self._next_warnings and self._warn():
            self._next_warnings = self._clock.monotonic() + _WARN_EVERY

    def log_totals(self, cut_lines: int) -> None:
        """Says what the run came to. cut_lines: those of the sources, longer than max_line."""
        seconds = self._clock.monotonic() - self._began
        totals = {what: count + self._carried[what] for what, count in self._counted().items()}
        totals["lines cut"] = cut_lines
        counts = [f"{self._alerts} alerts", *(f"{count} {what}" for what, count in totals.items() if count)]
        megabytes = self._bytes / 1e6
        _LOG.info("read %d lines (%.1f MB) in %.1f s: %s", self.lines, megabytes, seconds, ", ".join(counts))
        self._warn()

    def _warn(self) -> bool:
        """Says what of the lines was not read whole; whether there was anything."""
        warnings = self._pipeline.take_warnings()
        for warning in warnings:
            _LOG.warning("%s", warning)
        return bool(warnings)

    def _counted(self) -> dict[str, int]:
        """What the present pipeline did with lines."""
        totals = self._pipeline.totals
        return {
            "repeats folded": totals.folded,
            "own alerts left out": totals.own_lines,
            "odd lines that look like own alerts": totals.forged,
            "alerts held back": totals.held_back,
        }
