"""The tables of the LANL benchmark, laid out as those of Brown et al. 2018."""

import statistics
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.evaluation.metrics import measure

GROUPS = {"Fixed": "EM with attention", "T-EM": "Tiered LSTM variants", "Transformer": "Transformer decoder"}
# mean AUC of word and of char models on the real red-team lines, Brown et al. 2018
PUBLISHED = {
    "EM": (0.968, 0.965),
    "BEM": (0.976, 0.985),
    "Fixed": (0.974, 0.963),
    "Syntax": (0.972, 0.967),
    "Semantic1": (0.975, 0.975),
    "Semantic2": (0.973, 0.972),
    "T-EM": (0.984, 0.977),
    "T-BEM": (0.987, 0.992),
    "TA-EM": (0.985, 0.982),
    "TA-BEM": (0.988, 0.991),
}


def ranking(scores: NDArray[np.floating], labels: NDArray[np.int8]) -> dict[str, Any]:
    """AUC and average precision."""
    found = measure(scores, np.zeros(len(scores), bool), labels, 0, None)
    return {"auc": found.auc, "average_precision": found.average_precision}


def print_table(title: str, found: dict[str, list[float]], published: dict[str, float]) -> None:
    """Mean, maximum, minimum and sample standard deviation over the seeds of each model."""
    print(f"\n{title}\n\n| Model | Mean | Max | Min | Std. Dev. | seeds | published mean |\n|{' --- |' * 7}")
    for model, values in found.items():
        if model in GROUPS:
            print(f"| *{GROUPS[model]}* | | | | | | |")
        if values:
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
    """What the trainings came to: means over seeds, losses in nats a token."""
    print("\n| Model | validation loss | of frequencies alone | seconds | best epoch, of |")
    print("| --- | --- | --- | --- | --- |")
    for model, results in found.items():
        loss, frequency, seconds = (
            statistics.mean(one[name] for one in results) for name in ("validation", "frequency", "seconds")
        )
        best = " ".join(f"{one['epoch']}/{one['epochs']}" for one in results)
        print(f"| {model} | {loss:.3f} | {frequency:.3f} | {seconds:.0f} | {best} |")


def print_results(setting: str, tokens: str, found: dict[str, list[dict[str, Any]]]) -> None:
    """The tables of one setting and one kind of token."""
    what = f"{tokens} tokens, {setting} settings"
    column = ("word", "char").index(tokens)
    beside = {model: both[column] for model, both in PUBLISHED.items()}
    relative = {
        model: [one["relative"] for one in results] for model, results in found.items() if "relative" in results[0]
    }
    for key, name in (("auc", "AUC"), ("average_precision", "average precision")):
        whole = {model: [one[key] for one in results] for model, results in found.items()}
        print_table(f"{name}, {what}", whole, beside if key == "auc" else {})
        if relative:
            less = {model: [one[key] for one in results] for model, results in relative.items()}
            print_table(f"{name} relative to the user's mean, {what}", less, {})
    print_training(found)


def print_speeds(found: dict[str, list[float]]) -> None:
    """Lines a second, and their ratio to the fastest model's of the same column."""
    print("\n| Model | lines/s | of the fastest | without caches | of the fastest |\n| --- | --- | --- | --- | --- |")
    if not found:
        return
    fastest = [max(column) for column in zip(*found.values(), strict=True)]
    for name, (_, cached, bare) in found.items():
        print(f"| {name} | {cached:,.0f} | {cached / fastest[1]:.2f} | {bare:,.0f} | {bare / fastest[2]:.2f} |")
    print(f"\nReading alone: {statistics.median(one[0] for one in found.values()):,.0f} lines/s.")
