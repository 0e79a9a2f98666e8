"""An evaluation as a table for people."""

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

# By the name of the metric: the title of its column and the digits shown.
_COLUMNS = {
    "auc": ("AUC", 4),
    "average_precision": ("AP", 4),
    "f1": ("F1", 4),
    "precision": ("precision", 4),
    "recall": ("recall", 4),
    "false_positive_rate": ("FPR", 5),
    "alerts_per_day": ("alerts/day", 1),
    "best_f1_with_test_labels": ("best F1*", 4),
}


def print_report(report: dict[str, Any], console: Console) -> None:
    """What `evaluate` gave: a table, the model first, and below it what was measured."""
    model = report["model"]
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("", overflow="fold", min_width=12)
    for title, _ in _COLUMNS.values():
        table.add_column(title, justify="right", no_wrap=True)
    for name, values in {model["name"]: model, **report["baselines"]}.items():
        table.add_row(name, *(_number(values[key], digits) for key, (_, digits) in _COLUMNS.items()))
    console.print(table)
    console.print("* at the threshold that is best for the test labels: it needed them", highlight=False)
    for sentence in (*_about_data(report["data"]), *_about_scores(model, report["data"])):
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _about_data(data: dict[str, Any]) -> Iterator[str]:
    scope = data["scope"]
    sessions = "" if data["sessions"] is None else f" of {data['sessions']:,} sessions"
    left_out = f"; {data['left_out']:,} {scope}s left out by their labels" if data["left_out"] else ""
    judged = f"{data['judged']:,} {scope}s judged, {data['anomalies']:,} anomalous"
    yield f"{data['lines']:,} lines{sessions}; {judged}{left_out}"
    yield _span(data)
    if data["anomalies"] in (0, data["judged"]):
        yield f"all are {'anomalous' if data['anomalies'] else 'normal'}: AUC, AP and best F1 are not defined"
    if data["cut_lines"]:
        yield f"{data['cut_lines']:,} lines of the logs are longer than the agent reads and were cut"
    yield from data["remarks"]


def _span(data: dict[str, Any]) -> str:
    if data["span"] is None:
        return "no line shows a time: no alerts a day"
    span = " to ".join(data["span"])
    return span if data["days"] is not None else f"{span}, under an hour: no alerts a day"


def _about_scores(model: dict[str, Any], data: dict[str, Any]) -> Iterator[str]:
    rule = ", ".join(f"{key} {value}" for key, value in model["rule"].items())
    yield f"model's threshold: {model['threshold']:.6g}, from training data alone ({rule})"
    if "training_items" in data:
        yield (
            f"baselines: fitted on the {data['training_items']:,} normal {data['scope']}s before --from, "
            "their thresholds set on the last fifth of those"
        )
    if model["unscored"]:
        yield (
            f"{model['unscored']:,} {data['scope']}s are too short, or come too early, for a score of the model: "
            "they count as the least odd"
        )
