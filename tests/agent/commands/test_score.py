"""`agent score`: whole logs into JSON lines, and every refusal in one line."""

import gzip
import io
import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.made_up import made_up_lines
from helpers.processes import refusal, run_agent, start_agent

from agent.bundle.bundle import Bundle
from agent.scoring.features import TimeOfDay, read_time
from agent.scoring.scorers import SCORERS
from agent.text.canonical import Normalizer
from agent.text.lines import LineSplitter

LINE_KEYS = ["source", "line", "offset", "stream", "time", "score", "threshold", "anomaly"]
SESSION_KEYS = ["source", "stream", "lines", "first_line", "last_line", "score", "threshold", "anomaly"]
LOG = b"".join(made_up_lines(60, seed=2, odd=(30,)))


@pytest.fixture
def log(tmp_path) -> Path:
    path = tmp_path / "app.log"
    path.write_bytes(LOG)
    return path


@pytest.fixture
def score(call_agent):
    """Scores and gives the objects written."""

    def run(*arguments: object) -> list[dict[str, Any]]:
        done = call_agent("score", *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


def test_an_object_a_line(bundle, log, score):
    rows = score(log, "--bundle", bundle)
    starts = np.cumsum([0, *map(len, LOG.splitlines(keepends=True))])[:-1]
    assert all(list(row) == LINE_KEYS for row in rows)
    assert [row["line"] for row in rows] == list(range(1, 61))
    assert [row["offset"] for row in rows] == starts.tolist()
    assert {(row["source"], row["stream"]) for row in rows} == {(str(log), "")}
    assert [row["score"] for row in rows[:3]] == [None] * 3 and all(row["score"] is not None for row in rows[3:])
    assert [row["line"] for row in rows if row["anomaly"]] == [31, 32, 33, 34]
    assert all(row["anomaly"] == (row["score"] > row["threshold"]) for row in rows[3:])


EXPLAINED = ("severity", "program", "message", "reason", "context")


def test_explain_tells_of_odd_lines_what_alerts_tell(bundle, log, score):
    rows, plain = (score(log, "--bundle", bundle, *more) for more in (["--explain"], []))
    for row, before in zip(rows, plain, strict=True):
        told = [row.pop(name) for name in EXPLAINED if name in row]
        assert row == before and len(told) == (5 if row["anomaly"] else 0)
        assert not told or (told[3]["distance"], told[3]["threshold"]) == pytest.approx(
            (row["score"], row["threshold"])
        )


def test_explain_tells_the_same_as_tail(bundle, log, score, call_agent):
    done = call_agent("tail", log, "--bundle", bundle, "--once", "--from", "start", "--sink", f"jsonl:{log}.alerts")
    assert done.returncode == 0, done.stderr
    alerts = {alert["line"]: alert for alert in map(json.loads, Path(f"{log}.alerts").read_bytes().splitlines())}
    rows = {row["line"]: row for row in score(log, "--bundle", bundle, "--explain")}
    assert alerts
    for line, alert in alerts.items():
        assert {name: rows[line][name] for name in EXPLAINED} == {name: alert[name] for name in EXPLAINED}
        assert rows[line]["time"] == alert["time"]


def test_the_context_is_kept_of_the_streams_read_last(padded_bundle, tmp_path, score, monkeypatch):
    def lines() -> list[bytes]:
        return [
            f"Mar  9 03:12:45 web1 shopd[1]: req-{number % 3} melts {number * 77} vaults".encode()
            for number in range(9)
        ]

    monkeypatch.setattr(
        "agent.commands.score.read_log", lambda path: (line + b"\n" for line in lines())
    )  # a block a line
    (tmp_path / "log").write_bytes(b"")
    arguments = (tmp_path / "log", "--bundle", padded_bundle, "--explain")
    whole = [row for row in score(*arguments) if row["anomaly"]]
    assert any(len(row["context"]) == 2 for row in whole)
    monkeypatch.setattr("agent.scorefile.writer._MAX_CONTEXTS", 2)
    short = [row for row in score(*arguments) if row["anomaly"]]
    assert [row["line"] for row in short] == [row["line"] for row in whole]
    assert not any(row["context"] for row in short)


def test_lines_have_their_own_times(bundle, tmp_path, score):
    zone = datetime(2024, 3, 9).astimezone().tzinfo
    lines = {
        b"Mar  9 03:12:45 web1 cron[1]: a job": datetime(2024, 3, 9, 3, 12, 45, tzinfo=zone),
        b"Dec 24 18:00:00 web1 cron[1]: a job": datetime(2023, 12, 24, 18, 0, 0, tzinfo=zone),
        b"Mar 31 25:00:00 web1 cron[1]: a job": None,
        b"2024-02-29T01:02:03.25+05:30 web1 cron[1]: a job": datetime.fromisoformat("2024-02-29T01:02:03.25+05:30"),
        b"no time at all": None,
        b"081109 203615 148 INFO dfs.DataNode: a block": datetime(2008, 11, 9, 20, 36, 15, tzinfo=UTC),
    }
    (tmp_path / "log").write_bytes(b"\n".join(lines) + b"\n")
    written = datetime(2024, 3, 9, 4).timestamp()
    os.utime(tmp_path / "log", (written, written))
    told = [row["time"] for row in score(tmp_path / "log", "--bundle", bundle)]
    assert [time and datetime.fromisoformat(time) for time in told] == list(lines.values())


def test_rows_have_the_time_of_their_column(tiered_bundle, tmp_path, score):
    rows = [
        b"5,u1@corp,P1,S1,NTLM,Success",
        b"2024-01-02T03:04:05,u1@corp,P1,S1,NTLM,Success",
        b"soon,u1,P1,S1,NTLM,Fail",
    ]
    (tmp_path / "rows.csv").write_bytes(b"\n".join(rows))
    told = [row["time"] for row in score(tmp_path / "rows.csv", "--bundle", tiered_bundle)]
    assert told == ["1970-01-01T00:00:05+00:00", "2024-01-02T03:04:05+00:00", None]


def by_hand(folder: Path, data: bytes) -> list[tuple[str, list[float], float]]:
    """Every stream's key, the scores of its lines and of its end, from windows made one by one."""
    opened = Bundle.load(folder)
    manifest = opened.manifest
    normalizer = Normalizer(manifest.header, manifest.masks)
    scorer = SCORERS[manifest.scorer](opened, normalizer.table, False)
    block = LineSplitter("").feed(data)
    ids = normalizer.ids(block)
    features = TimeOfDay().of(read_time(block, None), ids)
    streams: dict[str, list[int]] = {}
    for number, line in enumerate(data.splitlines()):
        found = [word for word in line.decode().replace(":", " ").split() if word.startswith("req-")]
        streams.setdefault(found[0] if found else "", []).append(number)

    def window(numbers: list[int], more: list[int]) -> float:
        size = manifest.window.size
        row = ([0] * size + [int(ids[number]) for number in numbers] + more)[-size:]
        clock = np.concatenate([np.zeros((size, 2)), features[numbers], np.zeros((len(more), 2))])[-size:]
        timed = np.float32(clock)[None] if manifest.settings["time_of_day"] else None
        return float(scorer.score(np.array([row], np.int32), timed)[0])

    return [
        (key, [window(numbers[: at + 1], []) for at in range(len(numbers))], window(numbers, [0]))
        for key, numbers in streams.items()
    ]


def test_an_object_a_session(padded_bundle, log, score):
    rows = score(log, "--bundle", padded_bundle, "--scope", "session")
    expected = by_hand(padded_bundle, LOG)
    threshold = rows[0]["threshold"]
    assert all(list(row) == SESSION_KEYS for row in rows)
    assert [row["stream"] for row in rows] == [key for key, *_ in expected] and len(rows) == 11
    for row, (_, lines, end) in zip(rows, expected, strict=True):
        assert row["lines"] == len(lines) and row["threshold"] == threshold
        assert row["score"] == pytest.approx(max(*lines, end), rel=1e-6)
        assert row["anomaly"] == (max(*lines, end) > threshold)
    assert any(end > max(lines) for _, lines, end in expected), "the end of some session counts"
    assert (rows[1]["first_line"], rows[1]["last_line"]) == (3, 4)


def test_a_session_has_the_largest_of_its_lines_scores(bundle, log, score):
    lines = score(log, "--bundle", bundle, "--stream", r"(shopd|sshd)\[")
    sessions = score(log, "--bundle", bundle, "--stream", r"(shopd|sshd)\[", "--scope", "session")
    assert [row["stream"] for row in sessions] == ["sshd", "shopd", ""]
    for row in sessions:
        own = [line for line in lines if line["stream"] == row["stream"]]
        assert row["score"] == max(line["score"] for line in own if line["score"] is not None)
        assert row["anomaly"] == any(line["anomaly"] for line in own)
        assert (row["first_line"], row["last_line"], row["lines"]) == (own[0]["line"], own[-1]["line"], len(own))


def test_a_session_too_short_for_a_window_has_no_score(bundle, tmp_path, score):
    (tmp_path / "short").write_bytes(b"".join(LOG.splitlines(keepends=True)[:2]))
    (row,) = score(tmp_path / "short", "--bundle", bundle, "--scope", "session")
    assert (row["score"], row["anomaly"], row["lines"]) == (None, False, 2)


def test_gzip_in_and_out(bundle, log, score, tmp_path):
    plain = score(log, "--bundle", bundle)
    packed = tmp_path / "packed"  # what is gzip is told by its content
    packed.write_bytes(gzip.compress(LOG[:1000]) + gzip.compress(LOG[1000:]))
    out = tmp_path / "scores.jsonl.gz"
    assert score(packed, "--bundle", bundle, "-o", out) == []
    rows = [json.loads(line) for line in gzip.decompress(out.read_bytes()).splitlines()]
    assert [row | {"source": str(log)} for row in rows] == plain
    assert sorted(path.name for path in tmp_path.iterdir()) == ["app.log", "packed", "scores.jsonl.gz"]


@pytest.mark.parametrize("data", [LOG, gzip.compress(LOG)], ids=["plain", "gzip"])
def test_standard_input(bundle, data, log, score):
    done = run_agent("score", "-", "--bundle", bundle, input=data)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr) == (0, b"")
    assert [row | {"source": str(log)} for row in rows] == score(log, "--bundle", bundle)
    assert {row["source"] for row in rows} == {"-"}


