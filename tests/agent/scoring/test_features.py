"""What a model sees of a line beside its text: cyclic times and the event."""

from datetime import datetime, timedelta

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import BundleError
from agent.scoring.features import TimeAndEvent, TimeOfDay, cyclic_time, read_events, time_of_day
from agent.text.events import FIRST, NOTHING, UNSEEN_EVENT, Events, EventsOfTexts, read_numbers
from agent.text.lines import LineSplitter
from agent.text.templates import Templates
from agent.text.text_table import TextTable

TEMPLATES = Templates([["sshd:", "session", "<*>"], ["cron:", "ran"]])
TEXTS = ["", "cron: ran", "sshd: session <num>", "kernel: never seen"]


def block(*lines):
    return LineSplitter("log").feed("".join(f"{line}\n" for line in lines).encode())


def events(numbered=False, first=0, known=(1.0, 2.0)):
    return Events(TEMPLATES, numbered, first, np.array(known))


def test_the_time_of_day_is_cyclic():
    features = time_of_day(np.array([0, 21600, 43200, np.nan]))
    np.testing.assert_allclose(features, [[1, 0], [0, 1], [-1, 0], [0, 0]], atol=1e-6)


@given(st.datetimes(datetime(2001, 1, 1), datetime(2099, 1, 1)), st.integers(1, 999))
def test_every_part_of_the_time_turns_with_its_own_period(time, other):
    def seen(moment):
        return cyclic_time(np.array([moment.hour * 3600 + moment.minute * 60 + moment.second]), np.array([moment.day]))

    features = seen(time)[0].reshape(4, 2)
    np.testing.assert_allclose(np.square(features).sum(axis=1), 1, atol=1e-5)
    turn = [features.tolist(), seen(time + timedelta(minutes=other))[0].reshape(4, 2).tolist()]
    assert turn[0][2] == turn[1][2], "minutes leave the second as it is"
    same_day = (time + timedelta(minutes=other)).day == time.day
    assert (turn[0][3] == turn[1][3]) == same_day


def test_the_turn_of_a_day_and_of_a_year_is_a_small_step():
    before = cyclic_time(np.array([86399.0]), np.array([31.0]))  # 31 December, 23:59:59
    after = cyclic_time(np.array([0.0]), np.array([1.0]))
    noon = cyclic_time(np.array([43200.0 + 1800]), np.array([15.0]))
    assert np.abs(before - after).max() < 0.3 < np.abs(before - noon).max()


def test_a_line_without_a_time_has_zeros():
    (features,) = cyclic_time(np.array([np.nan]), np.array([np.nan]))
    assert not features.any() and features.dtype == np.float32


def test_read_of_lines():
    found = read_events(block("Mar  9 10:00:05 web1 app[7]: E17 opened", "no time and no number", ""), None)
    np.testing.assert_array_equal(found, [[36005, 9, 17], [np.nan] * 3, [np.nan] * 3])


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("app: E7 x E9", 7),
        ("app: [E007] x", 7),
        ("app: e7 x", None),
        ("app: E7a x", None),
        ("app: SE7 x", None),
        ("app: E x", None),
        ("app: E0", 0),
        ("app: E_7 E-7", None),
        ("E999999999999999 x", 10**15 - 1),
        ("E1000000000000 x", 10**12),
        ("E" + "9" * 5000, 10**15 - 1),
        ("E" + "0" * 5000 + "3", 3),
        ("", None),
    ],
)
def test_the_number_that_a_line_carries(line, number):
    found = read_numbers(block("E1 before", line, "E2 after"))
    np.testing.assert_array_equal(found, [1, np.nan if number is None else number, 2])


def test_ids_are_scaled_to_what_training_saw_and_never_clipped():
    some = events(True, 30, [3, 4, 13, 31, 32])
    ids = some.ids(np.array([3, 13, 999, np.nan, np.nan, 1e12]), np.array([31.0, 31, 31, 31, 32, 31]))
    assert ids.tolist() == [3, 13, 999, 31, 32, 1e12]
    np.testing.assert_allclose(some.scaled(ids), (np.array([3, 13, 999, 31, 32, 1e12]) - 3) / 29)
    assert [some.unscaled(float(one)) for one in some.scaled(ids)] == pytest.approx(ids.tolist())
    assert some.indices(ids).tolist() == [FIRST, FIRST + 2, UNSEEN_EVENT, FIRST + 3, FIRST + 4, UNSEEN_EVENT]


