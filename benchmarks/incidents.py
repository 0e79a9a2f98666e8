"""What each model finds of the incidents of made-up logs, beside simple detectors.

Run as `OMP_NUM_THREADS=1 python -m benchmarks.incidents`. For each seed the models are trained once on the first lines
of a log without incidents; then each incident is put into what follows, and all lines that follow are judged. What is
in FOLDER already is not made again. docs/benchmarks/incidents.md says what the figures mean.
"""

import argparse
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from agent.bundle.bundle import Bundle
from agent.text.canonical import MASKS, Normalizer, fold
from benchmarks.made_up import exported, print_table, say, scored, spread, trained, write_lines
from training.data.corpus import Corpus, read_corpus
from training.evaluation.baselines import BASELINES, line_items
from training.evaluation.metrics import measure
from training.synth.generator import INCIDENTS, generate
from training.synth.host import Line
from training.synth.output import format_line

CONTEXT = ("wrong-order", "wrong-hour", "rate-jump", "silence")  # their single lines have normal texts
LOG = 1.25  # times the lines of training
AT = 0.9
BEFORE = 200  # lines that are scored before those that are judged, so that no window warms up among these
Q = 0.995  # of every detector's limit
EARLY = 0.8  # of the training lines; the limits of simple detectors are those of the others
SIZE = 20  # lines in the windows of simple detectors

LIMIT = {"kind": "quantile", "q": Q}
STEPS = {"steps_per_epoch": 100, "epochs": 15, "patience": 5}
ENCODER = {"steps_per_epoch": 200, "epochs": 6, "learning_rate": 2e-3}
MODELS: dict[str, dict[str, Any]] = {
    "sequence, scaled": {"family": "sequence-autoencoder", "model": STEPS},
    "sequence, embedding": {
        "family": "sequence-autoencoder",
        "model": STEPS | {"event": "embedding", "max_events": 256},
    },
    "two-stage, regression": {"family": "two-stage", "encoder": ENCODER},
    "two-stage, codebook": {"family": "two-stage", "encoder": ENCODER, "detector": {"head": "codebook"}},
    "language model": {"family": "language-model", "model": {"epochs": 5}},
}
Score = Callable[[Sequence[Line], Path], tuple[NDArray[np.floating], NDArray[np.bool_]]]
"""The lines of a log and a file for some of them -> scores of those after training, and whether they are alerts."""


def make_log(seed: int, train: int, incident: str) -> list[Line]:
    """A log whose first `train` lines are the same whatever the incident."""
    return list(generate(round(LOG * train), seed, incident=incident, at=AT))


def of_bundle(bundle: Bundle, train: int) -> Score:
    """Scores as the agent's."""

    def score(lines: Sequence[Line], path: Path) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
        scores, above = scored(bundle, write_lines(path, lines[train - BEFORE :]))
        return scores[BEFORE:], above[BEFORE:]

    return score


def of_baseline(name: str, train: int) -> Score:
    """Scores of a simple detector: it learns from the early lines, the other ones give its limit."""

    def score(lines: Sequence[Line], path: Path) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
        corpus = read_corpus([write_lines(path, lines)], "auto", list(MASKS), None)
        found = baseline_scores(name, corpus, int(EARLY * train))
        limit = np.quantile(found[: train - int(EARLY * train)], Q)
        found = found[train - int(EARLY * train) :]
        return found, found > limit

    return score


def baseline_scores(name: str, corpus: Corpus, early: int) -> NDArray[np.float64]:
    """float64: the scores of the lines after the early ones."""
    words = np.array([len(text.split()) for text in corpus.texts])
    items = line_items(corpus, np.arange(len(corpus)), SIZE, words)
    detector = BASELINES[name]()
    detector.fit(items.subset(np.arange(early)))
    return detector.score(items.subset(np.arange(early, len(corpus))), lambda done, total: None)


