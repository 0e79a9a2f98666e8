"""In which order rotated files were written, told by what they are."""

import os
from pathlib import Path

from agent.sources.files.rotation_names import rotated_files
from agent.sources.files.rotation_order import in_order


def names(log: Path) -> list[str]:
    return [file.path.name for file in in_order(rotated_files(log))]


def test_a_copy_that_was_made_before_a_rename_is_older_though_its_number_is_lower(tmp_path):
    """As after copytruncate to .1 and a rename to .2, by one that counts upwards."""
    log = tmp_path / "app.log"
    log.write_text("first\n")
    (tmp_path / "app.log.1").write_text("first\n")
    until_the_clock_ticks(tmp_path)
    log.write_text("second\n")
    until_the_clock_ticks(tmp_path)
    log.rename(tmp_path / "app.log.2")
    assert names(log) == ["app.log.1", "app.log.2"]


def test_a_copy_of_the_tick_in_which_its_log_was_truncated_is_older_than_what_was_renamed_later(tmp_path):
    log = tmp_path / "app.log"
    for name in ("app.log.1", "app.log"):
        (tmp_path / name).touch()
    os.utime(log, ns=(10**18, 10**18))
    os.utime(tmp_path / "app.log.1", ns=(10**18, 10**18))
    status = (tmp_path / "app.log.1").stat()
    copied = rotated_files(log)[0]._replace(modified=status.st_ctime_ns, changed=status.st_ctime_ns)
    until_the_clock_ticks(tmp_path)
    log.rename(tmp_path / "app.log.2")
    renamed = next(file for file in rotated_files(log) if file.path.name == "app.log.2")
    files = [copied, renamed._replace(modified=copied.modified)]
    assert [file.path.name for file in in_order(files)] == ["app.log.1", "app.log.2"]


def test_a_late_line_turns_no_order_of_logrotate_round(tmp_path):
    """The file .2 got a line after it was renamed and .1 was complete."""
    log = tmp_path / "app.log"
    for text in ("first\n", "second\n"):
        if (one := tmp_path / "app.log.1").exists():
            one.rename(tmp_path / "app.log.2")
        log.write_text(text)
        until_the_clock_ticks(tmp_path)
        log.rename(one)
    until_the_clock_ticks(tmp_path)
    with (tmp_path / "app.log.2").open("a") as file:
        file.write("late\n")
    assert names(log) == ["app.log.2", "app.log.1"]


def until_the_clock_ticks(folder: Path) -> None:
    """The kernel dates files by a coarse clock."""
    probe = folder / "probe"
    probe.touch()
    begun = probe.stat().st_mtime_ns
    while probe.stat().st_mtime_ns == begun:
        probe.unlink()
        probe.touch()
    probe.unlink()
