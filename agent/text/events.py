"""Which event a line is: the number that it carries itself (E17), else that of its template."""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.errors import BundleError
from agent.text.lines import Block
from agent.text.templates import FILE, UNSEEN, Templates
from agent.text.text_table import PADDING, TextTable

TURNS = {"hour": 24, "minute": 60, "second": 60, "day": 31}  # and their lengths
VERSION = 1
# indices of no line, of an event that training did not see, of the first that it saw
NOTHING, UNSEEN_EVENT, FIRST = 0, 1, 2
_FAR = 10.0  # what the id of a line without a template is scaled to: as far out as ten times all that was seen
_DIGITS = 15  # a number of more digits counts as the largest of so many, which a double still holds exactly
_MOST = 2.0**53  # up to which a double holds every id exactly
_NUMBER = re.compile(rb"(?<![0-9A-Za-z_])E([0-9]+)(?![0-9A-Za-z_])")


def read_numbers(block: Block) -> NDArray[np.float64]:
    """float64 [lines]: the number of the first word such as E17 of each line; NaN where it has none."""
    numbers = np.full(len(block), np.nan)
    found = list(_NUMBER.finditer(block.data))
    if found:
        rows = np.searchsorted(block.starts, [match.start() for match in found], side="right") - 1
        numbers[rows[::-1]] = [_bounded(match[1]) for match in reversed(found)]  # of one line the first is set last
    return numbers


def _bounded(digits: bytes) -> float:
    digits = digits.lstrip(b"0")
    return float(int(digits or b"0")) if len(digits) <= _DIGITS else float(10**_DIGITS - 1)


class Events:
    """The event ids of a training set, frozen: an unseen one lies out of their range.

    templates  of the canonical texts
    numbered   whether most lines carry a number, which is then their id; else such words are text like any other
    first      what is added to the number of a template, so that it is no number of a line
    known      float64 [events], sorted: the ids that occurred
    turns      the parts of the time, of TURNS, of which training saw a whole turn: the others tell nothing
    """

    def __init__(
        self,
        templates: Templates,
        numbered: bool,
        first: int,
        known: NDArray[np.float64],
        turns: tuple[str, ...] = tuple(TURNS),
    ) -> None:
        self.templates, self.numbered, self.first, self.known = templates, numbered, first, known
        self.turns = turns
        self.low = float(known[0])
        self._span = float(known[-1] - known[0]) or 1.0
        self._far = self.low + _FAR * self._span

    @classmethod
    def from_json(cls, data: Any) -> "Events":
        """What `to_json` gave; a BundleError where it is damaged or of another version."""
        if not isinstance(data, dict) or data.get("version") != VERSION:
            found = data.get("version") if isinstance(data, dict) else None
            raise BundleError(f"{FILE} has the version {found}, this agent reads {VERSION}; update oddline")
        templates = Templates.from_json(data.get("templates"))
        try:
            known = np.array(data["known"], np.float64)
            numbered, first, turns = bool(data["numbered"]), int(data["first"]), tuple(data["turns"])
            other = set(turns) - TURNS.keys()
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise BundleError(f"{FILE} is damaged: {type(error).__name__}: {error}; export it again") from None
        whole = 0 <= first < _MOST and bool((np.abs(known) < _MOST).all())
        if known.ndim != 1 or not len(known) or not whole or (np.diff(known) <= 0).any():
            raise BundleError(f"{FILE} is damaged: its known events do not rise, or are too large; export it again")
        if other:
            raise BundleError(f"{FILE} is damaged: it names parts of the time other than {', '.join(TURNS)}")
        return cls(templates, numbered, first, known, turns)

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        known = [int(one) for one in self.known.tolist()]
        parts = {"numbered": self.numbered, "first": self.first, "known": known, "turns": list(self.turns)}
        return {"version": VERSION, **parts, "templates": self.templates.to_json()}

    def of_template(self, number: int) -> float:
        """The id of the event whose template has this number."""
        return self._far if number == UNSEEN else float(self.first + number)

    def ids(self, numbers: NDArray[np.float64], templates: NDArray[np.float64]) -> NDArray[np.float64]:
        """The ids of lines by their own numbers, NaN where they have none, and by those of their templates."""
        return np.where(np.isnan(numbers), templates, numbers) if self.numbered else templates

    def scaled(self, ids: NDArray[np.float64]) -> NDArray[np.float64]:
        """Ids from 0 to 1 over those that training saw; never clipped."""
        return (ids - self.low) / self._span

    def unscaled(self, feature: float) -> float:
        """The id that was scaled to this."""
        return feature * self._span + self.low

    def indices(self, ids: NDArray[np.float64]) -> NDArray[np.int64]:
        """The index of each id among the known ones, from FIRST on; UNSEEN_EVENT where it is none."""
        found = np.searchsorted(self.known, ids).clip(max=len(self.known) - 1)
        return np.where(self.known[found] == ids, found + FIRST, UNSEEN_EVENT)

    def name(self, event: float) -> str:
        """An id as a person reads it: its template, or the number that lines carry."""
        number = round(event) - self.first
        if 1 <= number <= len(self.templates):
            return self.templates.text(number)
        return f"E{round(event)}"


class EventsOfTexts:
    """The ids of the events of canonical texts, each matched once."""

    def __init__(self, events: Events, texts: TextTable) -> None:
        self._events, self._texts = events, texts
        self._ids = np.zeros(0)
        texts.subscribe(self)

    def __call__(self, ids: NDArray[np.int32]) -> NDArray[np.float64]:
        """float64, of the shape of `ids`: the event of each text."""
        missing = len(self._ids)
        most = int(ids.max(initial=PADDING)) + 1
        if most > missing:
            self._ids = np.concatenate([self._ids, np.full(max(most, 2 * missing) - missing, np.nan)])
        new = np.unique(ids)
        for text_id in new[np.isnan(self._ids[new])].tolist():
            self._ids[text_id] = self._events.of_template(self._events.templates.match(self._texts[text_id]))
        return self._ids[ids]

    def renumber(self, moved: NDArray[np.int32]) -> None:
        """Follows the table: texts are matched anew when they come again."""
        self._ids = np.zeros(0)
