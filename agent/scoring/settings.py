"""What may be chosen of scoring beside the bundle; what is left out is as the bundle says."""

from dataclasses import dataclass

from agent.bundle.manifest import Threshold
from agent.errors import ConfigError
from agent.scoring.streams import StreamKey
from agent.scoring.threshold import check_threshold
from agent.text.headers import Format, check_format


@dataclass(frozen=True)
class ScoringSettings:
    """The settings of a ScoringEngine; a ConfigError names the one that cannot be.

    threshold, header, stream: instead of the bundle's. max_streams: how many are followed at once. cache: whether texts
    and scores are looked up where they are known; it changes the speed alone.
    """

    threshold: Threshold | None = None
    header: Format | None = None
    stream: str | None = None
    max_streams: int = 16384
    cache: bool = True

    def __post_init__(self) -> None:
        if self.threshold is not None:
            check_threshold(self.threshold)
        if self.header is not None:
            check_format(self.header)
        StreamKey(self.stream)
        if self.max_streams < 1:
            raise ConfigError(f"max_streams: {self.max_streams} is too small; the least is 1")