def test_each_of_several_files_has_windows_of_its_own(bundle, log, score, tmp_path):
    other = tmp_path / "other.log"
    other.write_bytes(LOG)
    rows, once = score(log, other, "--bundle", bundle), score(log, "--bundle", bundle)
    assert rows == once + [row | {"source": str(other)} for row in once]


def test_the_last_line_needs_no_line_feed(bundle, log, score):
    whole = score(log, "--bundle", bundle)
    log.write_bytes(LOG[:-1])
    assert score(log, "--bundle", bundle) == whole


def test_binary_junk_is_scored(bundle, tmp_path, call_agent):
    junk = np.random.default_rng(1).bytes(20_000)
    (tmp_path / "junk").write_bytes(junk)
    done = call_agent("score", tmp_path / "junk", "--bundle", bundle)
    assert done.returncode == 0 and "lines have more tokens than the model reads (64); the rest" in done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == junk.count(b"\n") + (not junk.endswith(b"\n"))


def test_a_file_of_nothing(bundle, tmp_path, score):
    (tmp_path / "empty").write_bytes(b"")
    assert score(tmp_path / "empty", "--bundle", bundle) == []
    assert score(tmp_path / "empty", "--bundle", bundle, "--scope", "session") == []


def test_a_line_that_is_cut_is_told(bundle, tmp_path, call_agent):
    (tmp_path / "long").write_bytes(b"x" * 70_000 + b"\n" + LOG)
    done = call_agent("score", tmp_path / "long", "--bundle", bundle)
    assert done.returncode == 0 and "1 lines were longer than 65536 bytes" in done.stderr
    assert len(done.stdout.splitlines()) == 61


