"""The agent with bundles of language models: streams over restarts, explanations, bad rows, damaged manifests."""

import json
import os
import shutil
import signal

import numpy as np
import pytest
from helpers.made_up import auth_rows, made_up_lines
from helpers.processes import refusal, run_agent, start_agent
from helpers.waiting import alerts_of, rows_of, until

from agent.bundle.bundle import Bundle, file_sha256
from agent.errors import BundleError
from agent.scoring.engine import ScoringEngine
from agent.text.lines import LineSplitter

ODD_ROWS = {50: b"50,u3@corp,X99,S9,Telnet,Success\n", 130: b"130,evil@other,P3,S1,NTLM,Fail\n"}
ROWS = [ODD_ROWS.get(second, row) for second, row in enumerate(auth_rows(200, seed=5))]


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "auth.csv"
    path.write_bytes(b"".join(ROWS))
    return path


def test_a_tiered_model_alerts_over_restarts_as_if_it_never_stopped(tiered_bundle, log, tmp_path):
    scored = [json.loads(line) for line in run_agent("score", log, "--bundle", tiered_bundle).stdout.splitlines()]
    assert {51, 131} <= {row["line"] for row in scored if row["anomaly"]}
    assert {row["stream"] for row in scored} >= {"u3@corp", "evil@other"}
    whole = tmp_path / "whole"
    command = ("tail", log, "--from", "start", "-b", tiered_bundle)
    run_agent(*command, "--once", "--state", tmp_path / "one", "--sink", f"jsonl:{whole}")
    assert {row["line"] for row in rows_of(whole)} >= {51, 131}
    parts, options = tmp_path / "parts", ["--state", tmp_path / "two", "--scores", tmp_path / "scores"]
    log.write_bytes(b"".join(ROWS[:37]))
    run_agent(*command, *options, "--once", "--sink", f"jsonl:{parts}")
    with start_agent(*command, *options, "--sink", f"jsonl:{parts}") as process:
        with log.open("ab") as file:
            file.write(b"".join(ROWS[37:90]))
        until(lambda: len(rows_of(tmp_path / "scores")) == 90 and {row["line"] for row in rows_of(parts)} >= {51})
        process.send_signal(signal.SIGKILL)
    with log.open("ab") as file:
        file.write(b"".join(ROWS[90:]))
    run_agent(*command, *options, "--once", "--sink", f"jsonl:{parts}")
    assert rows_of(tmp_path / "scores") == scored
    assert {row["id"]: row for row in alerts_of(parts)} == {row["id"]: row for row in alerts_of(whole)}


def test_another_bundle_does_not_take_over_what_a_stream_carried(tiered_bundle, log, tmp_path):
    options = ("--once", "--state", tmp_path / "s", "--sink", "jsonl:-")
    run_agent("tail", log, "--from", "start", "-b", tiered_bundle, *options)
    other = shutil.copytree(tiered_bundle, tmp_path / "other")
    change_manifest(other, lambda manifest: manifest.update(name="renamed"))
    fresh = tmp_path / "fresh.csv"
    fresh.write_bytes(b"".join(ROWS[:20]))
    with log.open("ab") as file:
        file.write(fresh.read_bytes())
    assert run_agent("tail", log, "-b", other, *options, "--scores", tmp_path / "scores").returncode == 0
    wanted = [json.loads(line)["score"] for line in run_agent("score", fresh, "-b", other).stdout.splitlines()]
    assert [row["score"] for row in rows_of(tmp_path / "scores")] == wanted


