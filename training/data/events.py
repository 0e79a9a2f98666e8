"""Which events the lines of a training set are, and which ids are known from then on."""

import numpy as np
from numpy.typing import NDArray

from agent.errors import ConfigError
from agent.scoring.features import TimeAndEvent, time_parts
from agent.text.events import TURNS, Events
from agent.text.text_table import TextTable
from training.data.corpus import Corpus
from training.data.templates import learn_templates

_WHOLE = 0.9  # of the values of a turn
_NUMBER = 2  # the column of agent.scoring.features.read_events


def learn_events(corpus: Corpus) -> Events:
    """The events of normal lines, whose ids span the range from 0 to 1: those of other lines are held against it.

    Where most lines carry a number (E17), that is their id, and the templates are those of the others.
    """
    assert corpus.numbers is not None
    numbers = corpus.numbers[:, _NUMBER]
    carried = ~np.isnan(numbers)
    numbered = bool(2 * carried.sum() >= len(numbers))
    first = int(numbers[carried].max()) if numbered else 0
    plain = corpus.ids[~carried] if numbered else corpus.ids
    templates = learn_templates(_count(corpus.texts, plain))
    of_templates = first + np.arange(1.0, len(templates) + 1)
    known = np.unique(np.append(numbers[carried], of_templates)) if numbered else of_templates
    return Events(templates, numbered, first, known, whole_turns(corpus.numbers))


def check_events(events: Events, corpus: Corpus) -> int:
    """How many held-out lines are events that training did not see; a ConfigError where most are."""
    assert corpus.numbers is not None
    features = TimeAndEvent(events, True, TextTable(corpus.texts))
    unseen = int(features.unseen(corpus.numbers, corpus.ids).sum())
    if 2 * unseen > len(corpus):
        raise ConfigError(
            f"{unseen} of {len(corpus)} held-out lines are events that the training lines do not have: what is normal "
            "here cannot be told by events; give more logs, leave what differs out of the text, or take another family"
        )
    return unseen


def whole_turns(numbers: NDArray[np.float64]) -> tuple[str, ...]:
    """The parts of the time of which these lines have nine values of ten, as agent.scoring.features.read_events reads.

    Where a week is learnt, the days of the month after it were never seen, and each of their lines would be odd.
    """
    parts = time_parts(numbers[:, 0], numbers[:, 1])
    seen = [len(np.unique(part[~np.isnan(part)])) for part in parts.T]
    return tuple(name for (name, length), count in zip(TURNS.items(), seen, strict=True) if count >= _WHOLE * length)


def _count(texts: list[str], ids: NDArray[np.int32]) -> dict[str, int]:
    """How often each text occurs among the lines of these ids."""
    counts = np.bincount(ids, minlength=len(texts))
    return {texts[text_id]: int(counts[text_id]) for text_id in np.flatnonzero(counts).tolist()}
