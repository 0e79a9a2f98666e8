"""Models and baselines against labels: what is measured, on what, and what is refused."""

import gzip
import io
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.requirements import require_module
from rich.console import Console
from typer.testing import CliRunner

from agent.bundle.manifest import Scale, Threshold, Window
from agent.errors import BundleError, ConfigError, SourceError
from agent.text.canonical import Normalizer
from agent.text.tokenizers.word import WordTokenizer
from training.cli import app
from training.evaluation.evaluate import Request, evaluate
from training.evaluation.metrics import measure
from training.evaluation.model import Subject
from training.evaluation.table import print_report

FLAT = Scale(100, 0.0, 1.0, [0.0, 1.0], [0.0, 1.0])


def metrics(scores, labels, threshold=0.5, days=None):
    scores, labels = np.array(scores, float), np.array(labels, np.int8)
    return measure(scores, scores > threshold, labels, threshold, days)


def test_metrics_of_a_small_case():
    found = metrics([0.9, 0.8, 0.3, 0.1, 0.6], [1, 0, 1, 0, 0], days=0.5)
    assert found.auc == pytest.approx(4 / 6)  # of 2 x 3 pairs
    assert found.average_precision == pytest.approx((1 / 1 + 2 / 4) / 2)
    assert (found.precision, found.recall, found.false_positive_rate) == pytest.approx((1 / 3, 1 / 2, 2 / 3))
    assert found.f1 == pytest.approx(2 / 5)
    assert found.best_f1_with_test_labels == pytest.approx(2 / 3)
    assert (found.alerts, found.alerts_per_day, found.threshold, found.unscored) == (3, 6, 0.5, 0)


def test_a_score_at_the_threshold_is_no_alert():
    assert metrics([0.5, 0.1], [1, 0]).alerts == 0


def test_equal_scores_are_ties():
    assert metrics([1, 1, 1, 1], [1, 0, 0, 1]).auc == 0.5


def test_left_out_items_count_as_alerts_alone():
    found = metrics([0.9, 0.8, 0.7, 0.1], [1, -1, 0, 0], days=1.0)
    assert (found.auc, found.f1, found.precision, found.false_positive_rate) == (1, pytest.approx(2 / 3), 0.5, 0.5)
    assert (found.alerts, found.alerts_per_day) == (3, 3)


def test_items_without_a_score_are_the_least_odd():
    found = metrics([math.nan, 0.0, -5.0, 0.9], [1, 0, 0, 1])
    assert found.unscored == 1
    assert found.auc == pytest.approx(2 / 4)
    assert (found.recall, found.precision) == (0.5, 1)


@pytest.mark.parametrize("label", [0, 1])
def test_what_one_class_leaves_undefined_is_none(label):
    found = metrics([0.1, 0.9], [label, label])
    assert (found.auc, found.average_precision, found.best_f1_with_test_labels) == (None, None, None)
    assert found.recall == (0.5 if label else None)
    assert found.f1 == (pytest.approx(2 / 3) if label else None)
    assert found.false_positive_rate == (None if label else 0.5)


def test_precision_needs_an_alert():
    assert metrics([0.1, 0.2], [0, 1]).precision is None
    assert metrics([0.1, 0.2], [0, 1]).f1 == 0


def subject(**changes):
    """A model whose score of a window is a tenth of the number that ends its last text, 0.9 where no line is."""
    normalizer = Normalizer(changes.get("header", "none"), [])

    def score(windows, features):
        texts = [normalizer.texts[text_id] for text_id in windows[:, -1].tolist()]
        seen.extend(windows.tolist())
        return np.array([len(text.split()) / 10 if text else 0.9 for text in texts], np.float32)

    seen = []
    values = {
        "name": "words",
        "header": "none",
        "masks": [],
        "stream": None,
        "window": Window(2, pad=True, end=False),
        "features": None,
        "threshold": Threshold("fixed", value=0.25),
        "scale": FLAT,
        "tokenizer": WordTokenizer(["<pad>", "<unk>", "<s>", "</s>"], 64),
        "normalizer": normalizer,
        "score": score,
    }
    return SimpleNamespace(model=Subject(**values | changes), seen=seen)


@pytest.fixture
def judge(tmp_path, monkeypatch):
    """Evaluates a made-up model on lines with labels."""

    def run(lines, labels, request=None, **changes):
        (tmp_path / "log").write_text("".join(f"{line}\n" for line in lines))
        (tmp_path / "labels").write_text("".join(f"{label}\n" for label in labels))
        made = subject(**changes)
        run.seen = made.seen
        monkeypatch.setattr("training.evaluation.evaluate.open_subject", lambda path: made.model)
        return evaluate(Request(tmp_path / "model", [tmp_path / "log"], tmp_path / "labels", **request or {}))

    return run


ODD, EVEN = "one two three", "one"  # 0.3 and 0.1


