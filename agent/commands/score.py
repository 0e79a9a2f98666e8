"""`agent score`: whole logs into scores."""

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path

from agent.app.build import load_bundle
from agent.config import AgentConfig, check_config
from agent.errors import ConfigError
from agent.host.progress import progress, size_of
from agent.scorefile.writer import Explanations, JsonLines, Sessions, line_records, open_output
from agent.scoring.engine import ScoredBlock, ScoringEngine
from agent.sources.decoding.whole_file import read_log
from agent.text.lines import Block, LineSplitter

_LOG = logging.getLogger(__name__)
_MAX_STREAMS = 1 << 20


def score_files(
    files: list[str],
    bundle: str,
    output: str,
    scope: str,
    stream: str | None,
    explain: bool,
    provider: str,
    header: str | None,
) -> None:
    """Scores files in their order, each with windows of its own."""
    if scope not in ("line", "session"):
        raise ConfigError(f"unknown scope {scope!r}; choose line or session")
    config = check_config(AgentConfig(stream=stream, header=header, max_streams=_MAX_STREAMS), "command line")
    engine = ScoringEngine(load_bundle(bundle, provider), config.scoring_settings())
    total = size_of(files)
    with open_output(output) as writer, progress("scoring", total) as advance:
        sessions = Sessions(engine) if scope == "session" else None
        explanations = Explanations(engine) if explain and sessions is None else None
        for file in files:
            read = _read_time(file)
            for block in _blocks(file, read_log(Path(file)), advance):
                scored = engine.score(block)
                if sessions is not None:
                    sessions.add(scored)
                else:
                    _write_lines(engine, scored, read, writer, explanations)
            for warning in engine.take_warnings():
                _LOG.warning("%s: %s", file, warning)
        if sessions is not None:
            writer.write(sessions.records())
    if engine.streams.ended:
        ended = len(engine.streams.ended)
        _LOG.warning("%s streams were taken for ended: more than %s were open at once", ended, _MAX_STREAMS)


def _write_lines(
    engine: ScoringEngine, scored: ScoredBlock, read: datetime, writer: JsonLines, explanations: Explanations | None
) -> None:
    if explanations is None:
        writer.write(line_records(scored, engine.header, read))
        return
    writer.write(line_records(scored, engine.header, read, partial(explanations.of, scored, read)))
    explanations.remember(scored)


def _read_time(file: str) -> datetime:
    """The newest time that a line of a file can show: when it was written last; of standard input now."""
    written = None if file == "-" else _written(Path(file))
    return datetime.now().astimezone() if written is None else datetime.fromtimestamp(written).astimezone()


def _written(path: Path) -> float | None:
    """When a file was written last; None of what is no file, as a pipe, and of what cannot be looked at."""
    with suppress(OSError):
        if path.is_file():
            return path.stat().st_mtime
    return None


def _blocks(file: str, chunks: Iterator[bytes], advance: Callable[[int], None]) -> Iterator[Block]:
    splitter = LineSplitter(file)
    for chunk in chunks:
        advance(len(chunk))
        if block := splitter.feed(chunk):
            yield block
    if block := splitter.finish():
        yield block
    if splitter.cut_lines:
        _LOG.warning(
            "%s: %s lines were longer than %s bytes; what follows that (%s bytes) was not scored",
            file,
            splitter.cut_lines,
            splitter.max_line,
            splitter.cut_bytes,
        )
