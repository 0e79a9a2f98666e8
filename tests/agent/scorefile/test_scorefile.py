"""Reading score files back: what the arrays hold, what damage costs, what is refused."""

import gzip
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from helpers.made_up import made_up_lines
from hypothesis import given, settings
from hypothesis import strategies as st

import agent.scorefile.table
from agent.errors import SourceError
from agent.scorefile.table import ScoreTable, read_scores

RECORD = {
    "source": "app.log",
    "line": 1,
    "offset": 0,
    "stream": "s",
    "time": "2026-03-09T03:12:45+01:00",
    "score": 0.25,
    "threshold": 1.5,
    "anomaly": False,
}
SESSION = {"source": "app.log", "stream": "s", "lines": 3, "first_line": 2, "last_line": 9, "score": 2.0}
SESSION |= {"threshold": 1.5, "anomaly": True}


def encode(records: list[dict]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def read(folder: Path, data: bytes) -> ScoreTable:
    (folder / "scores.jsonl").write_bytes(data)
    return read_scores(folder / "scores.jsonl")


def refused(folder: Path, data: bytes) -> str:
    with pytest.raises(SourceError) as refusal:
        read(folder, data)
    return str(refusal.value).replace(str(folder / "scores.jsonl"), "F")


def test_the_columns_of_lines(tmp_path):
    odd = RECORD | {"line": 2, "source": "b.log", "score": 3.0, "anomaly": True, "reason": {"kind": "distance"}}
    odd |= {"message": "it burns", "context": ["before"]}
    table = read(tmp_path, encode([RECORD | {"score": None, "threshold": None, "time": None}, odd]))
    assert (table.scope, table.sources, table.streams) == ("line", ["app.log", "b.log"], ["s"])
    assert table.source.tolist() == [0, 1] and table.stream.tolist() == [0, 0] and table.line.tolist() == [1, 2]
    assert np.isnan(table.time[0]) and table.time[1] == 1773022365.0
    assert np.isnan([table.score[0], table.threshold[0]]).all() and table.score[1] == 3.0
    assert table.anomaly.tolist() == [False, True]
    assert table.details == {1: {"reason": {"kind": "distance"}, "message": "it burns", "context": ["before"]}}
    assert table.warnings == []
    types = [table.source, table.stream, table.line, table.time, table.score, table.threshold, table.anomaly]
    assert " ".join(str(column.dtype) for column in types) == "int32 int32 int64 float64 float32 float32 bool"


def test_the_columns_of_sessions(tmp_path):
    table = read(tmp_path, encode([SESSION]))
    assert (table.scope, table.line.tolist(), table.score.tolist()) == ("session", [2], [2.0])
    assert table.details == {0: {"lines": 3, "last_line": 9}} and np.isnan(table.time).all()


def test_what_score_writes_is_read(bundle, tmp_path, call_agent):
    (tmp_path / "app.log").write_bytes(b"".join(made_up_lines(60, seed=2, odd=(30,))))
    for scope, rows in ("line", 60), ("session", 1):
        output = tmp_path / f"{scope}.jsonl.gz"
        done = call_agent("score", tmp_path / "app.log", "--bundle", bundle, "-o", output, "--scope", scope)
        assert done.returncode == 0, done.stderr
        table = read_scores(output)
        records = [json.loads(line) for line in gzip.decompress(output.read_bytes()).splitlines()]
        assert (table.scope, len(table.line), table.warnings) == (scope, rows, [])
        assert [None if np.isnan(score) else score for score in table.score.tolist()] == pytest.approx(
            [record["score"] for record in records]
        )
        assert table.anomaly.tolist() == [record["anomaly"] for record in records] and table.anomaly.any()


def test_files_of_before_times_were_told_are_read(tmp_path):
    old = {key: value for key, value in RECORD.items() if key != "time"}
    table = read(tmp_path, encode([old, old]))
    assert np.isnan(table.time).all() and table.warnings == ["2 lines come from a version that did not tell times"]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_damaged_line_is_counted_and_left_out(tmp_path, place):
    lines = encode([RECORD | {"line": number} for number in (1, 2, 3)]).splitlines(keepends=True)
    lines[place] = lines[place][: len(lines[place]) // 2] + b"\n"
    table = read(tmp_path, b"".join(lines))
    assert table.line.tolist() == [number for number in (1, 2, 3) if number != place + 1]
    assert table.warnings == ["1 line of the file is damaged and left out"]


def test_what_a_crash_leaves_is_skipped(tmp_path):
    table = read(tmp_path, encode([RECORD]) + b"\0" * 4096 + encode([RECORD | {"line": 2}]) + b"\xff\xfe{\n\n")
    assert table.line.tolist() == [1, 2]
    assert table.warnings == [
        "4,096 NUL bytes, as a crash leaves them, were skipped",
        "1 line of the file is damaged and left out",
    ]


@given(st.binary(max_size=60), st.integers(0, 400), st.integers(1, 60))
@settings(max_examples=100, deadline=None)
def test_damage_anywhere_costs_only_the_lines_it_touches(tmp_path_factory, noise, at, cut):
    data = encode([RECORD | {"line": number} for number in range(1, 6)])
    whole = data[:at] + noise + data[at + cut :]
    try:
        table = read(tmp_path_factory.getbasetemp(), whole)
    except SourceError:
        return
    kept = {number for number, line in enumerate(data.splitlines(), 1) if line in whole.splitlines()}
    assert kept <= set(table.line.tolist())


def test_a_packed_file_that_ends_early_is_read_as_far_as_it_goes(tmp_path):
    packed = gzip.compress(encode([RECORD | {"line": number} for number in range(20000)]))
    table = read(tmp_path, packed[: len(packed) // 2])
    assert 0 < len(table.line) < 20000 and any("truncated" in remark for remark in table.warnings)


def test_the_details_of_the_highest_scores_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(agent.scorefile.table, "MAX_DETAILS", 3)
    odd = [RECORD | {"anomaly": True, "score": float(score), "message": str(score)} for score in range(20)]
    table = read(tmp_path, encode(odd))
    assert {row: detail["message"] for row, detail in table.details.items()} == {17: "17", 18: "18", 19: "19"}
    assert table.warnings == ["reason and context are kept of the 3 highest of 20 odd lines"]


def test_scores_too_large_for_a_float_are_infinite(tmp_path):
    assert read(tmp_path, encode([RECORD | {"score": 1e300}])).score.tolist() == [np.inf]


def test_what_is_no_score_file_is_refused(tmp_path, make_alert):
    hint = "name a file that agent score wrote"
    assert refused(tmp_path, b"") == f"F is empty: it holds no score; {hint}"
    assert refused(tmp_path, b"".join(made_up_lines(300))) == (
        f"F is no score file: its lines are no JSON objects; {hint}"
    )
    assert refused(tmp_path, b"second,user,score\n1,mallory,2.5\n") == (
        f"F is no score file: its lines are no JSON objects; {hint}"
    )
    assert refused(tmp_path, b'{"log": "hello"}\n') == f"F is no score file: its records have no score; {hint}"
    assert refused(tmp_path, msgspec.json.encode(make_alert()) + b"\n") == f"F holds alerts, not scores; {hint}"
    with pytest.raises(SourceError, match="does not exist"):
        read_scores(tmp_path / "missing")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"threshold": ...}, "object missing required field 'threshold'"),
        ({"score": "high"}, "expected 'float | null', got 'str' - at 'score'"),
        ({"line": -1}, "expected 'int' >= 0 - at 'line'"),
        ({"line": 2**70}, "expected 'int' <= 9223372036854775807 - at 'line'"),
        ({"time": 12}, "expected 'str | null', got 'int' - at 'time'"),
    ],
)
def test_a_score_file_of_another_version_is_refused(tmp_path, change, told):
    record = {key: value for key, value in (RECORD | change).items() if value is not ...}
    ending = "score the log again with this version"
    assert refused(tmp_path, encode([record])) == f"F is not of this version: line 1: {told}; {ending}"
    assert refused(tmp_path, encode([RECORD, record])) == f"F is not of this version: line 2: {told}; {ending}"


def test_lines_and_sessions_in_one_file_are_refused(tmp_path):
    assert "line 2: object missing required field 'line'" in refused(tmp_path, encode([RECORD, SESSION]))