def test_score_explains_each_field_of_a_row(tiered_bundle, log):
    rows = [json.loads(line) for line in run_agent("score", log, "-b", tiered_bundle, "--explain").stdout.splitlines()]
    reason = rows[50]["reason"]
    fields = ["user", "domain", "source", "target", "kind", "result"]
    assert [token.get("field") for token in reason["tokens"]] == [*fields, None] and reason["tokens"][-1]["end"]
    assert [token["text"] for token in reason["tokens"][:-1]] == ["u3", "corp", "X99", "S9", "Telnet", "Success"]
    bits = {token.get("field"): token["bits"] for token in reason["tokens"]}
    assert min(bits["source"], bits["kind"]) > max(bits["domain"], bits["result"])
    assert reason["words"][0]["field"] in ("source", "target", "kind") and reason["new_text"]
    assert reason["bits"] == pytest.approx(sum(token["bits"] for token in reason["tokens"]), abs=0.01)
    for token in reason["tokens"]:
        assert len(token["expected"]) == 3
        assert 1 >= token["expected"][0]["p"] >= token["expected"][1]["p"] >= token["expected"][2]["p"] >= 0
        assert token["text"] not in [other["text"] for other in token["expected"]] or token["text"] == ""


def test_the_explanation_is_of_the_state_before_the_line(tiered_bundle):
    """The tokens' mean is the score before it was made relative, whatever lines came after in the block."""
    engine, alone = ScoringEngine(Bundle.load(tiered_bundle)), ScoringEngine(Bundle.load(tiered_bundle))
    scored = engine.score(LineSplitter("log").feed(b"".join(ROWS)))
    splitter = LineSplitter("log")
    *_, last = [alone.score(splitter.feed(row)) for row in ROWS[:51]]
    reason = engine.reason(scored, 50)
    assert reason == alone.reason(last, 0)
    nats = [token.bits * np.log(2) for token in reason.tokens]
    assert reason.relative == "mean" and reason.raw == pytest.approx(np.mean(nats), abs=1e-3)
    assert reason.surprise < reason.raw  # by what is usual of the user


@pytest.mark.parametrize(("before", "after"), [("bundle", "tiered_bundle"), ("tiered_bundle", "timed_bundle")])
def test_a_kept_state_serves_a_bundle_with_windows_of_another_size(request, tmp_path, before, after):
    log = tmp_path / "log"
    log.write_bytes(b"".join(made_up_lines(20)))
    options = ("--once", "--state", tmp_path / "s", "--sink", "jsonl:-", "--from", "start")
    run_agent("tail", log, "-b", request.getfixturevalue(before), *options)
    with log.open("ab") as file:
        file.write(b"".join(made_up_lines(10, seed=2)))
    scores = tmp_path / "scores"
    done = run_agent("tail", log, "-b", request.getfixturevalue(after), *options, "--scores", scores)
    assert done.returncode == 0 and [row["line"] for row in rows_of(scores)] == list(range(21, 31))


def test_another_header_does_not_go_with_a_bundle_of_records(tiered_bundle, log):
    code, line = refusal("score", log, "-b", tiered_bundle, "--header", "rfc3164")
    assert code == 2 and "reads delimited records; leave the header out" in line


