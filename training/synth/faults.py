"""Incidents of programs and devices that fail."""

from collections.abc import Sequence

from training.synth.host import Host, Part
from training.synth.machine import kernel
from training.synth.timeline import Flow

_CRASHES, _SECTORS, _KILLS, _NEW = 15, 12, 4, 80
_THINGS = ("shard", "lease", "quorum", "epoch", "peer", "segment", "cursor", "replica", "ledger", "gossip ring")
_TROUBLES = (
    "diverged at",
    "rejected by",
    "lost after",
    "stalled behind",
    "out of range near",
    "not owned by",
    "torn at",
)


def segfault(host: Host, services: Sequence[str]) -> list[Flow]:
    """A bad block, then a program that crashes on it again and again while systemd restarts it."""
    block = "EXT4-fs error (device sda1): ext4_find_entry:1455: inode #131077: comm shopd: reading directory lblock 0"
    parts: list[Part] = kernel(block, pause=0.5)
    base = 0x7F3A2C190000
    for crash in range(1, _CRASHES + 1):
        address, stack = host.random.randrange(16, 64, 8), 0x7FFD5E300000 + host.random.randrange(0, 0xFFFF0, 16)
        pid = host.new_daemon("shopd")
        fault = f"shopd[{pid}]: segfault at {address:x} ip {base + 0x24E10:016x} sp {stack:016x} error 4"
        parts += [
            (host.random.uniform(0.5, 2), "kernel", None, f"{fault} in libshop.so.2[{base:x}+4f000]"),
            (0.1, "systemd", 1, "shopd.service: Main process exited, code=killed, status=11/SEGV"),
            *_restart("signal", crash),
        ]
    return [(0.0, parts)]


def _restart(result: str, time: int) -> list[Part]:
    return [
        (0.0, "systemd", 1, f"shopd.service: Failed with result '{result}'."),
        (0.2, "systemd", 1, f"shopd.service: Scheduled restart job, restart counter is at {time}."),
        (0.0, "systemd", 1, "Started Web shop."),
    ]


def unseen_burst(host: Host, services: Sequence[str]) -> list[Flow]:
    """A program that nobody has heard of here complains for a minute, hardly twice in the same words."""
    pid, random = host.pids.next(), host.random
    parts: list[Part] = []
    for _ in range(_NEW):
        text = f"{random.choice(_THINGS)} {random.randbytes(3).hex()} {random.choice(_TROUBLES)} "
        text += f"{random.choice(_THINGS)} {random.randint(1, 9999)}"
        parts.append((random.uniform(0.1, 1.2), "kvmeshd", pid, text))
    return [(0.0, parts)]


def disk_errors(host: Host, services: Sequence[str]) -> list[Flow]:
    """Sectors of the disk cannot be read, until the file system is only for reading."""
    parts: list[Part] = []
    for index in range(_SECTORS):
        sector, tag = host.random.randrange(2048, 83886080, 8), 1 << host.random.randint(0, 30)
        parts += kernel(f"ata1.00: exception Emask 0x0 SAct 0x{tag:x} SErr 0x0 action 0x0", pause=20)
        parts += kernel(
            "ata1.00: failed command: READ FPDMA QUEUED",
            "ata1.00: error: { UNC }",
            f"blk_update_request: I/O error, dev sda, sector {sector} op 0x0:(READ) flags 0x0",
            "ata1: EH complete",
            pause=0.3,
        )
        if index % 4 == 3:
            count = f"{8 * (index + 1)} Currently unreadable (pending) sectors"
            parts.append((host.random.uniform(5, 30), "smartd", 611, f"Device: /dev/sda [SAT], {count}"))
    failure = "EXT4-fs error (device sda1): ext4_wait_block_bitmap:531: comm shopd: Cannot read block bitmap"
    return [(0.0, [*parts, *kernel(failure, "EXT4-fs (sda1): Remounting filesystem read-only", pause=0.2)])]


def out_of_memory(host: Host, services: Sequence[str]) -> list[Flow]:
    """The shop takes all memory; the kernel kills it and systemd starts it, again and again."""
    parts: list[Part] = []
    for kill in range(1, _KILLS + 1):
        pid, size = host.new_daemon("shopd"), host.random.randint(3_500_000, 3_900_000)
        oom = "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom"
        killed = (
            f"Out of memory: Killed process {pid} (shopd) total-vm:{size}kB, anon-rss:{size - 91_000}kB, file-rss:0kB"
        )
        parts += [
            (host.random.uniform(20, 150), "kernel", None, "shopd invoked oom-killer: gfp_mask=0x100cca, order=0"),
            *kernel(
                "Mem-Info:", f"{size // 4} total pagecache pages", "Free swap  = 0kB", f"{oom},task=shopd,pid={pid}"
            ),
            *kernel(killed, f"oom_reaper: reaped process {pid} (shopd), now anon-rss:0kB, file-rss:0kB", pause=0.2),
            (0.1, "systemd", 1, "shopd.service: A process of this unit has been killed by the OOM killer."),
            (0.1, "systemd", 1, "shopd.service: Main process exited, code=killed, status=9/KILL"),
            *_restart("oom-kill", kill),
        ]
    return [(0.0, parts)]
