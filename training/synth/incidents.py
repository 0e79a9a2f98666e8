"""The incidents: what can go wrong on the made-up host."""

from collections.abc import Sequence

from training.synth.host import Host, Part
from training.synth.timeline import Flow, Incident

_CRASHES = 15


def segfault(host: Host, services: Sequence[str]) -> list[Flow]:
    """A bad block, then a program that crashes on it again and again while systemd restarts it."""
    block = "EXT4-fs error (device vda1): ext4_find_entry:1455: inode #131077: comm shopd: reading directory lblock 0"
    parts: list[Part] = [(0.5, "kernel", None, block)]
    base = 0x7F3A2C190000
    for crash in range(1, _CRASHES + 1):
        address, stack = host.random.randrange(16, 64, 8), 0x7FFD5E300000 + host.random.randrange(0, 0xFFFF0, 16)
        fault = f"shopd[{host.pids.next()}]: segfault at {address:x} ip {base + 0x24E10:016x} sp {stack:016x} error 4"
        parts += [
            (host.random.uniform(0.5, 2), "kernel", None, f"{fault} in libshop.so.2[{base:x}+4f000]"),
            (0.1, "systemd", 1, "shopd.service: Main process exited, code=killed, status=11/SEGV"),
            (0.0, "systemd", 1, "shopd.service: Failed with result 'signal'."),
            (0.2, "systemd", 1, f"shopd.service: Scheduled restart job, restart counter is at {crash}."),
            (0.0, "systemd", 1, "Started Web shop."),
        ]
    return [(0.0, parts)]


ALL = (Incident("segfault", segfault, 76, 40),)
