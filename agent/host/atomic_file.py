"""Replacing a file or a folder as a whole: whoever reads it, also after a crash, finds the old or the new one.

What is no regular file stays what it is: a link that can be trusted (agent.host.trust) leads to the file that is
replaced, and a device, a pipe or an open
descriptor such as /dev/stdout is written to.
"""

import errno
import itertools
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from agent.host.trust import real_path

_NUMBERS = itertools.count()  # of staged files: threads may replace one file at a time
_MAX_NAME = 200  # bytes of a file's name within the name of the staged one, which has at most 255
_UNNAMED = getattr(os, "O_TMPFILE", 0)  # Linux: a file that has no name yet, so that nothing of it stays after a kill
_NO_UNNAMED = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT)  # open(2), by file systems and old kernels


@contextmanager
def replacing(
    path: str | os.PathLike[str], *, mode: int | None = None, sync: bool = False, wait: bool = True
) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of `path` when the block ends, and never where it raises.

    mode: the permission bits; by default those of the file that is replaced, of a new one what the umask leaves. sync:
    have it on disk before this returns. wait: for a reader where `path` is a pipe without any. An OSError where it
    cannot be written, as where it is a folder or a socket.
    """
    target = _target(os.fspath(path))
    present = None if isinstance(target, int) else _status(target)
    if isinstance(target, int) or (present is not None and not stat.S_ISREG(present.st_mode)):
        with closed_after(open(_open_special(target, present, wait), "wb")) as special:
            yield special
        return
    with _Staged(target).until_kept(present, mode, sync) as file:
        yield file


def replace_file(
    path: str | os.PathLike[str], content: bytes, *, mode: int | None = None, sync: bool = False, wait: bool = True
) -> None:
    """Replaces a file by one with this content, as `replacing` does."""
    with replacing(path, mode=mode, sync=sync, wait=wait) as file:
        file.write(content)


def replace_folder(staged: Path, folder: Path) -> None:
    """Puts a staged folder that lies beside `folder` in its place, durably; an OSError, and then the old one stays.

    A folder cannot be replaced in one step: the old one is moved away before and removed after. A link stays one.
    """
    folder = Path(os.path.realpath(folder))
    old = staged.with_suffix(".old")
    if folder.exists():
        folder.rename(old)
    try:
        staged.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
    sync_folder(folder.parent)


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Has the names of the files in a folder on disk; an OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def closed_after(file: BinaryIO) -> Iterator[BinaryIO]:
    """Closes a file; where the block raises, that is what is raised, whatever could not be written at last."""
    try:
        yield file
    except BaseException:
        with suppress(OSError):
            file.close()
        raise
    file.close()


class _Staged:
    """A file that is being written beside the one whose place it takes."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._folder, name = os.path.split(target)
        short = os.fsdecode(os.fsencode(name)[:_MAX_NAME])
        self._name = os.path.join(self._folder, f".{short}.{os.getpid()}-{next(_NUMBERS)}.part")
        self._is_named = False
        self._descriptor = self._open()

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_CLOEXEC
        if _UNNAMED:
            try:
                return os.open(self._folder, flags | _UNNAMED, 0o666)
            except OSError as error:
                if error.errno not in _NO_UNNAMED:
                    raise
        with suppress(FileNotFoundError):
            os.unlink(self._name)
        descriptor = os.open(self._name, flags | os.O_CREAT | os.O_EXCL, 0o666)
        self._is_named = True
        return descriptor

    @contextmanager
    def until_kept(self, replaced: os.stat_result | None, mode: int | None, sync: bool) -> Iterator[BinaryIO]:
        """The file to write to; it takes its place at the end, or is gone where the block or that raises."""
        try:
            with closed_after(open(self._descriptor, "wb")) as file:
                yield file
                file.flush()
                self._set_mode(replaced, mode)
                if sync:
                    os.fsync(self._descriptor)
                self._keep()
        except BaseException:
            if self._is_named:
                with suppress(OSError):
                    os.unlink(self._name)
            raise
        if sync:
            sync_folder(self._folder)

    def _set_mode(self, replaced: os.stat_result | None, mode: int | None) -> None:
        if replaced is not None:
            with suppress(OSError):  # only root may leave a file to its owner
                os.fchown(self._descriptor, replaced.st_uid, replaced.st_gid)
            mode = stat.S_IMODE(replaced.st_mode) if mode is None else mode
        if mode is not None:
            os.fchmod(self._descriptor, mode)

    def _keep(self) -> None:
        if not self._is_named:
            with suppress(FileNotFoundError):
                os.unlink(self._name)
            # a folder is named, whatever it is, since Python else does not have the link followed
            os.link(f"/proc/self/fd/{self._descriptor}", self._name, src_dir_fd=self._descriptor)
            self._is_named = True
        os.replace(self._name, self._target)
        self._is_named = False


def _target(path: str) -> str | int:
    """The file that a path leads to, which need not exist, or the number of an open descriptor, as of /dev/stdout."""
    target = real_path(path)
    folder, name = os.path.split(target)
    return int(name) if folder == f"/proc/{os.getpid()}/fd" and name.isdecimal() else target


def _status(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _open_special(target: str | int, present: os.stat_result | None, wait: bool) -> int:
    if isinstance(target, int):
        return os.dup(target)
    if present is not None and stat.S_ISDIR(present.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), target)
    if present is not None and stat.S_ISSOCK(present.st_mode):
        raise OSError(errno.ENXIO, "it is a socket", target)
    return os.open(target, os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC | (0 if wait else os.O_NONBLOCK))
