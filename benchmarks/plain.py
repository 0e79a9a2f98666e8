"""The sequence autoencoder on the plain made-up log, after the source document's method but split by time.

Run as `OMP_NUM_THREADS=1 python -m benchmarks.plain`. Of 10,000 normal lines the first 80 % are trained on; what
follows holds normal lines that were never seen and a burst of 1,000 lines with ids never seen. The bundle scores the
whole log as the agent does. What is in FOLDER already is not made again. docs/benchmarks/plain.md says what it means.
"""

import argparse
import statistics
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from agent.bundle.bundle import Bundle
from benchmarks.made_up import exported, print_table, say, scored, spread, trained, write_lines
from training.evaluation.evaluate import Request, evaluate
from training.synth.generator import generate
from training.synth.host import START, Line

SHARE = 0.8  # of the normal lines, the first ones, to train on
SCORES = ("last", "window")
NEARER = {"E100 to E199": 800, "E31": 0}  # what is taken from the burst's ids; 0: all become E31
EVENTS: dict[str, dict[str, Any]] = {"scaled": {}, "embedding": {"event": "embedding", "max_events": 64}}
DAYS = 20  # of the training that does not see a whole month
Q = 0.995


def configuration(event: str, seed: int, epochs: int | None) -> dict[str, Any]:
    """The family's defaults, but for the kind of event; there are 30, so that room for 64 is enough."""
    model = EVENTS[event] if epochs is None else EVENTS[event] | {"epochs": epochs}
    return {"family": "sequence-autoencoder", "seed": seed, "model": model}


def nearer(line: Line, less: int) -> Line:
    """The line, a burst's one with another id."""
    if not line.label:
        return line
    word, rest = line.message.split(" ", 1)
    return line._replace(message=f"E{int(word[1:]) - less if less else 31} {rest}")