def test_lines_are_judged_at_the_threshold_of_the_model(judge):
    report = judge([EVEN, ODD, EVEN, ODD], [0, 1, 0, 0])
    model, data = report["model"], report["data"]
    assert (model["precision"], model["recall"], model["threshold"]) == (0.5, 1, 0.25)
    assert model["rule"] == {"kind": "fixed", "value": 0.25}
    assert (data["scope"], data["lines"], data["sessions"], data["judged"], data["anomalies"]) == (
        "line",
        4,
        None,
        4,
        1,
    )
    assert report["baselines"] == {}


def test_left_out_lines_stay_in_the_windows(judge):
    report = judge(["a", "b", "c"], [0, "-", 1])
    assert (report["data"]["judged"], report["data"]["left_out"]) == (2, 1)
    ids = {text: number for number, text in enumerate(["", "a", "b", "c"])}
    assert [ids["b"], ids["c"]] in judge.seen


def test_windows_reach_back_over_from(judge):
    judge(["a", "b", "c", "d"], [0, 0, 0, 1], {"start": "0.5"})
    assert judge.seen == [[2, 3], [3, 4]]


def test_lines_before_the_first_whole_window_are_told(judge):
    report = judge([ODD, EVEN, ODD], [1, 0, 1], window=Window(2))
    assert report["model"]["unscored"] == 1
    assert report["model"]["recall"] == 0.5


SESSIONS = ["s1 x", "s2 x", "s1 y z", "s2 y", "s3 x"]


def test_a_session_has_the_largest_score_of_its_lines(judge):
    request = {"scope": "session", "stream": r"s\d"}
    report = judge(SESSIONS, ["stream,label,note", "s1,1,a", "s2,0,b", "s3,0,c"], request)
    model, data = report["model"], report["data"]
    assert (data["sessions"], data["judged"], data["anomalies"], data["lines"]) == (3, 3, 1, 5)
    assert (model["auc"], model["f1"], model["alerts"]) == (1, 1, 1)


def test_a_session_is_anomalous_where_a_line_is_and_left_out_where_one_is(judge):
    report = judge(SESSIONS, [0, "-", 1, 0, 0], {"scope": "session", "stream": r"s\d"})
    assert (report["data"]["anomalies"], report["data"]["left_out"], report["data"]["judged"]) == (1, 1, 2)
    report = judge(SESSIONS, ["-", 0, 1, 0, 0], {"scope": "session", "stream": r"s\d"})
    assert (report["data"]["anomalies"], report["data"]["left_out"]) == (1, 0)


def test_the_end_of_a_session_counts_where_the_model_says_so(judge):
    labels = ["stream,label", "s1,1", "s2,0", "s3,0"]
    window = Window(2, pad=True, end=True)
    request = {"scope": "session", "stream": r"s\d"}
    assert judge(SESSIONS, labels, request, window=window)["model"]["alerts"] == 3
    assert judge(SESSIONS, labels, request | {"scope": "line"}, window=window)["model"]["alerts"] == 1


def test_from_and_until_select_sessions_by_their_first_lines(judge):
    labels = ["stream,label", "s1,1", "s2,0", "s3,1"]
    report = judge(SESSIONS, labels, {"scope": "session", "stream": r"s\d", "start": "0.3", "until": "0.9"})
    assert (report["data"]["sessions"], report["data"]["lines"], report["data"]["anomalies"]) == (2, 3, 1)


def test_a_moving_limit_moves_along_each_file(judge):
    rule = Threshold("sigma", k=2.0, window=3)
    quiet = ["a b c d e f g h i", "a b", "a b c", "a b", "a b c d e", "a b"]  # 0.9 is under 0 + 2 * 1
    report = judge(quiet, [0, 0, 0, 0, 1, 0], threshold=rule)
    assert (report["model"]["alerts"], report["model"]["recall"], report["model"]["threshold"]) == (1, 1, 2)


TIMED = ["2026-03-01T00:00:00Z h p: x y z", "2026-03-01T12:00:00Z h p: x", "2026-03-02T00:00:00Z h p: x"]


def test_alerts_a_day_need_an_hour_of_times(judge):
    report = judge(TIMED, [1, 0, 0], header="iso8601", threshold=Threshold("fixed", value=0.35))
    assert (report["data"]["days"], report["model"]["alerts_per_day"]) == (1, 1)
    assert report["data"]["span"] == ["2026-03-01T00:00:00+00:00", "2026-03-02T00:00:00+00:00"]
    soon = [f"2026-03-01T00:{minute}:00Z h p: x" for minute in (10, 20, 30)]
    report = judge(soon, [1, 0, 0], header="iso8601")
    assert report["data"]["span"] == ["2026-03-01T00:10:00+00:00", "2026-03-01T00:30:00+00:00"]
    assert (report["data"]["days"], report["model"]["alerts_per_day"]) == (None, None)
    assert judge([EVEN, ODD], [0, 1])["data"]["span"] is None


