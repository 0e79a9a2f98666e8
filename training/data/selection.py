"""Which lines of a corpus are used: by their place or time, by their labels, for training or for validation."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from agent.errors import ConfigError
from training.config import HeldOut
from training.data.corpus import NORMAL, Corpus


def parse_bound(text: str | None, option: str) -> float | datetime | None:
    """The value of --from or --until: a fraction (0.5, 1) or an aware ISO time; a time without a zone is UTC."""
    if text is None:
        return None
    try:
        fraction = float(text)
    except ValueError:
        pass
    else:
        if 0 <= fraction <= 1:
            return fraction
        raise ConfigError(f"{option} {text}: a fraction lies between 0 and 1")
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        allowed = "a fraction from 0 to 1 or an ISO time such as 2024-05-01T00:00"
        raise ConfigError(f"{option} {text}: write {allowed}") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def select(corpus: Corpus, start: float | datetime | None, until: float | datetime | None) -> Corpus:
    """The lines from `start` to before `until`.

    A bound is a fraction of the streams in the order of their first lines (of the lines, where there is one stream), or
    a time.
    """
    keep = np.ones(len(corpus), bool)
    for bound, later in ((start, True), (until, False)):
        if isinstance(bound, float):
            keep &= (_relative_positions(corpus) >= bound) == later
        elif bound is not None:
            if corpus.times is None or np.isnan(corpus.times).all():
                raise ConfigError(f"no line shows a time, so {bound} selects nothing; use a fraction from 0 to 1")
            keep &= (corpus.times >= bound.timestamp()) == later
    if not keep.any():
        raise ConfigError(f"no line of {len(corpus)} is left between --from and --until")
    return corpus if keep.all() else corpus.subset(keep)


def _relative_positions(corpus: Corpus) -> NDArray[np.float64]:
    """float64 [lines]: the place of each line's stream (of the line, where there is one stream), from 0 to before 1."""
    order = corpus.stream_order()
    if len(order) == 1:
        return np.arange(len(corpus)) / len(corpus)
    positions = np.empty(int(order.max()) + 1)
    positions[order] = np.arange(len(order)) / len(order)
    return positions[corpus.streams]


def drop_labelled(corpus: Corpus) -> tuple[Corpus, int]:
    """The normal lines, and how many others were left out."""
    keep = corpus.labels == NORMAL
    return corpus.subset(keep), int(len(keep) - keep.sum())


def compact(corpus: Corpus) -> Corpus:
    """The corpus without the texts that none of its lines has, renumbered in their order."""
    present = np.unique(corpus.ids)
    moved = np.zeros(len(corpus.texts), np.int32)
    moved[present] = np.arange(1, len(present) + 1)
    return replace(corpus, texts=["", *(corpus.texts[text] for text in present.tolist())], ids=moved[corpus.ids])


def split(corpus: Corpus, share: float, by: HeldOut) -> tuple[Corpus, Corpus]:
    """Training and validation lines: the last share of the streams, of each stream's lines, or of all lines."""
    order = corpus.stream_order()
    if by == "last lines":
        mask = np.arange(len(corpus)) >= len(corpus) - round(share * len(corpus))
    elif by == "streams" and len(order) > 1:
        later = np.zeros(int(order.max()) + 1, bool)
        later[order[-max(1, round(share * len(order))) :]] = True
        mask = later[corpus.streams]
    else:
        mask = np.zeros(len(corpus), bool)
        for stream in order:
            rows = np.flatnonzero(corpus.streams == stream)
            mask[rows[len(rows) - round(share * len(rows)) :]] = True
    return corpus.subset(~mask), corpus.subset(mask)
