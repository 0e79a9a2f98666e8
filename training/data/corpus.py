"""The lines of a training set as arrays: text ids, streams, labels; no line's text is kept."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress, TaskID

from agent.errors import ConfigError, SourceError
from agent.scoring.features import Read
from agent.scoring.streams import StreamKey
from agent.text.canonical import Normalizer
from agent.text.headers import Format, check_format, parse_header
from agent.text.lines import Block, LineSplitter
from training.config import HeldOut
from training.data.labels import read_labels
from training.data.logs import LogFile, find, reading

NORMAL, ANOMALOUS, LEFT_OUT = 0, 1, -1


@dataclass(frozen=True)
class Source:
    """A file that was read: its base name, bytes, SHA-256, lines, and lines longer than the agent reads (cut)."""

    name: str
    size: int
    sha256: str
    lines: int
    cut_lines: int


@dataclass(frozen=True)
class Corpus:
    """Lines in the order of reading.

    ids      int32 [lines], into `texts`, whose first is no line's
    streams  int32 [lines], into `keys`: the streams in the order of their first lines
    labels   int8 [lines]: 0 normal, 1 anomalous, -1 leave out
    numbers  float64 [lines, columns]: what agent.scoring.features reads of raw lines, NaN for none; None if not asked
    times    float64 [lines]: seconds since 1970, for a line without a time that of the line before; None if not asked
    span     the first and last time of the files, as far as their beginnings and ends show one; ISO 8601
    remarks  what there is to say of the rows of each file, where they are records of a wrong width, and of texts
             that were cut
    """

    texts: list[str]
    ids: NDArray[np.int32]
    streams: NDArray[np.int32]
    labels: NDArray[np.int8]
    numbers: NDArray[np.float64] | None
    times: NDArray[np.float64] | None
    keys: list[bytes]
    sources: list[Source]
    span: tuple[str, str] | None
    remarks: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: NDArray) -> "Corpus":
        """The corpus of some of the lines (a mask or indices); texts and keys stay."""
        numbers, times = (None if column is None else column[rows] for column in (self.numbers, self.times))
        ids, streams, labels = self.ids[rows], self.streams[rows], self.labels[rows]
        return replace(self, ids=ids, streams=streams, labels=labels, numbers=numbers, times=times)

    def stream_order(self) -> NDArray[np.int32]:
        """int32 [streams]: the streams that have lines, in the order of their first lines."""
        present, first = np.unique(self.streams, return_index=True)
        return present[np.argsort(first)]


class _Reader:
    """Gathers the arrays of a corpus block by block."""

    def __init__(
        self, normalizer: Normalizer, header: Format, stream: str | None, read: Read | None, times: bool
    ) -> None:
        self.normalizer, self.header, self.pattern = normalizer, header, stream
        self.key = StreamKey(stream, normalizer.records)
        self.read, self.with_times = read, times
        self.streams: dict[bytes, int] = {}
        self.columns: dict[str, list[NDArray]] = {"ids": [], "streams": [], "numbers": [], "times": []}
        self.edges: list[datetime] = []
        self.remarks: list[str] = []

    def add(self, block: Block, file: int, reference: datetime) -> None:
        self.columns["ids"].append(self.normalizer.ids(block))
        self.columns["streams"].append(self._streams(block, file))
        if self.read is not None:
            self.columns["numbers"].append(self.read(block, self.normalizer.records))
        if self.with_times:
            self.columns["times"].append(self._times(block, reference))
        edges = (parse_header(block.line(index), self.header, reference).time for index in (0, -1))
        self.edges = sorted({*self.edges, *filter(None, edges)})
        del self.edges[1:-1]

    def _streams(self, block: Block, file: int) -> NDArray[np.int32]:
        if self.pattern is None:
            index = self.streams.setdefault(b"%d" % file, len(self.streams))
            return np.full(len(block), index, np.int32)
        return np.array([self.streams.setdefault(key, len(self.streams)) for key in self.key.keys(block)], np.int32)

    def _times(self, block: Block, reference: datetime) -> NDArray[np.float64]:
        if self.normalizer.records is not None:
            return self.normalizer.records.times(block)
        times = (parse_header(line, self.header, reference).time for line in block.lines())
        return np.array([np.nan if time is None else time.timestamp() for time in times])

    def end(self, name: str) -> None:
        """Takes note of what there is to say at the end of a file."""
        self.remarks += [f"{name}: {remark}" for remark in self.normalizer.report()]

    def column(self, name: str) -> NDArray | None:
        parts = self.columns[name]
        return np.concatenate(parts) if parts else None


def read_corpus(
    paths: list[Path],
    header: Format,
    masks: Iterable[str],
    stream: str | None,
    labels: Path | None = None,
    read: Read | None = None,
    times: bool = False,
    normalizer: Normalizer | None = None,
) -> Corpus:
    """Reads logs with the agent's own headers, masks and stream keys.

    Without a stream pattern each file is a stream; with one, the same key in several files is the same stream.
    `read` gives the column of the numbers, `times` asks for that of the times. A SourceError names a log that cannot be
    read, a ConfigError labels that do not fit.
    """
    check_format(header)
    files = find(paths)
    reader = _Reader(normalizer or Normalizer(header, masks), header, stream, read, times)
    with reading(files) as progress:
        sources = [_read_file(reader, index, file, progress.tasks[0].id, progress) for index, file in enumerate(files)]
    ids, streams = reader.column("ids"), reader.column("streams")
    if ids is None or streams is None:
        raise SourceError(f"log {paths[0]} holds no line" + (", nor do the others" if len(paths) > 1 else ""))
    keys = list(reader.streams)
    if stream is not None and keys == [b""]:
        reader.remarks.append(f"the stream pattern {stream!r} occurs in no line: all are one stream")
    marks = read_labels(labels, streams, keys, stream) if labels else np.zeros(len(ids), np.int8)
    span = (reader.edges[0].isoformat(), reader.edges[-1].isoformat()) if reader.edges else None
    filled = _fill_times(reader.column("times"), sources)
    numbers, texts = reader.column("numbers"), reader.normalizer.texts
    return Corpus(texts, ids, streams, marks, numbers, filled, keys, sources, span, reader.remarks)


def _read_file(reader: _Reader, index: int, path: Path, task: TaskID, progress: Progress) -> Source:
    splitter = LineSplitter(path.name)
    with LogFile(path) as file:
        reference = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        before = progress.tasks[0].completed
        for chunk in file.chunks():
            block = splitter.feed(chunk)
            if block:
                reader.add(block, index, reference)
            progress.update(task, completed=before + file.size)
        block = splitter.finish()
        if block:
            reader.add(block, index, reference)
        reader.end(path.name)
        return Source(path.name, file.size, file.sha256, splitter.line - 1, splitter.cut_lines)


def _fill_times(times: NDArray[np.float64] | None, sources: list[Source]) -> NDArray[np.float64] | None:
    """Gives a line without a time that of the line before in its file, the first lines that of the first with one."""
    if times is None:
        return None
    start = 0
    for source in sources:
        part = times[start : start + source.lines]
        known = np.flatnonzero(~np.isnan(part))
        if len(known):
            last = np.searchsorted(known, np.arange(len(part)), side="right") - 1
            part[:] = part[known[np.maximum(last, 0)]]
        start += source.lines
    return times


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
    position = _positions(corpus) if any(isinstance(bound, float) for bound in (start, until)) else None
    for bound, later in ((start, True), (until, False)):
        if isinstance(bound, float):
            keep &= (position >= bound) == later
        elif bound is not None:
            if corpus.times is None or np.isnan(corpus.times).all():
                raise ConfigError(f"no line shows a time, so {bound} selects nothing; use a fraction from 0 to 1")
            keep &= (corpus.times >= bound.timestamp()) == later
    if not keep.any():
        raise ConfigError(f"no line of {len(corpus)} is left between --from and --until")
    return corpus if keep.all() else corpus.take(keep)


def _positions(corpus: Corpus) -> NDArray[np.float64]:
    """float64 [lines]: the place of each line's stream (of the line, where there is one stream), from 0 to before 1."""
    order = corpus.stream_order()
    if len(order) == 1:
        return np.arange(len(corpus)) / len(corpus)
    places = np.empty(int(order.max()) + 1)
    places[order] = np.arange(len(order)) / len(order)
    return places[corpus.streams]


