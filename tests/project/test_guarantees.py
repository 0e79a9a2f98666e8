"""Every test that the list of guarantees names is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "guarantees.md").read_text()
NAMED = re.findall(r"`(test_\w+\.py)`: ((?:`test_\w+`(?:, )?)+)", TEXT)


@pytest.mark.parametrize(("file", "names"), NAMED)
def test_the_tests_of_a_promise_exist(file, names):
    (path,) = (ROOT / "tests").rglob(file)
    defined = set(re.findall(r"(?m)^def (test_\w+)\(", path.read_text()))
    assert set(re.findall(r"test_\w+", names)) <= defined


def test_every_promise_names_a_test():
    promises = [row for row in TEXT.partition("## Beside others")[0].splitlines() if row.startswith("| ")]
    assert len([row for row in promises if "`test_" in row]) == len(
        [row for row in promises if row not in ("| Promise | Held by |", "| --- | --- |")]
    )
    assert len(NAMED) > 40


def test_no_cell_of_the_comparison_is_empty():
    rows = [row for row in TEXT.partition("## Beside others")[2].splitlines() if row.startswith("| ")]
    assert len(rows) > 30 and all(len(row.split(" | ")) == 7 and "|  |" not in row for row in rows)
