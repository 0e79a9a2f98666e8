"""sd_notify(3): tells systemd how the service is."""

import os
import socket
from contextlib import suppress


def notify(state: str) -> None:
    """Sends a state such as READY=1 to the service manager; does nothing where there is none."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    # that the manager is gone or busy, or that no file can be opened any more, is no reason to stop
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.settimeout(1)
        sender.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
