"""LANL authentication, semi-synthetic: trains the language models, scores day 2 and made-up red lines in the agent.

usage: python benchmarks/lanl.py DATA [--out FOLDER] [--seeds 0,1,2] [--models EM,BEM] [--tokens word,char] ...
DATA holds auth_first50k.csv.gz, auth_days012.csv.gz and redteam.csv.gz. What is in FOLDER already is not made again.
docs/benchmarks/lanl.md says what the test is, and what it is not.
"""

import argparse
import csv
import gzip
import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from lanl_baselines import CUT, FIELDS, Row, baselines, print_facts
from lanl_tables import print_baselines, print_results, print_speeds, ranking
from numpy.typing import NDArray

from agent.bundle.bundle import Bundle
from agent.scoring.engine import ScoringEngine
from agent.scoring.settings import ScoringSettings
from agent.sources.decoding.whole_file import read_log
from agent.text.lines import Block, LineSplitter
from export.writer import export_run
from training.fitting.job import Job, run_job
from training.fitting.run_folder import Run, load_run

VALIDATION = 0.05  # of the training lines, the last ones
ROUNDS = 3

RECURRENT = {"batch_size": 128, "learning_rate": 1e-3, "decay": 0.99, "decay_steps": 20}
EVENT = {"embedding": 20, "hidden": 10, "keys": 10, **RECURRENT}
TIERED = {"embedding": 5, "hidden": 5, "context": 10, "lines": 3, **RECURRENT, "batch_size": 64}
DECODER = {"architecture": "transformer", "embedding": 32, "heads": 1, "batch_size": 32, "learning_rate": 2.5e-4}
BOTH = {"bidirectional": True}
MODELS: dict[str, dict[str, Any]] = {
    "EM": EVENT,
    "BEM": EVENT | BOTH,
    "Fixed": EVENT | {"attention": "fixed"},
    "Syntax": EVENT | {"attention": "syntax"},
    "Semantic1": EVENT | {"attention": "semantic1"},
    "Semantic2": EVENT | {"attention": "semantic2"},
    "T-EM": TIERED | {"tier": "mean"},
    "T-BEM": TIERED | {"tier": "mean"} | BOTH,
    "TA-EM": TIERED | {"tier": "attention"},
    "TA-BEM": TIERED | {"tier": "attention"} | BOTH,
    "Transformer": DECODER,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "published": {"cut": CUT, "word": 2, "char": 1, "model": {}, "tiered": {}, "Transformer": {}},
    "oddline": {
        "cut": 1,
        "word": 1,
        "char": 1,
        "model": {"embedding": 32, "hidden": 64, "context": 32, "keys": 32, "learning_rate": 1e-2, "decay": 1.0},
        "tiered": {"learning_rate": 3e-3},
        "Transformer": {"learning_rate": 1e-3},
    },
}
"""Of each: how often a word must occur, the epochs of word and char models, what differs from MODELS."""


def read_rows(path: Path) -> list[Row]:
    """The rows of a packed CSV file."""
    with gzip.open(path, "rt", newline="") as file:
        return [tuple(row) for row in csv.reader(file)]


def make_rows(data: Path) -> tuple[list[Row], list[Row], list[Row]]:
    """Training lines, the lines of day 2, and semi-synthetic red lines, in the order of time.

    A red line has the user, computers and order of a red-team event; its last four fields are those of a training line
    that is drawn, its second that of the line of day 2 at the same share of the file.
    """
    first, days = read_rows(data / "auth_first50k.csv.gz"), read_rows(data / "auth_days012.csv.gz")
    known = set(first)
    train = first + [row[:9] for row in days if row[9] in ("0", "1") and row[:9] not in known]
    normal, events = [row[:9] for row in days if row[9] == "2"], read_rows(data / "redteam.csv.gz")
    draw, red = random.Random(0), []
    for index, (_, user, source, destination) in enumerate(events):
        second = normal[place(index, len(events), len(normal))][0]
        red.append((second, user, user, source, destination, *draw.choice(train)[5:]))
    return train, normal, red


