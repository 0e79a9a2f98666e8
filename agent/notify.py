"""sd_notify(3): tells systemd how the service is."""

import os
import socket


def notify(state: str) -> None:
    """Sends a state such as READY=1 to the service manager; does nothing where there is none."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.settimeout(1)
        try:
            sender.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
        except OSError:  # a manager that is gone or busy is no reason to stop
            return
