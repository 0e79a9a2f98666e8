"""What may be chosen of how anomalous lines become alerts."""

from dataclasses import dataclass

from agent.errors import ConfigError

_LEAST = {"fold_lines": 0, "max_alert_burst": 1}


@dataclass(frozen=True)
class AlertSettings:
    """The settings of an AlertPolicy; a ConfigError names the one that cannot be.

    fold_lines: after how many lines without a text its repeats are counted anew; 0 folds none. max_alert_share: how
    many alerts a line in the long run. max_alert_burst: how many at once. slow_walk_share: how many of the last lines
    may be anomalous; 0 for any, None for as many as the bundle says.
    """

    fold_lines: int = 1000
    max_alert_share: float = 0.1
    max_alert_burst: int = 1000
    slow_walk_share: float | None = None

    def __post_init__(self) -> None:
        for key, least in _LEAST.items():
            if getattr(self, key) < least:
                raise ConfigError(f"{key}: {getattr(self, key)} is too small; the least is {least}")
        if not 0 < self.max_alert_share <= 1:
            raise ConfigError(f"max_alert_share: {self.max_alert_share} is no share; choose one above 0, 1 at most")
        if not 0 <= (self.slow_walk_share or 0) < 1:
            raise ConfigError(f"slow_walk_share: {self.slow_walk_share} is no share; choose 0 to below 1; 0 is never")
