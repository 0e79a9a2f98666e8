"""What the programs in the background of the made-up host write."""

from collections.abc import Callable

from training.synth.host import Host, Part, Writer
from training.synth.rhythm import CUSTOMERS


def cron(user: str, seconds: float) -> Writer:
    """A job of cron: its session opens, it runs for up to `seconds`, its session closes."""

    def write(host: Host) -> list[Part]:
        pid = host.pids.next()
        return [
            (0.0, "CRON", pid, f"pam_unix(cron:session): session opened for user {user} by (uid=0)"),
            (host.random.uniform(0.1, seconds), "CRON", pid, f"pam_unix(cron:session): session closed for user {user}"),
        ]

    return write


def lease(host: Host) -> list[Part]:
    """dhclient renews its lease."""
    seconds = host.random.randint(1500, 1900)
    return [
        (0.0, "dhclient", 402, "DHCPREQUEST of 192.0.2.10 on eth0 to 192.0.2.1 port 67"),
        (0.03, "dhclient", 402, "DHCPACK of 192.0.2.10 from 192.0.2.1"),
        (0.1, "dhclient", 402, f"bound to 192.0.2.10 -- renewal in {seconds} seconds."),
    ]


def mail(host: Host) -> list[Part]:
    """Postfix takes a mail of the web shop and hands it to the relay, sometimes at the second attempt."""
    queue_id = host.random.randbytes(5).hex().upper()
    size, delay = host.random.randint(900, 9000), host.random.uniform(0.2, 4)
    pickup, cleanup, smtp = (host.pids.next() for _ in range(3))
    sent = (
        f"{queue_id}: to=<customer{host.random.randint(100, 999)}@example.org>, relay=mx.example.com[198.51.100.25]:25"
    )
    active = f"{queue_id}: from=<shop@example.com>, size={size}, nrcpt=1 (queue active)"
    deferred = [
        (delay, "postfix/smtp", smtp, f"{sent}, delay={delay:.2g}, dsn=4.7.1, status=deferred (450 try again later)"),
        (host.random.uniform(300, 900), "postfix/qmgr", 911, active),
    ]
    return [
        (0.0, "postfix/pickup", pickup, f"{queue_id}: uid=33 from=<shop@example.com>"),
        (0.02, "postfix/cleanup", cleanup, f"{queue_id}: message-id=<{queue_id.lower()}@web1.example.com>"),
        (0.02, "postfix/qmgr", 911, active),
        *(deferred if host.random.random() < 0.03 else []),
        (delay, "postfix/smtp", smtp, f"{sent}, delay={delay:.2g}, dsn=2.0.0, status=sent (250 OK)"),
        (0.0, "postfix/qmgr", 911, f"{queue_id}: removed"),
    ]


def shop(host: Host) -> list[Part]:
    """The web shop's own program sums up its requests: as many as there are customers at that hour."""
    requests = round(host.random.uniform(200, 300) * CUSTOMERS.weight(host.now))
    errors = host.random.choice((0,) * 30 + (1, 2, 3))
    slowest = host.random.randint(40, 120) + requests // 4
    return [
        (0.0, "shopd", host.daemons["shopd"], f"{requests} requests in 300 s, {errors} errors, slowest {slowest} ms")
    ]


def backup(host: Host) -> list[Part]:
    """The nightly backup of three volumes."""
    pid = host.pids.next()
    parts: list[Part] = [(0.0, "backup", pid, "backup to vault.example.com started, 3 volumes")]
    for volume in ("/etc", "/srv/shop", "/var/lib/mysql"):
        size = host.random.randint(5, 4000)
        parts.append((size / host.random.uniform(20, 60), "backup", pid, f"volume {volume}: {size} MB sent"))
    return [*parts, (2.0, "backup", pid, "index verified"), (0.1, "backup", pid, "backup finished")]


def temperature(host: Host) -> list[Part]:
    """smartd tells that the disk has become warmer or colder in half an hour, as the shop is busier or not."""
    was, now = (62 + round(3 * CUSTOMERS.weight(moment)) for moment in (host.now - 1800, host.now))
    attribute = f"SMART Usage Attribute: 194 Temperature_Celsius changed from {was} to {now}"
    return [(0.0, "smartd", 611, f"Device: /dev/sda [SAT], {attribute}")] if was != now else []


def constant(program: str, pid: int | None, message: str) -> Callable[[Host], list[Part]]:
    """One message that is always the same."""
    return lambda host: [(0.0, program, pid, message)]
