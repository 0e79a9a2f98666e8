"""What a language model makes of lines, as pictures: where it looks, and what surprises it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.errors import ConfigError
from agent.scoring.scorers.explain_surprise import SurpriseExplainer
from training.data.corpus import Corpus, read_corpus
from training.evaluation.model import Subject, open_subject
from training.plot.style import check_out, save

_WEIGHTS = ("attention", "tier_attention")
_AT_ONCE = 4096  # lines scored for their streams' states
_BATCH = 64  # lines whose weights are computed together


@dataclass(frozen=True)
class Average:
    """Mean weights of attention, float64 [places, places], of a tier float64 [tokens], over so many lines, which have
    `tokens` tokens each.
    """

    weights: NDArray[np.float64]
    tokens: int
    lines: int


def plot_attention(path: Path, logs: list[Path], out: Path, line: int | None = None, most: int = 2000) -> str:
    """Draws where the model in a bundle or a run looks: in one line (from 1), or on average over the first `most` that
    have the most common number of tokens. A sentence on what was drawn; a ConfigError where there is nothing to draw.
    """
    check_out(out)
    subject = _open(path)
    name = next((output for output in _WEIGHTS if output in subject.scorer.outputs), None)
    if name is None:
        raise ConfigError(
            f"{path} has no attention to draw; language models have it with model.attention (fixed, syntax, semantic1, "
            "semantic2), model.tier: attention, or model.architecture: transformer"
        )
    corpus = _read(subject, logs)
    if line is None:
        return _plot_average(subject, corpus, name, most, out)
    tokens, text, before = inspect_line(subject, corpus, line)
    weights = subject.scorer.output(name, [text], [one[None] for one in before])[0]
    return _plot_weights(weights, tokens, subject.tokenizer.kind, f"line {line} of {_name(logs)}", out)


def plot_line(path: Path, logs: list[Path], out: Path, line: int) -> str:
    """Draws how surprising each token of one line (from 1) is to the model in a bundle or a run; a sentence on that."""
    from training.plot.drawing import draw_line

    check_out(out)
    subject = _open(path)
    tokens, text, _ = inspect_line(subject, _read(subject, logs), line)
    bits = sum(token["bits"] for token in tokens)
    left_out = max(0, len(subject.tokenizer.split(text)) - subject.tokenizer.max_tokens)
    rest = f"; {left_out} more tokens were not read" if left_out else ""
    title = f"line {line} of {_name(logs)}: {bits:.1f} bits, {bits / len(tokens):.2f} a token{rest}"
    save(draw_line(tokens, subject.tokenizer.kind, title), out)
    return title


def _plot_average(subject: Subject, corpus: Corpus, name: str, most: int, out: Path) -> str:
    from training.plot.drawing import draw_bars, draw_matrix

    average = average_weights(subject, corpus, name, most)
    labels = subject.tokenizer.labels() or [str(number) for number in range(1, average.tokens + 1)]
    title = f"average attention over {average.lines:,} lines of {average.tokens} tokens"
    if average.weights.ndim == 1:
        save(draw_bars(average.weights, labels, title), out)
    else:
        save(draw_matrix(average.weights, labels, labels, [], title), out)
    return f"{title} among the first {min(most, len(corpus)):,}"


def _plot_weights(weights: NDArray[np.floating], tokens: list[dict[str, Any]], kind: str, title: str, out: Path) -> str:
    from training.plot.drawing import draw_bars, draw_matrix, predicted, token_label

    title = f"attention in {title}"
    labels = [token_label(token, kind) for token in tokens if "end" not in token]
    if weights.ndim == 1:
        save(draw_bars(weights, labels, title), out)
    else:
        save(draw_matrix(weights, labels, labels, [predicted(token, kind) for token in tokens], title), out)
    return title


def _open(path: Path) -> Subject:
    subject = open_subject(path)
    if not hasattr(subject.scorer, "outputs"):
        raise ConfigError(f"{path} holds no language model; pictures are drawn of those alone")
    return subject


def _read(subject: Subject, logs: list[Path]) -> Corpus:
    return read_corpus(logs, subject.header, subject.masks, subject.stream, normalizer=subject.normalizer)


def _name(logs: list[Path]) -> str:
    return logs[0].name if len(logs) == 1 else f"{logs[0].name} and {len(logs) - 1} more"


def inspect_line(
    subject: Subject, corpus: Corpus, line: int
) -> tuple[list[dict[str, Any]], str, list[NDArray[np.float32]]]:
    """Of the line with this number, from 1: its tokens as a reason tells them, its text, what was carried before it."""
    if not 1 <= line <= len(corpus):
        raise ConfigError(f"--line {line}: there are the lines 1 to {len(corpus)}")
    before = [one[0] for one in carried(subject, corpus, range(line - 1, line))]
    text = subject.normalizer.texts[corpus.ids[line - 1]]
    explainer = SurpriseExplainer(subject.scorer, subject.tokenizer, frozenset())
    return msgspec.to_builtins(explainer.tokens(text, before)), text, before


def carried(subject: Subject, corpus: Corpus, rows: range) -> list[NDArray[np.float32]]:
    """What the streams carried before each of these lines when all before them were scored, an array [lines, ...] for
    each state tensor; none where the model carries none.
    """
    if subject.in_order is None:
        return []
    lines, kept = subject.in_order(len(corpus.keys)), []
    for start in range(0, rows.stop, _AT_ONCE):
        part = slice(start, min(start + _AT_ONCE, rows.stop))
        names = [b"%d" % stream for stream in corpus.streams[part].tolist()]
        for piece in lines.push("", names, corpus.ids[part]):
            first = max(0, rows.start - start - piece.rows.start)
            kept.append([one[first:].copy() for one in piece.before])
    return [np.concatenate(parts) for parts in zip(*kept, strict=True)]


def average_weights(subject: Subject, corpus: Corpus, name: str, most: int) -> Average:
    """The mean of an output of weights over those of the first `most` lines that have the most common number of
    tokens, of two equally common ones the smaller.
    """
    ids = corpus.ids[:most]
    present, inverse = np.unique(ids, return_inverse=True)
    texts = [subject.normalizer.texts[text_id] for text_id in present.tolist()]
    lengths = np.array([len(subject.tokenizer.encode(text)) for text in texts])[inverse]
    tokens = int(np.bincount(lengths).argmax())
    rows = np.flatnonzero(lengths == tokens)
    before = [one[rows] for one in carried(subject, corpus, range(len(ids)))]
    chosen, times = (inverse[rows], np.ones(len(rows))) if before else np.unique(inverse[rows], return_counts=True)
    weights = _weighted(subject, name, [texts[index] for index in chosen.tolist()], before, times)
    return Average(weights / len(rows), tokens, len(rows))


def _weighted(
    subject: Subject,
    name: str,
    texts: list[str],
    before: Sequence[NDArray[np.float32]],
    times: NDArray[np.integer | np.floating],
) -> NDArray[np.float64]:
    """The sum of an output over texts, each as often as `times` says."""
    total: NDArray[np.float64] = np.zeros(())
    for start in range(0, len(texts), _BATCH):
        part = slice(start, start + _BATCH)
        found = subject.scorer.output(name, texts[part], [one[part] for one in before])
        total = total + np.tensordot(times[part].astype(np.float64), found.astype(np.float64), 1)
    return total
