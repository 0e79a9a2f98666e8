"""What a program may be told to write to though it is no regular file."""

import os
import select
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def null_device(folder: Path, name: str = "target") -> Path:
    """A device of our own that takes everything, as /dev/null of the host does, which no test may touch."""
    path = folder / name
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        path.write_bytes(b"")
    except PermissionError:
        pytest.skip("only root may make a device, and not on every file system")
    return path


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "target")
    return folder / "target"


def _link(folder: Path) -> Path:
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "file").write_bytes(b"old")
    (folder / "target").symlink_to("elsewhere/file")
    return folder / "target"


def _dangling(folder: Path) -> Path:
    (folder / "elsewhere").mkdir()
    (folder / "target").symlink_to(folder / "elsewhere" / "file")
    return folder / "target"


def _chain(folder: Path) -> Path:
    _link(folder).rename(folder / "second")
    (folder / "target").symlink_to("second")
    return folder / "target"


def _link_to_device(folder: Path) -> Path:
    null_device(folder, "device")
    (folder / "target").symlink_to("device")
    return folder / "target"


SPECIAL: dict[str, Callable[[Path], Path]] = {
    "device": null_device,
    "pipe": _pipe,
    "link": _link,
    "dangling link": _dangling,
    "link to a link": _chain,
    "link to a device": _link_to_device,
}
"""Makes each in a folder, as `target`."""


def snapshot(folder: Path) -> dict[str, int]:
    """What lies in a folder, with the type of each; what a dangling link leads to may be made."""
    return {
        name: stat.S_IFMT(os.lstat(name).st_mode)
        for parent, folders, files in os.walk(folder)
        for name in (os.path.join(parent, one) for one in [*folders, *files])
        if not name.endswith("elsewhere/file")
    }


@contextmanager
def reading(target: Path) -> Iterator[Callable[[], bytes | None]]:
    """Reads what is written to `target`; gives it once the writer is done, and None where a device has swallowed it."""
    found: list[bytes] = []
    descriptor = os.open(target, os.O_RDONLY | os.O_NONBLOCK) if target.is_fifo() else None
    thread = threading.Thread(target=lambda: found.append(_drain(descriptor)), daemon=True)
    if descriptor is not None:
        thread.start()

    def read() -> bytes | None:
        if stat.S_ISCHR(target.stat().st_mode):
            return None
        if thread.ident is None:
            return target.read_bytes()
        thread.join(30)
        return found[0]

    yield read


def _drain(descriptor: int) -> bytes:
    """All that comes through a pipe once a writer has opened it, until that leaves."""
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    poller.poll(30_000)
    os.set_blocking(descriptor, True)
    with open(descriptor, "rb") as pipe:
        return pipe.read()
