"""The measures of the benchmarks on made-up logs, where they are more than a table."""

import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parents[2]))  # last: only benchmarks/ is not that of the installed wheel

from benchmarks.incidents import CONTEXT, by_text, make_log, same_text
from benchmarks.made_up import spread
from benchmarks.plain import NEARER, holding, nearer
from training.synth.generator import INCIDENTS, generate
from training.synth.host import Line

TRAIN = 8000


@cache
def log_with(incident: str) -> list[Line]:
    """A log of the benchmark, made once: lines to train on, then others with an incident or "none"."""
    return make_log(0, TRAIN, incident)


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 25))
def test_a_window_holds_a_marked_line_where_one_of_its_lines_is_marked(marked: list[bool], size: int) -> None:
    expected = [any(marked[max(0, end + 1 - size) : end + 1]) for end in range(len(marked))]
    assert holding(np.array(marked, bool), size).tolist() == expected


def test_a_nearer_burst_differs_in_its_ids_alone() -> None:
    lines = list(generate(1000, preset="plain"))
    for name, less in NEARER.items():
        moved = [nearer(line, less) for line in lines]
        assert [line for line in moved if not line.label] == [line for line in lines if not line.label]
        burst = [
            (was.message.split(" ", 1), now.message.split(" ", 1))
            for was, now in zip(lines, moved, strict=True)
            if was.label
        ]
        assert len(burst) == 100 and all(was[1] == now[1] for was, now in burst)
        ids = {now[0] for _, now in burst}
        assert ids == {"E31"} if name == "E31" else ids <= {f"E{number}" for number in range(100, 200)}


@pytest.mark.parametrize("incident", INCIDENTS)
def test_what_is_trained_on_is_the_same_whatever_the_incident(incident: str) -> None:
    lines = log_with(incident)
    assert lines[:TRAIN] == log_with("none")[:TRAIN]
    assert any(line.label for line in lines[TRAIN:])


@pytest.mark.parametrize("incident", CONTEXT)
def test_scores_of_single_texts_tell_nothing_among_lines_of_the_same_text(incident: str) -> None:
    lines, normal = log_with(incident)[TRAIN:], log_with("none")[TRAIN:]
    labels = np.array([line.label for line in lines], float)
    texts = [np.array([len(line.message.split()) for line in ones], float) for ones in (lines, normal)]
    assert same_text(lines, texts[0], by_text(normal, texts[1])) == 0.5
    assert same_text(lines, texts[0] + labels, by_text(normal, texts[1])) == 1
    assert same_text(lines, texts[0] - labels, by_text(normal, texts[1])) == 0


def test_no_normal_line_of_the_same_text_gives_no_share() -> None:
    lines, normal = (log_with(incident)[TRAIN:] for incident in ("unseen-burst", "none"))
    assert same_text(lines, np.ones(len(lines)), by_text(normal, np.ones(len(normal)))) is None


def test_several_values_are_told_as_mean_and_range() -> None:
    assert spread([0.5], ".1f") == "0.5"
    assert spread([0.25, 0.75, 0.5], ".2f") == "0.50 (0.25 to 0.75)"
