"""Incidents of people: somebody guesses passwords, somebody takes rights that are not theirs."""

from collections.abc import Sequence

from training.synth.host import Host, Part
from training.synth.people import port
from training.synth.timeline import Flow

_GUESSES = 32
_NAMES = ("root", "root", "root", "admin", "test", "oracle", "postgres", "git", "ubuntu", "ftpuser", "guest", "pi")
_FAILURE = "authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost="


def brute_force(host: Host, services: Sequence[str]) -> list[Flow]:
    """An address tries one name after the other at sshd, and never gets in."""
    address = f"203.0.113.{host.random.randint(2, 250)}"
    parts: list[Part] = []
    for _ in range(_GUESSES):
        parts += _guess(host, address, host.random.choice(_NAMES))
    return [(0.0, parts)]


def _guess(host: Host, address: str, name: str) -> list[Part]:
    pid, source, known = host.pids.next(), port(host), name == "root"
    who = name if known else f"invalid user {name}"
    unknown: list[Part] = [
        (0.0, "sshd", pid, f"Invalid user {name} from {address} port {source}"),
        (0.3, "sshd", pid, "pam_unix(sshd:auth): check pass; user unknown"),
    ]
    return [
        (host.random.uniform(1, 6), "sshd", pid, f"Connection from {address} port {source} on 192.0.2.10 port 22"),
        *([] if known else unknown),
        (0.0, "sshd", pid, f"pam_unix(sshd:auth): {_FAILURE}{address}{'  user=root' if known else ''}"),
        (2.0, "sshd", pid, f"Failed password for {who} from {address} port {source} ssh2"),
        (
            0.4,
            "sshd",
            pid,
            f"Connection closed by {'authenticating user ' * known}{who} {address} port {source} [preauth]",
        ),
    ]


def privilege_abuse(host: Host, services: Sequence[str]) -> list[Flow]:
    """A user who may not become root tries, takes a colleague's account for it, and makes a second root."""
    commands = ("/usr/bin/cat /etc/shadow", "/usr/bin/bash", "/usr/sbin/visudo", "/usr/bin/passwd root")
    tries = [_sudo(host, "carol", command, "user NOT in sudoers ; ") for command in commands]
    return [(0.0, [*tries, *_takes_account(host), *_second_root(host)])]


def _sudo(host: Host, user: str, command: str, refused: str = "") -> Part:
    called = f"TTY=pts/2 ; PWD=/home/carol ; USER=root ; COMMAND={command}"
    return host.random.uniform(5, 40), "sudo", None, f"{user:>8} : {refused}{called}"


def _takes_account(host: Host) -> list[Part]:
    first, second, groups = (host.pids.next() for _ in range(3))
    failure = "authentication failure; logname=carol uid=1003 euid=0 tty=pts/2 ruser=carol rhost=  user=alice"
    return [
        (host.random.uniform(20, 60), "su", first, f"pam_unix(su:auth): {failure}"),
        (2.0, "su", first, "FAILED SU (to alice) carol on pts/2"),
        (host.random.uniform(5, 20), "su", second, "(to alice) carol on pts/2"),
        (0.0, "su", second, "pam_unix(su:session): session opened for user alice by carol(uid=1003)"),
        _sudo(host, "alice", "/usr/sbin/usermod -aG sudo carol"),
        (0.1, "usermod", groups, "add 'carol' to group 'sudo'"),
        (0.0, "usermod", groups, "add 'carol' to shadow group 'sudo'"),
    ]


def _second_root(host: Host) -> list[Part]:
    useradd, passwd = host.pids.next(), host.pids.next()
    account = "name=sysupd, UID=0, GID=0, home=/root, shell=/bin/bash, from=/dev/pts/2"
    return [
        _sudo(host, "carol", "/usr/bin/bash"),
        (0.0, "sudo", None, "pam_unix(sudo:session): session opened for user root by carol(uid=1003)"),
        (host.random.uniform(5, 40), "useradd", useradd, f"new user: {account}"),
        (host.random.uniform(5, 20), "passwd", passwd, "pam_unix(passwd:chauthtok): password changed for sysupd"),
        (host.random.uniform(20, 60), "sudo", None, "pam_unix(sudo:session): session closed for user root"),
    ]
