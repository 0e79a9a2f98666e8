"""Incidents that are odd by their place alone: the order, the hour, how often, what is missing."""

from collections.abc import Sequence
from itertools import accumulate

from training.synth.daemons import backup, cron, lease, mail
from training.synth.host import Host, Writer
from training.synth.machine import blocked
from training.synth.people import OFFICE_USERS, deployment, login
from training.synth.rhythm import HOUR
from training.synth.timeline import Flow, most_seconds

SEQUENCES: dict[str, Writer] = {
    "sshd": login(OFFICE_USERS),
    "postfix": mail,
    "dhclient": lease,
    "backup": backup,
    "cron": cron("root", 2),
}
FREQUENT: dict[str, Writer] = {
    "postfix": mail,
    "sshd": login(OFFICE_USERS),
    "dhclient": lease,
    "kernel": blocked,
    "cron": cron("root", 2),
}
JOBS = {"cron": "cron every 10 minutes", "shopd": "summary of the shop", "dhclient": "renewal of the lease"}
SILENCE = 2 * HOUR
JUMP_LINES, JUMP_SECONDS = 320, 1500  # at most
_TIMES, _JUMP = 10, 40


def wrong_order(host: Host, services: Sequence[str]) -> list[Flow]:
    """Sequences of known services that run backwards: the last event first."""
    writers = [writer for name, writer in SEQUENCES.items() if name in services]
    flows: list[Flow] = []
    for index in range(_TIMES):
        parts = writers[index % len(writers)](host)
        pauses = [part[0] for part in parts]
        turned = [(pause, *part[1:]) for pause, part in zip(pauses, reversed(parts), strict=True)]
        flows.append((index * 300 + host.random.uniform(0, 200), turned))
    return flows


def wrong_hour(host: Host, services: Sequence[str]) -> list[Flow]:
    """Deployments, which people start in office hours alone, in the middle of the night."""
    return [(index * 2400 + host.random.uniform(0, 1800), deployment(host)) for index in range(4)]


def rate_jump(host: Host, services: Sequence[str]) -> list[Flow]:
    """A normal thing that happens forty times in ten minutes, less often where it takes many lines."""
    writer = next(writer for name, writer in FREQUENT.items() if name in services)
    flows = [(host.random.uniform(0, 600), writer(host)) for _ in range(_JUMP)]
    flows = [flow for flow in flows if flow[0] + most_seconds(flow[1]) < JUMP_SECONDS]
    so_far = accumulate(len(parts) for _, parts in flows)
    return [flow for flow, lines in zip(flows, so_far, strict=True) if lines <= JUMP_LINES]