def place(index: int, count: int, lines: int) -> int:
    """The line at the same share of `lines` as item `index` of `count`."""
    return (2 * index + 1) * lines // (2 * count)


def prepare(data: Path, out: Path) -> tuple[list[Row], list[Row], NDArray[np.int8]]:
    """The training and test lines and the test's labels, written as CSV files where they are not there."""
    train, normal, red = make_rows(data)
    places = [place(index, len(red), len(normal)) for index in range(len(red))]
    order = np.argsort([*range(len(normal)), *(at + 0.5 for at in places)], kind="stable")
    test, labels = [(normal + red)[index] for index in order], (order >= len(normal)).astype(np.int8)
    for path, rows in ((train_file(out), train), (test_file(out), test)):
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(",".join(row) + "\n" for row in rows))
    return train, test, labels


def train_file(out: Path) -> Path:
    """Where the training lines are."""
    return out / "train.csv"


def test_file(out: Path) -> Path:
    """Where the test lines are."""
    return out / "test-semi-synthetic.csv"


def configuration(model: str, tokens: str, setting: str, seed: int) -> dict[str, Any]:
    """The configuration of one training."""
    halves = {name: {"at": "@", "into": [name, f"{name}_domain"]} for name in FIELDS[:2]}
    settings = SETTINGS[setting]
    stage = MODELS[model] | settings["Transformer" if model == "Transformer" else "model"]
    stage |= settings["tiered"] if "tier" in stage else {}
    epochs = settings[tokens]
    return {
        "family": "language-model",
        "seed": seed,
        "header": {"columns": ["second", *FIELDS], "time": "second", "split": halves},
        "stream": "^[^,]*,([^,]+)",
        "tokenizer": {"kind": tokens, "min_frequency": settings["cut"]},
        "validation": VALIDATION,
        "model": stage | {"epochs": epochs, "patience": epochs, "steps_per_epoch": None},
    }


def result(out: Path, setting: str, tokens: str, model: str, seed: int, labels: NDArray) -> dict[str, Any]:
    """The measured figures of one training, which is done where they are not there."""
    path = result_file(out, setting, tokens, model, seed)
    if not path.exists():
        run = trained(out, path.parent, configuration(model, tokens, setting, seed))
        found = judge(run, path.parent / "bundle", test_file(out), labels)
        if model in ("EM", "BEM"):
            relative = replace(run, config=msgspec.structs.replace(run.config, relative="mean"))
            found["relative"] = judge(relative, path.parent / "relative", test_file(out), labels)
        best, epochs = run.metrics["best"]["model"], len(run.metrics["epochs"])
        found |= {"validation": best["validation"], "epoch": best["epoch"], "epochs": epochs}
        found |= {"frequency": frequency_loss(run), "seconds": run.metrics["seconds"]}
        path.write_bytes(msgspec.json.encode(found))
    return msgspec.json.decode(path.read_bytes())


def result_file(out: Path, setting: str, tokens: str, model: str, seed: int) -> Path:
    """Where the figures of a training are."""
    return out / setting / f"{tokens}-{model}-{seed}" / "result.json"


def trained(out: Path, folder: Path, configured: dict[str, Any]) -> Run:
    """A run, trained where it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    config, run = folder / "config.yaml", folder / "run"
    if not (run / "metrics.json").exists():
        config.write_bytes(msgspec.yaml.encode(configured))
        run_job(Job([train_file(out)], run, config, (), {}, None, None, None, "cpu", 1, False))
    return load_run(run)


def judge(run: Run, bundle: Path, test: Path, labels: NDArray[np.int8]) -> dict[str, Any]:
    """AUC and average precision of a run's bundle, as the agent scores the test lines."""
    export_run(run, bundle, False, [], True)
    engine = ScoringEngine(Bundle.load(bundle))
    return ranking(np.concatenate([engine.score(block).scores for block in blocks(test)]), labels)


def blocks(path: Path) -> list[Block]:
    """A file as the agent reads it, in blocks of about a thousand lines."""
    splitter = LineSplitter(path.name)
    found = [splitter.feed(chunk) for chunk in read_log(path, 1 << 16)]
    return [block for block in [*found, splitter.finish()] if block is not None]


