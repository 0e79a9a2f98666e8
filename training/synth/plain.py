"""The preset `plain`: a log whose lines carry event ids, E1 to E30, and a burst of ids that were never seen.

It is made for models of event ids and clock times. 10,000 normal lines cover some 75 days, so that the first 80 % of
them hold every hour and every day of the month: a detector that fires later does not fire because the 31st is new to
it. The burst comes after 90 %, in one go: what is before it is enough to train, to set a threshold and to count false
alarms on normal lines alone.
"""

from collections.abc import Sequence

from training.synth.host import Activity, Host, Part, Writer
from training.synth.rhythm import CUSTOMERS, DAY, HOUR, MINUTE, OFFICE, PEOPLE, about, every
from training.synth.timeline import Flow, Incident

HOST, BURST = "host1", "unseen-burst"
SHARE = 10  # so many normal lines for one of the burst
AT = 0.9
_USERS = ("alice", "bob", "carol", "dave")
_WORDS = ("vector", "shard", "lattice", "quorum", "mutex", "relay", "beacon", "cipher", "socket", "parser")


def _steps(program: str, *steps: tuple[float, str]) -> Writer:
    """A sequence of one process: the longest pause before each step, and its text.

    {user} and {order} are the same in all of them, {n} is another number in each.
    """

    def write(host: Host) -> list[Part]:
        pid = host.pids.next()
        user, order = host.random.choice(_USERS), host.random.randint(10_000, 99_999)
        return [
            (
                host.random.uniform(0.2, 1) * pause,
                program,
                pid,
                text.format(user=user, order=order, n=host.random.randint(1, 400)),
            )
            for pause, text in steps
        ]

    return write


def _session(host: Host) -> list[Part]:
    """A user signs in, perhaps at the second attempt, works and leaves."""
    opened = [(0.0, "E5 Connection accepted on port {n}"), (3.0, "E6 Credentials verified for user {user}")]
    if host.random.random() < 0.1:
        opened.insert(1, (4.0, "E8 Wrong password for user {user}"))
    work = [(600.0, host.random.choice(("E9 Record {n} read", "E10 Record {n} changed"))) for _ in range(2)]
    closed = [(900.0, "E11 Session closed for user {user}"), (1.0, "E12 Connection closed")]
    return _steps("app", *opened, (1.0, "E7 Session opened for user {user}"), *work, *closed)(host)


SERVICES: dict[str, list[Activity]] = {
    "app": [
        Activity(about(10, PEOPLE), _session),
        Activity(
            about(7.5, CUSTOMERS),
            _steps(
                "app", (0, "E13 Order {order} received"), (2, "E14 Payment accepted"), (30, "E15 Order {order} sent")
            ),
        ),
    ],
    "health": [Activity(every(HOUR, 5 * MINUTE, 5), _steps("health", (0, "E1 Check passed in {n} ms")))],
    "backup": [
        Activity(
            every(DAY, 2 * HOUR + 30 * MINUTE, 20),
            _steps(
                "backup",
                (0, "E16 Backup started"),
                (60, "E17 Snapshot taken"),
                (900, "E18 {n} files copied"),
                (60, "E19 Backup verified"),
                (5, "E20 Backup finished"),
            ),
        )
    ],
    "cache": [
        Activity(every(6 * HOUR, 17 * MINUTE, 30), _steps("cache", (0, "E2 Cache swept"), (3, "E3 {n} entries freed")))
    ],
    "net": [
        Activity(every(8 * HOUR, HOUR, 60), _steps("net", (0, "E21 Lease requested"), (1, "E22 Lease renewed"))),
        Activity(about(0.3), _steps("net", (0, "E23 Link down"), (8, "E24 Link up"))),
    ],
    "time": [Activity(about(3), _steps("time", (0, "E4 Clock adjusted by {n} us")))],
    "update": [
        Activity(
            every(7 * DAY, 3 * HOUR, 600),
            _steps("update", (0, "E25 Update started"), (90, "E26 {n} packages upgraded"), (30, "E27 Update finished")),
        )
    ],
    "report": [
        Activity(about(1, OFFICE), _steps("report", (0, "E28 Report {n} requested"), (200, "E29 Report {n} written")))
    ],
    "disk": [Activity(every(DAY / 2, 45 * MINUTE, 10), _steps("disk", (0, "E30 Usage {n} GB")))],
}


def burst(lines: int) -> Incident:
    """So many lines within minutes, their ids drawn evenly from E900 to E999, their texts all different."""

    def write(host: Host, services: Sequence[str]) -> list[Flow]:
        pid, random = host.pids.next(), host.random
        pause = min(0.6, 300 / lines)
        return [(0.0, [(random.uniform(0, pause), "app", pid, _noise(host)) for _ in range(lines)])]

    return Incident(BURST, write, lines, 300)


def _noise(host: Host) -> str:
    random = host.random
    payload = random.randbytes(8).hex()
    return f"E{random.randint(900, 999)} {random.choice(_WORDS)} {random.choice(_WORDS)} {payload}"