def test_iso_bounds_select_lines_by_their_times(judge):
    report = judge(TIMED, [1, 0, 1], {"start": "2026-03-01T06:00"}, header="iso8601")
    assert (report["data"]["lines"], report["data"]["anomalies"]) == (2, 1)


def test_baselines_learn_from_the_normal_lines_before_from(judge):
    before = ["login ok", "work", "logout"] * 10 + ["never normal"]
    after = ["login ok", "work", "never normal", "work", "logout"]
    labels = [0] * 30 + [1] + [0, 0, 1, 0, 0]
    report = judge(before + after, labels, {"start": str(31 / 36 - 1e-9), "baselines": True})
    assert report["data"]["training_items"] == 30
    assert list(report["baselines"]) == ["new event", "length", "count vector", "2-gram"]
    new = report["baselines"]["new event"]
    assert (new["auc"], new["f1"], new["threshold"], new["alerts"]) == (1, 1, 0, 1)


def test_baselines_set_their_thresholds_on_the_last_fifth_and_then_learn_it_too(judge):
    before = ["work"] * 9 + ["first backup"]
    request = {"start": "0.799", "baselines": True}
    lines, labels = [*before * 2, "first backup", "intruder", "work", "work", "work"], [0] * 21 + [1, 0, 0, 0]
    new = judge(lines, labels, request)["baselines"]["new event"]
    assert (new["threshold"], new["alerts"], new["f1"]) == (0, 1, 1)
    lines = [*["work"] * 18, "first backup", "work", *lines[20:]]
    new = judge(lines, labels, request)["baselines"]["new event"]
    assert new["threshold"] == pytest.approx(0.997)  # 0, 0, 0, 1 at the quantile 0.999
    assert (new["alerts"], new["f1"]) == (1, 1)
    half = judge(lines, labels, request, threshold=Threshold("quantile", q=0.5))["baselines"]["new event"]
    assert half["threshold"] == 0


def test_baselines_take_whole_sessions(judge):
    lines = [f"s{number} {word}" for number in range(12) for word in ("open", "read", "close")]
    lines += ["s12 open", "s12 close", "s13 open", "s13 read", "s13 close"]
    labels = ["stream,label", *(f"s{number},{int(number == 3)}" for number in range(12)), "s12,1", "s13,0"]
    request = {"scope": "session", "stream": r"s\d+", "start": str(12 / 14 - 1e-9), "baselines": True}
    normal_key = Normalizer("none", ["num"])
    made = judge(lines, labels, request, normalizer=normal_key, score=lambda windows, features: windows[:, -1] * 0.0)
    assert made["data"]["training_items"] == 11
    aucs = {name: each["auc"] for name, each in made["baselines"].items()}
    assert aucs == {"new event": 0.5, "length": 1, "count vector": 1, "2-gram": 1}
    assert made["baselines"]["2-gram"]["f1"] == 1


@pytest.mark.parametrize(
    ("request_", "labels", "words"),
    [
        ({"scope": "day"}, [0, 1], "choose line or session"),
        ({"scope": "session"}, [0, 1], "--stream"),
        ({"baselines": True}, [0, 1], "--from 0.5"),
        ({"baselines": True, "start": "0.5"}, [0, 1], "1 normal lines lie before --from 0.5"),
        ({"start": "1.5"}, [0, 1], "--from 1.5"),
        ({"start": "0.9", "until": "0.1"}, [0, 1], "no line of 2"),
        ({"start": "2026-03-01"}, [0, 1], "no line shows a time"),
        ({}, [0, 1, 0], "3 labels for 2 lines"),
        ({}, [0, "x"], "line 2 is 'x'"),
        ({}, ["-", "-"], "leave out all"),
        ({}, ["stream,label", "s1,0"], "--stream"),
        (
            {"scope": "session", "stream": r"\w+"},
            ["stream,label", "one,0"],
            "1 of 2 streams have no label, among them two",
        ),
        ({"stream": "("}, [0, 1], "no regular expression"),
    ],
)
def test_a_request_that_does_not_fit_is_told(judge, request_, labels, words):
    with pytest.raises(ConfigError) as raised:
        judge(["one", "two"], labels, request_)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def shown(report):
    console = Console(width=80, file=io.StringIO())
    print_report(report, console)
    return console.file.getvalue()