def judge(scores: NDArray[np.floating], above: NDArray[np.bool_], lines: Sequence[Line], train: int) -> dict[str, Any]:
    """The figures of one detector and one log: by line, lines without a score left out."""
    labels = np.array([line.label for line in lines[train:]], np.int8)
    ready = ~np.isnan(scores)
    found = measure(scores[ready], above[ready], labels[ready], 0, None)
    hours = (lines[-1].time - lines[train].time).total_seconds() / 3600
    false = int((above & (labels == 0)).sum())
    return {
        "auc": found.auc,
        "ap": found.average_precision,
        "recall": found.recall,
        "odd": int(labels.sum()),
        "false": false,
        "normal": int((labels == 0).sum()),
        "alerts an hour": false / hours,
        "unscored": int((~ready).sum()),
    }


def same_text(lines: Sequence[Line], scores: NDArray, normal: dict[str, NDArray]) -> float | None:
    """The share of pairs, an incident's line and a normal one of the same canonical text, that the scores put in order.

    It is a mean over the lines for whose texts there are normal ones; None where there is none. What looks at single
    lines has 0.5.
    """
    texts = _texts(lines)
    odd = [(normal[text], score) for line, text, score in zip(lines, texts, scores, strict=True) if line.label]
    shares = [np.mean((others < score) + 0.5 * (others == score)) for others, score in odd if len(others)]
    return float(np.mean(shares)) if shares else None


def by_text(lines: Sequence[Line], scores: NDArray) -> dict[str, NDArray]:
    """The scores of lines by their canonical text; empty for every other text."""
    found = defaultdict[str, list[float]](list)
    for text, score in zip(_texts(lines), scores.tolist(), strict=True):
        found[text].append(score)
    return defaultdict(lambda: np.zeros(0), {text: np.array(ones) for text, ones in found.items()})


def _texts(lines: Sequence[Line]) -> list[str]:
    normalizer = Normalizer("auto", MASKS)
    return [normalizer.canonical(fold(format_line(line, "rfc3164").encode())) for line in lines]


def result(out: Path, seed: int, train: int, detector: str, epochs: int | None) -> dict[str, Any]:
    """The figures of one detector and seed, for each incident and for the log without one."""
    folder = out / f"{train}-{seed}" / detector.replace(", ", "-").replace(" ", "-")
    path = folder / "result.json"
    if not path.exists():
        plain = make_log(seed, train, "none")
        about, score = prepare(folder, plain[:train], detector, seed, epochs)
        scores, above = score(plain, folder / "test.log")
        found, normal = {"none": judge(scores, above, plain, train)}, by_text(plain[train:], scores)
        for incident in INCIDENTS:
            lines = make_log(seed, train, incident)
            if lines[:train] != plain[:train]:
                raise SystemExit(f"{incident}: it begins within the lines of training; give more of them with --train")
            scores, above = score(lines, folder / "test.log")
            found[incident] = judge(scores, above, lines, train)
            found[incident]["same text"] = same_text(lines[train:], scores, normal)
        path.write_bytes(msgspec.json.encode(about | {"incidents": found}))
        say(f"{folder}: done")
    return msgspec.json.decode(path.read_bytes())


def prepare(
    folder: Path, lines: Sequence[Line], detector: str, seed: int, epochs: int | None
) -> tuple[dict[str, Any], Score]:
    """A detector, trained where it is not there, and what the training took."""
    folder.mkdir(parents=True, exist_ok=True)
    if detector in BASELINES:
        return {}, of_baseline(detector, len(lines))
    config = {"seed": seed, "threshold": LIMIT} | MODELS[detector]
    if epochs is not None:
        stages = ("encoder", "detector") if config["family"] == "two-stage" else ("model",)
        config |= {stage: config.get(stage, {}) | {"epochs": epochs, "steps_per_epoch": 30} for stage in stages}
    run = trained(folder, write_lines(folder / "train.log", lines), config)
    about = {"seconds": run.metrics["seconds"], "best": run.metrics["best"], "epochs": len(run.metrics["epochs"])}
    return about, of_bundle(exported(run, folder / "bundle"), len(lines))


