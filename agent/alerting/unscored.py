"""Sources whose lines get no score, as where every stream is shorter than the model's window."""

import msgspec

from agent.scoring.engine import ScoredBlock

LINES = 1000  # of a period, at least
_SHARE = 0.01  # of lines with a score, below which a period counts as one without
_LASTING = 0.75  # how many streams begin in a period, of those in the period before, where it goes on like that


class _Period(msgspec.Struct, array_like=True):
    """lines: those that should get scores. scored: those that did. begun: first lines of a stream. full: those whose
    windows were full.
    """

    lines: int = 0
    scored: int = 0
    begun: int = 0
    full: int = 0


class _Known(msgspec.Struct, array_like=True):
    """before: the last period that is over, where it had no scores. unscored: lines since there were scores, as far as
    that is no warming up.
    """

    now: _Period
    before: _Period | None = None
    unscored: int = 0


class UnscoredLines:
    """Finds the sources of which under 1 % of the lines get a score, though no window of theirs warms up any more.

    Lines are counted in periods of 1,000 and more. Windows warm up where streams begin and go on. They never will where
    in two periods without scores one after the other streams keep beginning, and so many that fewer lines are left for
    each than a window has. size: lines of a window; 1 where a line needs none before it.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._sources: dict[str, _Known] = {}

    def observe(self, scored: ScoredBlock) -> str:
        """Counts the lines of a block; what is to be said where a period is over and shows that none get scores."""
        source = scored.block.source
        known = self._sources.setdefault(source, _Known(_Period()))
        positions, now = scored.positions[scored.rows], known.now
        now.lines += len(scored.rows)
        now.scored += len(scored.rows) - int((scored.scores[scored.rows] != scored.scores[scored.rows]).sum())
        now.begun += int((positions == 1).sum())
        now.full += int((positions >= self._size).sum())
        return self._end_period(source, known) if now.lines >= LINES else ""

    def lines(self, source: str) -> int:
        """How many of the last lines of a source got no score; 0 where all is well, or may still be."""
        known = self._sources.get(source)
        return known.unscored if known else 0

    def _end_period(self, source: str, known: _Known) -> str:
        now, before, known.now = known.now, known.before, _Period()
        if now.scored >= _SHARE * now.lines:
            known.before, known.unscored = None, 0
            return ""
        known.before = now
        if now.full >= (1 - _SHARE) * now.lines:
            why = "though their windows are full: the model gives no number; check the bundle"
        elif before is not None and self._are_short(before, now):
            why = (
                f"since the model's windows have {self._size} lines, and its streams are shorter: they have "
                f"{now.lines / now.begun:.1f} lines on average; choose a `stream` pattern under which fewer streams "
                "have more lines each, or a bundle that was trained with padding (window.pad), which scores every line"
            )
        else:
            return ""
        known.unscored += now.lines + (before.lines if before is not None and not known.unscored else 0)
        return f"{source}: {now.scored} of the last {now.lines} lines got a score, {why}"

    def _are_short(self, before: _Period, now: _Period) -> bool:
        goes_on = now.begun * before.lines >= _LASTING * before.begun * now.lines
        return goes_on and now.begun * self._size > now.lines

    def blob(self, source: str) -> bytes:
        """What has to be kept of a source to go on after a restart; empty where there is nothing unusual."""
        known = self._sources.get(source, _Known(_Period()))
        if known.before is None and known.now.scored >= _SHARE * known.now.lines:
            return b""
        return msgspec.msgpack.encode(known)

    def restore(self, source: str, blob: bytes) -> None:
        """Sets what `blob` gave; what cannot be understood is counted anew."""
        try:
            self._sources[source] = msgspec.msgpack.decode(blob, type=_Known) if blob else _Known(_Period())
        except msgspec.DecodeError:
            self._sources[source] = _Known(_Period())

    def forget(self, source: str) -> None:
        """Forgets a source that is gone."""
        self._sources.pop(source, None)
