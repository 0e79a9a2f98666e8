"""`training evaluate`: a model and the simple detectors beside it, held against labels."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from agent.errors import ConfigError
from agent.scoring.threshold import Limits
from training.data.corpus import ANOMALOUS, LEFT_OUT, NORMAL, Corpus, read_corpus
from training.data.selection import parse_bound, select
from training.data.windows import Windows
from training.evaluation.baselines import BASELINES, Items, line_items, session_items
from training.evaluation.metrics import Metrics, measure
from training.evaluation.model import Progress, Subject, open_subject, score_in_order, scores_at

Bound = float | datetime | None

_Q = 0.999  # of the baselines' thresholds where the model's own rule is no quantile
_EARLY = 0.8  # of the training items; the baselines' thresholds come from the others
_FEWEST = 10  # training items that the baselines need
_SHORTEST = 3600.0  # seconds of logs that give a number of alerts a day


@dataclass(frozen=True)
class Request:
    """The command line of `training evaluate`."""

    subject: Path
    logs: list[Path]
    labels: Path
    scope: str = "line"
    stream: str | None = None
    start: str | None = None
    until: str | None = None
    baselines: bool = False


@dataclass(frozen=True)
class Selection:
    """The items to judge, lines or sessions, and the lines of the corpus that they are made of.

    rows    int64 [lines]: numbers of lines in the corpus
    owners  int64 [lines]: the item of each
    labels  int8 [items]
    span    the first and last time of the lines, None where they show none
    days    what lies between them, None under an hour
    """

    corpus: Corpus
    scope: str
    rows: NDArray[np.int64]
    owners: NDArray[np.int64]
    labels: NDArray[np.int8]
    span: list[str] | None
    days: float | None


def evaluate(request: Request) -> dict[str, Any]:
    """Scores the logs and compares with the labels; `model`, `baselines` and `data` as JSON data.

    A ConfigError says what in the request does not fit, a BundleError what is wrong with the model.
    """
    _check(request)
    start, until = parse_bound(request.start, "--from"), parse_bound(request.until, "--until")
    subject = open_subject(request.subject)
    stream = request.stream or subject.stream
    if request.scope == "session" and stream is None:
        raise ConfigError(f"--scope session: {request.subject} has no stream pattern; give --stream REGEX")
    read = subject.features.read if subject.features else None
    corpus = read_corpus(
        request.logs, subject.header, subject.masks, stream, request.labels, read, True, subject.normalizer
    )
    chosen = choose(corpus, request.scope, start, until)
    train = _training_part(corpus, start, request) if request.baselines else None
    rule = msgspec.to_builtins(subject.threshold)
    model = {"name": subject.name, "rule": rule, **msgspec.to_builtins(judge_model(subject, chosen))}
    data = _describe(chosen, stream is not None)
    found: dict[str, Metrics] = {}
    if train is not None:
        found, data["training_items"] = judge_baselines(subject, chosen, train)
    return {"model": model, "baselines": msgspec.to_builtins(found), "data": data}


def _check(request: Request) -> None:
    if request.scope not in ("line", "session"):
        raise ConfigError(f"--scope {request.scope} is unknown; choose line or session")
    if request.baselines and request.start is None:
        raise ConfigError("--baselines learn from the lines before --from; give --from too, such as --from 0.5")


def _rows(corpus: Corpus, start: Bound, until: Bound) -> NDArray[np.int64]:
    """int64: the numbers of the lines that `select` chooses."""
    return select(replace(corpus, ids=np.arange(len(corpus), dtype=np.int32)), start, until).ids.astype(np.int64)


def choose(corpus: Corpus, scope: str, start: Bound, until: Bound) -> Selection:
    """The items between two bounds; a ConfigError where there is none or the labels leave out all.

    A session is anomalous where one of its lines is, else left out where one of them is.
    """
    rows = _rows(corpus, start, until)
    owners = np.arange(len(rows))
    if scope == "session":
        owners = np.unique(corpus.streams[rows], return_inverse=True)[1]
    given, labels = corpus.labels[rows], np.zeros(int(owners.max()) + 1, np.int8)
    for label in (LEFT_OUT, ANOMALOUS):
        labels[owners[given == label]] = label
    if (labels == LEFT_OUT).all():
        raise ConfigError(f"the labels leave out all of the {len(labels)} {scope}s selected; nothing can be measured")
    span, days = _time_span(corpus, rows)
    return Selection(corpus, scope, rows, owners, labels, span, days)


def _time_span(corpus: Corpus, rows: NDArray[np.int64]) -> tuple[list[str] | None, float | None]:
    if corpus.times is None or np.isnan(corpus.times[rows]).all():
        return None, None
    first, last = float(np.nanmin(corpus.times[rows])), float(np.nanmax(corpus.times[rows]))
    span = [datetime.fromtimestamp(time, UTC).isoformat() for time in (first, last)]
    return span, (last - first) / 86400 if last - first >= _SHORTEST else None


def judge_model(subject: Subject, chosen: Selection) -> Metrics:
    """The metrics of a model. Windows reach back over lines that are not judged, as they do in the agent."""
    corpus, window = chosen.corpus, subject.window
    windows = Windows(corpus, window.size, window.pad, window.end and chosen.scope == "session")
    owners = np.full(len(corpus), -1)
    owners[chosen.rows] = chosen.owners
    indices = np.flatnonzero(owners[windows.lines] >= 0)
    with _progress("scoring") as progress:
        if subject.in_order is None:
            found = scores_at(subject, windows, indices, progress)
        else:
            lines = subject.in_order(len(corpus.keys))
            found = score_in_order(lines, corpus, subject.features, progress)[windows.lines[indices]]
    limits = Limits(subject.threshold, subject.scale)
    above = found > _limits(limits, corpus, windows.lines[indices], windows.is_end[indices], found)
    items = owners[windows.lines[indices]]
    scores, alerts = np.full(len(chosen.labels), np.nan, np.float32), np.zeros(len(chosen.labels), bool)
    np.fmax.at(scores, items, found)
    alerts[items[above]] = True
    return measure(scores, alerts, chosen.labels, limits.constant, chosen.days)


def _limits(
    limits: Limits, corpus: Corpus, lines: NDArray[np.int64], is_end: NDArray[np.bool_], scores: NDArray[np.float32]
) -> NDArray[np.float32]:
    """float32 [indices]: the limit of each score. One that moves does so along each file; an end has a constant one."""
    found = np.full(len(scores), limits.constant, np.float32)
    files = np.repeat(np.arange(len(corpus.sources)), [source.lines for source in corpus.sources])
    for file in range(len(corpus.sources)):
        of_file = np.flatnonzero((files[lines] == file) & ~is_end)
        found[of_file] = limits.of(str(file), scores[of_file])
    return found


def _training_part(corpus: Corpus, start: Bound, request: Request) -> Corpus:
    """The lines before `start`, without those (or the sessions) that are not labelled normal."""
    before = np.ones(len(corpus), bool)
    before[_rows(corpus, start, None)] = False
    part = corpus.subset(before)
    abnormal, whole = part.labels != NORMAL, request.scope == "session"
    normal = part.subset(~np.isin(part.streams, part.streams[abnormal]) if whole else ~abnormal)
    count = len(normal.stream_order()) if whole else len(normal)
    if count < _FEWEST:
        raise ConfigError(
            f"--baselines: {count} normal {request.scope}s lie before --from {request.start}, "
            f"at least {_FEWEST} are needed; choose a later --from"
        )
    return normal


def judge_baselines(subject: Subject, chosen: Selection, train: Corpus) -> tuple[dict[str, Metrics], int]:
    """The metrics of the baselines, fitted on normal lines, and how many training items they had.

    The quantile that gives their thresholds is the model's own where its rule is one; so is the size of line windows.
    """
    corpus = chosen.corpus
    if chosen.scope == "session":
        known, items = session_items(train), session_items(corpus.subset(chosen.rows))
    else:
        word_counts = np.array([len(subject.tokenizer.split(text)) for text in corpus.texts])
        size = max(2, subject.window.size)
        known = line_items(train, np.arange(len(train)), size, word_counts)
        items = line_items(corpus, chosen.rows, size, word_counts)
    rule = subject.threshold
    q = rule.q if rule.kind == "quantile" and rule.q is not None else _Q
    return {name: _judge_baseline(name, known, items, chosen, q) for name in BASELINES}, len(known)


def _judge_baseline(name: str, known: Items, items: Items, chosen: Selection, q: float) -> Metrics:
    """The threshold is a quantile of the scores of the last training items under a fit to those before them."""
    baseline, early = BASELINES[name](), int(_EARLY * len(known))
    baseline.fit(known.subset(np.arange(early)))
    with _progress(name) as progress:
        threshold = float(np.quantile(baseline.score(known.subset(np.arange(early, len(known))), progress), q))
        baseline.fit(known)
        scores = baseline.score(items, progress)
    return measure(scores, scores > threshold, chosen.labels, threshold, chosen.days)


def _describe(chosen: Selection, of_streams: bool) -> dict[str, Any]:
    labels = chosen.labels
    return {
        "scope": chosen.scope,
        "lines": len(chosen.rows),
        "sessions": len(np.unique(chosen.corpus.streams[chosen.rows])) if of_streams else None,
        "judged": int((labels != LEFT_OUT).sum()),
        "anomalies": int((labels == ANOMALOUS).sum()),
        "left_out": int((labels == LEFT_OUT).sum()),
        "span": chosen.span,
        "days": chosen.days,
        "cut_lines": sum(source.cut_lines for source in chosen.corpus.sources),
        "remarks": chosen.corpus.warnings,
    }


@contextmanager
def _progress(name: str) -> Iterator[Progress]:
    """A bar on a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