def print_results(found: dict[str, list[dict[str, Any]]]) -> None:
    """A table for each figure, incidents in its rows, and one of what normal lines cost."""
    head = ["incident", "lines", *found]
    for title, key, form in (
        ("AUC by line", "auc", ".3f"),
        ("Average precision by line", "ap", ".3f"),
        ("Lines of the incident above the limit", "recall", ".0%"),
    ):
        rows = [[incident, _lines(found, incident), *_row(found, incident, key, form)] for incident in INCIDENTS]
        print_table(title, head, rows)
    rows = [[incident, _lines(found, incident), *_row(found, incident, "same text", ".3f")] for incident in CONTEXT]
    print_table("Against normal lines of the same text", head, rows)
    rows = [[incident, _lines(found, incident), *_caught(found, incident)] for incident in INCIDENTS]
    print_table("Incidents with at least one line above the limit", head, rows)
    keys = ("alerts an hour", "false", "normal", "unscored")
    rows = []
    for name, ones in found.items():
        cells = [
            spread([one["incidents"]["none"][key] for one in ones], ".2f" if key == keys[0] else ",.0f") for key in keys
        ]
        share = statistics.mean(one["incidents"]["none"]["false"] / one["incidents"]["none"]["normal"] for one in ones)
        seconds = spread([one["seconds"] for one in ones], ".0f") if "seconds" in ones[0] else "-"
        epochs = spread([one["epochs"] for one in ones], ".0f") if "epochs" in ones[0] else "-"
        rows.append([name, cells[0], f"{share:.2%}", *cells[1:], seconds, epochs])
    head = ["detector", "alerts an hour", "of the lines", "alerts", "lines", "without a score", "seconds", "epochs"]
    print_table("The same lines without an incident", head, rows)


def _lines(found: dict[str, list[dict[str, Any]]], incident: str) -> str:
    return spread([one["incidents"][incident]["odd"] for one in next(iter(found.values()))], ".0f")


def _row(found: dict[str, list[dict[str, Any]]], incident: str, key: str, form: str) -> list[str]:
    return [spread([one["incidents"][incident][key] for one in ones], form) for ones in found.values()]


def _caught(found: dict[str, list[dict[str, Any]]], incident: str) -> list[str]:
    """In how many seeds, and in how many by chance: were the alerts on normal lines to fall on any lines."""
    cells = []
    for ones in found.values():
        caught = sum(one["incidents"][incident]["recall"] > 0 for one in ones)
        cells.append(f"{caught}/{len(ones)} ({sum(_chance(one, incident) for one in ones):.1f})")
    return cells


def _chance(one: dict[str, Any], incident: str) -> float:
    normal = one["incidents"]["none"]
    return 1 - (1 - normal["false"] / normal["normal"]) ** one["incidents"][incident]["odd"]


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("incidents-benchmark"), metavar="FOLDER")
    parser.add_argument("--seeds", default="0,1,2", help="of the log and the training")
    parser.add_argument("--train", type=int, default=20_000, metavar="N", help="lines to train on")
    parser.add_argument("--detectors", default=";".join([*MODELS, *BASELINES]), help="with semicolons between them")
    parser.add_argument("--quick", action="store_true", help="one seed, 10,000 lines, two epochs: no figures")
    return parser.parse_args()


def main() -> None:
    """Trains and measures what is missing, prints the tables."""
    asked = options()
    torch.set_num_threads(1)
    seeds, out, train, epochs = [int(seed) for seed in asked.seeds.split(",")], asked.out, asked.train, None
    if asked.quick:
        seeds, out, train, epochs = seeds[:1], out / "quick", 10_000, 2
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in asked.detectors.split(";")}
    for seed in seeds:
        for name, ones in found.items():
            ones.append(result(out, seed, train, name, epochs))
    print_results(found)


if __name__ == "__main__":
    main()