def test_the_report_fits_80_columns_and_marks_what_needed_the_labels(judge):
    lines = [EVEN, ODD] * 20
    report = judge(lines, [0, 0] * 10 + [0, 1] * 10, {"start": "0.5", "baselines": True})
    text = shown(report)
    rows = text.splitlines()
    assert rows[0].split() == ["AUC", "AP", "F1", "precision", "recall", "FPR", "alerts/day", "best", "F1*"]
    assert rows[1].split() == ["words", *["1.0000"] * 5, "0.00000", "-", "1.0000"]
    assert [row[:12].strip() for row in rows[2:6]] == ["new event", "length", "count vector", "2-gram"]
    assert "needed them" in text and "20 lines; 20 lines judged, 10 anomalous" in text
    assert "no line shows a time" in text and "20 normal lines before --from" in text


def test_the_report_says_what_is_not_defined(judge):
    text = shown(judge([EVEN, ODD], [0, 0], window=Window(2)))
    assert "all are normal: AUC, AP and best F1 are not defined" in text
    assert "1 lines are too short" in text


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "log").write_text("one\n")
    with pytest.raises(ConfigError, match="neither a bundle"):
        evaluate(Request(tmp_path, [tmp_path / "log"], tmp_path / "log"))
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(BundleError, match="format_version"):
        evaluate(Request(tmp_path, [tmp_path / "log"], tmp_path / "log"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A log of sessions with labels, a small run on its first half, and its bundle."""
    require_module("torch")
    from export.writer import export_run
    from training.fitting.job import Job, run_job
    from training.fitting.run_folder import load_run

    folder = tmp_path_factory.mktemp("trained")
    draw = np.random.default_rng(5)
    labels, lines = ["stream,label"], []
    for number in range(80):
        odd = number >= 40 and number % 5 == 0
        size = int(draw.integers(1, 5))
        steps = ["disk melted"] if odd else [*(["job started"]), *["block written to 192.0.2.7"] * size, "job done"]
        lines += [
            f"2026-03-01T{number // 4:02}:{number % 4 * 10:02}:00Z host5 store[{number}]: {step} job_{number}"
            for step in steps
        ]
        labels.append(f"job_{number},{int(odd)}")
    with gzip.open(folder / "log.gz", "wt") as file:
        file.write("\n".join(lines) + "\n")
    (folder / "labels.csv").write_text("\n".join(labels) + "\n")
    small = (
        "encoder.epochs=1",
        "detector.epochs=1",
        "encoder.vector=8",
        "detector.hidden=8",
        "window.size=3",
        "time_of_day=true",
    )
    options = {"stream": r"job_\d+", "family": "two-stage", "seed": 1}
    run_job(Job([folder / "log.gz"], folder / "run", None, small, options, None, None, "0.5", "cpu", 1, False))
    export_run(load_run(folder / "run"), folder / "bundle", False, [], False)
    return folder


def test_a_run_is_judged_as_its_bundle_and_as_the_agent_does(trained):
    requests = {
        name: Request(
            trained / name, [trained / "log.gz"], trained / "labels.csv", scope="session", start="0.5", baselines=True
        )
        for name in ("run", "bundle")
    }
    run, bundle = (evaluate(request) for request in requests.values())
    for key in ("auc", "average_precision", "threshold", "best_f1_with_test_labels"):
        assert run["model"][key] == pytest.approx(bundle["model"][key], rel=1e-3)
    assert run["baselines"] == bundle["baselines"] and run["data"] == bundle["data"]
    assert run["data"]["anomalies"] == 8 and run["data"]["training_items"] == 40
    assert bundle["baselines"]["new event"]["auc"] == 1


def test_sessions_score_as_agent_score_says(trained, tmp_path):
    from agent.commands.score import score_files

    out = tmp_path / "scores.jsonl"
    score_files([str(trained / "log.gz")], str(trained / "bundle"), str(out), "session", None, False, "cpu", None)
    rows = [json.loads(row) for row in out.read_text().splitlines()]
    found = evaluate(Request(trained / "bundle", [trained / "log.gz"], trained / "labels.csv", scope="session"))
    truth = [row["stream"] in {f"job_{number}" for number in range(40, 80, 5)} for row in rows]
    wanted = metrics([row["score"] for row in rows], truth, rows[0]["threshold"])
    assert found["model"]["auc"] == wanted.auc
    assert found["model"]["alerts"] == sum(row["anomaly"] for row in rows)


def test_the_command_prints_a_table_or_json(trained):
    arguments = ["evaluate", str(trained / "bundle"), str(trained / "log.gz"), "--labels", str(trained / "labels.csv")]
    report = CliRunner().invoke(app, [*arguments, "--scope", "session", "--json"], catch_exceptions=False)
    assert json.loads(report.stdout)["data"]["sessions"] == 80
    table = CliRunner().invoke(app, [*arguments, "--from", "0.5", "--baselines"], catch_exceptions=False)
    assert table.exit_code == 0 and "count vector" in table.stdout


def test_a_missing_log_is_a_source_error(trained):
    with pytest.raises(SourceError, match="nowhere"):
        evaluate(Request(trained / "bundle", [trained / "nowhere"], trained / "labels.csv"))
