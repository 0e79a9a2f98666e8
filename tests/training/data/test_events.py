"""Which events and which parts of the time a training set teaches."""

import numpy as np
import pytest

from agent.errors import ConfigError
from agent.scoring.features import TimeAndEvent, read_events
from agent.text.text_table import TextTable
from training.data.corpus import read_corpus
from training.data.events import check_events, learn_events, whole_turns
from training.evaluation.calibration import normal_scores


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


def test_held_out_events_that_training_did_not_see_are_counted_and_too_many_refused(tmp_path):
    some = learn(tmp_path, [f"Mar  9 10:00:00 h app: E{number} done" for number in (3, 7, 7)])

    def held_out(*numbers):
        (tmp_path / "held").write_text("".join(f"Mar  9 10:00:00 h app: E{number} done\n" for number in numbers))
        return read_corpus([tmp_path / "held"], "auto", ["num"], None, read=read_events)

    assert check_events(some, held_out(3, 7, 8, 3)) == 1
    with pytest.raises(ConfigError, match="3 of 4 held-out lines are events that the training lines do not have"):
        check_events(some, held_out(4, 5, 6, 7))


def test_the_scale_leaves_lines_out_whose_event_training_did_not_see(tmp_path):
    some = learn(tmp_path, [f"Mar  9 10:00:00 h app: E{number} done" for number in (3, 7, 7)])
    (tmp_path / "held").write_text("".join(f"Mar  9 10:00:00 h app: E{number} done\n" for number in (7, 99, 3, 3)))
    corpus = read_corpus([tmp_path / "held"], "auto", ["num"], None, read=read_events)
    scores = np.array([np.nan, 50.0, 1.0, 2.0], np.float32)
    features = TimeAndEvent(some, False, TextTable(corpus.texts))
    assert normal_scores(scores, corpus, features).tolist() == [1, 2]
    assert normal_scores(scores, corpus, None).tolist() == [50, 1, 2]
