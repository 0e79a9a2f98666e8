"""A walk along logs: every score comes from what was learnt before, and an interruption changes nothing."""

import csv
import gzip
import json
import os
import random
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from helpers.made_up import made_up_lines
from hypothesis import given, settings
from hypothesis import strategies as st

import agent
from agent.commands.score import score_files
from agent.errors import ConfigError
from agent.scoring.streams import Streams
from agent.text.lines import LineSplitter
from agent.text.text_table import TextTable
from training.cli import main
from training.data import logs
from training.fitting import run_folder as folder
from training.fitting.run_folder import load_run
from training.walk import walker
from training.walk.known import KnownTexts
from training.walk.sample import LineSample
from training.walk.scores import ScoreFile
from training.walk.windows import WindowCutter, WindowLength, parse_every, slice_block

START = 1_700_000_000 // 3600 * 3600
COLUMNS = "header={columns: [when, user, host, action], time: when}"
SMALL = {
    "family": "language-model",
    "model.embedding": 4,
    "model.hidden": 6,
    "model.context": 4,
    "model.epochs": 2,
    "model.batch_size": 16,
    "model.learning_rate": 0.02,
}
PLAIN = {"model.tier": "none"}
TIERED = {"model.tier": "attention", "relative": "median", "stream": "(user[0-9])"}
KINDS = {"plain": PLAIN, "tiered": TIERED, "mean": {"relative": "mean", "stream": "(user[0-9])"}}


def rows(count, seed=0, step=60):
    """Records of users who log on and off, a minute apart."""
    draw = random.Random(seed)
    users, hosts, actions = ("user0", "user1", "user2", "user3"), ("web1", "db1"), ("LogOn", "LogOff", "Map")
    lines = (
        f"{START + number * step},{draw.choice(users)},{draw.choice(hosts)},{draw.choice(actions)}\n"
        for number in range(count)
    )
    return [line.encode() for line in lines]


def arguments(log, out, every="1h", *more, **chosen):
    """The command line of a small walk over records; `chosen` are settings, with _ for a dot."""
    given = SMALL | {key.replace("_", ".", 1): value for key, value in chosen.items()}
    sets = [f"--set={key}={value}" for key, value in given.items()]
    if not any("header" in str(one) for one in more):
        sets.append(f"--set={COLUMNS}")
    logs = log if isinstance(log, list) else [log]
    return ["walk", *map(str, logs), "--every", str(every), "--out", str(out), "--device=cpu", *sets, *map(str, more)]