def test_where_few_lines_carry_a_number_it_is_text_like_any_other():
    some = events()
    assert some.ids(np.array([5.0, np.nan]), np.array([1.0, 2.0])).tolist() == [1, 2]


def test_a_single_event_has_a_range():
    assert events(known=[4.0]).scaled(np.array([4.0, 5.0])).tolist() == [0, 1]


def test_texts_are_matched_by_their_templates_and_an_unseen_one_is_out_of_range():
    texts = TextTable(TEXTS)
    of_texts = EventsOfTexts(events(), texts)
    found = of_texts(np.array([[1, 2], [3, 1]], np.int32))
    assert found.tolist() == [[2, 1], [11, 2]]
    assert events().scaled(found[1, :1]) == 10
    texts.compact(np.array([2, 3], np.int32))
    assert of_texts(np.array([1, 2], np.int32)).tolist() == [1, 11]


@pytest.mark.parametrize("places", [False, True])
def test_features_of_windows(places):
    features = TimeAndEvent(events(), places, TextTable(TEXTS))
    numbers = np.array([[np.nan, np.nan, np.nan], [0, 31, 5], [np.nan, np.nan, np.nan]])
    found = features.of(numbers, np.array([0, 1, 3], np.int32))
    assert found.dtype == np.float32 and found.shape == (3, features.width)
    assert not found[0].any() and NOTHING == 0
    assert found[1].tolist() == pytest.approx([0, 1, 0, 1, 0, 1, 0, 1, 3 if places else 1], abs=1e-6)
    assert found[2].tolist() == [0] * 8 + ([1] if places else [10])
    stacked = features.of(np.stack([numbers, numbers]), np.array([[0, 1, 3]] * 2, np.int32))
    assert stacked.tolist() == [found.tolist()] * 2


def test_a_part_of_the_time_that_training_did_not_see_whole_is_left_out():
    some = Events(TEMPLATES, False, 0, np.array([1.0, 2.0]), ("minute", "second"))
    found = TimeAndEvent(some, False, TextTable(TEXTS)).of(np.array([[45296.0, 17, np.nan]]), np.array([1], np.int32))
    whole = TimeAndEvent(events(), False, TextTable(TEXTS)).of(np.array([[45296.0, 17, 0]]), np.array([1], np.int32))
    assert found[0, [0, 1, 6, 7]].tolist() == [0] * 4 and found[0, 2:6].tolist() == whole[0, 2:6].tolist()
    assert Events.from_json(some.to_json()).turns == ("minute", "second")


def test_a_place_without_a_line_has_no_time():
    assert not TimeOfDay().of(np.array([[5.0]]), np.array([0], np.int32)).any()


def test_events_come_back_as_they_were_written():
    some = events(True, 30, [3, 4, 31, 32])
    again = Events.from_json(msgspec.json.decode(msgspec.json.encode(some.to_json())))
    ids = np.array([3.0, 32, 77, 31])
    assert again.scaled(ids).tolist() == some.scaled(ids).tolist()
    assert [again.name(one) for one in (3, 31, 77)] == ["E3", "sshd: session <*>", "E77"]
    assert again.of_template(0) == some.of_template(0) and again.of_template(2) == 32


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"version": 2}, "has the version 2, this agent reads 1; update oddline"),
        ({"version": None}, "has the version None"),
        ({"known": []}, "known events do not rise"),
        ({"known": [2, 1]}, "known events do not rise"),
        ({"known": [1, float("inf")]}, "known events do not rise"),
        ({"known": ["x"]}, "damaged: ValueError"),
        ({"first": None}, "damaged: TypeError"),
        ({"turns": ["moon"]}, "parts of the time other than hour, minute, second, day"),
        ({"turns": 7}, "damaged: TypeError"),
        ({"turns": [["hour"]]}, "damaged: TypeError"),
        ({"known": [-1e308, 1e308]}, "known events do not rise"),
        ({"first": 10**400}, "known events do not rise"),
        ({"templates": {"version": 1, "templates": [7]}}, "events.json is damaged: its templates are no"),
    ],
)
def test_damaged_events_are_refused(change, why):
    with pytest.raises(BundleError, match=why):
        Events.from_json(events().to_json() | change)
    with pytest.raises(BundleError, match="version None"):
        Events.from_json([])
