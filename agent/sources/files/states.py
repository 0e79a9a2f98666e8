"""What a followed log's path and file are to each other at present, and what changes that.

| state | file open | the path | left when |
| --- | --- | --- | --- |
| WAITING | no | names nothing that can be read | a file is opened |
| INTERRUPTED | no | the file that is sought was not found, or reading failed | a file is opened |
| FOLLOWING | yes | names it, as far as is known | the path names another file or none |
| ROTATED_AWAY | yes | names another file or none; its writer may go on for a while | the next file is opened |
| ENDED | yes | names another file or none; it is deleted and read whole | it grows, or the next file is opened |
| READING_COPY | yes | named the truncated file of which it is a copy | the next file is opened |
"""

from enum import Enum, auto


class FollowState(Enum):
    """The states of the table above."""

    WAITING = auto()
    INTERRUPTED = auto()
    FOLLOWING = auto()
    ROTATED_AWAY = auto()
    ENDED = auto()
    READING_COPY = auto()

    def after(self, event: "FollowEvent") -> "FollowState":
        """The state that follows; the same one where the event changes nothing in it."""
        return _TRANSITIONS[event].get(self, self)


class FollowEvent(Enum):
    """What happens to a followed log.

    OPENED          a file is opened: that of the path, a rotated one, or a truncated one again from its start
    COPY_OPENED     the copy of a truncated file is opened
    PATH_LEFT       the path is seen to name another file, or none
    PATH_BACK       the path is seen to name the open file
    GREW            something was read
    READ_WHOLE      the file is seen to be deleted, and no byte of it is unread or held back
    READ_BY_OTHER   what the path names is still read under another name, so no file is opened
    CLOSED          the file is closed, and no other one is opened
    FAILED          reading failed, or the file of a stored checkpoint is not found
    """

    OPENED = auto()
    COPY_OPENED = auto()
    PATH_LEFT = auto()
    PATH_BACK = auto()
    GREW = auto()
    READ_WHOLE = auto()
    READ_BY_OTHER = auto()
    CLOSED = auto()
    FAILED = auto()


_TRANSITIONS: dict[FollowEvent, dict[FollowState, FollowState]] = {
    FollowEvent.OPENED: dict.fromkeys(FollowState, FollowState.FOLLOWING),
    FollowEvent.COPY_OPENED: dict.fromkeys(FollowState, FollowState.READING_COPY),
    FollowEvent.PATH_LEFT: {FollowState.FOLLOWING: FollowState.ROTATED_AWAY},
    FollowEvent.PATH_BACK: {
        FollowState.ROTATED_AWAY: FollowState.FOLLOWING,
        FollowState.ENDED: FollowState.FOLLOWING,
    },
    FollowEvent.GREW: {FollowState.ENDED: FollowState.ROTATED_AWAY},
    FollowEvent.READ_WHOLE: {FollowState.ROTATED_AWAY: FollowState.ENDED},
    FollowEvent.READ_BY_OTHER: dict.fromkeys(FollowState, FollowState.WAITING),
    FollowEvent.CLOSED: dict.fromkeys(set(FollowState) - {FollowState.INTERRUPTED}, FollowState.WAITING),
    FollowEvent.FAILED: dict.fromkeys(FollowState, FollowState.INTERRUPTED),
}
