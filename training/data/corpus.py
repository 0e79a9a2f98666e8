"""The lines of a training set as arrays: text ids, streams, labels; no line's text is kept."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress, TaskID

from agent.errors import SourceError
from agent.scoring.features import Read
from agent.scoring.streams import StreamKey
from agent.text.canonical import Normalizer
from agent.text.headers import Format, check_format, parse_header
from agent.text.lines import Block, LineSplitter
from training.data.labels import read_labels
from training.data.logs import LogFile, find_files, reading_progress

NORMAL, ANOMALOUS, LEFT_OUT = 0, 1, -1


@dataclass(frozen=True)
class SourceFile:
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
    warnings  what there is to say of the rows of each file, where they are records of a wrong width, and of texts
             that were cut
    """

    texts: list[str]
    ids: NDArray[np.int32]
    streams: NDArray[np.int32]
    labels: NDArray[np.int8]
    numbers: NDArray[np.float64] | None
    times: NDArray[np.float64] | None
    keys: list[bytes]
    sources: list[SourceFile]
    span: tuple[str, str] | None
    warnings: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    def subset(self, rows: NDArray[np.bool_ | np.integer]) -> "Corpus":
        """The corpus of some of the lines (a mask or indices); texts and keys stay."""
        numbers, times = (None if column is None else column[rows] for column in (self.numbers, self.times))
        ids, streams, labels = self.ids[rows], self.streams[rows], self.labels[rows]
        return replace(self, ids=ids, streams=streams, labels=labels, numbers=numbers, times=times)

    def stream_order(self) -> NDArray[np.int32]:
        """int32 [streams]: the streams that have lines, in the order of their first lines."""
        present, first = np.unique(self.streams, return_index=True)
        return present[np.argsort(first)]


class _CorpusBuilder:
    """Gathers the arrays of a corpus block by block."""

    def __init__(
        self, normalizer: Normalizer, header: Format, stream: str | None, read: Read | None, times: bool
    ) -> None:
        self.normalizer, self.header, self.pattern = normalizer, header, stream
        self.key = StreamKey(stream, normalizer.records)
        self.read, self.with_times = read, times
        self.streams: dict[bytes, int] = {}
        self.columns: dict[str, list[NDArray[Any]]] = {"ids": [], "streams": [], "numbers": [], "times": []}
        self.edges: list[datetime] = []
        self.warnings: list[str] = []

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
        self.warnings += [f"{name}: {warning}" for warning in self.normalizer.take_warnings()]

    def column(self, name: str) -> NDArray[Any] | None:
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
    files = find_files(paths)
    builder = _CorpusBuilder(normalizer or Normalizer(header, masks), header, stream, read, times)
    with reading_progress(files) as progress:
        sources = [_read_file(builder, index, file, progress.tasks[0].id, progress) for index, file in enumerate(files)]
    ids, streams = builder.column("ids"), builder.column("streams")
    if ids is None or streams is None:
        raise SourceError(f"log {paths[0]} holds no line" + (", nor do the others" if len(paths) > 1 else ""))
    keys = list(builder.streams)
    if stream is not None and keys == [b""]:
        builder.warnings.append(f"the stream pattern {stream!r} occurs in no line: all are one stream")
    line_labels = read_labels(labels, streams, keys, stream) if labels else np.zeros(len(ids), np.int8)
    span = (builder.edges[0].isoformat(), builder.edges[-1].isoformat()) if builder.edges else None
    filled = _fill_times(builder.column("times"), sources)
    numbers, texts = builder.column("numbers"), builder.normalizer.texts
    return Corpus(texts, ids, streams, line_labels, numbers, filled, keys, sources, span, builder.warnings)


def _read_file(builder: _CorpusBuilder, index: int, path: Path, task: TaskID, progress: Progress) -> SourceFile:
    splitter = LineSplitter(path.name)
    with LogFile(path) as file:
        reference = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        before = progress.tasks[0].completed
        for chunk in file.chunks():
            block = splitter.feed(chunk)
            if block:
                builder.add(block, index, reference)
            progress.update(task, completed=before + file.size)
        block = splitter.finish()
        if block:
            builder.add(block, index, reference)
        builder.end(path.name)
        return SourceFile(path.name, file.size, file.sha256, splitter.line - 1, splitter.cut_lines)


def _fill_times(times: NDArray[np.float64] | None, sources: list[SourceFile]) -> NDArray[np.float64] | None:
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
