"""What becomes of a file that was truncated or overwritten: the copy that was made of it, and what is lost."""

import logging
from pathlib import Path

from agent.sources.files.open_file import OpenFile
from agent.sources.files.rotation_search import Rotations

_LOG = logging.getLogger(__name__)


def find_copy(file: OpenFile, path: Path, rotations: Rotations) -> tuple[OpenFile, Path] | None:
    """The copy that was made of a truncated file, open where that is read on, and its path; None where there is none.

    It lies among the rotations of the log or, where the file was renamed before, among those of its new name.
    """
    if found := rotations.find_copy(file):
        return found
    renamed = file.link
    if renamed is None or renamed == path.resolve():
        return None
    return rotations.under(renamed).find_copy(file)


def lost_bytes(file: OpenFile, copy: OpenFile) -> int:
    """How many bytes at least of a truncated file its copy lacks."""
    return 0 if copy.compressed else max(0, file.read_to + file.unread - copy.size)


def log_copy(path: Path, file: OpenFile, copy: Path, lost: int) -> str:
    """Says that reading goes on in the copy of a truncated file, which lacks so many bytes at least; its words."""
    text = f"{path} was truncated or overwritten after {file.read_to} bytes were read; reading what follows them in "
    text += f"{copy} first" + (f"; at least {lost} bytes are lost" if lost else "")
    _LOG.log(logging.WARNING if lost else logging.INFO, "%s", text)
    return text


def log_rewind(path: Path, file: OpenFile) -> str:
    """Says that no copy of a truncated file is found; its words."""
    lost = f"at least {file.unread} bytes are" if file.unread else "what was written just before may be"
    text = f"{path} was truncated or overwritten after {file.read_to} bytes were read; {lost} lost"
    _LOG.warning("%s; reading it from its start", text)
    return text
