"""The table of streams in a report: those with the most odd lines or the highest scores."""

from typing import Any

import numpy as np

from agent.scorefile.table import ScoreTable
from agent.text.escape import escape

MAX_STREAMS = 500


def stream_rows(table: ScoreTable, most: int = MAX_STREAMS) -> tuple[list[dict[str, Any]], int]:
    """The streams with the most odd lines, then with the highest scores, and how many more there are.

    Of sessions, each of which is a stream, the sources are told instead.
    """
    stream = np.zeros_like(table.stream) if table.scope == "session" else table.stream
    keys = table.source.astype(np.int64) << 32 | stream
    found, group = np.unique(keys, return_inverse=True)
    scored = ~np.isnan(table.score)
    highest, first, last = np.full(len(found), -np.inf), np.full(len(found), np.inf), np.full(len(found), -np.inf)
    np.maximum.at(highest, group[scored], table.score[scored])
    timed = ~np.isnan(table.time)
    np.minimum.at(first, group[timed], table.time[timed])
    np.maximum.at(last, group[timed], table.time[timed])
    lines, odd = np.bincount(group), np.bincount(group, table.anomaly).astype(np.int64)
    unscored = np.bincount(group, ~scored).astype(np.int64)
    order = np.lexsort((-highest, -odd))[:most].tolist()
    rows = [
        {
            "source": escape(table.sources[int(found[row] >> 32)]),
            "stream": "" if table.scope == "session" else escape(table.streams[int(found[row] & 0xFFFFFFFF)]),
            "lines": int(lines[row]),
            "warming": int(unscored[row]),
            "odd": int(odd[row]),
            "highest": float(f"{highest[row]:.6g}") if np.isfinite(highest[row]) else None,
            "first": float(first[row]) if np.isfinite(first[row]) else None,
            "last": float(last[row]) if np.isfinite(last[row]) else None,
        }
        for row in order
    ]
    return rows, len(found) - len(rows)
