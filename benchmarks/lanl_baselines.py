"""The simple detectors beside the language models on LANL, and what the test's lines have that training never had."""

from collections import Counter
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Row = tuple[str, ...]
FIELDS = ["source_user", "destination_user", "source", "destination", "auth", "logon", "orientation", "success"]
CUT = 40  # how often a word must occur in training, as published
CUTS = (2, 10, CUT)


def looks(row: Row) -> dict[str, list[Row]]:
    """What the simple detectors look at in a line: its values, its pairs, its triple, each with its place."""
    user, source, destination = row[1], row[3], row[4]
    values = [(name, value) for name, value in zip(FIELDS, row[1:], strict=True)]
    pairs = [("us", user, source), ("ud", user, destination), ("sd", source, destination)]
    names = ("user, source", "user, destination", "source, destination")
    single = {f"pair ({name})": [pair] for name, pair in zip(names, pairs, strict=True)}
    return {"value": values} | single | {"pair": pairs, "triple (user, source, destination)": [row[1:2] + row[3:5]]}


def baselines(used: list[Row], test: list[Row]) -> dict[str, NDArray[np.float64]]:
    """Scores of the test lines by what training never had of them, and by how rare there what they have is.

    unseen  how many of a line's values, pairs, triple are in no line that the models train on
    rare    the sum of -log((count + 1) / (lines + 1)) of each
    """
    trained = [looks(row) for row in used]
    looked = [looks(row) for row in test]
    scores: dict[str, NDArray[np.float64]] = {}
    for name in trained[0]:
        seen = Counter(key for one in trained for key in one[name])
        lines = [one[name] for one in looked]
        scores[f"unseen {name}"] = np.array([sum(key not in seen for key in line) for line in lines], float)
        if "pair (" not in name:
            scores[f"rare {name}"] = rarity(seen, lines, len(trained))
        if name == "value":
            scores |= {f"rare value, cut at {cut}": cut_rarity(seen, lines, len(trained), cut) for cut in CUTS}
    scores["rare value and rare pair, summed"] = scores["rare value"] + scores["rare pair"]
    return scores


def cut_rarity(seen: Counter[Row], lines: list[list[Row]], total: int, cut: int) -> NDArray[np.float64]:
    """float64 [lines]: `rarity` where the values of a field that occur less often than `cut` count as one."""
    kept: Counter[Row] = Counter()
    for key, count in seen.items():
        kept[key if count >= cut else (key[0], "")] += count
    return rarity(kept, [[key if key in kept else (key[0], "") for key in line] for line in lines], total)


def rarity(seen: Counter[Row], lines: list[list[Row]], total: int) -> NDArray[np.float64]:
    """float64 [lines]: the sums of the negative logarithms of smoothed frequencies."""
    return np.array([-sum(np.log((seen[key] + 1) / (total + 1)) for key in line) for line in lines])


def print_facts(used: list[Row], test: list[Row], labels: NDArray[np.int8]) -> None:
    """What the test is made of, and how much of it training never had."""
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