def long_lines(count: int) -> bytes:
    return b"".join(b"Mar  9 00:00:00 web1 shopd[7]: get %s\n" % (b"x" * 99) for _ in range(count))


def test_lines_with_more_tokens_than_the_model_reads_are_told_of_each_file(char_bundle, log, tmp_path, call_agent):
    for name, count in (("two.log", 2), ("one.log", 1)):
        (tmp_path / name).write_bytes(LOG + long_lines(count))
    files = (tmp_path / "two.log", log, tmp_path / "one.log")
    what = "more tokens than the model reads (80); the rest of each was not scored"
    for scope in ("line", "session"):
        done = call_agent("score", *files, "--bundle", char_bundle, "--scope", scope)
        assert (done.returncode, done.stderr.splitlines()) == (
            0,
            [f"oddline: {files[0]}: 2 lines have {what}", f"oddline: {files[2]}: 1 line has {what}"],
        )


def test_the_reason_of_a_language_model_tells_words(char_bundle, tmp_path, call_agent):
    (tmp_path / "odd.log").write_bytes(LOG + long_lines(1))
    written = call_agent("score", tmp_path / "odd.log", "--bundle", char_bundle, "--explain").stdout.splitlines()
    rows = [row["reason"] for row in map(json.loads, written) if row["anomaly"]]
    (vault,) = [reason for reason in rows if "vault" in "".join(token["text"] for token in reason["tokens"])]
    assert {"kind", "new_text", "carried", "words", "tokenizer"} <= vault.keys() and vault["carried"] is False
    assert vault["new_text"] and vault["tokens"][-1]["end"] and vault["tokens_left_out"] == 0
    bits = [word["bits"] for word in vault["words"]]
    assert bits == sorted(bits, reverse=True) and len(bits) == 5
    assert {"mallory", "panic", "melting", "vault"} & {word["text"] for word in vault["words"]}
    long = rows[-1]
    assert long["tokens_left_out"] == 99 + len("shopd: get ") - 80
    assert not any("end" in word for word in long["words"]), "a line that is cut is not told to end"


