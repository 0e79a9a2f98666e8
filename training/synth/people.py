"""What people do on the made-up host: they log in, become root, mistype a password, deploy. Strangers knock as well.

Addresses are of RFC 5737; people, hosts and keys are invented.
"""

from collections.abc import Sequence

from training.synth.host import Host, Part, Writer

ADDRESSES = {
    "alice": "192.0.2.14",
    "bob": "192.0.2.77",
    "carol": "192.0.2.31",
    "erin": "198.51.100.140",
    "deploy": "198.51.100.9",
}
OFFICE_USERS = ("alice", "alice", "bob", "carol")
ON_CALL = ("erin",)
_ADMINISTRATORS = ("alice", "bob", "erin")
_COMMANDS = (
    "/usr/bin/apt-get update",
    "/usr/bin/vim /etc/hosts",
    "/bin/systemctl restart shopd",
    "/usr/bin/less /var/log/syslog",
)


def sshd_opens(host: Host, user: str, pid: int, port: int, method: str) -> list[Part]:
    """A login is accepted and its session opens."""
    key = f": RSA SHA256:{host.key(user)}" if method == "publickey" else ""
    accepted = f"Accepted {method} for {user} from {ADDRESSES[user]} port {port} ssh2{key}"
    return [
        (0.0, "sshd", pid, accepted),
        (0.02, "sshd", pid, f"pam_unix(sshd:session): session opened for user {user} by (uid=0)"),
    ]


def sshd_closes(user: str, pid: int, port: int, pause: float) -> list[Part]:
    """The client disconnects and the session closes."""
    address = ADDRESSES[user]
    return [
        (pause, "sshd", pid, f"Received disconnect from {address} port {port}:11: disconnected by user"),
        (0.0, "sshd", pid, f"Disconnected from {address} port {port}"),
        (0.01, "sshd", pid, f"pam_unix(sshd:session): session closed for user {user}"),
    ]


def port(host: Host) -> int:
    """A port that a client comes from."""
    return host.random.randint(32768, 60999)


def login(users: Sequence[str]) -> Writer:
    """One of these people logs in with a key, perhaps becomes root for a command or two, and leaves."""

    def write(host: Host) -> list[Part]:
        user = host.random.choice(users)
        pid, source, session = host.pids.next(), port(host), host.sessions.next()
        opened = [
            *sshd_opens(host, user, pid, source, "publickey"),
            (0.05, "systemd-logind", 488, f"New session {session} of user {user}."),
            (0.05, "systemd", None, f"pam_unix(systemd-user:session): session opened for user {user} by (uid=0)"),
        ]
        commands = host.random.choice((0, 0, 1, 2)) if user in _ADMINISTRATORS else 0
        work = [part for _ in range(commands) for part in sudo(host, user, host.random.choice(_COMMANDS))]
        closed = sshd_closes(user, pid, source, host.random.uniform(20, 900))
        return [*opened, *work, *closed, (0.1, "systemd-logind", 488, f"Removed session {session}.")]

    return write


def sudo(host: Host, user: str, command: str, pause: float = 200, seconds: float = 60) -> list[Part]:
    """A command as root, after up to `pause` and for up to `seconds`."""
    called = f"{user:>8} : TTY=pts/0 ; PWD=/home/{user} ; USER=root ; COMMAND={command}"
    return [
        (host.random.uniform(0.02, 1) * pause, "sudo", None, called),
        (0.0, "sudo", None, f"pam_unix(sudo:session): session opened for user root by {user}(uid=0)"),
        (host.random.uniform(0.01, 1) * seconds, "sudo", None, "pam_unix(sudo:session): session closed for user root"),
    ]


def mistyped(host: Host) -> list[Part]:
    """A person mistypes a password, then gets it right."""
    user = host.random.choice(OFFICE_USERS)
    pid, source, address = host.pids.next(), port(host), ADDRESSES[user]
    failure = f"logname= uid=0 euid=0 tty=ssh ruser= rhost={address}  user={user}"
    opened = sshd_opens(host, user, pid, source, "password")
    return [
        (0.0, "sshd", pid, f"pam_unix(sshd:auth): authentication failure; {failure}"),
        (2.0, "sshd", pid, f"Failed password for {user} from {address} port {source} ssh2"),
        (6.0, *opened[0][1:]),
        opened[1],
        *sshd_closes(user, pid, source, host.random.uniform(60, 600)),
    ]


def scanner(host: Host) -> list[Part]:
    """A stranger looks what answers on the port, and goes."""
    pid, source = host.pids.next(), port(host)
    address = f"203.0.113.{host.random.randint(2, 250)}"
    messages = (
        f"Did not receive identification string from {address} port {source}",
        f"Connection closed by {address} port {source} [preauth]",
    )
    return [(0.0, "sshd", pid, host.random.choice(messages))]


def deployment(host: Host) -> list[Part]:
    """A new version of the shop is put in place: by a person's click, so in office hours alone."""
    pid, source = host.pids.next(), port(host)
    old, new = host.daemons["shopd"], host.new_daemon("shopd")
    version = f"4.{host.random.randint(1, 40)}.{host.random.randint(0, 9)}"
    opened, started, ended = sudo(host, "deploy", "/bin/systemctl restart shopd", 8, 1)
    return [
        *sshd_opens(host, "deploy", pid, source, "publickey"),
        (host.random.uniform(4, 20), "shopd", old, f"release {version} unpacked"),
        opened,
        started,
        (0.02, "systemd", 1, "Stopping Web shop..."),
        (host.random.uniform(0.5, 3), "shopd", old, f"{host.random.randint(1, 90)} connections drained"),
        (0.1, "systemd", 1, "shopd.service: Succeeded."),
        (0.0, "systemd", 1, "Stopped Web shop."),
        (0.02, "systemd", 1, "Starting Web shop..."),
        (host.random.uniform(1, 4), "shopd", new, f"release {version} ready"),
        (0.0, "systemd", 1, "Started Web shop."),
        ended,
        *sshd_closes("deploy", pid, source, host.random.uniform(1, 5)),
    ]
