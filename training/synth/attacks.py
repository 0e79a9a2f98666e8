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
    strange: list[Part] = [
        (0.0, "sshd", pid, f"Invalid user {name} from {address} port {source}"),
        (0.3, "sshd", pid, "pam_unix(sshd:auth): check pass; user unknown"),
    ]
    return [
        (host.random.uniform(1, 6), "sshd", pid, f"Connection from {address} port {source} on 192.0.2.10 port 22"),
        *([] if known else strange),
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
    command = "TTY=pts/2 ; PWD=/home/carol ; USER=root ; COMMAND="
    wait = host.random.uniform
    tries: list[Part] = []
    for tried in ("/usr/bin/cat /etc/shadow", "/usr/bin/bash", "/usr/sbin/visudo", "/usr/bin/passwd root"):
        tries.append((wait(5, 40), "sudo", None, f"   carol : user NOT in sudoers ; {command}{tried}"))
    su, groups, useradd, passwd = (host.pids.next() for _ in range(4))
    taken: list[Part] = [
        (
            wait(20, 60),
            "su",
            su,
            "pam_unix(su:auth): authentication failure; logname=carol uid=1003 euid=0 tty=pts/2 user=alice",
        ),
        (2.0, "su", su, "FAILED SU (to alice) carol on pts/2"),
        (wait(5, 20), "su", su + 1, "(to alice) carol on pts/2"),
        (0.0, "su", su + 1, "pam_unix(su:session): session opened for user alice by carol(uid=1003)"),
        (
            wait(5, 20),
            "sudo",
            None,
            "   alice : TTY=pts/2 ; PWD=/home/carol ; USER=root ; COMMAND=/usr/sbin/usermod -aG sudo carol",
        ),
        (0.1, "usermod", groups, "add 'carol' to group 'sudo'"),
        (0.0, "usermod", groups, "add 'carol' to shadow group 'sudo'"),
    ]
    root: list[Part] = [
        (wait(5, 40), "sudo", None, f"   carol : {command}/usr/bin/bash"),
        (0.0, "sudo", None, "pam_unix(sudo:session): session opened for user root by carol(uid=1003)"),
        (
            wait(5, 40),
            "useradd",
            useradd,
            "new user: name=sysupd, UID=0, GID=0, home=/root, shell=/bin/bash, from=/dev/pts/2",
        ),
        (wait(5, 20), "passwd", passwd, "pam_unix(passwd:chauthtok): password changed for sysupd"),
        (wait(20, 60), "sudo", None, "pam_unix(sudo:session): session closed for user root"),
    ]
    return [(0.0, [*tries, *taken, *root])]
