"""What changes the state of a followed log, and what does not."""

import pytest

from agent.sources.files.states import FollowEvent as Event
from agent.sources.files.states import FollowState as State


@pytest.mark.parametrize("state", State)
def test_whatever_was_opened_or_failed_before_counts_no_more(state: State) -> None:
    assert state.after(Event.OPENED) is State.FOLLOWING
    assert state.after(Event.COPY_OPENED) is State.READING_COPY
    assert state.after(Event.FAILED) is State.INTERRUPTED
    assert state.after(Event.READ_BY_OTHER) is State.WAITING


def test_a_file_that_is_rotated_deleted_and_written_once_more() -> None:
    events = [Event.PATH_LEFT, Event.PATH_LEFT, Event.READ_WHOLE, Event.PATH_LEFT, Event.GREW, Event.PATH_BACK]
    states = [State.FOLLOWING]
    for event in events:
        states.append(states[-1].after(event))
    away, ended = State.ROTATED_AWAY, State.ENDED
    assert states[1:] == [away, away, ended, ended, away, State.FOLLOWING]


def test_a_copy_is_read_whatever_its_path_names() -> None:
    for event in (Event.PATH_LEFT, Event.PATH_BACK, Event.GREW, Event.READ_WHOLE):
        assert State.READING_COPY.after(event) is State.READING_COPY


def test_what_was_sought_is_sought_on_after_a_source_is_closed() -> None:
    assert State.INTERRUPTED.after(Event.CLOSED) is State.INTERRUPTED
    assert State.ENDED.after(Event.CLOSED) is State.WAITING
