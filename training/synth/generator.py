"""The lines of a log, with its incidents."""

from collections.abc import Iterator, Sequence
from itertools import islice

from agent.errors import ConfigError
from training.synth import plain
from training.synth.host import Line
from training.synth.incidents import ALL
from training.synth.plan import plan
from training.synth.services import SERVICES
from training.synth.timeline import Incident, Timeline

INCIDENTS = tuple(incident.name for incident in ALL)
PRESETS = ("host", "plain")
LINES = 10_000
_AT = 2 / 3


def generate(
    count: int | None = None,
    seed: int = 0,
    incident: str | None = None,
    services: Sequence[str] | None = None,
    at: float | None = None,
    preset: str = "host",
) -> Iterator[Line]:
    """The lines of a log in the order of their times; the same for the same arguments, for good.

    incident  names of INCIDENTS with commas between them, all or none; the first one begins after the fraction `at` of
              the lines (two thirds), the others are spread over the rest
    services  those that the host has; by default all
    preset    host: `count` lines (10,000), those of the incidents among them
              plain: `count` normal lines (10,000) that carry event ids, and after 90 % of them a burst of a tenth as
              many with ids never seen; `incident` none leaves that out

    A ConfigError says at once what cannot be had.
    """
    if preset not in PRESETS:
        raise ConfigError(f"unknown preset {preset!r}; choose one of {', '.join(PRESETS)}")
    if at is not None and not 0.5 <= at < 1:
        raise ConfigError(f"an incident at {at:g} of the log is not possible; from 0.5 to less than 1 is")
    count = LINES if count is None else count
    if count < 1:
        raise ConfigError(f"{count} lines are too few; it takes 1")
    make = _plain if preset == "plain" else _host
    return make(count, seed, incident, services, at)


def _host(
    count: int, seed: int, incident: str | None, services: Sequence[str] | None, at: float | None
) -> Iterator[Line]:
    names = list(SERVICES) if services is None else list(services)
    unknown = [name for name in names if name not in SERVICES]
    if unknown or not names:
        raise ConfigError(f"unknown service {', '.join(unknown)!r}; choose of {', '.join(SERVICES)}")
    group = {name: SERVICES[name] for name in names}
    planned = plan(_chosen("none" if incident is None else incident), count, _AT if at is None else at, seed, group)
    return islice(Timeline(seed, group, planned).lines(), count)


def _chosen(names: str) -> list[Incident]:
    if names in ("all", "none"):
        return list(ALL) if names == "all" else []
    known = {incident.name: incident for incident in ALL}
    unknown = [name for name in names.split(",") if name not in known]
    if unknown:
        raise ConfigError(f"unknown incident {unknown[0]!r}; choose of {', '.join(known)}, all or none")
    return [known[name] for name in dict.fromkeys(names.split(","))]


def _plain(
    count: int, seed: int, incident: str | None, services: Sequence[str] | None, at: float | None
) -> Iterator[Line]:
    if incident not in (None, "none", plain.BURST):
        raise ConfigError(f"the preset plain has no incident {incident!r}; choose {plain.BURST} or none")
    if services is not None:
        raise ConfigError("the preset plain has its own services; leave --services out")
    extra = 0 if incident == "none" else count // plain.SHARE
    bursts = [plain.burst(extra)] if extra else []
    planned = plan(bursts, count + extra, plain.AT if at is None else at, seed, plain.SERVICES)
    return islice(Timeline(seed, plain.SERVICES, planned, plain.HOST).lines(), count + extra)
