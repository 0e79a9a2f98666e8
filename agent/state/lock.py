"""The lock on a state folder, whose file also says how the last agent ended."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from agent.errors import ConfigError
from agent.host.trust import require_private_file, require_private_folder

LOCK = "oddline.lock"
OPEN, DAMAGED = "open", "damaged: "
_LONGEST = 500  # bytes


class StateLock:
    """Holds a state folder, which is made where there is none, for this process until `release`.

    The file holds the process id and, after a blank, a status: `open` from the first write on, since when a log of
    SQLite has to lie beside the database, or `damaged: ` and why. It is empty after a clean end. A folder that cannot
    be used, is in use or can be written by another user is a ConfigError. clean: whether the agent before ended so, or
    there was none.
    """

    def __init__(self, folder: Path) -> None:
        self._file = _acquire(folder)
        before = os.pread(self._file, _LONGEST, 0).decode(errors="replace")
        self.clean = not before.strip()
        self.status = before.strip().partition(" ")[2]
        try:
            self.write(self.status)
        except OSError as error:
            os.close(self._file)
            raise _unusable(folder, error) from None

    def write(self, status: str) -> None:
        """Writes the status for the agent that comes after this one; an OSError where the disk does not take it."""
        line = f"{os.getpid()} {status}".encode()[:_LONGEST]
        os.pwrite(self._file, line.strip().ljust(os.fstat(self._file).st_size), 0)  # whole at any moment
        os.ftruncate(self._file, len(line.strip()))
        self.status = status

    def release(self, clean: bool) -> None:
        """Lets another process have the folder. clean: nothing has to be checked when it is opened again."""
        if clean:
            with suppress(OSError):  # of a disk that has become read-only: the next start checks the state
                os.ftruncate(self._file, 0)
        os.close(self._file)


def _acquire(folder: Path) -> int:
    try:
        _make(folder)
        require_private_folder(str(folder))
        require_private_file(str(folder / LOCK))
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(folder, error) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 20).decode(errors="replace").partition(" ")[0] or "unknown"
        os.close(descriptor)
        raise ConfigError(
            f"state {folder} is in use by another agent (process {holder}); stop it or choose another with --state"
        ) from None
    except OSError as error:
        os.close(descriptor)
        raise _unusable(folder, error) from None
    return descriptor


def _make(folder: Path) -> None:
    for parent in reversed(folder.parents):
        if not parent.exists():
            parent.mkdir(0o755, exist_ok=True)  # whatever the umask is, so that no other can replace what is in it
    folder.mkdir(0o700, exist_ok=True)


def _unusable(folder: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"state {folder} cannot be used: {error.strerror}; choose one that can be written to with --state"
    )