def holding(marked: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """bool [lines]: whether the window that ends with a line holds a marked one."""
    sums = np.append(0, np.cumsum(marked))
    ends = np.arange(1, len(marked) + 1)
    return sums[ends] > sums[np.maximum(ends - size, 0)]


def measure_burst(bundle: Bundle, folder: Path, lines: Sequence[Line], start: int) -> dict[str, Any]:
    """What a bundle makes of the log whose first `start` lines it was trained on."""
    size, q = bundle.manifest.window.size, bundle.manifest.threshold.q
    scores, above = scored(bundle, write_lines(folder / "whole.log", lines))
    odd = np.array([line.label for line in lines], bool)
    held, unseen = holding(odd, size), np.arange(len(lines)) >= start + size - 1
    normal, echo = unseen & ~held, held & ~odd
    by_training = scores > np.nanquantile(scores[:start], Q)
    noise = float(scores[normal].mean())
    found = {
        "recall": above[odd].mean(),
        "false": above[normal].mean(),
        "recall of the loss": by_training[odd].mean(),
        "false of the loss": by_training[normal].mean(),
        "ratio": scores[odd].mean() / noise,
        "echo": above[echo].mean(),
        "windows": int(normal.sum()),
        "echoes": int(echo.sum()),
        "quantile": q,
    }
    for name, less in NEARER.items():
        others = [nearer(line, less) for line in lines]
        scores, above = scored(bundle, write_lines(folder / "nearer.log", others))
        found |= {f"ratio {name}": scores[odd].mean() / noise, f"recall {name}": above[odd].mean()}
    return {name: float(value) for name, value in found.items()}


def measure_days(bundle: Bundle, folder: Path, lines: Sequence[Line], start: int) -> dict[str, Any]:
    """False alarms on days of the month that the first `start` lines hold, and on others."""
    scores, above = scored(bundle, write_lines(folder / "whole.log", lines))
    days = np.array([line.time.day for line in lines])
    odd = np.array([line.label for line in lines], bool)
    size = bundle.manifest.window.size
    later = (np.arange(len(lines)) >= start + size - 1) & ~holding(odd, size)
    old = np.isin(days, np.unique(days[:start]))
    found = {"training": start, "recall": above[odd].mean()}
    for name, chosen in (("seen", later & old), ("unseen", later & ~old)):
        found |= {f"false {name}": above[chosen].mean(), f"{name}": int(chosen.sum())}
        found[f"error {name}"] = scores[chosen].mean()
    return {name: float(value) for name, value in found.items()}


def result(out: Path, kind: str, event: str, seed: int, epochs: int | None) -> dict[str, Any]:
    """The figures of one training, by what a line's score is; it is done where they are not there."""
    folder = out / f"{kind}-{event}-{seed}"
    path = folder / "result.json"
    if not path.exists():
        lines = list(generate(seed=seed, preset="plain"))
        if kind == "burst":
            start = int(SHARE * sum(not line.label for line in lines))
        else:
            start = sum(line.time < START + timedelta(days=DAYS) for line in lines)
        assert not any(line.label for line in lines[:start])
        log = write_lines(folder / "train.log", lines[:start])
        run = trained(folder, log, configuration(event, seed, epochs))
        measure = measure_burst if kind == "burst" else measure_days
        found = {score: measure(exported(run, folder / score, score=score), folder, lines, start) for score in SCORES}
        about = {"epochs": len(run.metrics["epochs"]), "seconds": run.metrics["seconds"]}
        path.write_bytes(msgspec.json.encode(about | found))
        say(f"{folder.name}: done")
    return msgspec.json.decode(path.read_bytes())


def simple(out: Path, seed: int) -> dict[str, Any]:
    """The simple detectors on the log of a seed, at the quantile of the bundle."""
    folder = out / f"burst-scaled-{seed}"
    path = folder / "baselines.json"
    if not path.exists():
        lines = list(generate(seed=seed, preset="plain"))
        log = write_lines(folder / "whole.log", lines)
        labels = folder / "labels"
        labels.write_text("".join(f"{line.label}\n" for line in lines))
        start = int(SHARE * sum(not line.label for line in lines)) / len(lines)
        request = Request(folder / "last", [log], labels, start=repr(start), baselines=True)
        path.write_bytes(msgspec.json.encode(evaluate(request)["baselines"]))
    return msgspec.json.decode(path.read_bytes())


def print_results(found: dict[str, list[dict[str, Any]]], score: str) -> None:
    """Two tables of one kind of score: the acceptance, and what the ratio depends on."""
    rows, ratios = [], []
    for event, results in found.items():
        for index, one in enumerate(results):
            rows.append([event, str(index), f"{one['epochs']:.0f}", *_cells([one[score]])])
        rows.append([f"**{event}**", f"mean of {len(results)}", "", *_cells([one[score] for one in results])])
        ratios.append([event, *_ratios([one[score] for one in results])])
    head = ["event", "seed", "epochs", "recall", "false positives", "signal to noise", "echo"]
    head += ["recall, limit of the loss", "false positives, limit of the loss"]
    print_table(f"Score: {score}", head, rows)
    head = ["event", *(f"{what}, ids {ids}" for ids in ("E900 to E999", *NEARER) for what in ("ratio", "recall"))]
    print_table(f"Ids nearer to those of training, score: {score}", head, ratios)


def _cells(results: list[dict[str, float]]) -> list[str]:
    """Means over seeds; the range of all but percentages is in the rows above them."""
    keys = ("recall", "false", "ratio", "echo", "recall of the loss", "false of the loss")
    forms = (".2%", ".2%", ",.1f", ".1%", ".2%", ".2%")
    return [format(statistics.mean(one[key] for one in results), form) for key, form in zip(keys, forms, strict=True)]


def _ratios(results: list[dict[str, float]]) -> list[str]:
    names = [("ratio", "recall"), *((f"ratio {ids}", f"recall {ids}") for ids in NEARER)]
    return [spread([one[key] for one in results], ",.2f" if "ratio" in key else ".1%") for two in names for key in two]


def print_days(found: dict[str, list[dict[str, Any]]]) -> None:
    """The table of a training that saw the first days of a month alone."""
    rows = []
    for event, results in found.items():
        for score in SCORES:
            ones = [one[score] for one in results]
            keys = ("recall", "false seen", "false unseen")
            shares = [spread([one[key] for one in ones], ".2%") for key in keys]
            errors = spread([one["error unseen"] / one["error seen"] for one in ones], ".2f")
            rows.append([event, score, str(len(results)), *shares, errors])
    head = [
        "event",
        "score",
        "seeds",
        "recall",
        "false positives, days seen",
        "days not seen",
        "mean error, not seen / seen",
    ]
    print_table(f"Trained on {DAYS} days", head, rows)


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("plain-benchmark"), metavar="FOLDER")
    parser.add_argument("--seeds", default="0,1,2,3,4", help="of the log and the training")
    parser.add_argument("--other-seeds", default="0,1", help="of embedded events, and of trainings on 20 days")
    parser.add_argument("--epochs", type=int, help="at most so many; by default as the family says (100)")
    parser.add_argument("--quick", action="store_true", help="the first seed, three epochs: that it runs, no figures")
    return parser.parse_args()


def main() -> None:
    """Trains and measures what is missing, prints the tables."""
    asked = options()
    torch.set_num_threads(1)
    seeds, others = ([int(seed) for seed in text.split(",")] for text in (asked.seeds, asked.other_seeds))
    out, epochs = asked.out, asked.epochs
    if asked.quick:
        seeds, others, out, epochs = seeds[:1], others[:1], out / "quick", 3
    burst = {"scaled": [result(out, "burst", "scaled", seed, epochs) for seed in seeds]}
    baselines = [simple(out, seed) for seed in seeds]
    days = {"scaled": [result(out, "days", "scaled", seed, epochs) for seed in others]}
    burst["embedding"] = [result(out, "burst", "embedding", seed, epochs) for seed in others]
    days["embedding"] = [result(out, "days", "embedding", seed, epochs) for seed in others]
    for score in SCORES:
        print_results(burst, score)
    keys = ("recall", "false_positive_rate")
    rows = [[name, *(spread([one[name][key] for one in baselines], ".2%") for key in keys)] for name in baselines[0]]
    print_table("Simple detectors", ["detector", "recall", "false positives"], rows)
    print_days(days)


if __name__ == "__main__":
    main()
