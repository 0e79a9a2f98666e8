"""From a score to a verdict: the limit that it is held against, its p-value and its severity."""

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.bundle.manifest import Scale, Threshold
from agent.errors import ConfigError

KINDS = ("fixed", "quantile", "sigma")
SIGMA_K, SIGMA_WINDOW = 2.5, 100  # of the source document of the two-stage model
_MOST_WINDOW = 1_000_000
_LARGEST = float(np.finfo(np.float32).max)
_SEVERITIES = ((2.0, "low"), (5.0, "medium"), (10.0, "high"))  # upper ends, in standard deviations of normal scores


def check_threshold(rule: Threshold) -> Threshold:
    """`rule` where it is complete and possible, else a ConfigError."""
    needed = {"fixed": {"value"}, "quantile": {"q"}, "sigma": {"k", "window"}}.get(rule.kind)
    if needed is None:
        raise ConfigError(f"threshold.kind: {rule.kind!r} is unknown; choose one of {', '.join(KINDS)}")
    if rule.kind == "sigma":
        rule = msgspec.structs.replace(rule, k=rule.k or SIGMA_K, window=rule.window or SIGMA_WINDOW)
    given = {name for name in ("value", "q", "k", "window") if getattr(rule, name) is not None}
    if given != needed:
        raise ConfigError(
            f"threshold: the kind {rule.kind} takes {' and '.join(sorted(needed))}, "
            f"not {' and '.join(sorted(given)) or 'nothing'}"
        )
    if rule.q is not None and not 0 <= rule.q <= 1:
        raise ConfigError(f"threshold.q: {rule.q} is no quantile; choose a number from 0 to 1, such as 0.999")
    if rule.window is not None and rule.window < 2:
        raise ConfigError(f"threshold.window: {rule.window} scores have no deviation; choose 2 or more")
    if rule.window is not None and rule.window > _MOST_WINDOW:
        raise ConfigError(f"threshold.window: {rule.window} scores are too many; the most are {_MOST_WINDOW}")
    for name, number in (("value", rule.value), ("k", rule.k)):
        if number is not None and not abs(number) <= _LARGEST:
            raise ConfigError(f"threshold.{name}: {number} is no score; choose a number up to {_LARGEST:.3g}")
    return rule


class Limits:
    """The limit of each score under a rule; a line is anomalous when its score is above its limit.

    The sigma rule looks at the scores before the judged one alone: the mean and k standard deviations of the last
    `window` scores of the source, and those of the scale until there are as many. A limit that no float32 can be is a
    ConfigError.
    """

    def __init__(self, rule: Threshold, scale: Scale) -> None:
        self.rule = check_threshold(rule)
        self._history: dict[str, NDArray[np.float32]] = {}
        if rule.kind == "fixed":
            limit = self.rule.value or 0.0
        elif rule.kind == "quantile":
            limit = float(np.interp(self.rule.q or 0.0, scale.quantiles, scale.scores))
        else:
            limit = scale.mean + (self.rule.k or 0.0) * scale.std
        if not abs(limit) <= _LARGEST:
            raise ConfigError(f"threshold: its limit would be {limit:g}, which no score is; choose another")
        self._constant = np.float32(limit)

    @property
    def constant(self) -> float:
        """The limit where it does not move; under the sigma rule, the one to start with."""
        return float(self._constant)

    def of(self, source: str, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [lines]: the limit of each score of one source, in order; lines whose score is NaN leave no trace."""
        limits = np.full(len(scores), self._constant, np.float32)
        if self.rule.kind == "sigma":
            valid = np.flatnonzero(~np.isnan(scores))
            limits[valid] = self._moving(source, scores[valid])
        return limits

    def _moving(self, source: str, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        window, k = self.rule.window or 0, self.rule.k or 0.0
        before = self._history.get(source, np.zeros(0, np.float32))
        row = np.concatenate([before, scores])
        limits = np.full(len(scores), self._constant, np.float32)
        if len(row) > window:
            past = np.lib.stride_tricks.sliding_window_view(row[:-1].astype(np.float64), window)
            moving = past.mean(axis=1) + k * past.std(axis=1)
            limits[len(scores) - len(moving) :] = moving[-len(scores) :]
        self._history[source] = row[-window:]
        return limits

    def blob(self, source: str) -> bytes | None:
        """What has to be kept of a source to go on after a restart, or None."""
        history = self._history.get(source)
        return None if history is None else history.tobytes()

    def restore(self, source: str, blob: bytes) -> None:
        """Sets what `blob` gave."""
        self._history[source] = np.frombuffer(blob, np.float32)

    def forget(self, source: str) -> None:
        """Forgets a source that is gone."""
        self._history.pop(source, None)


def p_value(score: float, scale: Scale) -> float:
    """The share of held-out normal lines with this score or a higher one; never below 1 in their number plus 1."""
    below = float(np.interp(score, scale.scores, scale.quantiles))
    return max(1.0 - below, 1.0 / (scale.lines + 1)) if score > scale.scores[0] else 1.0


def severity(score: float, scale: Scale) -> str:
    """low, medium, high or critical: up to 2, 5, 10 or more standard deviations above the mean of normal scores."""
    z = (score - scale.mean) / scale.std if scale.std > 0 else float("inf")
    return next((name for end, name in _SEVERITIES if z < end), "critical")
