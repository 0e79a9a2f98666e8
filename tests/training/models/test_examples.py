"""Every configuration under examples/ is trained for a few steps on made-up lines of its form."""

import random
from pathlib import Path

import pytest
import yaml
from helpers.made_up import made_up_lines

from training.fitting.job import Job, run_job
from training.fitting.run_folder import load_run

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))
PUBLISHED = {  # of each table its models
    f"lanl-{model}-{tokens}"
    for tokens in ("word", "char")
    for model in (
        *("em", "bem", "attention-fixed", "attention-syntax", "attention-semantic1", "attention-semantic2"),
        *("t-em", "t-bem", "ta-em", "ta-bem", "transformer"),
    )
}


def lanl_rows(count):
    """Authentications in the columns of the LANL set, all values made up."""
    draw, rows = random.Random(0), []
    for second in range(count):
        user, computer, kind = draw.randrange(40), draw.randrange(9), draw.choice(["Kerberos", "NTLM", "?"])
        who = f"X{user}@REALM1"
        rows.append(f"{second},{who},{who},M{computer},M{draw.randrange(9)},{kind},Network,LogOn,Success\n".encode())
    return rows


def test_each_published_model_has_its_example():
    assert {path.stem for path in EXAMPLES} >= PUBLISHED


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_says_its_source_and_trains(path, tmp_path):
    name, figures, *_ = path.read_text().splitlines()
    assert name.startswith("# ") and any(source in name for source in ("arXiv:", "et al.", "the document of"))
    assert figures.startswith("# Published") or "Nothing was published" in name
    lines = lanl_rows(700) if path.stem.startswith("lanl-") else made_up_lines(300)
    (tmp_path / "log").write_bytes(b"".join(lines))
    few = ("model.epochs=1", "model.steps_per_epoch=2", "tokenizer.max_vocabulary=300")
    run_job(Job([tmp_path / "log"], tmp_path / "run", path, few, {}, None, None, None, "cpu", 1, False))
    run = load_run(tmp_path / "run")
    content = yaml.safe_load(path.read_text())
    assert getattr(run.config.model, "tier", "none") == content["model"].get("tier", "none")
    assert len(run.metrics["epochs"]) == 1 and run.metrics["epochs"][0]["validation"] < 12
