"""Which file system a path lies on, and whether inotify reports its changes."""

import os
import re
from typing import NamedTuple

_TABLE = "/proc/self/mountinfo"
_REMOTE = re.compile(  # fuse.sshfs and the like among them, but not fuseblk, a local disk
    r"9p|acfs|afs|beegfs|ceph|cifs|coda|davfs|fuse(\..*)?|gfs2|glusterfs|gpfs|lustre|ncpfs?|nfs4?|ocfs2|orangefs|panfs|"
    r"prl_fs|pvfs2|smb[23]|smbfs|vboxsf|virtiofs|vmhgfs|wekafs"
)
_ESCAPE = re.compile(rb"\\([0-7]{3})")


class Mount(NamedTuple):
    """A mounted file system: the directory or file at which it is mounted, and its type, such as nfs4."""

    point: str
    type: str

    @property
    def remote(self) -> bool:
        """Whether others than this kernel may write there, of which inotify tells nothing (inotify(7), Limitations)."""
        return _REMOTE.fullmatch(self.type) is not None


class Mounts:
    """The mounts of this process, as proc_pid_mountinfo(5) lists them; none where there is no such list.

    Its descriptor has an exceptional condition (POLLPRI) when something was mounted or unmounted since `refresh`.
    """

    def __init__(self) -> None:
        try:
            self.descriptor = os.open(_TABLE, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self.descriptor = -1
        self._mounts: dict[str, Mount] = {}
        self.refresh()

    def refresh(self) -> None:
        """Reads the list again."""
        if self.descriptor >= 0:
            os.lseek(self.descriptor, 0, os.SEEK_SET)
            table = b"".join(iter(lambda: os.read(self.descriptor, 1 << 16), b""))
            self._mounts = {mount.point: mount for mount in parse_mounts(table)}

    def is_point(self, path: str) -> bool:
        """Whether something is mounted exactly here."""
        return path in self._mounts

    def of(self, path: str) -> Mount:
        """The mount on which an absolute path without links lies, existing or not."""
        while path not in self._mounts and path != "/":
            path = os.path.dirname(path)
        return self._mounts.get(path, Mount("/", ""))

    def close(self) -> None:
        """Gives the list back; what was read of it stays."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def parse_mounts(table: bytes) -> list[Mount]:
    """The mounts of a table in the form of /proc/self/mountinfo, of which later ones lie over earlier ones."""
    mounts = []
    for line in table.splitlines():
        before, dash, after = line.partition(b" - ")  # between them lies any number of optional fields
        fields, rest = before.split(b" "), after.split(b" ")
        if dash and len(fields) > 4:
            mounts.append(Mount(_plain(fields[4]), _plain(rest[0])))
    return mounts


def _plain(field: bytes) -> str:
    """A field with its spaces, tabs, line ends and backslashes, which stand there as octal escapes."""
    return os.fsdecode(_ESCAPE.sub(lambda found: bytes([int(found[1], 8) & 255]), field))
