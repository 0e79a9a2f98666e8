"""Grouping accuracy of templates beside Drain3's on annotated logs, and the speed of both in the same run.

Run as `python -m benchmarks.templates DATA`; DATA holds templates/SYSTEM.csv.gz with the columns Content and EventId.
Drain3 serves this comparison alone; install it into a folder of its own, which keeps its old pins out of oddline's
environment: `pip install --target FOLDER drain3==0.9.11`, then run with PYTHONPATH=FOLDER.
"""

import argparse
import csv
import gzip
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from agent.text.canonical import MASKS, Normalizer, fold
from training.data.templates import grouping_accuracy, learn_templates

try:
    from drain3.drain import Drain
except ImportError:
    sys.exit(f"no Drain3 here: {__doc__.rpartition('environment: ')[2].strip()}")

METHODS = ("Drain3", "Drain3, oddline's masks", "the masks alone", "oddline")
HALVES = ("design", "held out")


def read_system(path: Path) -> tuple[list[str], list[str]]:
    """The messages of a system and the events that people assigned to them."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["Content"] for row in rows], [row["EventId"] for row in rows]


def canonical(lines: Iterable[str]) -> list[str]:
    """The canonical texts of messages without a header, all masks applied."""
    normalizer = Normalizer("none", MASKS)
    return [normalizer.canonical(fold(line.encode())) for line in lines]


def by_drain(lines: Iterable[str]) -> list[int]:
    """The cluster that Drain3 gives each line as it reads them, with its defaults."""
    drain = Drain()
    return [drain.add_log_message(line)[0].cluster_id for line in lines]


def by_oddline(texts: Sequence[str]) -> list[int]:
    """The number of each text's template, of those that are learnt from all texts."""
    templates = learn_templates(Counter(texts))
    return [templates.match(text) for text in texts]


def compare(lines: list[str], events: list[str]) -> list[tuple[float, float, int]]:
    """GA, FGA and the number of groups of each method."""
    texts = canonical(lines)
    found = [by_drain(lines), by_drain(texts), texts, by_oddline(texts)]
    return [(*grouping_accuracy(groups, events), len(set(groups))) for groups in found]


def print_row(name: str, half: str, events: str, results: list[tuple[float, float, int]], groups: bool = True) -> None:
    """A row of the table: GA, FGA and the number of groups of each method."""
    cells = [f"{ga:.3f} / {fga:.3f}" + (f" ({count})" if groups else "") for ga, fga, count in results]
    print(f"| {' | '.join([name, half, events, *cells])} |")


def print_means(halves: list[str], results: list[list[tuple[float, float, int]]]) -> None:
    """Rows of means over the systems of either half, and over all."""
    for half in (*HALVES, "all"):
        chosen = [result for one, result in zip(halves, results, strict=True) if half in (one, "all")]
        means = [tuple(map(statistics.mean, zip(*method, strict=True))) for method in zip(*chosen, strict=True)]
        print_row("mean", half, "", means, groups=False)


def seconds(work: Callable[[], Any], times: int = 5) -> float:
    """The shortest of some runs."""
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        spent.append(time.perf_counter() - began)
    return min(spent)


def print_speed(texts: Sequence[str]) -> None:
    """Times for learning from, and matching, the distinct texts of all systems together."""
    templates, drain = learn_templates(Counter(texts)), Drain()
    for text in texts:
        drain.add_log_message(text)
    ours = seconds(lambda: [templates.match(text) for text in texts])
    others = seconds(lambda: [drain.match(text) for text in texts])
    learning, reading = seconds(lambda: learn_templates(Counter(texts))), seconds(lambda: by_drain(texts))
    print(f"\n{len(texts):,} distinct texts; {len(templates):,} templates, {len(drain.clusters):,} of Drain3's")
    print(f"match: {1e6 * ours / len(texts):.2f} us a text, Drain3's {1e6 * others / len(texts):.2f} us", end="; ")
    print(f"oddline takes {ours / others:.2f} of its time")
    print(f"learning: {learning:.3f} s, Drain3 {reading:.3f} s; oddline takes {learning / reading:.2f} of its time")


def main() -> None:
    """Prints the table and the speed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder that holds templates/")
    paths = sorted((parser.parse_args().data / "templates").glob("*.csv.gz"))
    if not paths:
        parser.error("DATA holds no templates/*.csv.gz")
    print(f"| system | half | events | {' | '.join(METHODS)} |\n|{' --- |' * (3 + len(METHODS))}")
    halves, results, texts = [], [], set[str]()
    for index, path in enumerate(paths):
        lines, events = read_system(path)
        halves.append(HALVES[index % 2])
        results.append(compare(lines, events))
        print_row(path.name.removesuffix(".csv.gz"), halves[-1], str(len(set(events))), results[-1])
        texts.update(canonical(lines))
    print_means(halves, results)
    print_speed(sorted(texts))


if __name__ == "__main__":
    main()