def test_a_program_never_seen_is_told_by_its_word(char_bundle, tmp_path):
    log = tmp_path / "syslog"
    log.write_bytes(b"".join(made_up_lines(30, seed=2)))
    with start_agent(
        "tail",
        log,
        "-b",
        char_bundle,
        "--sink",
        f"jsonl:{tmp_path}/alerts",
        "--scores",
        tmp_path / "s",
        "--from",
        "start",
    ) as process:
        until(lambda: len(rows_of(tmp_path / "s")) == 30)
        with log.open("ab") as file:
            file.write(b"Mar  9 09:00:00 web1 zyxqminer[9]: hashing\n")
        until(lambda: rows_of(tmp_path / "alerts"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(80) == 0
    (alert,) = rows_of(tmp_path / "alerts")
    assert (alert["line"], alert["program"]) == (31, "zyxqminer")
    words = {word["text"]: word["bits"] for word in alert["reason"]["words"]}
    assert words["zyxqminer"] > 15 and max(words, key=words.get) == "zyxqminer"
    assert "".join(token["text"] for token in alert["reason"]["tokens"]) == "zyxqminer: hashing"
    assert len(alert["context"]) == 9


def test_rows_of_another_width_long_lines_and_empty_ones_are_scored_and_told(tiered_bundle, char_bundle, tmp_path):
    log = tmp_path / "auth.csv"
    log.write_bytes(ROWS[0] + b"1,u1@corp,P1\n" + b"\n" + ROWS[1].rstrip() + b",more,and,more\n")
    done = run_agent("score", log, "-b", tiered_bundle)
    assert done.returncode == 0 and all(json.loads(line)["score"] is not None for line in done.stdout.splitlines())
    said = done.stderr.decode()
    assert "2 rows have fewer fields than the 6 declared" in said and "1 row has more fields" in said
    log.write_bytes(b"x" * 81 + b"\n" + b"x" * 80 + b"\n\n")
    done = run_agent("score", log, "-b", char_bundle)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 3
    assert "1 line has more tokens than the model reads (80)" in done.stderr.decode()
    tailed = run_agent("tail", log, "--once", "--from", "start", "-b", char_bundle, "--sink", "jsonl:-")
    assert "1 line" in tailed.stderr.decode() and "(80)" in tailed.stderr.decode()


def change_manifest(folder, change):
    manifest = json.loads((folder / "manifest.json").read_bytes())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda m: m["settings"].update(reduce="median"), "'reduce' must be one of mean, max, sum"),
        (lambda m: m["settings"].clear(), "'reduce' must be one of"),
        (lambda m: m["window"].update(size=2), "window.size: 2 does not go with the scorer surprise"),
        (lambda m: m["state"].clear(), "the graph model takes"),
        (lambda m: m["state"][0].update(name="moon"), "the graph model takes"),
        (lambda m: (m.update(scorer="vectors"), m["window"].update(size=2)), "carries no state"),
        (lambda m: m["relative"].update(kind="mode"), "relative.kind: 'mode' is unknown"),
        (lambda m: m["relative"].update(spread=-1.0), "a spread of -1.0"),
        (lambda m: m["graphs"].clear(), "the manifest lacks the graph 'model'"),
        (lambda m: m["window"].update(end=True), "relative scores do not go with window.end"),
        (lambda m: m["header"]["columns"].append("more"), "of other records than the manifest's header"),
    ],
)
def test_a_manifest_that_no_language_model_can_have_is_refused(tiered_bundle, tmp_path, change, named):
    folder = shutil.copytree(tiered_bundle, tmp_path / "bundle")
    change_manifest(folder, change)
    with pytest.raises(BundleError) as refused:
        ScoringEngine(Bundle.load(folder))
    assert named in str(refused.value) and "\n" not in str(refused.value)


def test_a_bundle_of_byte_pairs_needs_its_extra(char_bundle, tmp_path):
    folder = shutil.copytree(char_bundle, tmp_path / "bundle")
    (folder / "tokenizer.json").write_text('{"kind": "bpe", "max_tokens": 9, "library": {}}')
    change_manifest(folder, lambda m: m["files"].update({"tokenizer.json": file_sha256(folder / "tokenizer.json")}))
    blocked = tmp_path / "blocked" / "tokenizers"
    blocked.mkdir(parents=True)
    (blocked / "__init__.py").write_text("raise ModuleNotFoundError('none here', name='tokenizers')\n")
    path = os.pathsep.join(filter(None, [str(blocked.parent), os.environ.get("PYTHONPATH", "")]))
    code, line = refusal("check", folder, env={"PYTHONPATH": path})
    assert code == 3 and "pip install 'oddline[bpe]'" in line


def test_inspect_and_check_know_the_language_models(tiered_bundle):
    shown = run_agent("inspect", tiered_bundle)
    assert shown.returncode == 0 and b"language-model, scored by surprise" in shown.stdout
    assert b"hidden[6], cell[6]" in shown.stdout and b"kind mean" in shown.stdout
    checked = json.loads(run_agent("check", tiered_bundle, "--json").stdout)
    assert checked["parity"].keys() == {"model"} and np.isfinite(checked["parity"]["model"])
