"""inotify(7) through watchdog's bindings, read by the thread that waits: no thread of its own, no event kept back.

Of watchdog the three system calls and the constants are used, which are the same in its versions 4 to 7. Its observers
take a thread for each directory (in versions before 7 an inotify instance as well, of which a user has 128) and tell
nobody when the kernel's queue overflowed.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Iterator

from watchdog.observers import inotify_c
from watchdog.observers.inotify_c import InotifyConstants as Mask

STRUCTURE = Mask.IN_CREATE | Mask.IN_DELETE | Mask.IN_MOVED_FROM | Mask.IN_MOVED_TO
SELF = Mask.IN_DELETE_SELF | Mask.IN_MOVE_SELF  # of a directory or link that is only passed through
CONTENT = Mask.IN_MODIFY
IGNORED, QUEUE_OVERFLOW = Mask.IN_IGNORED, Mask.IN_Q_OVERFLOW
GONE = SELF | Mask.IN_UNMOUNT | IGNORED
_REASONS = {
    errno.ENOSPC: "no inotify watch is left; raise fs.inotify.max_user_watches",
    errno.EMFILE: "no inotify instance or file descriptor is left; raise fs.inotify.max_user_instances or ulimit -n",
    errno.EACCES: "no permission to list it",
}
_HEAD = struct.Struct("iIII")  # watch, mask, cookie, length of the name
_BUFFER = 1 << 16  # bytes of a read
_READS = 32  # most reads in a row: more than the queue's 16,384 events by default


class Inotify:
    """One inotify instance. OSErrors carry a reason for the user as their text."""

    def __init__(self) -> None:
        self.descriptor = _checked(inotify_c.inotify_init())
        os.set_inheritable(self.descriptor, False)
        os.set_blocking(self.descriptor, False)

    def add(self, path: str, mask: int) -> int:
        """Watches a directory, file or link itself, with this mask in place of an earlier one; the watch's number."""
        mask |= SELF | Mask.IN_DONT_FOLLOW
        return _checked(inotify_c.inotify_add_watch(self.descriptor, os.fsencode(path), mask))

    def remove(self, watch: int) -> None:
        """Ends a watch; it may have ended by itself."""
        inotify_c.inotify_rm_watch(self.descriptor, watch)  # type: ignore[arg-type]  # a NewType of watchdog 7

    def read(self) -> Iterator[tuple[int, int, bytes]]:
        """The watch, mask and name of the events that have come so far; the name is empty where it is of itself."""
        for _ in range(_READS):
            try:
                data = os.read(self.descriptor, _BUFFER)
            except BlockingIOError:
                return
            yield from _events(data)

    def close(self) -> None:
        """Ends all watches."""
        os.close(self.descriptor)


def _events(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    while at < len(data):
        watch, mask, _, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size + length
        yield watch, mask, data[at - length : at].rstrip(b"\0")


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, _REASONS.get(number) or os.strerror(number))
    return result