def drop_labelled(corpus: Corpus) -> tuple[Corpus, int]:
    """The normal lines, and how many others were left out."""
    keep = corpus.labels == NORMAL
    return corpus.take(keep), int(len(keep) - keep.sum())


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
    return corpus.take(~mask), corpus.take(mask)


class Windows:
    """Windows of lines within their streams, gathered on demand; the same as those of agent.scoring.streams.Streams.

    `len` counts the places that are scored: each line (with `pad` also the first ones of a stream) and, with `end`, the
    place that follows a stream's last line. The lines come first, in the order of the corpus.

    lines   int64 [places]: the number of each place's line in the corpus, for an end that of the stream's last line
    is_end  bool [places]: the place follows a stream's last line
    """

    def __init__(self, corpus: Corpus, size: int, pad: bool, end: bool) -> None:
        tail = size - 1
        order = np.argsort(corpus.streams, kind="stable")
        _, first, counts = np.unique(corpus.streams[order], return_index=True, return_counts=True)
        group = np.repeat(np.arange(len(first)), counts)
        at = np.empty(len(order), np.int64)
        at[order] = np.arange(len(order)) + (group + 1) * tail + group * end
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order)) - first[group]
        self.size, self.is_end = size, np.repeat([False, True], [len(order), len(first) * end])
        last = order[first + counts - 1]
        self.lines, self._at = np.arange(len(order)), at
        if end:
            self.lines, self._at = np.append(self.lines, last), np.append(at, at[last] + 1)
            rank = np.append(rank, counts)
        self._ids = np.zeros(len(order) + len(first) * (tail + end), np.int32)
        self._ids[at] = corpus.ids
        self._numbers = None
        if corpus.numbers is not None:
            self._numbers = np.full((len(self._ids), corpus.numbers.shape[1]), np.nan)
            self._numbers[at] = corpus.numbers
        if not pad:
            full = rank >= tail
            self.lines, self._at, self.is_end = self.lines[full], self._at[full], self.is_end[full]

    def __len__(self) -> int:
        return len(self._at)

    def _index(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._at[rows][:, None] + np.arange(1 - self.size, 1)

    def ids(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        """int32 [rows, size]: text ids, the place's own last; 0 where there is no line."""
        return self._ids[self._index(rows)]

    def numbers(self, rows: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """float64 [rows, size, columns]: the lines' numbers, NaN where there is no line; None where the corpus has
        none.
        """
        return None if self._numbers is None else self._numbers[self._index(rows)]
