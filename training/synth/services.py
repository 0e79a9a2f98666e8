"""The services of a made-up host: what each writes to syslog, and when.

Everything in it is invented: addresses of RFC 5737, keys, hosts and people. The messages have the forms that these
programs are known for, so that a model trained on real logs knows their kind.
"""

from collections.abc import Callable

from training.synth.host import Host, Part, Service
from training.synth.rhythm import DAY, HOUR, MINUTE, PEOPLE, about, every

USERS = {"alice": "192.0.2.14", "bob": "192.0.2.77", "deploy": "198.51.100.9"}  # and where they come from


def cron(user: str, seconds: float) -> Callable[[Host], list[Part]]:
    """A job of cron: its session opens, it runs for up to `seconds`, its session closes."""

    def write(host: Host) -> list[Part]:
        pid = host.pids.next()
        return [
            (0.0, "CRON", pid, f"pam_unix(cron:session): session opened for user {user} by (uid=0)"),
            (host.random.uniform(0.1, seconds), "CRON", pid, f"pam_unix(cron:session): session closed for user {user}"),
        ]

    return write


def login(host: Host) -> list[Part]:
    """A person logs in with a key, perhaps becomes root for a command, and leaves."""
    user, address = host.random.choice(list(USERS.items()))
    pid, port = host.pids.next(), host.random.randint(32768, 60999)
    session = host.sessions.next()
    opened = [
        (
            0.0,
            "sshd",
            pid,
            f"Accepted publickey for {user} from {address} port {port} ssh2: RSA SHA256:{host.key(user)}",
        ),
        (0.02, "sshd", pid, f"pam_unix(sshd:session): session opened for user {user} by (uid=0)"),
        (0.05, "systemd-logind", 488, f"New session {session} of user {user}."),
        (0.05, "systemd", None, f"pam_unix(systemd-user:session): session opened for user {user} by (uid=0)"),
    ]
    work = [part for _ in range(host.random.choice((0, 0, 1, 2))) for part in sudo(host, user)]
    closed = [
        (
            host.random.uniform(20, 900),
            "sshd",
            pid,
            f"Received disconnect from {address} port {port}:11: disconnected by user",
        ),
        (0.0, "sshd", pid, f"Disconnected from {address} port {port}"),
        (0.01, "sshd", pid, f"pam_unix(sshd:session): session closed for user {user}"),
        (0.1, "systemd-logind", 488, f"Removed session {session}."),
    ]
    return opened + work + closed


def sudo(host: Host, user: str) -> list[Part]:
    """A command as root."""
    command = host.random.choice(("/usr/bin/apt-get update", "/usr/bin/vim /etc/hosts", "/bin/systemctl restart shopd"))
    return [
        (
            host.random.uniform(5, 200),
            "sudo",
            None,
            f"  {user} : TTY=pts/0 ; PWD=/home/{user} ; USER=root ; COMMAND={command}",
        ),
        (0.0, "sudo", None, f"pam_unix(sudo:session): session opened for user root by {user}(uid=0)"),
        (host.random.uniform(0.5, 60), "sudo", None, "pam_unix(sudo:session): session closed for user root"),
    ]


def mistyped(host: Host) -> list[Part]:
    """A person mistypes a password, then gets it right."""
    user, address = host.random.choice(list(USERS.items()))
    pid, port = host.pids.next(), host.random.randint(32768, 60999)
    failure = f"logname= uid=0 euid=0 tty=ssh ruser= rhost={address}  user={user}"
    return [
        (0.0, "sshd", pid, f"pam_unix(sshd:auth): authentication failure; {failure}"),
        (2.0, "sshd", pid, f"Failed password for {user} from {address} port {port} ssh2"),
        (6.0, "sshd", pid, f"Accepted password for {user} from {address} port {port} ssh2"),
        (0.02, "sshd", pid, f"pam_unix(sshd:session): session opened for user {user} by (uid=0)"),
        (host.random.uniform(60, 600), "sshd", pid, f"pam_unix(sshd:session): session closed for user {user}"),
    ]


