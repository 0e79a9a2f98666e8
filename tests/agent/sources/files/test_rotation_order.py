"""In which order rotated files were written, told by what they are."""

import os
from pathlib import Path

import pytest

from agent.sources.files.rotation_names import Rotated, rotated_files
from agent.sources.files.rotation_order import in_order

HOUR = 3600 * 10**9


def files(folder: Path, *names: str) -> dict[str, Rotated]:
    """Rotations of app.log, each written an hour after the one before and renamed a minute after that."""
    for name in ("app.log", *names):
        (folder / name).write_text("x")
    found = {file.path.name: file for file in rotated_files(folder / "app.log")}
    dated = enumerate(map(found.__getitem__, names), 1)
    return {
        file.path.name: file._replace(modified=hour * HOUR, changed=hour * HOUR + HOUR // 60) for hour, file in dated
    }


@pytest.mark.parametrize(
    "names", [["app.log.0", "app.log.1", "app.log.2"], ["app.log.9", "app.log.10.gz", "app.log.11"]]
)
def test_numbers_rise_where_the_times_say_so_without_exception(tmp_path, names):
    assert [file.path.name for file in in_order([*files(tmp_path, *names).values()])] == names


@pytest.mark.parametrize("names", [["app.log-20260130", "app.log-20260201"], ["app.log.2", "app.log-20260101"]])
def test_dates_rise_and_times_tell_names_of_several_kinds(tmp_path, names):
    assert [file.path.name for file in in_order([*files(tmp_path, *names).values()])] == names


def test_numbers_fall_as_logrotate_counts_where_any_time_contradicts(tmp_path):
    one, two, three = files(tmp_path, "app.log.1", "app.log.2", "app.log.3").values()
    at_once = [file._replace(changed=three.changed) for file in (one, two, three)]
    late = [one, two, three._replace(modified=three.changed)]  # a line came after it was renamed
    older = [one, two, three._replace(modified=one.modified)]
    for found in (at_once, late, older):
        assert in_order(found) == found[::-1]


def test_renames_of_one_rotation_are_no_sign_of_rising_numbers(tmp_path):
    log = tmp_path / "app.log"
    for number, text in enumerate(("first\n", "second\n"), 1):
        if (one := tmp_path / "app.log.1").exists():
            one.rename(tmp_path / "app.log.2")
        log.write_text(text)
        os.utime(log, ns=(number * HOUR, number * HOUR))
        log.rename(one)
    assert [file.path.name for file in in_order(rotated_files(log))] == ["app.log.2", "app.log.1"]
