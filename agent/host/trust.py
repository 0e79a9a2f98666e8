"""Which paths can be trusted: none where another user could change what is written, or where the writing goes.

Root and this user are trusted. A link is followed where one of them made it, in a folder whose names only they can
change (as fs.protected_symlinks of Linux, which looks at folders with the sticky bit alone). What is refused is a
PermissionError whose text says why.
"""

import errno
import os
import stat

_MAX_LINKS = 40  # as the kernel follows, path_resolution(7)
_OTHERS, _GROUP_OR_OTHERS = stat.S_IWOTH, stat.S_IWGRP | stat.S_IWOTH


def real_path(path: str) -> str:
    """Where a path leads, through links that can be trusted; it need not exist. Open descriptors stay by their name."""
    descriptors = f"/proc/{os.getpid()}/fd"
    place, rest, links = "/" if path.startswith("/") else os.getcwd(), path.split("/")[::-1], 0
    while rest:
        name = rest.pop()
        here = os.path.normpath(os.path.join(place, name))
        if name in ("", ".", "..") or place == descriptors or not os.path.islink(here):
            place = here
            continue
        links += 1
        if links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        _require_trusted_link(here, place)
        target = os.readlink(here)
        place = "/" if target.startswith("/") else place
        rest += target.split("/")[::-1]
    return os.path.join(place, "") if path.endswith("/") else place


def open_to_append(path: str, wait: bool = True) -> int:
    """A descriptor that appends to a file, which is made for its owner and group where there is none.

    wait: for a reader where it is a pipe without any, which else is an OSError. A regular file that another user can
    write is refused, and so is a pipe or device of another user where everybody can make one.
    """
    target = real_path(path)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOCTTY | os.O_CLOEXEC | (0 if wait else os.O_NONBLOCK)
    if os.path.dirname(target) == f"/proc/{os.getpid()}/fd":  # of who started this process
        return os.open(target, flags)
    descriptor = os.open(target, flags | os.O_NOFOLLOW, 0o640)
    try:
        _require_trusted_file(target, os.fstat(descriptor))
        os.set_blocking(descriptor, True)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def require_appendable(path: str) -> None:
    """A PermissionError where open_to_append would refuse what is there now; nothing is opened or made."""
    target = real_path(path)
    if os.path.dirname(target) != f"/proc/{os.getpid()}/fd" and os.path.exists(target):
        _require_trusted_file(target, os.stat(target))


def require_private_folder(path: str) -> None:
    """A PermissionError where another user can write to a folder, or put another in its place."""
    place = real_path(path)
    status, parent = os.stat(place), os.stat(os.path.dirname(place))
    if not _is_trusted(status.st_uid) or status.st_mode & _GROUP_OR_OTHERS:
        raise _refusal(place, "another user can write to it (chmod go-w and chown would help)")
    if _is_open(parent):
        raise _refusal(place, "another user can put another in its place, by the permissions of the folder it is in")


def require_private_file(path: str) -> None:
    """A PermissionError where a name, if it is there, is a link or a file that another user can write."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if stat.S_ISLNK(status.st_mode):
        raise _refusal(path, "it is a symbolic link, which has no place there")
    if not _is_trusted(status.st_uid) or status.st_mode & _GROUP_OR_OTHERS:
        raise _refusal(path, "another user can write to it")


def _require_trusted_link(link: str, folder: str) -> None:
    if not _is_trusted(os.lstat(link).st_uid) or _is_open(os.stat(folder)):
        raise _refusal(link, f"{link} is a symbolic link that another user may have made")


def _require_trusted_file(path: str, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if stat.S_ISREG(status.st_mode):
        refused = not _is_trusted(status.st_uid) or status.st_mode & _OTHERS
    else:
        refused = not _is_trusted(status.st_uid) and os.stat(os.path.dirname(path)).st_mode & _OTHERS
    if refused:
        raise _refusal(path, "another user can write to it")


def _is_open(folder: os.stat_result) -> bool:
    """Whether another user can change which names are in a folder."""
    return not _is_trusted(folder.st_uid) or folder.st_mode & (_OTHERS | stat.S_ISVTX) == _OTHERS


def _is_trusted(user: int) -> bool:
    return user in (0, os.geteuid())


def _refusal(path: str, why: str) -> PermissionError:
    return PermissionError(errno.EPERM, why, path)
