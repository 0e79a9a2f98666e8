"""What the kernel and systemd of the made-up host write: devices, timers, upgrades, restarts of the whole machine."""

from training.synth.host import BOOT, Host, Part, Writer

_KERNEL = "5.10.0-28-amd64"
_UPGRADE = "Daily apt upgrade and clean activities"
_WEB_SERVER = "A high performance web server and a reverse proxy server"


def kernel(*messages: str, pause: float = 0.013) -> list[Part]:
    """Messages of the kernel."""
    return [(pause, "kernel", None, message) for message in messages]


def link(host: Host) -> list[Part]:
    """The cable is pulled and put back."""
    nic = "e1000: eth0 NIC Link is"
    return kernel(f"{nic} Down", f"{nic} Up 1000 Mbps Full Duplex, Flow Control: RX", pause=host.random.uniform(1, 4))


def usb(host: Host) -> list[Part]:
    """Somebody plugs in a keyboard."""
    number = host.random.randint(3, 30)
    return kernel(
        f"usb 1-1: new low-speed USB device number {number} using xhci_hcd",
        "usb 1-1: New USB device found, idVendor=046d, idProduct=c31c, bcdDevice=64.00",
        "usb 1-1: New USB device strings: Mfr=1, Product=2, SerialNumber=0",
        "usb 1-1: Product: USB Keyboard",
    )


def audit(host: Host) -> list[Part]:
    """AppArmor loads a profile again."""
    stamp = f"{1772409600 + host.now:.3f}:{host.random.randint(20, 900)}"
    return kernel(
        f'audit: type=1400 audit({stamp}): apparmor="STATUS" operation="profile_replace" '
        f'profile="unconfined" name="/usr/sbin/tcpdump" pid={host.pids.next()} comm="apparmor_parser"',
    )


def blocked(host: Host) -> list[Part]:
    """The firewall drops a packet of a stranger."""
    random = host.random
    target = random.choice((23, 23, 445, 1433, 3389, 5060, 8080, random.randint(1024, 65535)))
    source = f"203.0.113.{random.randint(2, 250)}"
    packet = f"TTL={random.randint(40, 250)} ID={random.randint(1, 65535)} PROTO=TCP SPT={random.randint(1024, 65535)}"
    return kernel(
        f"[UFW BLOCK] IN=eth0 OUT= MAC=52:54:00:12:ab:34:52:54:00:00:00:01:08:00 SRC={source} DST=192.0.2.10 LEN=40 "
        f"TOS=0x00 PREC=0x00 {packet} DPT={target} WINDOW=1024 RES=0x00 SYN URGP=0"
    )


def unit(name: str, title: str, seconds: float) -> Writer:
    """A unit that a timer of systemd starts and that ends by itself."""
    return lambda host: _run(name, title, host.random.uniform(0.2, 1) * seconds)


def _run(name: str, title: str, seconds: float, *inside: Part) -> list[Part]:
    return [
        (0.0, "systemd", 1, f"Starting {title}..."),
        *inside,
        (seconds, "systemd", 1, f"{name}.service: Succeeded."),
        (0.0, "systemd", 1, f"Finished {title}."),
    ]


def upgrade(host: Host) -> list[Part]:
    """The daily upgrade of packages; where it has one for sshd, that is started again."""
    if host.random.random() > 0.15:
        return _run("apt-daily-upgrade", _UPGRADE, host.random.uniform(2, 9))
    old, new = host.daemons["sshd"], host.new_daemon("sshd")
    restart: list[Part] = [
        (host.random.uniform(5, 40), "systemd", 1, "Reloading."),
        (2.0, "systemd", 1, "Stopping OpenBSD Secure Shell server..."),
        (0.01, "sshd", old, "Received signal 15; terminating."),
        (0.02, "systemd", 1, "ssh.service: Succeeded."),
        (0.0, "systemd", 1, "Stopped OpenBSD Secure Shell server."),
        (0.01, "systemd", 1, "Starting OpenBSD Secure Shell server..."),
        (0.1, "sshd", new, "Server listening on 0.0.0.0 port 22."),
        (0.0, "systemd", 1, "Started OpenBSD Secure Shell server."),
    ]
    return _run("apt-daily-upgrade", _UPGRADE, host.random.uniform(2, 30), *restart)


def certificate(host: Host) -> list[Part]:
    """The certificate of the web server is renewed, and the server reads it."""
    renewed: list[Part] = [
        (host.random.uniform(5, 20), "systemd", 1, f"Reloading {_WEB_SERVER}."),
        (0.2, "systemd", 1, f"Reloaded {_WEB_SERVER}."),
    ]
    return _run("certbot", "Certbot", 1.0, *renewed)


def reboot(host: Host) -> list[Part]:
    """An administrator restarts the machine: what stops, and what the kernel and the services say at the boot."""
    stops = ("Web shop", "Postfix Mail Transport Agent", "Regular background program processing daemon")
    down: list[Part] = [(0.0, "systemd-logind", 488, "System is rebooting.")]
    down += [(0.3, "systemd", 1, f"Stopped {name}.") for name in stops]
    down += [(1.0, "systemd", 1, "Reached target Shutdown."), (0.5, "rsyslogd", 455, "exiting on signal 15.")]
    up = [(0.2, "systemd", 1, f"Started {name}.") for name in reversed(stops)]
    return [
        *down,
        (host.random.uniform(18, 40), BOOT, None, ""),
        *kernel(*_BOOT_MESSAGES, pause=0.05),
        (1.5, "systemd", 1, "systemd 247.3-7 running in system mode."),
        (0.1, "rsyslogd", 455, "start"),
        (0.2, "systemd-logind", 488, "New seat seat0."),
        (0.5, "sshd", 700, "Server listening on 0.0.0.0 port 22."),
        (0.0, "systemd", 1, "Started OpenBSD Secure Shell server."),
        *up,
        (3.0, "systemd", 1, f"Startup finished in 2.{host.random.randint(100, 999)}s (kernel) + 6.4s (userspace)."),
    ]


_BOOT_MESSAGES = (
    f"Linux version {_KERNEL} (builder@example.com) #1 SMP",
    f"Command line: BOOT_IMAGE=/boot/vmlinuz-{_KERNEL} root=/dev/sda1 ro quiet",
    "BIOS-provided physical RAM map:",
    "DMI: Example Virtual Machine, BIOS 1.14.0 04/01/2014",
    "tsc: Detected 2394.374 MHz processor",
    "Memory: 4004120K/4193764K available",
    "ACPI: Core revision 20200925",
    "smpboot: Total of 2 processors activated",
    "NET: Registered protocol family 2",
    "TCP established hash table entries: 32768 (order: 6, 262144 bytes, linear)",
    "ata1: SATA max UDMA/133 abar m4096@0xfebd5000 port 0xfebd5100 irq 28",
    "sd 0:0:0:0: [sda] 83886080 512-byte logical blocks: (42.9 GB/40.0 GiB)",
    "sd 0:0:0:0: [sda] Attached SCSI disk",
    "EXT4-fs (sda1): mounted filesystem with ordered data mode.",
    "e1000: eth0 NIC Link is Up 1000 Mbps Full Duplex, Flow Control: RX",
)
