"""How well scores tell anomalous items from normal ones, and how many alerts they give."""

import msgspec
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from training.data.corpus import ANOMALOUS, LEFT_OUT, NORMAL


class Metrics(msgspec.Struct):
    """None stands for what is not defined: without items of both classes, without an alert, or without times.

    threshold                   comes from training data alone, and so do precision, recall, f1 and false_positive_rate
    best_f1_with_test_labels    the largest F1 of all thresholds: nobody has the labels to choose it
    alerts, alerts_per_day      of all items, those whose label leaves them out too, before repeats are folded
    unscored                    items with too few lines before them: they count as the least odd and give no alert
    """

    auc: float | None
    average_precision: float | None
    f1: float | None
    precision: float | None
    recall: float | None
    false_positive_rate: float | None
    alerts: int
    alerts_per_day: float | None
    best_f1_with_test_labels: float | None
    threshold: float
    unscored: int


def measure(
    scores: NDArray[np.floating],
    alerts: NDArray[np.bool_],
    labels: NDArray[np.int8],
    threshold: float,
    days: float | None,
) -> Metrics:
    """The metrics of items.

    scores  [items], NaN where there is none
    alerts  bool [items]: above the threshold
    labels  int8 [items]: 0 normal, 1 anomalous, -1 leave out
    days    the time that the items span, None where it is not known
    """
    judged = labels != LEFT_OUT
    truth, raised = labels[judged] == ANOMALOUS, alerts[judged]
    auc, average, best = _ranking(ranked(scores)[judged], truth)
    hits, false, anomalies = int((raised & truth).sum()), int((raised & ~truth).sum()), int(truth.sum())
    return Metrics(
        auc=auc,
        average_precision=average,
        f1=_share(2 * hits, hits + false + anomalies) if anomalies else None,
        precision=_share(hits, hits + false),
        recall=_share(hits, anomalies),
        false_positive_rate=_share(false, int((labels == NORMAL).sum())),
        alerts=int(alerts.sum()),
        alerts_per_day=None if days is None else float(alerts.sum() / days),
        best_f1_with_test_labels=best,
        threshold=threshold,
        unscored=int(np.isnan(scores).sum()),
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def ranked(scores: NDArray[np.floating]) -> NDArray[np.int64]:
    """int64 [items]: scores as ranks, those that are NaN below all others."""
    ranks: NDArray[np.int64] = np.unique(scores, return_inverse=True)[1].astype(np.int64)
    ranks[np.isnan(scores)] = -1
    return ranks


def _ranking(ranks: NDArray[np.int64], truth: NDArray[np.bool_]) -> tuple[float | None, float | None, float | None]:
    """The area under the ROC curve, the average precision and the best F1; None where there is one class alone."""
    if truth.all() or not truth.any():
        return None, None, None
    precision, recall, _ = precision_recall_curve(truth, ranks)
    best = (2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)).max()
    return float(roc_auc_score(truth, ranks)), float(average_precision_score(truth, ranks)), float(best)
