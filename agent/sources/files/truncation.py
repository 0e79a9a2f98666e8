"""What becomes of a file that was truncated or overwritten: the copy that was made of it, and what is lost."""

from pathlib import Path

from agent.sources.files.open_file import OpenFile
from agent.sources.files.rotation_search import Rotations


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
    return 0 if copy.packed else max(0, file.read_to + file.unread - copy.size)


def copy_sentence(path: Path, file: OpenFile, copy: Path, lost: int) -> str:
    """What is said where reading goes on in the copy of a truncated file."""
    return (
        f"{path} was truncated or overwritten after {file.read_to} bytes were read; "
        f"reading what follows them in {copy} first" + (f"; at least {lost} bytes are lost" if lost else "")
    )


def rewind_sentence(path: Path, file: OpenFile) -> str:
    """What is said where no copy of a truncated file is found."""
    lost = f"at least {file.unread} bytes are" if file.unread else "what was written just before may be"
    return (
        f"{path} was truncated or overwritten after {file.read_to} bytes were read; {lost} lost; "
        "reading it from its start"
    )