def test_a_name_that_is_no_text(bundle, tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff\xfe.log"
    with open(path, "wb") as file:
        file.write(LOG)
    done = run_agent("score", os.fsdecode(path), "--bundle", bundle)
    assert done.returncode == 0 and json.loads(done.stdout.splitlines()[0])["source"].endswith(r"\udcff\udcfe.log")


def refused(call_agent, code: int, *arguments: object) -> str:
    done = call_agent("score", *arguments)
    (line,) = done.stderr.splitlines()
    assert done.returncode == code and line.startswith("error: ") and "fault of oddline" not in line, line
    return line


@pytest.mark.parametrize("out", ["scores.jsonl", "scores.jsonl.gz"])
def test_logs_that_cannot_be_read(bundle, log, tmp_path, call_agent, out):
    (tmp_path / "folder").mkdir()
    (tmp_path / "cut.gz").write_bytes(gzip.compress(LOG)[:-20])
    (tmp_path / "bad.gz").write_bytes(gzip.compress(LOG)[:12] + b"\xff" * 50)
    for name, named in (
        ("nowhere", "does not exist"),
        ("folder", "is a directory"),
        ("cut.gz", "is truncated"),
        ("bad.gz", "is damaged"),
    ):
        line = refused(call_agent, 4, log, tmp_path / name, "--bundle", bundle, "-o", tmp_path / out)
        assert f"{tmp_path / name} " in line and named in line
        assert not [path for path in tmp_path.iterdir() if out in path.name], "no half of an output stays"


def test_a_log_without_permission(bundle, log, call_agent, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("agent.sources.decoding.whole_file._open", refuse)
    assert "no permission" in refused(call_agent, 4, log, "--bundle", bundle)


def test_outputs_that_cannot_be_written(bundle, log, tmp_path, call_agent):
    assert "nowhere/out" in refused(call_agent, 5, log, "--bundle", bundle, "-o", tmp_path / "nowhere" / "out")
    (tmp_path / "folder").mkdir()
    line = refused(call_agent, 5, log, "--bundle", bundle, "-o", tmp_path / "folder")
    assert "folder cannot be written" in line and sorted(os.listdir(tmp_path)) == ["app.log", "folder"]


def test_an_old_output_stays_until_the_new_one_is_whole(bundle, log, tmp_path, call_agent):
    out = tmp_path / "out"
    out.write_text("old")
    refused(call_agent, 4, log, tmp_path / "nowhere", "--bundle", bundle, "-o", out)
    assert out.read_text() == "old"


def test_a_full_disk_is_told(bundle, log):
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full here")
    with open("/dev/full", "wb") as full:
        code, line = refusal("score", log, "--bundle", bundle, stdout=full)
    assert code == 5 and "No space left" in line
    with open("/dev/full", "wb") as full:
        code, line = refusal("inspect", bundle, stdout=full)
    assert code == 5 and "the output cannot be written: No space left" in line


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--scope", "moon"], "unknown scope 'moon'; choose line or session"),
        (["--stream", "("], "'(' is no regular expression"),
        (["--header", "moon"], "unknown header format 'moon'"),
        (["--moon"], "--moon"),
        ([], "FILE"),
    ],
)
def test_a_command_line_that_cannot_be_used(bundle, log, call_agent, arguments, named):
    logs = [log] if arguments else []
    assert named in refused(call_agent, 2, *logs, "--bundle", bundle, *arguments)


def test_an_unknown_provider(bundle, log, call_agent):
    line = refused(call_agent, 6, log, "--bundle", bundle, "--provider", "abacus")
    assert "unknown provider 'abacus'" in line


def test_a_reader_that_leaves_early(bundle, tmp_path):
    (tmp_path / "long.log").write_bytes(LOG * 200)
    process = start_agent("score", tmp_path / "long.log", "--bundle", bundle)
    first = process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert json.loads(first)["line"] == 1
    assert (process.wait(60), errors) == (0, b"")


def test_nothing_is_said_without_a_terminal(bundle, log):
    done = run_agent("score", log, "--bundle", bundle, stderr=subprocess.STDOUT)
    assert io.BytesIO(done.stdout).readline().startswith(b"{") and done.stdout.count(b"\n") == 60
