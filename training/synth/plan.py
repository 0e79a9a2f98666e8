"""When the incidents of a log begin."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from agent.errors import ConfigError
from training.synth.host import START, Activity, Line
from training.synth.rhythm import DAY, HOUR
from training.synth.timeline import Incident, Planned, Timeline

LEAST = 300  # lines; with fewer an incident would be most of the log
_SHARE = 3  # a log has so many times the lines of its incidents


def plan(
    incidents: Sequence[Incident], count: int, at: float, seed: int, services: Mapping[str, Sequence[Activity]]
) -> list[Planned]:
    """The first incident after the fraction `at` of the normal lines, more of them evenly spread over the rest.

    It takes a pass over the log without incidents. A ConfigError where they do not fit into it, or the host lacks the
    service that they need.
    """
    jobs = [_job(incident, services) for incident in incidents]
    added = sum(incident.lines for incident in incidents)
    if incidents and count < max(LEAST, _SHARE * added):
        least = max(LEAST, _SHARE * added)
        raise ConfigError(f"{count} lines, the incidents among them, are too few; it takes {least}")
    if not incidents:
        return []
    normal = count - added
    end = normal - 1 - normal // 50  # incidents shift what is said until a time by a little
    indices = [int(normal * (at + index * (1 - at) / len(incidents))) for index in range(len(incidents))]
    clock = _clock(Timeline(seed, services).lines(), [*indices, normal // 2, end])
    first, last = clock[normal // 2], clock[end]
    return [
        Planned(_start(incident, clock[index], first, last, count), incident, job)
        for incident, index, job in zip(incidents, indices, jobs, strict=True)
    ]


def _clock(lines: Iterable[Line], indices: list[int]) -> dict[int, float]:
    """The times of the lines at these indices."""
    chosen = set(indices)
    times = enumerate(islice(lines, max(chosen) + 1))
    return {index: (line.time - START).total_seconds() for index, line in times if index in chosen}


def _start(incident: Incident, preferred: float, first: float, last: float, count: int) -> float:
    """The moment nearest to the preferred one from which the incident fits, in the second half of the log."""
    end = last - incident.seconds
    if incident.hours is None:
        moments = [min(preferred, end)]
    else:
        early, late = (hour * HOUR for hour in incident.hours)
        days = range(int(last // DAY) + 1)
        moments = [min(max(preferred, day * DAY + early), day * DAY + late) for day in days]
    moments = [moment for moment in moments if first <= moment <= end]
    if not moments:
        raise ConfigError(
            f"the second half of {count} lines ({(last - first) / HOUR:.0f} hours) has no room for the incident "
            f"{incident.name}; ask for more lines"
        )
    return min(moments, key=lambda moment: abs(moment - preferred))


def _job(incident: Incident, services: Mapping[str, Sequence[Activity]]) -> str:
    needs = incident.needs
    if needs and not any(name in services for name in needs):
        raise ConfigError(f"the incident {incident.name} needs a host with the service {' or '.join(needs)}")
    return next((job for name, job in incident.silences.items() if name in services), "")
