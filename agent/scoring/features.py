"""What a model sees of a line beside its text: cyclic times and the event, from numbers that are read of the raw line.

The numbers depend on the line alone, so a training set keeps them; the features also depend on what was learnt.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from agent.scoring.model import ScoringModel
from agent.text.events import NOTHING, TURNS, UNSEEN_EVENT, Events, EventsOfTexts, read_numbers
from agent.text.headers import read_clocks
from agent.text.lines import Block
from agent.text.record_reader import RecordReader
from agent.text.text_table import PADDING, TextTable

Read = Callable[[Block, RecordReader | None], NDArray[np.float64]]
"""A block, and what reads its lines where they are records -> numbers float64 [lines, columns], NaN for none."""

CYCLIC = 2 * len(TURNS)  # a sine and a cosine each


class Features(Protocol):
    """The features of lines, float32 [..., width]. fitted: whether those of one bundle mean nothing to another one."""

    width: int
    fitted: bool

    def read(self, block: Block, records: RecordReader | None) -> NDArray[np.float64]:
        """float64 [lines, columns]: what is read of the raw lines."""
        ...

    def of(self, numbers: NDArray[np.float64], ids: NDArray[np.int32]) -> NDArray[np.float32]:
        """float32 [..., width] of numbers [..., columns] and text ids [...]; zeros where the id is PADDING."""
        ...

    def unseen(self, numbers: NDArray[np.float64], ids: NDArray[np.int32]) -> NDArray[np.bool_]:
        """bool [...]: whether training saw nothing of this kind, of numbers [..., columns] and text ids [...]."""
        ...


def read_time(block: Block, records: RecordReader | None) -> NDArray[np.float64]:
    """float64 [lines, 1]: the second of the day."""
    return read_clocks(block, records)[:, :1].astype(np.float64)


def read_events(block: Block, records: RecordReader | None) -> NDArray[np.float64]:
    """float64 [lines, 3]: the second of the day, the day of the month, and the number that the line carries (E17)."""
    return np.column_stack([read_clocks(block, records), read_numbers(block)])


def time_of_day(seconds: NDArray[np.float64]) -> NDArray[np.float32]:
    """float32 [..., 2]: cosine and sine of the second of the day; zeros where it is NaN."""
    angle = seconds * (2 * np.pi / 86400)
    features: NDArray[np.float64] = np.nan_to_num(np.stack([np.cos(angle), np.sin(angle)], axis=-1))
    return features.astype(np.float32)


def time_parts(seconds: NDArray[np.float64], days: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64 [..., 4]: hour, minute, second and day, as TURNS has them, of the second of the day and the day."""
    return np.stack([seconds // 3600, seconds // 60 % 60, seconds % 60, days], axis=-1)


def cyclic_time(seconds: NDArray[np.float64], days: NDArray[np.float64]) -> NDArray[np.float32]:
    """float32 [..., 8]: sine and cosine of hour, minute, second and day of the month as shares of a turn.

    Zeros where they are NaN. The first moment of a turn is beside the last one, and no feature knows of the year.
    """
    angle = time_parts(seconds, days) * (2 * np.pi / np.array([*TURNS.values()]))
    turns = np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(*angle.shape[:-1], CYCLIC)
    features: NDArray[np.float64] = np.nan_to_num(turns)
    return features.astype(np.float32)


class TimeOfDay:
    """Cosine and sine of the second of the day."""

    width, fitted = 2, False
    read = staticmethod(read_time)

    def of(self, numbers: NDArray[np.float64], ids: NDArray[np.int32]) -> NDArray[np.float32]:
        """float32 [..., 2] of numbers [..., 1]."""
        return np.where((ids == PADDING)[..., None], np.float32(0), time_of_day(numbers[..., 0]))

    def unseen(self, numbers: NDArray[np.float64], ids: NDArray[np.int32]) -> NDArray[np.bool_]:
        """bool [...]: no time of day is unseen."""
        return np.zeros(ids.shape, bool)


class TimeAndEvent:
    """Cyclic times and the event: its id scaled, or, with `as_index`, its index among those that training saw.

    A part of the time of which training saw no whole turn is zero everywhere: its other values would all be odd.
    """

    width, fitted = CYCLIC + 1, True
    read = staticmethod(read_events)

    def __init__(self, events: Events, as_index: bool, texts: TextTable) -> None:
        self._events, self._as_index = events, as_index
        self._of_texts = EventsOfTexts(events, texts)
        self._seen = np.repeat([np.float32(part in events.turns) for part in TURNS], 2)

    def of(self, numbers: NDArray[np.float64], ids: NDArray[np.int32]) -> NDArray[np.float32]:
        """float32 [..., 9] of numbers [..., 3]."""
        events = self._of(numbers, ids)
        last = self._events.indices(events) if self._as_index else self._events.scaled(events)
        times = cyclic_time(numbers[..., 0], numbers[..., 1]) * self._seen
        features = np.concatenate([times, last[..., None]], axis=-1, dtype=np.float32)
        return np.where((ids == PADDING)[..., None], np.float32(NOTHING), features)

    def unseen(self, numbers: NDArray[np.float64], ids: NDArray[np.int32]) -> NDArray[np.bool_]:
        """bool [...]: whether training saw no such event, of numbers [..., 3] and text ids [...]."""
        unseen: NDArray[np.bool_] = self._events.indices(self._of(numbers, ids)) == UNSEEN_EVENT
        return unseen

    def _of(self, numbers: NDArray[np.float64], ids: NDArray[np.int32]) -> NDArray[np.float64]:
        return self._events.ids(numbers[..., 2], self._of_texts(ids))


def features_of(model: ScoringModel, texts: TextTable) -> Features | None:
    """What a model sees beside the texts, or None."""
    settings = model.manifest.settings
    if model.manifest.scorer == "reconstruction":
        assert model.events is not None
        return TimeAndEvent(model.events, settings["event"] == "embedding", texts)
    return TimeOfDay() if settings.get("time_of_day", False) else None
