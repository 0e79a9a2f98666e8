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
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from agent.bundle import Bundle
from agent.lines import Block, LineSplitter
from agent.pipeline import Pipeline
from agent.sources.archive import read_log
from export.writer import export_run
from training.job import Job, run_job
from training.metrics import measure
from training.run import Run, load_run

Row = tuple[str, ...]
FIELDS = ["source_user", "destination_user", "source", "destination", "auth", "logon", "orientation", "success"]
VALIDATION = 0.05  # of the training lines, the last ones
CUT = 40  # how often a word must occur in training
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
GROUPS = {"Fixed": "EM with attention", "T-EM": "Tiered LSTM variants", "Transformer": "Transformer decoder"}
PUBLISHED = {
    "word": dict(zip(MODELS, (0.968, 0.976, 0.974, 0.972, 0.975, 0.973, 0.984, 0.987, 0.985, 0.988), strict=False)),
    "char": dict(zip(MODELS, (0.965, 0.985, 0.963, 0.967, 0.975, 0.972, 0.977, 0.992, 0.982, 0.991), strict=False)),
}  # mean AUC on the real red-team lines, Brown et al. 2018
SETTINGS: dict[str, dict[str, Any]] = {
    "published": {"cut": CUT, "word": 2, "char": 1, "model": {}, "tiered": {}, "Transformer": {}},
    "oddline": {
        "cut": 10,
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
    normal, events, draw = (
        [row[:9] for row in days if row[9] == "2"],
        read_rows(data / "redteam.csv.gz"),
        random.Random(0),
    )
    red = []
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
    folder = out / setting / f"{tokens}-{model}-{seed}"
    path = folder / "result.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "config.yaml"
        config.write_bytes(msgspec.yaml.encode(configuration(model, tokens, setting, seed)))
        job = Job([train_file(out)], folder / "run", config, (), {}, None, None, None, "cpu", 1, False)
        if not (folder / "run" / "metrics.json").exists():
            run_job(job)
        run = load_run(folder / "run")
        found = judge(run, folder / "bundle", test_file(out), labels)
        if model in ("EM", "BEM"):
            relative = replace(run, config=msgspec.structs.replace(run.config, relative="mean"))
            found["relative"] = judge(relative, folder / "relative", test_file(out), labels)
        best, epoch = run.metrics["best"]["model"], run.metrics["epochs"][-1]["epoch"]
        found |= {
            "frequency": frequency_loss(run),
            "validation": best["validation"],
            "epoch": best["epoch"],
            "epochs": epoch,
        }
        path.write_bytes(msgspec.json.encode(found | {"seconds": run.metrics["seconds"]}))
    return msgspec.json.decode(path.read_bytes())


def judge(run: Run, bundle: Path, test: Path, labels: NDArray[np.int8]) -> dict[str, Any]:
    """AUC and average precision of a run's bundle, as the agent scores the test lines."""
    export_run(run, bundle, False, [], True)
    pipeline = Pipeline(Bundle.load(bundle))
    return ranking(np.concatenate([pipeline.score(block).scores for block in blocks(test)]), labels)


def ranking(scores: NDArray[np.floating], labels: NDArray[np.int8]) -> dict[str, Any]:
    """AUC and average precision."""
    found = measure(scores, np.zeros(len(scores), bool), labels, 0, None)
    return {"auc": found.auc, "average_precision": found.average_precision}


def blocks(path: Path) -> list[Block]:
    """A file as the agent reads it, in blocks of about a thousand lines."""
    splitter = LineSplitter(path.name)
    found = [splitter.feed(chunk) for chunk in read_log(path, 1 << 16)]
    return [block for block in [*found, splitter.finish()] if block is not None]


def looks(row: Row) -> dict[str, list[Row]]:
    """What the simple detectors look at in a line: its values, its pairs, its triple, each with its place."""
    user, source, destination = row[1], row[3], row[4]
    values = [(name, value) for name, value in zip(FIELDS, row[1:], strict=True)]
    pairs = [("us", user, source), ("ud", user, destination), ("sd", source, destination)]
    names = ("user, source", "user, destination", "source, destination")
    single = {f"pair ({name})": [pair] for name, pair in zip(names, pairs, strict=True)}
    return {"value": values} | single | {"pair": pairs, "triple (user, source, destination)": [row[1:2] + row[3:5]]}


def baselines(train: list[Row], test: list[Row]) -> dict[str, NDArray[np.float64]]:
    """Scores of the test lines by what training never had of them, and by how rare there what they have is.

    unseen  how many of a line's values, pairs, triple are in no line that the models train on
    rare    the sum of -log((count + 1) / (lines + 1)) of each; cut: with values under CUT taken as one
    """
    trained = [looks(row) for row in train[: len(train) - round(VALIDATION * len(train))]]
    looked = [looks(row) for row in test]
    scores: dict[str, NDArray[np.float64]] = {}
    for name in trained[0]:
        seen = Counter(key for one in trained for key in one[name])
        lines = [one[name] for one in looked]
        scores[f"unseen {name}"] = np.array([sum(key not in seen for key in line) for line in lines], float)
        if "pair (" not in name:
            scores[f"rare {name}"] = rarity(seen, lines, len(trained))
        if name == "value":
            cut: Counter[Row] = Counter()
            for key, count in seen.items():
                cut[key if count >= CUT else (key[0], "")] += count
            kept = [[key if key in cut else (key[0], "") for key in line] for line in lines]
            scores["rare value, cut"] = rarity(cut, kept, len(trained))
    return scores


def rarity(seen: Counter[Row], lines: list[list[Row]], total: int) -> NDArray[np.float64]:
    """float64 [lines]: the sums of the negative logarithms of smoothed frequencies."""
    return np.array([-sum(np.log((seen[key] + 1) / (total + 1)) for key in line) for line in lines])


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
    """Scores blocks with a new pipeline."""
    pipeline = Pipeline(bundle, cache=cache)
    for block in lines:
        pipeline.score(block)


def rate(stage: Callable[[], object], lines: int) -> float:
    """Lines a second."""
    seconds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        stage()
        seconds.append(time.process_time() - began)
    return lines / max(statistics.median(seconds), 1e-9)


def print_facts(train: list[Row], test: list[Row], labels: NDArray[np.int8]) -> None:
    """What the test is made of, and how much of it training never had."""
    used = train[: len(train) - round(VALIDATION * len(train))]
    known, lines = {row[1:] for row in used}, {1: [], 0: []}
    for row, label in zip(test, labels.tolist(), strict=True):
        lines[label].append(row)
    seen = {name: {key for row in used for key in looks(row)[name]} for name in looks(used[0])}
    columns = {index: {row[index] for row in used} for index in range(1, 9)}
    print("| of the lines, those with | red | day 2 |\n| --- | --- | --- |")
    print_counts("any", lines, lambda row: True)
    print_counts("the text of a training line", lines, lambda row: row[1:] in known)
    for index, name in enumerate(FIELDS, 1):
        print_counts(f"an unseen {name.replace('_', ' ')}", lines, lambda row, at=index: row[at] not in columns[at])
    for name in seen:
        if name != "pair":
            print_counts(f"an unseen {name}", lines, lambda row, name=name: bool(set(looks(row)[name]) - seen[name]))


def print_counts(what: str, lines: dict[int, list[Row]], holds: Callable[[Row], bool]) -> None:
    """A row of the table of facts."""
    print(f"| {what} | {sum(map(holds, lines[1])):,} | {sum(map(holds, lines[0])):,} |")


def print_table(title: str, found: dict[str, list[float]], published: dict[str, float]) -> None:
    """Mean, maximum, minimum and sample standard deviation over the seeds of each model."""
    print(f"\n{title}\n\n| Model | Mean | Max | Min | Std. Dev. | seeds | published mean |\n|{' --- |' * 7}")
    for model in MODELS:
        if model in GROUPS:
            print(f"| *{GROUPS[model]}* | | | | | | |")
        if values := found.get(model):
            spread = f"{statistics.stdev(values):.3f}" if len(values) > 1 else "-"
            numbers = [f"{value:.3f}" for value in (statistics.mean(values), max(values), min(values))]
            print(f"| {' | '.join([model, *numbers, spread, str(len(values)), str(published.get(model, '-'))])} |")


def print_baselines(scores: dict[str, NDArray[np.float64]], labels: NDArray[np.int8]) -> None:
    """AUC and average precision of the simple detectors."""
    print("\n| baseline | AUC | average precision |\n| --- | --- | --- |")
    for name, values in scores.items():
        found = ranking(values, labels)
        print(f"| {name} | {found['auc']:.3f} | {found['average_precision']:.3f} |")


def print_training(found: dict[str, list[dict[str, Any]]]) -> None:
    """What the trainings came to: means over seeds."""
    columns = ("validation", "frequency", "seconds")
    print(
        "\n| Model | validation loss | of frequencies alone | seconds | best epochs |\n| --- | --- | --- | --- | --- |"
    )
    for model, results in found.items():
        numbers = [f"{statistics.mean(one[name] for one in results):.3f}" for name in columns]
        best = " ".join(f"{one['epoch']}/{one['epochs']}" for one in results)
        print(f"| {' | '.join([model, *numbers, best])} |")


def print_results(setting: str, tokens: str, found: dict[str, list[dict[str, Any]]]) -> None:
    """The tables of one setting and one kind of token."""
    published = PUBLISHED[tokens] if setting == "published" else {}
    for key, name, beside in (("auc", "AUC", published), ("average_precision", "average precision", {})):
        values = {model: [one[key] for one in results] for model, results in found.items()}
        print_table(f"{name}, {tokens} tokens, {setting} settings", values, beside)
        values = {
            m: [one["relative"][key] for one in results] for m, results in found.items() if "relative" in results[0]
        }
        if values:
            print_table(f"{name} relative to the user's mean, {tokens} tokens, {setting} settings", values, {})
    print_training(found)


def print_speeds(found: dict[str, list[float]]) -> None:
    """Lines a second, and their ratio to the fastest model's of the same column."""
    print("\n| Model | lines/s | of the fastest | without caches | of the fastest |\n| --- | --- | --- | --- | --- |")
    fastest = [max(column) for column in zip(*found.values(), strict=True)]
    for name, (_, cached, bare) in found.items():
        print(f"| {name} | {cached:,.0f} | {cached / fastest[1]:.2f} | {bare:,.0f} | {bare / fastest[2]:.2f} |")
    if found:
        print(f"\nReading alone: {statistics.median(one[0] for one in found.values()):,.0f} lines/s.")


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
        found[setting, tokens] = {model: [] for model in models}
        for seed in seeds:
            for model in models:
                one = result(asked.out, setting, tokens, model, seed, labels)
                found[setting, tokens][model].append(one)
                say(f"{setting} {tokens} {model} seed {seed}: {one}")
    rates = speeds(asked.out, [(*group, model) for group in groups for model in models])
    print_facts(train, test, labels)
    for group, results in found.items():
        print_results(*group, results)
    print_baselines(baselines(train, test), labels)
    print_speeds(rates)


if __name__ == "__main__":
    main()