@pytest.fixture
def call(capfd, monkeypatch):
    """The command `training`: its exit code and the lines on standard error."""

    def run(arguments):
        monkeypatch.setattr(sys, "argv", ["training", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, capfd.readouterr().err.splitlines()

    return run


@pytest.fixture
def walk(call):
    """Walks to the end; what was said."""

    def run(*positional, **chosen):
        code, lines = call(arguments(*positional, **chosen))
        assert code == 0, lines
        return lines

    return run


@pytest.fixture
def refused(call):
    """The one line of a refusal, after an exit code."""

    def run(code, *positional, **chosen):
        found, lines = call(arguments(*positional, **chosen))
        assert found == code and len(lines) == 1 and lines[0].startswith("error: "), lines
        return lines[0]

    return run


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "auth.csv"
    path.write_bytes(b"".join(rows(240)))
    return path


def scores(run):
    """The rows of the scores, each as a dictionary."""
    with gzip.open(run / folder.SCORES, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def result(run):
    """What a walk gave, without what depends on the clock."""
    names = (folder.SCORES, folder.WEIGHTS, folder.TOKENIZER, folder.TEXTS, folder.HELDOUT)
    metrics = json.loads((run / folder.METRICS).read_text())
    losses = [(one["epoch"], one["loss"], one["validation"]) for one in metrics["epochs"]]
    return [(run / name).read_bytes() for name in names], losses, metrics["walk"], metrics["lines"]


def test_windows_of_time_are_scored_after_the_first_and_told(log, tmp_path, walk):
    said = walk(log, tmp_path / "run")
    found = scores(tmp_path / "run")
    assert list(found[0]) == ["source", "line", "window", "when", "score"]
    assert [int(row["line"]) for row in found] == list(range(61, 241))
    assert {row["source"] for row in found} == {"auth.csv"}
    hours = [datetime.fromtimestamp(START + 3600 * hour, UTC).isoformat() for hour in range(4)]
    assert [row["window"] for row in found] == [hour for hour in hours[1:] for _ in range(60)]
    assert [int(row["when"]) for row in found] == [START + 60 * number for number in range(60, 240)]
    told = [line for line in said if line.startswith("window ")]
    assert [line.split(": ")[0] for line in told] == [f"window {hour}" for hour in hours]
    assert "60 lines, not scored" in told[0] and "not trained on" in told[3]
    second = np.array([float(row["score"]) for row in found[:60]])
    mean, largest = f"{second.mean():.3g}", f"{second.max():.3g}"
    assert re.search(rf"60 lines, mean score {mean}, largest {largest}; trained to [\d.]+ in 2 epochs$", told[1])
    assert said[-2:] == [
        "4 windows; 180 lines scored, the 60 of the first window not",
        f"wrote {tmp_path / 'run'}; next: oddline export onnx {tmp_path / 'run'} --out BUNDLE",
    ]
    assert subprocess.run(["gzip", "-t", tmp_path / "run" / folder.SCORES], check=False).returncode == 0


def test_scores_fall_as_the_model_learns(log, tmp_path, walk):
    walk(log, tmp_path / "run", model_epochs=10)
    found = np.array([float(row["score"]) for row in scores(tmp_path / "run")]).reshape(3, 60).mean(axis=1)
    assert found[0] > found[2]


def test_windows_of_lines_go_on_over_files_and_show_what_headers_hold(tmp_path, walk):
    made = made_up_lines(100)
    (tmp_path / "syslog.1").write_bytes(b"".join(made[:70]))
    with gzip.open(tmp_path / "syslog.gz", "wb") as file:
        file.write(b"".join(made[70:]).rstrip(b"\n"))
    files = [tmp_path / "syslog.1", tmp_path / "syslog.gz"]
    walk(files, tmp_path / "run", 40, "--set=header=auto", "--columns", "program,host,time,pid")
    found = scores(tmp_path / "run")
    assert [row["window"] for row in found] == ["2"] * 40 + ["3"] * 20
    assert [(row["source"], int(row["line"])) for row in found] == [
        *(("syslog.1", line) for line in range(41, 71)),
        *(("syslog.gz", line) for line in range(1, 31)),
    ]
    assert found[0]["program"] in ("sshd", "shopd", "CRON") and found[0]["host"] == "web1" and found[0]["pid"].isdigit()
    assert datetime.fromisoformat(found[0]["time"]).strftime("%b %d %H:%M:%S") == "Mar 09 00:06:40"


def test_records_take_any_columns_and_quoting_survives(log, tmp_path, walk):
    made = log.read_bytes().splitlines(keepends=True)
    made[100] = b'%d,"user, ""the third""",web1,LogOn\n' % (START + 6000)
    log.write_bytes(b"".join(made))
    walk(log, tmp_path / "run", "1h", "--columns", "user, action")
    row = next(row for row in scores(tmp_path / "run") if row["line"] == "101")
    assert row["user"] == 'user, "the third"' and row["action"] == "LogOn"
    walk(log, tmp_path / "bare", "1h", "--columns", "")
    assert list(scores(tmp_path / "bare")[0]) == ["source", "line", "window", "score"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_window_is_scored_by_a_model_that_has_not_seen_it(log, tmp_path, walk, kind):
    walk(log, tmp_path / "run", **KINDS[kind])
    made = log.read_bytes().splitlines(keepends=True)
    third = [line.replace(b"Map", b"Vanish") if line.endswith(b"Map\n") else line for line in made[120:180]]
    log.write_bytes(b"".join(made[:120] + third + made[180:]))
    walk(log, tmp_path / "other", **KINDS[kind])
    before, after = scores(tmp_path / "run"), scores(tmp_path / "other")
    assert before[:60] == after[:60]
    changed = next(number for number, line in enumerate(third) if b"Vanish" in line)
    assert before[60 : 60 + changed] == after[60 : 60 + changed]
    assert before[60:120] != after[60:120]
    last = [[float(row["score"]) for row in found[120:]] for found in (before, after)]
    assert last[0] != last[1]  # another window was learnt before


@pytest.mark.parametrize("kind", KINDS)
def test_relative_scores_and_states_are_those_of_the_streams(log, tmp_path, walk, kind):
    """The score of a stream's line depends on the lines before it where the model or the score says so, else not."""
    walk(log, tmp_path / "run", **KINDS[kind])
    made = log.read_bytes().splitlines(keepends=True)
    at = next(number for number in range(180, 240) if b"user1" in made[number])
    made[at] = made[at].replace(b"web1", b"moon").replace(b"db1", b"moon")
    log.write_bytes(b"".join(made))
    walk(log, tmp_path / "other", **KINDS[kind])
    pairs = list(zip(scores(tmp_path / "run"), scores(tmp_path / "other"), strict=True))
    assert all(a == b for a, b in pairs[: at - 60]) and pairs[at - 60][0] != pairs[at - 60][1]
    later = [(a == b, b"user1" in made[int(a["line"]) - 1]) for a, b in pairs[at - 59 :]]
    assert all(same for same, own in later if not own)
    assert all(same for same, own in later if own) == (kind == "plain")


def interrupt_after(monkeypatch, checkpoints):
    """Ctrl-C comes when so many checkpoints are written."""
    write, left = folder.write_checkpoint, [checkpoints]

    def write_checkpoint(*arguments):
        write(*arguments)
        left[0] -= 1
        if not left[0]:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(folder, "write_checkpoint", write_checkpoint)


def interrupt_in_block(monkeypatch, number):
    """Ctrl-C comes when so many blocks of scores are written."""
    write, left = ScoreFile.write, [number]

    def interrupted(*arguments):
        write(*arguments)
        left[0] -= 1
        if not left[0]:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(ScoreFile, "write", interrupted)


WHERE = {
    "plain": ((interrupt_after, 1), (interrupt_after, 2), (interrupt_in_block, 1), (interrupt_in_block, 7)),
    "tiered": ((interrupt_after, 2), (interrupt_in_block, 9)),
}


@pytest.mark.parametrize("kind", WHERE)
def test_an_interrupted_walk_ends_as_an_uninterrupted_one(log, tmp_path, monkeypatch, call, walk, kind):
    monkeypatch.setattr(logs, "CHUNK", 600)  # several blocks a window, and windows within a block
    walk(log, tmp_path / "whole", "1h", "--most", 40, **KINDS[kind])
    whole = result(tmp_path / "whole")
    for interrupt, count in WHERE[kind]:
        out = tmp_path / f"{interrupt.__name__}-{count}"
        command = arguments(log, out, "1h", "--most", 40, **KINDS[kind])
        with monkeypatch.context() as patch:
            interrupt(patch, count)
            code, lines = call(command)
        assert code == 130
        assert lines[-1] == f"interrupted; the same command goes on from the last whole window in {out}"
        size = (out / folder.SCORES).stat().st_size
        assert not size or len(scores(out)) % 60 == 0  # whole windows only
        assert call(command)[0] == 0
        assert result(out) == whole, out.name
        assert not (out / folder.CHECKPOINT).exists() and not (out / folder.PROGRESS).exists()


def test_a_killed_walk_goes_on_over_files_and_counts_what_it_counted(tmp_path, call, walk):
    made = rows(240)
    made[30] = b"%d,user1\n" % (START + 1800)
    made[70], made[71] = b"%d,user1,web1,LogOn\n" % (START + 5), b"never,user1,web1,LogOn\n"
    made[100] = b"%d,user1\n" % (START + 6000)
    files = [tmp_path / "a.csv", tmp_path / "b.csv"]
    files[0].write_bytes(b"".join(made[:130]))
    files[1].write_bytes(b"".join(made[130:]))
    said = walk(files, tmp_path / "whole")
    assert "a.csv: 2 rows have fewer fields than the 4 declared columns; the missing ones were taken as empty" in said
    assert "1 line is older than the window in which they came; they were taken with it" in said
    assert "1 line is without a time; they were taken with the window in which they came" in said
    code = """
import os, signal
from training.walk.scores import ScoreFile
write, left = ScoreFile.write, [3]
def kill(self, *arguments):
    write(self, *arguments)
    left[0] -= 1
    if not left[0]:
        self._text.flush(); self._file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
ScoreFile.write = kill
from training.cli import main
main()
"""
    command = arguments(files, tmp_path / "run")
    paths = os.pathsep.join([str(Path(agent.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code, *command], env=os.environ | {"PYTHONPATH": paths}, capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    code, lines = call(command)
    assert code == 0 and result(tmp_path / "run") == result(tmp_path / "whole")
    assert [line for line in lines if "window 20" not in line][:-1] == [
        line for line in said if "window 20" not in line
    ][:-1]


def test_another_walk_needs_overwrite(log, tmp_path, monkeypatch, call, walk, refused):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        assert call(arguments(log, out))[0] == 130
    assert "was started with another data" in refused(2, log, out, "2h")
    assert "was started with another config" in refused(2, log, out, model_hidden=5)
    log.write_bytes(log.read_bytes() + rows(241)[-1])
    assert "was started with another data" in refused(2, log, out)
    walk(log, out, "1h", "--overwrite")
    assert len(scores(out)) == 181
    assert "is finished" in refused(2, log, out)


def test_scores_that_were_removed_in_between_are_missed(log, tmp_path, monkeypatch, call, refused):
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        assert call(arguments(log, tmp_path / "run"))[0] == 130
    (tmp_path / "run" / folder.SCORES).write_bytes(b"")
    assert "is shorter than the walk has left it" in refused(2, log, tmp_path / "run")


def test_logs_that_changed_within_their_size_are_told(log, tmp_path, monkeypatch, call, refused):
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        assert call(arguments(log, tmp_path / "run"))[0] == 130
    log.write_bytes(b"x" * log.stat().st_size)
    assert "the logs are shorter than when the walk began" in refused(4, log, tmp_path / "run")


@pytest.mark.parametrize("every", ["0", "-1", "15x", "", "1.5h", "d", "0d", "12345678901"])
def test_a_window_that_is_none_is_refused(log, tmp_path, call, every):
    code, lines = call(["walk", str(log), f"--every={every}", "--out", str(tmp_path / "run")])
    assert code == 2 and lines[0].startswith(f"error: --every {every!r}: write a number of lines"), lines


def test_what_cannot_be_walked_is_refused_in_one_line(log, tmp_path, refused):
    out = tmp_path / "run"
    line = refused(2, log, out, "1000d")
    assert "all 240 lines lie in one window" in line and "smaller --every" in line
    assert "lie in one window, 1, " in refused(2, log, out, 240)  # nothing was lost, so no --overwrite is needed
    assert "'colour' is no column of these logs; choose from when, user, host, action" in refused(
        2, log, tmp_path / "new", "1h", "--columns", "when,colour"
    )
    assert "choose from time, host, program, pid" in refused(2, log, out, 9, "--set=header=auto", "--columns=when")
    timeless = "--set=header={columns: [when, user, host, action]}"
    assert "the records name no column of the time" in refused(2, log, out, "1h", timeless)
    assert "the header is none" in refused(2, log, out, "1h", "--set=header=none")
    assert "unknown device 'tpu'" in refused(2, log, out, "1h", "--device=tpu")
    (tmp_path / "empty").write_bytes(b"")
    assert "hold no line" in refused(4, tmp_path / "empty", tmp_path / "new")
    assert "does not exist" in refused(4, tmp_path / "missing", tmp_path / "new")


def test_another_family_is_refused(log, tmp_path, call):
    command = ["walk", str(log), "--every=9", "--out", str(tmp_path / "run"), "--set=family=two-stage"]
    code, lines = call(command)
    assert code == 2 and lines == [
        "error: a walk trains models of the family language-model alone, not two-stage; use training fit"
    ]


def test_logs_without_times_have_no_windows_of_time(tmp_path, refused, walk):
    log = tmp_path / "log"
    log.write_bytes(b"".join(b"the cat saw dog %d\n" % number for number in range(30)))
    line = refused(2, log, tmp_path / "run", "1h", "--set=header=auto")
    assert "none of 30 lines shows a time" in line and "give a number of lines" in line
    walk(log, tmp_path / "run", 10, "--set=header=auto", "--columns", "time")
    assert [row["time"] for row in scores(tmp_path / "run")] == [""] * 20


def test_lines_without_a_time_and_older_ones_stay_in_the_present_window(log, tmp_path, walk):
    made = log.read_bytes().splitlines(keepends=True)
    made[0] = b"unknown,user1,web1,LogOn\n"
    made[130] = b",user1,web1,LogOn\n"
    for number in (150, 151):
        made[number] = b"%d,user1,web1,LogOn\n" % START
    log.write_bytes(b"".join(made))
    said = walk(log, tmp_path / "run")
    found = scores(tmp_path / "run")
    assert len(found) == 180
    third = datetime.fromtimestamp(START + 7200, UTC).isoformat()
    assert [row["line"] for row in found if row["window"] == third] == [str(line) for line in range(121, 181)]
    assert "2 lines are older than the window in which they came; they were taken with it" in said
    assert "2 lines are without a time; they were taken with the window in which they came" in said


def test_empty_windows_are_skipped_and_single_lines_are_windows(tmp_path, walk):
    log = tmp_path / "log.csv"
    log.write_bytes(b"".join(rows(5, step=86400 * 3)))
    said = walk(log, tmp_path / "run", "1d")
    assert len({row["window"] for row in scores(tmp_path / "run")}) == 4
    assert said[-2] == "5 windows; 4 lines scored, the 1 of the first window not"


def test_short_rows_and_long_lines_are_told(log, tmp_path, walk):
    made = log.read_bytes().splitlines(keepends=True)
    made[5], made[200] = b"%d\n" % (START + 300), made[200].rstrip() + b"x" * 70000 + b"\n"
    log.write_bytes(b"".join(made))
    said = walk(log, tmp_path / "run")
    assert "auth.csv: 1 row has fewer fields than the 4 declared columns; the missing ones were taken as empty" in said
    assert "auth.csv: 1 line is longer than the agent reads and was cut" in said


def test_a_window_gives_a_bounded_sample_to_the_training(log, tmp_path, walk):
    said = walk(log, tmp_path / "run", "1h", "--most", 20)
    assert "120 lines are left out of the training, which takes at most 20 of a window" in said
    assert any("trained on 20 of them to" in line for line in said)
    assert len(scores(tmp_path / "run")) == 180
    run = load_run(tmp_path / "run")
    assert len(run.heldout["ids"]) == 20 and run.metrics["lines"] == {"training": 60, "validation": 20}


def test_texts_do_not_gather_within_a_window(tmp_path, monkeypatch, walk):
    """Every line has a text of its own; the table of texts stays small, and the scores are the same."""
    log = tmp_path / "log"
    log.write_bytes(b"".join(b"saw %s today\n" % word.encode() for word in words(600)))
    more = ("--set=header=none", "--set=tokenizer.kind=char", "--most", 30)
    monkeypatch.setattr(logs, "CHUNK", 200)
    walk(log, tmp_path / "run", 200, *more)
    seen = []
    compact = TextTable.compact

    def watch(self, keep):
        seen.append((len(self), len(keep)))
        return compact(self, keep)

    monkeypatch.setattr(TextTable, "compact", watch)
    monkeypatch.setattr(walker, "_SPARE_TEXTS", 20)
    walk(log, tmp_path / "bounded", 200, *more)
    assert max(texts for texts, _ in seen) < 120 and sum(keep == 30 for _, keep in seen) > 3
    assert result(tmp_path / "bounded") == result(tmp_path / "run")


def words(count):
    draw = random.Random(3)
    return ["".join(draw.choices("abcdef", k=8)) for _ in range(count)]


def test_a_walked_run_is_exported_and_the_agent_reproduces_its_scores(log, tmp_path, walk):
    from export.writer import export_run
    from training.evaluation.evaluate import Request, evaluate

    walk(log, tmp_path / "run")
    run = load_run(tmp_path / "run")
    assert len(run.heldout["ids"]) == 60 and run.counts.sum() == 240
    export_run(run, tmp_path / "bundle", False, [], False)
    score_files([str(log)], str(tmp_path / "bundle"), str(tmp_path / "scores"), "line", None, False, "cpu", None)
    agent_scores = [json.loads(line)["score"] for line in (tmp_path / "scores").read_text().splitlines()]
    last = [float(row["score"]) for row in scores(tmp_path / "run")][-60:]
    assert agent_scores[-60:] == pytest.approx(last, abs=1e-4)  # the last window was scored by the last weights
    labels = tmp_path / "labels"
    labels.write_text("".join("1\n" if number % 50 == 0 else "0\n" for number in range(240)))
    assert evaluate(Request(tmp_path / "run", [log], labels))["model"]["name"] == "run"


def test_the_seed_decides_the_walk(log, tmp_path, walk):
    walk(log, tmp_path / "one", "1h", "--most", 30)
    walk(log, tmp_path / "same", "1h", "--most", 30, "--seed", 0)
    walk(log, tmp_path / "other", "1h", "--most", 30, "--seed", 1)
    assert result(tmp_path / "one") == result(tmp_path / "same")
    assert result(tmp_path / "one")[0][0] != result(tmp_path / "other")[0][0]


@pytest.mark.parametrize(
    ("text", "every"),
    [
        ("1", WindowLength(1, False)),
        ("90s", WindowLength(90, True)),
        ("15m", WindowLength(900, True)),
        ("2d", WindowLength(172800, True)),
    ],
)
def test_what_every_says(text, every):
    assert parse_every(text) == every


def test_windows_have_names_up_to_the_ends_of_time():
    assert WindowLength(5, False).label(2.0) == "3"
    assert WindowLength(900, True).label(-1.0) == "1969-12-31T23:45:00+00:00"
    assert WindowLength(86400 * 10**6, True).label(-1.0) == "0001-01-01T00:00:00+00:00"
    with pytest.raises(ConfigError):
        parse_every("9" * 10)


MOMENTS = st.lists(st.one_of(st.none(), st.integers(-50, 50)), max_size=40)


def expected_windows(moments, size):
    """Line by line: the window that each is taken with (None before the first time), and how many are late."""
    present, taken, late = None, [], 0
    for moment in moments:
        own = None if moment is None else moment // size
        late += own is not None and present is not None and own < present
        present = own if present is None or (own is not None and own > present) else present
        taken.append(present)
    return taken, late


@given(MOMENTS, st.integers(1, 20), st.lists(st.integers(0, 40)))
def test_windows_do_not_depend_on_how_lines_are_cut(moments, size, cuts):
    cutter, windows, number = WindowCutter(WindowLength(size, True)), [], 0
    bounds = sorted({0, len(moments), *(cut for cut in cuts if cut < len(moments))})
    for start, end in pairwise(bounds):
        times = np.array([np.nan if moment is None else moment for moment in moments[start:end]], float)
        for piece in cutter.cut(end - start, times):
            if piece is None:
                number += 1
            else:
                windows += [number] * len(range(*piece.indices(end - start)))
    taken, late = expected_windows(moments, size)
    order = [window for window in dict.fromkeys(taken) if window is not None]
    assert windows == [0 if window is None else order.index(window) for window in taken]
    assert (cutter.lines, cutter.late, cutter.timeless) == (len(moments), late, moments.count(None))
    if order:
        assert cutter.present == order[-1]


@given(st.lists(st.integers(1, 30), max_size=8), st.integers(1, 25))
def test_windows_of_lines_are_full_but_the_last(blocks, size):
    cutter, windows = WindowCutter(WindowLength(size, False)), [0]
    for count in blocks:
        for piece in cutter.cut(count, None):
            if piece is None:
                windows.append(0)
            else:
                windows[-1] += piece.stop - piece.start
    assert sum(windows) == sum(blocks) and windows[:-1] == [size] * (len(windows) - 1) and windows[-1] <= size


@given(st.lists(st.binary(max_size=5).filter(lambda line: b"\n" not in line), min_size=1, max_size=12), st.data())
def test_the_parts_of_a_block_are_the_block(lines, data):
    block = LineSplitter("log", 7, 3).feed(b"".join(line + b"\n" for line in lines))
    cut = data.draw(st.integers(1, len(block)))
    parts = [slice_block(block, slice(0, cut))] + ([slice_block(block, slice(cut, None))] if cut < len(block) else [])
    assert b"".join(one.data for one in parts) == block.data and parts[-1].end == block.end
    assert [line for one in parts for line in one.lines()] == list(block.lines())
    assert np.concatenate([one.offsets for one in parts]).tolist() == block.offsets.tolist()
    assert parts[-1].first == (3 if cut == len(block) else 3 + cut) and parts[0].first == 3
    if len(parts) == 2:
        assert parts[0].end == parts[1].offsets[0]


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.integers(1, 50), st.integers(0, 9))
def test_a_sample_does_not_depend_on_the_blocks_and_keeps_the_order(blocks, most, seed):
    total = sum(blocks)
    ids = np.arange(1, total + 1, dtype=np.int32)
    keys = [b"%d" % (number % 3) for number in range(total)]
    once, often, start = LineSample(most, (seed,)), LineSample(most, (seed,)), 0
    once.add(keys, ids, ids.astype(np.float32))
    for count in blocks:
        piece = slice(start, start + count)
        often.add(keys[piece], ids[piece], ids[piece].astype(np.float32))
        start += count
    assert once.ids.tolist() == often.ids.tolist() == sorted(once.ids.tolist())
    assert len(once) == min(most, total) and once.lines == often.lines == total
    corpus = often.corpus(["", *map(str, ids)])
    assert [corpus.keys[stream] for stream in corpus.streams] == [keys[number - 1] for number in often.ids.tolist()]
    assert often.scores.tolist() == often.ids.tolist()


def test_a_sample_is_even():
    found = np.zeros(100)
    for seed in range(400):
        sample = LineSample(20, (seed,))
        for start in range(0, 100, 10):
            sample.add([b""] * 10, np.arange(start, start + 10, dtype=np.int32), np.zeros(10, np.float32))
        found[sample.ids] += 1
    assert found.sum() == 8000 and abs(found.reshape(4, 25).sum(axis=1) - 2000).max() < 200  # 5 deviations


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcdefg"), min_size=1), min_size=2, max_size=4), st.integers(1, 9))
def test_known_texts_are_the_frequent_ones_with_their_counts(windows, most):
    known = KnownTexts(most=most)
    for texts in windows[:-1]:
        known.add(as_corpus(texts))
    held_out, counts = known.with_lines(as_corpus(windows[-1]))
    assert [held_out.texts[number] for number in held_out.ids] == windows[-1]
    assert len(known.counts) <= most and len(set(held_out.texts)) == len(held_out.texts) == len(counts)
    if most >= 7:
        flat = [text for texts in windows for text in texts]
        assert dict(zip(held_out.texts[1:], counts[1:], strict=True)) == {text: flat.count(text) for text in flat}


def as_corpus(texts):
    names = ["", *dict.fromkeys(texts)]
    sample = LineSample(1000, (0,))
    ids = np.array([names.index(text) for text in texts], np.int32)
    sample.add([b""] * len(ids), ids, np.zeros(len(ids), np.float32))
    return sample.corpus(names)


def test_of_texts_as_frequent_the_newer_ones_are_known():
    known = KnownTexts(most=2)
    for texts in (["a"], ["b"], ["c"], ["c", "d"]):
        known.add(as_corpus(texts))
    assert known.counts == {"c": 2, "d": 1}


def test_streams_are_kept_in_the_order_of_their_last_lines():
    streams = Streams(1, most=8, carried=[np.zeros((1, 2))])
    for key in (b"a", b"b", b"c", b"a"):
        list(streams.push("", [key], np.ones(1, np.int32)))
    assert [streams.key(slot)[1] for slot in streams.by_age()] == [b"b", b"c", b"a"]