def frequency_loss(run: Run) -> float:
    """The validation loss, in nats a token, of each place's own frequencies: what a model has that learnt no more.

    Characters have no places, so it is that of their frequencies over all places. Ends are not counted.
    """
    placed, texts = run.tokenizer.labels() is not None, [run.tokenizer.encode(text) for text in run.texts]
    held = np.bincount(run.heldout["ids"], minlength=len(texts))
    counts = np.zeros((run.tokenizer.max_tokens, len(run.tokenizer), 2))
    for ids, number, all_lines in zip(texts[1:], held[1:], run.counts[1:], strict=True):
        for at, token in enumerate(ids):
            counts[at if placed else 0, token] += (all_lines - number, number)
    shares = (counts[:, :, 0] + 1) / (counts[:, :, 0] + 1).sum(axis=1, keepdims=True)
    return float(-(counts[:, :, 1] * np.log(shares)).sum() / counts[:, :, 1].sum())


def speeds(out: Path, chosen: list[tuple[str, str, str]]) -> dict[str, list[float]]:
    """Lines a second of processor time, each the median of rounds: reading alone, then with caches and without."""
    path, found = out / "speeds.json", {}
    if path.exists():
        found = msgspec.json.decode(path.read_bytes())
    cut = blocks(test_file(out))
    for setting, tokens, model in chosen:
        bundle = out / setting / f"{tokens}-{model}-0" / "bundle"
        if (name := f"{setting} {tokens} {model}") in found or not bundle.exists():
            continue
        loaded = Bundle.load(bundle)
        stages: list[Callable[[], object]] = [lambda: blocks(test_file(out))]
        stages += [partial(score_all, loaded, cut, cache) for cache in (True, False)]
        found[name] = [rate(stage, sum(map(len, cut))) for stage in stages]
        path.write_bytes(msgspec.json.encode(found))
        say(f"speed of {name}: {found[name]}")
    return found


def score_all(bundle: Bundle, lines: list[Block], cache: bool) -> None:
    """Scores blocks with a new engine."""
    engine = ScoringEngine(bundle, ScoringSettings(cache=cache))
    for block in lines:
        engine.score(block)


def rate(stage: Callable[[], object], lines: int) -> float:
    """Lines a second."""
    seconds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        stage()
        seconds.append(time.process_time() - began)
    return lines / max(statistics.median(seconds), 1e-9)


def say(message: str) -> None:
    """Progress."""
    print(message, file=sys.stderr, flush=True)


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("lanl-benchmark"))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--tokens", default="word,char")
    parser.add_argument("--settings", default="published", help=", ".join(SETTINGS))
    parser.add_argument("--report", action="store_true", help="train nothing, print what is there")
    return parser.parse_args()


def main() -> None:
    """Trains and measures what is missing, prints everything that was asked for."""
    asked = options()
    torch.set_num_threads(1)
    train, test, labels = prepare(asked.data, asked.out)
    models, seeds = asked.models.split(","), [int(seed) for seed in asked.seeds.split(",")]
    groups = [(setting, tokens) for setting in asked.settings.split(",") for tokens in asked.tokens.split(",")]
    found: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = {}
    for setting, tokens in groups:
        results = found[setting, tokens] = {model: [] for model in models}
        for seed in seeds:
            for model in models:
                if asked.report and not result_file(asked.out, setting, tokens, model, seed).exists():
                    continue
                one = result(asked.out, setting, tokens, model, seed, labels)
                results[model].append(one)
                say(f"{setting} {tokens} {model} seed {seed}: {one}")
    rates = speeds(asked.out, [(*group, model) for group in groups for model in models])
    used = train[: len(train) - round(VALIDATION * len(train))]
    print_facts(used, test, labels)
    for group, results in found.items():
        if done := {model: ones for model, ones in results.items() if ones}:
            print_results(*group, done)
    print_baselines(baselines(used, test), labels)
    print_speeds(rates)


if __name__ == "__main__":
    main()
