"""Where a log went when it was rotated: `syslog.1`, `app.log-20240131`, `syslog.2.gz`, `old/app.1.log`."""

import os
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
NUMBER = "number"
Key = tuple[int, int]  # device and inode
FOLDERS, ENTRIES = 32, 10_000  # subfolders and names in each that are looked through where a rotation is missing
_PARTS = re.compile(  # as logrotate numbers, dates and compresses, and what its options put behind the number
    r"(?P<number>[.-]\d[\d._T-]*)(?P<end>(?!\.(?:gz|bz2|xz|zst)$)\.[A-Za-z][\w-]*)?(?P<compressed>\.gz|\.bz2|\.xz|\.zst)?"
)
_DIGIT = re.compile(r"\d")
_NUMBER = re.compile(r"[.-](\d{1,7})")


class Form(NamedTuple):
    """Where the rotations of a log lie, and what stands before and after their number or date.

    A log's own form is its folder and its name, with nothing after the number: app.log.1. logrotate's `olddir` makes
    another folder of it, `extension` another place of the number (app.1.log), `addextension` another end (app.log.1.x).
    """

    folder: Path
    before: str
    after: str


class Rotated(NamedTuple):
    """A rotated file.

    modified, changed  when its content was last written, and it or its name was, in nanoseconds
    kind, rank         how its name goes on after that of the log, and what sorts those of one kind
    """

    modified: int
    changed: int
    device: int
    inode: int
    path: Path
    form: Form
    kind: str
    rank: tuple[int, str]

    @property
    def key(self) -> Key:
        """Device and inode."""
        return self.device, self.inode

    @property
    def compressed(self) -> bool:
        """Whether its name says that it is compressed."""
        return self.path.suffix in COMPRESSED


def own_form(path: Path) -> Form:
    """The form of a log whose rotations lie beside it with a number or a date behind its name."""
    log = path.resolve()
    return Form(log.parent, log.name, "")


def form_of(path: Path, rotated: Path) -> Form | None:
    """The form in which a file is a rotation of a log by its name, in whatever folder; None where it is none."""
    return _form(path.resolve().name, rotated.parent, rotated.name)


def _form(log: str, folder: Path, name: str) -> Form | None:
    parts = _parts(log, name)
    return parts and Form(folder, parts[0], parts[1]["end"] or "")


def other_forms(path: Path) -> list[Form]:
    """The forms other than its own in which files are named like rotations of a log, in its folder and those in it.

    A name is no proof: they may belong to other logs. Folders are looked into that are no links and on the same device.
    """
    log = path.resolve()
    folders = [log.parent, *_subfolders(log.parent)]
    forms = dict.fromkeys(_form(log.name, folder, name) for folder in folders for name in _names(folder))
    return [form for form in forms if form not in (None, own_form(log))]


def _subfolders(folder: Path) -> Iterator[Path]:
    with suppress(OSError), os.scandir(folder) as entries:
        device = os.stat(folder).st_dev
        kept = (entry for entry in islice(entries, ENTRIES) if entry.is_dir(follow_symlinks=False))
        for entry in islice(kept, FOLDERS):
            if entry.stat(follow_symlinks=False).st_dev == device:
                yield folder / entry.name


def _names(folder: Path) -> Iterator[str]:
    with suppress(OSError), os.scandir(folder) as entries:
        yield from (entry.name for entry in islice(entries, ENTRIES))


def rotated_files(path: Path, forms: Collection[Form] = ()) -> list[Rotated]:
    """The rotations of a log in the given forms, by default its own one, in any order.

    A compressed file is left out while the one that it was made from is still there.
    """
    log = path.resolve()
    stem = os.path.splitext(log.name)[0]
    forms = set(forms or (own_form(log),))
    found: dict[tuple[Form, str], dict[str, Rotated]] = {}  # by form and number, then by what compressed it
    for folder in {form.folder for form in forms}:
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError), os.scandir(folder) as entries:
            for entry in entries:
                parts = _parts(log.name, entry.name) if entry.name.startswith(stem) else None
                form = parts and Form(folder, parts[0], parts[1]["end"] or "")
                if parts and form in forms:
                    number, compressed = parts[1]["number"], parts[1]["compressed"] or ""
                    with suppress(FileNotFoundError):
                        found.setdefault((form, number), {})[compressed] = _rotated(entry, form, number)
    return [same.get("") or max(same.values()) for same in found.values()]


def _rotated(entry: "os.DirEntry[str]", form: Form, number: str) -> Rotated:
    status, path = entry.stat(), form.folder / entry.name
    kind, rank = _rank(number)
    return Rotated(status.st_mtime_ns, status.st_ctime_ns, status.st_dev, status.st_ino, path, form, kind, rank)


def _parts(log: str, name: str) -> tuple[str, re.Match[str]] | None:
    """What a name has before its number as a rotation of a log, and the parts after that."""
    if name.startswith(log):
        parts = _PARTS.fullmatch(name, len(log))
        return parts and (log, parts)
    stem, end = os.path.splitext(log)
    parts = _PARTS.fullmatch(name, len(stem)) if end and name.startswith(stem) else None
    return (stem, parts) if parts and parts["end"] == end else None


def _rank(number: str) -> tuple[str, tuple[int, str]]:
    """The kind of a number or date, and what sorts those of one kind."""
    plain = _NUMBER.fullmatch(number)
    return (NUMBER, (int(plain[1]), "")) if plain else (_DIGIT.sub("0", number), (0, number))


def rotation_of(path: Path, known: frozenset[Path] = frozenset()) -> Path | None:
    """The log beside a file of which that is a rotation by its name, where it is one of `known` or exists, or None."""
    return next((log for log in logs_of(path) if log in known or log.exists()), None)


def logs_of(path: Path) -> Iterator[Path]:
    """The logs of which a file may be a rotation by its name, whether they exist or not."""
    for cut in (index for index in range(1, len(path.name)) if path.name[index] in ".-"):
        parts = _PARTS.fullmatch(path.name, cut)
        if parts and not parts["end"]:
            yield path.with_name(path.name[:cut])
