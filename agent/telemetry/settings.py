"""What may be chosen of how the agent's metrics are published."""

from dataclasses import dataclass

from agent.errors import ConfigError
from agent.telemetry.http import parse_metrics_address


@dataclass(frozen=True)
class MetricsSettings:
    """The settings of a Monitor; a ConfigError names the one that cannot be.

    address: HOST:PORT to serve at, or None. file: where to write the metrics, for node_exporter, or None.
    """

    address: str | None = None
    file: str | None = None

    def __post_init__(self) -> None:
        if self.address is not None:
            parse_metrics_address(self.address)
        if not (self.file or ".prom").endswith(".prom"):
            raise ConfigError(f"metrics_file: {self.file!r} does not end with .prom; node_exporter wants it")
