"""`agent bench`: lines a second of each stage on this host, beside reading alone."""

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from agent.app.build import load_bundle
from agent.bundle.bundle import Bundle
from agent.scoring.engine import ScoringEngine
from agent.scoring.settings import ScoringSettings
from agent.sources.decoding.whole_file import read_log
from agent.text.canonical import fold
from agent.text.lines import Block, LineSplitter

_ROUNDS = 3
_TEMPLATES = (
    "systemd[1]: Started Session {} of user app{}.",
    "CRON[{}]: (root) CMD (run-parts /etc/cron.hourly) {}",
    "sshd[{}]: Accepted publickey for deploy from 192.0.2.{} port {} ssh2",
    "kernel: [{}.{}] eth0: Link is Up - 1000 Mbps/Full",
    "postfix/qmgr[{}]: {}: removed",
    "app[{}]: GET /items/{} 200 {} ms",
)


def run_bench(file: str | None, bundle_name: str, lines: int, as_json: bool) -> None:
    """Prints the median of three rounds of each stage; every round starts with empty caches."""
    bundle = load_bundle(bundle_name, "cpu")
    blocks = list(_blocks(file, lines))
    count = sum(len(block) for block in blocks)
    stages: dict[str, Callable[[], None]] = {
        "read and cut into lines": lambda: _drain(_cut(blocks)),
        "and fold numbers": lambda: _drain(fold(block.data) for block in _cut(blocks)),
        "and look up canonical texts": lambda: _normalize(bundle, blocks),
        "and score (all of it)": lambda: _score(bundle, blocks, cache=True),
        "the same without caches": lambda: _score(bundle, blocks[:1], cache=False),
    }
    rates = {name: _rate(stage, count if "without" not in name else len(blocks[0])) for name, stage in stages.items()}
    whole = rates["and score (all of it)"]
    if as_json:
        typer.echo(msgspec.json.encode({"lines": count, "lines_per_second": rates}))
        return
    table = Table(
        "stage",
        "lines/s",
        "of reading",
        title=f"{count} lines of {file or 'made-up syslog'}, one thread, median of {_ROUNDS}",
    )
    for name, rate in rates.items():
        table.add_row(name, f"{rate:,.0f}", f"{rate / rates['read and cut into lines']:.3f}")
    console = Console()
    console.print(table)
    console.print(f"At 100 lines/s the agent takes {100 / whole:.2%} of a core for scoring.")


def _rate(stage: Callable[[], None], lines: int) -> float:
    seconds = []
    for _ in range(_ROUNDS):
        began = time.process_time()
        stage()
        seconds.append(time.process_time() - began)
    return lines / max(float(np.median(seconds)), 1e-9)


def _blocks(file: str | None, lines: int) -> Iterator[Block]:
    splitter = LineSplitter(file or "made-up", max_line=65536)
    left = lines
    for chunk in _made_up(lines) if file is None else read_log(Path(file)):
        block = splitter.feed(chunk)
        if block is not None:
            yield block
            left -= len(block)
        if left <= 0:
            return
    if (block := splitter.finish()) is not None:
        yield block


def _made_up(lines: int) -> Iterator[bytes]:
    draw = random.Random(0)
    for start in range(0, lines, 10_000):
        rows = []
        for row in range(start, min(start + 10_000, lines)):
            text = draw.choice(_TEMPLATES)
            rows.append(
                f"Jan  1 {row // 3600 % 24:02}:{row // 60 % 60:02}:{row % 60:02} web1 "
                + text.format(*(draw.randrange(1, 255) for _ in range(3)))
            )
        yield ("\n".join(rows) + "\n").encode()


def _cut(blocks: list[Block]) -> Iterator[Block]:
    splitter = LineSplitter("bench")
    for block in blocks:
        cut = splitter.feed(block.data)
        if cut is not None:
            yield cut


def _drain(blocks: Iterator[object]) -> None:
    for _ in blocks:
        pass


def _normalize(bundle: Bundle, blocks: list[Block]) -> None:
    normalizer = ScoringEngine(bundle).normalizer
    for block in _cut(blocks):
        normalizer.ids(block)


def _score(bundle: Bundle, blocks: list[Block], cache: bool) -> None:
    engine = ScoringEngine(bundle, ScoringSettings(cache=cache))
    for block in _cut(blocks):
        engine.score(block)
