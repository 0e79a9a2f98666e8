"""Lines that the tests make up: a syslog with odd lines in it, and authentications."""

import random

_STEPS = (  # 0: any number, 1: the number of the request, 2: a small number
    "sshd[{0}]: Accepted publickey for deploy from 192.0.2.{2} port {0} ssh2",
    "sshd[{0}]: session opened for user deploy(uid={2}) by (uid=0)",
    "shopd[{2}]: req-{1} get /items/{0}",
    "shopd[{2}]: req-{1} answered in {0} ms",
    "CRON[{0}]: (root) CMD (cleanup --older {2} --most 9)",
    "sshd[{0}]: session closed for user deploy after {0} s and {2} bytes",
)
ODD = "shopd[77]: panic: lost the vault of user mallory, melting down 0xdeadbeef"


def odd_text(number: int) -> str:
    """An odd message, another text for each number, so that one is no repeat of the other."""
    return f"{ODD} {''.join(chr(97 + int(digit)) for digit in str(number))}"


def made_up_lines(count: int, seed: int = 0, odd: tuple[int, ...] = ()) -> list[bytes]:
    """Lines of a syslog in which the same few steps follow each other, with an odd one at each of the places `odd`."""
    draw, lines = random.Random(seed), []
    for number in range(count):
        step = odd_text(number) if number in odd else _STEPS[number % len(_STEPS)]
        clock = f"{number // 360 % 24:02}:{number // 6 % 60:02}:{number % 6 * 10:02}"
        text = step.format(draw.randrange(100, 9000), 1000 + number // len(_STEPS), draw.randrange(1, 255))
        lines.append(f"Mar  9 {clock} web1 {text}\n".encode())
    return lines


COLUMNS = ["time", "user", "source", "target", "kind", "result"]
AUTH_HEADER = {"columns": COLUMNS, "time": "time", "split": {"user": {"at": "@", "into": ["user", "domain"]}}}


def auth_rows(count: int, seed: int = 0) -> list[bytes]:
    """Rows of made-up authentications, a second apart; every user has a computer and a few targets of its own."""
    draw, rows = random.Random(seed), []
    for second in range(count):
        user = draw.randrange(9)
        target = f"S{(user + draw.randrange(2)) % 5}" if draw.random() < 0.9 else f"P{user}"
        kind = draw.choice(["Kerberos", "NTLM"]) if user % 2 else "Kerberos"
        rows.append(f"{second},u{user}@corp,P{user},{target},{kind},{'Fail' if draw.random() < 0.05 else 'Success'}\n")
    return [row.encode() for row in rows]