def unit(name: str, title: str, seconds: float) -> Callable[[Host], list[Part]]:
    """A unit that a timer of systemd starts and that ends by itself."""

    def write(host: Host) -> list[Part]:
        return [
            (0.0, "systemd", 1, f"Starting {title}..."),
            (host.random.uniform(0.2, seconds), "systemd", 1, f"{name}.service: Succeeded."),
            (0.0, "systemd", 1, f"Started {title}."),
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
    """Postfix takes a mail of the web shop and hands it to the relay."""
    queue_id = host.random.randbytes(5).hex().upper()
    size, delay = host.random.randint(900, 9000), host.random.uniform(0.2, 4)
    receiver = f"customer{host.random.randint(100, 999)}@example.org"
    queue = host.pids.next()
    return [
        (0.0, "postfix/pickup", queue, f"{queue_id}: uid=33 from=<shop@example.com>"),
        (0.02, "postfix/cleanup", queue + 1, f"{queue_id}: message-id=<{queue_id.lower()}@web1.example.com>"),
        (0.02, "postfix/qmgr", 911, f"{queue_id}: from=<shop@example.com>, size={size}, nrcpt=1 (queue active)"),
        (
            delay,
            "postfix/smtp",
            queue + 2,
            f"{queue_id}: to=<{receiver}>, relay=mx.example.com[198.51.100.25]:25, delay={delay:.2g}, "
            "dsn=2.0.0, status=sent (250 OK)",
        ),
        (0.0, "postfix/qmgr", 911, f"{queue_id}: removed"),
    ]


def kernel(*messages: str) -> list[Part]:
    """Messages of the kernel."""
    return [(0.013, "kernel", None, message) for message in messages]


def link(host: Host) -> list[Part]:
    """The cable is pulled and put back."""
    nic = "e1000: eth0 NIC Link is"
    return kernel(f"{nic} Down", f"{nic} Up 1000 Mbps Full Duplex, Flow Control: RX")


def usb(host: Host) -> list[Part]:
    """Somebody plugs in a keyboard."""
    number = host.random.randint(3, 30)
    return kernel(
        f"usb 1-1: new low-speed USB device number {number} using xhci_hcd",
        "usb 1-1: New USB device found, idVendor=046d, idProduct=c31c, bcdDevice=64.00",
        "usb 1-1: Product: USB Keyboard",
    )


def audit(host: Host) -> list[Part]:
    """AppArmor loads a profile again."""
    serial = host.random.randint(20, 900)
    return kernel(
        f'audit: type=1400 audit(1772400000.101:{serial}): apparmor="STATUS" operation="profile_replace" '
        f'profile="unconfined" name="/usr/sbin/tcpdump" pid={host.pids.next()} comm="apparmor_parser"',
    )


def shop(host: Host) -> list[Part]:
    """The web shop's own program sums up its requests."""
    requests, slow = host.random.randint(80, 900), host.random.randint(40, 300)
    return [(0.0, "shopd", 1040, f"{requests} requests in 300 s, 0 errors, slowest {slow} ms")]


def said(program: str, pid: int | None, message: str) -> Callable[[Host], list[Part]]:
    """One message that is always the same."""
    return lambda host: [(0.0, program, pid, message)]


SERVICES: dict[str, list[Service]] = {
    "cron": [
        Service(every(10 * MINUTE, 1), cron("root", 1)),
        Service(every(HOUR, 17 * MINUTE + 1), cron("root", 2)),
        Service(every(DAY, 6 * HOUR + 25 * MINUTE + 1), cron("root", 90)),
    ],
    "sshd": [Service(about(20, PEOPLE), login), Service(about(0.7, PEOPLE), mistyped)],
    "systemd": [
        Service(every(DAY, 5.0, 300), unit("logrotate", "Rotate log files", 3)),
        Service(every(DAY / 2, 6 * HOUR, HOUR), unit("apt-daily", "Daily apt download activities", 20)),
        Service(every(DAY, 7 * HOUR, 600), unit("man-db", "Daily man-db regeneration", 20)),
        Service(every(DAY, 15 * MINUTE, 60), unit("systemd-tmpfiles-clean", "Cleanup of Temporary Directories", 1)),
        Service(every(7 * DAY, 2 * HOUR, 60), unit("fstrim", "Discard unused blocks", 30)),
    ],
    "dhclient": [Service(every(28 * MINUTE, 100, 60), lease)],
    "postfix": [Service(about(40, PEOPLE), mail)],
    "shopd": [Service(every(5 * MINUTE, 30, 2), shop)],
    "kernel": [Service(about(0.3), link), Service(about(0.2, PEOPLE), usb), Service(about(0.4), audit)],
    "rsyslogd": [
        Service(every(DAY, 12.0, 300), said("rsyslogd", 455, '[origin software="rsyslogd"] rsyslogd was HUPed'))
    ],
    "ntpd": [Service(about(3), said("ntpd", 520, "synchronized to 192.0.2.123, stratum 2"))],
}
