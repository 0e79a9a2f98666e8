"""Which events and which parts of the time a training set teaches."""

import numpy as np
import pytest

pytest.importorskip("torch")

from agent.features import read_events
from training.corpus import read_corpus
from training.events import learn_events, whole_turns


def learn(tmp_path, lines):
    (tmp_path / "log").write_text("".join(f"{line}\n" for line in lines))
    return learn_events(read_corpus([tmp_path / "log"], "auto", ["num"], None, read=read_events))


def test_the_number_of_a_line_is_its_event_where_most_lines_carry_one(tmp_path):
    lines = [f"Mar  9 10:00:00 h app: E{number} done" for number in (3, 7, 7)] + ["Mar  9 10:00:01 h app: no number"]
    some = learn(tmp_path, lines)
    assert (some.numbered, some.first, some.known.tolist()) == (True, 7, [3, 7, 8])
    assert some.name(8) == "app: no number" and some.name(3) == "E3"


def test_else_the_template_is_and_a_stray_number_is_text(tmp_path):
    lines = ["Mar  9 10:00:00 h app: E5 done"] + ["Mar  9 10:00:00 h app: started", "Mar  9 10:00:00 h cron: ran"] * 2
    some = learn(tmp_path, lines)
    assert (some.numbered, some.first, some.known.tolist()) == (False, 0, [1, 2, 3])
    assert sorted(map(some.name, (1, 2, 3))) == ["app: <num> done", "app: started", "cron: ran"]


def times(*, days=1, hours=24, minutes=60, seconds=60):
    day, hour, minute, second = np.meshgrid(*(np.arange(count) for count in (days, hours, minutes, seconds)))
    clock = hour * 3600 + minute * 60 + second
    return np.stack([clock.ravel(), day.ravel() + 1, np.full(clock.size, np.nan)], axis=1).astype(float)


@pytest.mark.parametrize(
    ("numbers", "turns"),
    [
        (times(days=31), ("hour", "minute", "second", "day")),
        (times(days=28), ("hour", "minute", "second", "day")),
        (times(days=27), ("hour", "minute", "second")),
        (times(hours=21), ("minute", "second")),
        (times(hours=2, minutes=50), ("second",)),
        (times(seconds=1, days=31), ("hour", "minute", "day")),
        (np.full((5, 3), np.nan), ()),
    ],
)
def test_the_parts_of_the_time_that_were_seen_whole(numbers, turns):
    assert whole_turns(numbers) == turns
