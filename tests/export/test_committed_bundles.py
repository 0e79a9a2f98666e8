"""The bundles of tests/bundles are what their recipes make."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from helpers.made_up import auth_rows, made_up_lines
from helpers.recipes import BUNDLES, COMMITTED
from numpy.typing import NDArray

from agent.bundle.bundle import Bundle
from agent.bundle.manifest import Manifest, read_manifest
from agent.scoring.engine import ScoringEngine
from agent.text.lines import LineSplitter

LINES = {"tiered": auth_rows(200, seed=1)}
OPEN = {"created", "producer", "training", "metrics", "scale"}  # what differs with the day, the machine, the versions


def described(manifest: Manifest) -> dict[str, object]:
    told = {key: value for key, value in msgspec.to_builtins(manifest).items() if key not in OPEN}
    return told | {"files": sorted(told["files"])}


def scores(folder: Path, lines: list[bytes]) -> NDArray[np.float64]:
    block = LineSplitter("log").feed(b"".join(lines))
    found = np.asarray(ScoringEngine(Bundle.load(folder)).score(block).scores, float)
    return found[~np.isnan(found)]


@pytest.mark.parametrize("name", COMMITTED)
def test_a_recipe_makes_a_bundle_that_scores_as_the_committed_one(name: str, trained: Callable[[str], Path]) -> None:
    made, kept = trained(name), BUNDLES / name
    assert described(read_manifest(made)) == described(read_manifest(kept))
    lines = LINES.get(name) or made_up_lines(200, seed=1, odd=(40, 90, 150))
    one, other = scores(made, lines), scores(kept, lines)
    assert np.corrcoef(one, other)[0, 1] > 0.9
