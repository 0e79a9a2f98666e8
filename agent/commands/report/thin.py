"""Thinning: which of many rows a timeline shows."""

import numpy as np
from numpy.typing import NDArray

MAX_POINTS = 20_000


def thin(
    x: NDArray[np.float64], score: NDArray[np.float32], keep: NDArray[np.int64], most: int = MAX_POINTS
) -> NDArray[np.int64]:
    """int64: the rows to show, by their `x`.

    Where there are more than `most`, those of `keep`, and of all others those with the least and the greatest score of
    each bucket.

    Half of the buckets are equally wide, half hold equally many rows: so the whole looks as it would with every row,
    and bursts show more when they are zoomed into. Rows without `x` or score are left out.
    """
    shown = np.flatnonzero(np.isfinite(x) & ~np.isnan(score))
    if len(shown) > most:
        shown = shown[np.argsort(x[shown], kind="stable")]
        buckets, (low, high) = most // 4, x[shown[[0, -1]]]
        wide = ((x[shown] - low) / max(high - low, np.finfo(float).tiny) * buckets).astype(np.int64)
        full = np.arange(len(shown)) * buckets // len(shown)
        parts = [shown[_extremes(bucket, score[shown])] for bucket in (wide, full)]
        shown = np.unique(np.concatenate([*parts, keep[np.isin(keep, shown)]]))
    return shown[np.argsort(x[shown], kind="stable")]


def _extremes(bucket: NDArray[np.int64], score: NDArray[np.float32]) -> NDArray[np.int64]:
    """The rows with the least and the greatest score of each bucket."""
    order = np.lexsort((score, bucket))
    ends = np.flatnonzero(np.diff(bucket[order], append=-1))
    starts = np.concatenate([[0], ends[:-1] + 1])
    extremes: NDArray[np.int64] = order[np.concatenate([starts, ends])]
    return extremes
