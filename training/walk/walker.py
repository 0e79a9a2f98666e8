"""What walks over logs: it reads, cuts windows, scores them and has the model learn them, and can stop at each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from lightning_fabric import Fabric
from rich.progress import Progress

from agent.scoring.streams import StreamKey
from agent.text.canonical import Normalizer
from agent.text.lines import Block, LineSplitter
from agent.text.tokenizers import Tokenizer, load_tokenizer
from training.data.corpus import Corpus
from training.data.logs import LogFile
from training.data.selection import compact
from training.fitting import run_folder as folder
from training.fitting.fit import finish, learn_tokenizer
from training.models.language_model.config import LanguageModelRunConfig
from training.walk.known import KnownTexts
from training.walk.moving import MovingModel, as_tensor, from_tensor
from training.walk.report import check_walked, closing_notes, count_of, cut_warning, walk_metrics
from training.walk.sample import LineSample
from training.walk.scores import LineColumns, ScoreFile
from training.walk.state import ScoreSummary, WalkProgress
from training.walk.windows import WindowCutter, WindowLength, slice_block

_SPARE_TEXTS = 65536  # that may gather beside those of the sample


@dataclass(frozen=True)
class WalkPlan:
    """Which logs are walked over, and how: the columns beside the scores, the `most` lines of a window to train on, and
    the run folder, which is ready.
    """

    files: list[Path]
    every: WindowLength
    columns: list[str]
    most: int
    out: Path


class Walker:
    """One walk: its parts, and how far it is."""

    def __init__(self, plan: WalkPlan, config: LanguageModelRunConfig, fabric: Fabric, bar: Progress) -> None:
        """Goes on from the checkpoint in the run folder, where there is one. `bar` has one task, in bytes."""
        self._plan, self._config, self._fabric, self._bar = plan, config, fabric, bar
        self._normalizer = Normalizer(config.header, config.masks)
        self._keys = StreamKey(config.stream, self._normalizer.records)
        self._columns = LineColumns(config.header, self._normalizer.records, plan.columns, plan.every.timed)
        self._progress, self._known = WalkProgress(), KnownTexts()
        self._model: MovingModel | None = None
        self._restore()
        progress = self._progress
        self._cutter = WindowCutter(plan.every, progress.lines, progress.late, progress.timeless)
        self._begin_window()

    def go(self) -> dict[str, Any]:
        """From where it is to the end; the metrics."""
        progress = self._progress
        with ScoreFile(self._plan.out / folder.SCORES, self._plan.columns, progress.size) as self._output:
            if self._model is not None:
                self._output.begin()
            for number in range(progress.file, len(self._plan.files)):
                self._read_file(number)
                progress.file, progress.line, progress.short, progress.long = number + 1, 0, 0, 0
            self._output.end()
            progress.size = self._output.size
        return self._finish()

    # lines

    def _read_file(self, number: int) -> None:
        """Scores the rest of a file."""
        path = self._plan.files[number]
        reference = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        records, done = self._normalizer.records, self._progress.line
        if records is not None:
            records.short, records.long = self._progress.short, self._progress.long
        splitter = LineSplitter(path.name)
        with LogFile(path) as file:
            for block in _blocks(file, splitter, self._bar_of(number)):
                if block.first + len(block) - 1 > done:
                    rest = slice_block(block, slice(max(0, done + 1 - block.first), None))
                    self._process_block(number, rest, reference)
        warnings = self._normalizer.take_warnings()
        if splitter.cut_lines:
            warnings.append(cut_warning(splitter.cut_lines))
        for warning in warnings:
            self._print(f"{path.name}: {warning}")

    def _bar_of(self, number: int) -> Callable[[int], None]:
        """What moves the bar to so many bytes of a file."""
        task, before = self._bar.tasks[0].id, sum(file.stat().st_size for file in self._plan.files[:number])
        return lambda size: self._bar.update(task, completed=before + size)

    def _process_block(self, number: int, block: Block, reference: datetime) -> None:
        """Scores the lines of a block; where a window is over, learns it."""
        times, values = self._columns.read(block, reference)
        for piece in self._cutter.cut(len(block), times):
            if piece is None:
                self._learn_window()
                continue
            lines = slice_block(block, piece)
            keys = [b"%d" % number] * len(lines) if self._config.stream is None else self._keys.keys(lines)
            self._score(lines, keys, values[piece])
            self._progress.file, self._progress.line = number, lines.first + len(lines) - 1
        if not np.isnan(self._cutter.present):
            self._bar.update(self._bar.tasks[0].id, description=f"window {self._cutter.label}")

    def _score(self, block: Block, keys: list[bytes], values: list[list[str]]) -> None:
        ids = self._normalizer.ids(block)
        raw = np.full(len(ids), np.nan, np.float32)
        if self._model is not None:
            scored = self._model.score(keys, ids)
            self._output.write(block, self._cutter.label, values, scored.scores)
            self._scores.add(scored.scores)
            raw = scored.raw
        self._sample.add(keys, ids, raw)
        if len(self._normalizer.table) > 2 * self._plan.most + _SPARE_TEXTS:
            self._normalizer.table.compact(self._sample.ids)

    # windows

    def _begin_window(self) -> None:
        self._sample = LineSample(self._plan.most, (self._config.seed, self._progress.windows))
        self._normalizer.table.subscribe(self._sample)
        self._scores = ScoreSummary()

    def _learn_window(self) -> None:
        """Ends a window that another follows: trains on it and makes that durable."""
        self._output.end()
        corpus = self._sample.corpus(self._normalizer.texts)
        model = self._model or self._first_model(corpus)
        learnt = model.learn(corpus, self._progress.windows)
        if self._model is None:
            model.expect_as(corpus)
        else:
            model.expect(self._sample.scores)
        self._model = model
        self._known.add(corpus)
        self._count(learnt)
        of = f"on {len(corpus):,} of them " if len(corpus) < self._sample.lines else ""
        self._print_window(f"trained {of}to {learnt['best']:.3g} in {count_of(len(learnt['epochs']), 'epoch')}")
        self._normalizer.table.compact(np.zeros(0, np.int32))
        self._begin_window()
        self._write_checkpoint(model)
        self._output.begin()

    def _first_model(self, corpus: Corpus) -> MovingModel:
        tokenizer = learn_tokenizer(self._config, corpus)
        folder.write(self._plan.out / folder.TOKENIZER, msgspec.json.encode(tokenizer.to_json()))
        return self._new_model(tokenizer)

    def _new_model(self, tokenizer: Tokenizer) -> MovingModel:
        return MovingModel(self._config, self._fabric, self._normalizer.table, tokenizer)

    def _count(self, learnt: dict[str, Any]) -> None:
        progress, cutter, records = self._progress, self._cutter, self._normalizer.records
        progress.windows += 1
        progress.lines, progress.late, progress.timeless = cutter.lines, cutter.late, cutter.timeless
        progress.trained += len(self._sample)
        progress.left_out += self._sample.lines - len(self._sample)
        progress.scored, progress.size = progress.scored + self._scores.count, self._output.size
        progress.epochs = learnt["epochs"]
        progress.seconds = round(progress.seconds + sum(epoch["seconds"] for epoch in progress.epochs), 3)
        if records is not None:
            progress.short, progress.long = records.short, records.long

    # the run folder

    def _write_checkpoint(self, model: MovingModel) -> None:
        """Writes the checkpoint, whole or not at all."""
        groups = model.groups() | {"known": {"texts": as_tensor(self._known.counts)}}
        folder.write_checkpoint(self._plan.out, groups, msgspec.to_builtins(self._progress))

    def _restore(self) -> None:
        """Goes on from the checkpoint, where there is one."""
        found = folder.read_checkpoint(self._plan.out)
        if found is None:
            return
        groups, progress = found
        self._progress = msgspec.convert(progress, WalkProgress)
        self._known = KnownTexts(from_tensor(groups["known"]["texts"]))
        content = msgspec.json.decode((self._plan.out / folder.TOKENIZER).read_bytes())
        self._model = self._new_model(load_tokenizer(content))
        self._model.restore(groups)

    def _finish(self) -> dict[str, Any]:
        """Completes the run; the last window is held out."""
        plan, progress, cutter = self._plan, self._progress, self._cutter
        model = check_walked(cutter, self._sample, self._model)
        self._print_window("not trained on, nothing follows")
        progress.scored += self._scores.count
        for note in closing_notes(progress, cutter, plan.most):
            self._print(note)
        folder.write_weights(plan.out, model.weights())
        held_out, counts = self._known.with_lines(compact(self._sample.corpus(self._normalizer.texts)))
        metrics = walk_metrics(self._config, progress, cutter, model, held_out, plan.files)
        finish(plan.out, held_out.texts, counts, held_out, metrics)
        return metrics

    def _print_window(self, what: str) -> None:
        lines = count_of(self._sample.lines, "line")
        self._print(f"window {self._cutter.label}: {lines}, {self._scores}; {what}")

    def _print(self, message: str) -> None:
        self._bar.console.print(message, markup=False, highlight=False, emoji=False, soft_wrap=True)


def _blocks(file: LogFile, splitter: LineSplitter, advance: Callable[[int], None]) -> Iterator[Block]:
    """The blocks of a file; `advance` takes the bytes that were read."""
    for chunk in file.chunks():
        block = splitter.feed(chunk)
        if block:
            yield block
        advance(file.size)
    block = splitter.finish()
    if block:
        yield block
