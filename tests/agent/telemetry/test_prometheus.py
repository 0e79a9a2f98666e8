"""What the agent tells of itself: the counts, the format that Prometheus reads, the file for node_exporter."""

import http.client
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import closing

import hypothesis.strategies as st
import pytest
from helpers.made_up import made_up_lines
from helpers.processes import start_agent
from helpers.waiting import free_port, rows_of, until
from hypothesis import given

from agent.config import load_config
from agent.errors import ConfigError
from agent.sources.files.follower import FileSource
from agent.telemetry.counters import Counts
from agent.telemetry.monitor import Monitor
from agent.telemetry.prometheus import exposition, families, label_text
from agent.telemetry.settings import MetricsSettings
from agent.telemetry.snapshot import SinkView, Snapshot, SourceView

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
_SAMPLE = re.compile(rf"({_NAME})(?:\{{({_LABEL}(?:,{_LABEL})*)\}})? (-?[0-9.]+(?:e[+-]?[0-9]+)?|NaN)")
Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parse(text: str) -> Series:
    """The series of a text in Prometheus's format 0.0.4; fails where it is not strictly that."""
    found: Series = {}
    helped: list[str] = []
    typed: list[str] = []
    assert text.endswith("\n")
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            name, text = re.fullmatch(rf"# HELP ({_NAME}) (.+)", line).groups()
            assert name not in helped and not re.search(r"\\[^\\n]", text)
            helped.append(name)
        elif line.startswith("# TYPE "):
            name, kind = re.fullmatch(rf"# TYPE ({_NAME}) (counter|gauge)", line).groups()
            assert name == helped[-1] and name not in typed and (kind == "counter") == name.endswith("_total")
            typed.append(name)
        else:
            name, labels, value = _SAMPLE.fullmatch(line).groups()
            assert name == typed[-1] == helped[-1] and name.startswith("oddline_")
            key = name, tuple(sorted(_labels(labels or "")))
            assert key not in found, f"{key} stands there twice"
            found[key] = float(value)
    assert helped == typed
    return found


def _labels(text: str) -> Iterator[tuple[str, str]]:
    for name, value in re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', text):
        yield name, re.sub(r"\\(.)", lambda match: {"n": "\n"}.get(match[1], match[1]), value)


def values(series: Series, **labels: str) -> dict[str, float]:
    """The values of the series with just these labels, by their names without what all have in common."""
    wanted = tuple(sorted(labels.items()))
    return {
        name.removeprefix("oddline_").removesuffix("_total"): value
        for (name, found), value in series.items()
        if found == wanted
    }


def made_up_snapshot(names: list[str], counts: Counts | None = None) -> Snapshot:
    views = {name: SourceView(counts or Counts(), 7, 1.5) for name in names}
    sinks = {f"jsonl:{name}": SinkView(3, {"full": 2}, 1, True) for name in names}
    return Snapshot(views, sinks, 5, 6, 1.7e9, 1.6e9, ("abc", 'a "bundle"\\'), {"done": 2, "refused": 1})


def get(port: int, path: str = "/metrics", method: str = "GET") -> tuple[int, str]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def test_what_is_told_after_rotation_truncation_and_a_long_line(bundle, tmp_path):
    lines, log, port = made_up_lines(300, odd=tuple(range(20, 300, 25))), tmp_path / "a.log", free_port()
    log.write_bytes(b"".join(lines[:100]))
    (tmp_path / "agent.yaml").write_text(
        f"sources: [{{path: {log}, from: start}}]\nbundle: {bundle}\nsinks: ['jsonl:{tmp_path}/alerts']\n"
        f"max_line: 500\nmetrics: 127.0.0.1:{port}\nmetrics_file: {tmp_path}/oddline.prom\n"
    )
    process = start_agent("run", "--config", tmp_path / "agent.yaml")

    def read(count: int) -> bool:
        try:
            status, text = get(port)
        except OSError:
            return False
        return status == 200 and values(parse(text), source=str(log))["lines_read"] == count

    try:
        until(lambda: read(100))
        log.rename(tmp_path / "a.log.1")
        log.write_bytes(b"".join(lines[100:250]))
        until(lambda: read(250))
        log.write_bytes(b"".join(lines[250:]))
        until(lambda: read(300))
        with log.open("ab") as file:
            file.write(b"Mar  9 00:00:00 web1 shopd[1]: " + b"x" * 1000 + b"\n")
        until(lambda: read(301))
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    series = parse((tmp_path / "oddline.prom").read_text())
    alerts = [row for row in rows_of(tmp_path / "alerts") if row["kind"] == "alert"]
    told = values(series, source=str(log))
    assert told.pop("alerts") == len(alerts) > 5
    assert told.pop("alerts_folded") >= 0 and told.pop("lines_scored") == 301 - 3  # a window of 4 lines warms up
    assert told == {
        "bytes_read": len(b"".join(lines)) + 1032,
        "lines_read": 301,
        "lines_cut": 1,
        "bytes_cut": 1031 - 500,
        "zero_bytes": 0,
        "undecodable": 0,
        "lines_shortened": 0,
        "own_alert_lines": 0,
        "rotations": 1,
        "truncations": 1,
        "reopens": 0,
        "losses": 1,
        "bytes_lost": 0,
        "unscored_lines": 0,
        "forged_lines": 0,
        "alerts_held_back": 0,
        "backlog_bytes": 0,
        "backlog_seconds": 0,
    }
    sink = {"alerts_delivered": len(rows_of(tmp_path / "alerts")), "outbox_alerts": 0, "sink_failing": 0}
    assert values(series, sink=f"jsonl:{tmp_path}/alerts") == sink
    whole = values(series)
    assert whole["streams"] == 1 and whole["resident_memory_bytes"] > 1e7 and whole["texts"] > 1
    assert whole["last_look_timestamp_seconds"] >= whole["start_time_seconds"] > 1.7e9
    assert [key[1][1:] for key in series if key[0] == "oddline_bundle_info"] == [
        (("name", json.loads((bundle / "manifest.json").read_text())["name"]), ("version", "0.1.0"))
    ]


@given(st.lists(st.binary(min_size=1, max_size=9) | st.sampled_from([b"a\\", b'"', b"\\n", b"\n", b"\\xff", b"\xff"])))
def test_hostile_names_give_a_series_each(names):
    decoded = {os.fsdecode(name) for name in names}
    series = parse(exposition(families(made_up_snapshot(sorted(decoded)))))
    told = {dict(labels)["source"] for name, labels in series if name == "oddline_lines_read_total"}
    assert told == {label_text(name) for name in decoded} and len(told) == len(decoded)
    assert all(text.isprintable() for text in told)


def test_every_count_has_a_metric_of_its_own():
    fields = [field for field in Counts.__struct_fields__ if field != "last_read"]
    counts = Counts(**{field: 1000 + number for number, field in enumerate(fields)})
    told = values(parse(exposition(families(made_up_snapshot(["/a"], counts)))), source="/a")
    assert {value for value in told.values() if value >= 1000} == {1000 + number for number in range(len(fields))}
    assert (told["backlog_bytes"], told["backlog_seconds"]) == (7, 1.5)


def test_what_a_sink_lost_is_told_by_cause():
    series = parse(exposition(families(made_up_snapshot(["/a"]))))
    assert values(series, sink="jsonl:/a") == {"alerts_delivered": 3, "outbox_alerts": 1, "sink_failing": 1}
    assert values(series, sink="jsonl:/a", cause="full") == {"alerts_dropped": 2}
    assert values(series, sink="jsonl:/a", cause="refused") == {"alerts_dropped": 0}


@pytest.fixture
def follow(tmp_path) -> Iterator[Callable[..., FileSource]]:
    made = []

    def make(position: object = None) -> FileSource:
        made.append(FileSource(tmp_path / "a.log", position, "start", grace=0.0))
        return made[-1]

    yield make
    for source in made:
        source.close()


def test_the_bytes_that_a_truncation_took_are_counted(follow, tmp_path):
    log = tmp_path / "a.log"
    log.write_bytes(b"one line\n" * 100)
    source = follow()
    assert len(source.read(limit=90)) == 10 and source.backlog == 810
    log.write_bytes(b"new\n")
    assert source.read().data == b"new\n"
    assert (source.truncations, source.losses, source.bytes_lost, source.backlog) == (1, 1, 810, 0)


def test_a_file_that_comes_back_counts_as_reopened(follow, tmp_path):
    source = follow()
    assert source.read() is None and source.reopened == 0
    (tmp_path / "a.log").write_bytes(b"one\n")
    assert source.read().data == b"one\n" and source.reopened == 0
    source.close()
    source.read()
    assert source.reopened == 1


def test_what_happened_while_nobody_looked_counts_as_well(follow, tmp_path):
    log = tmp_path / "a.log"
    log.write_bytes(b"one line\n" * 100)
    source = follow()
    source.read()
    log.write_bytes(b"short\n")
    again = follow(source.file_checkpoint)
    assert (again.truncations, again.rotations, again.losses) == (1, 0, 1)
    (tmp_path / "other").write_bytes(b"short\n")
    again.read()
    (tmp_path / "other").replace(log)
    third = follow(again.file_checkpoint)
    assert (third.truncations, third.rotations, third.losses) == (0, 1, 1)


def test_the_backlog_has_the_rest_of_a_rotated_file_and_the_new_one(follow, tmp_path):
    log = tmp_path / "a.log"
    log.write_bytes(b"one line\n" * 10)
    source = follow()
    source.read(limit=9)
    log.rename(tmp_path / "a.log.1")
    assert source.backlog == 81
    log.write_bytes(b"new\n")
    assert source.backlog == 85


def test_the_file_is_replaced_in_one_step_and_readable_for_all(tmp_path, said):
    (tmp_path / "metrics").mkdir()
    file = tmp_path / "metrics" / "oddline.prom"
    now = [0.0]
    monitor = Monitor(MetricsSettings(file=str(file)), clock=lambda: now[0])
    before = os.umask(0o077)
    try:
        monitor.publish(made_up_snapshot(["/a"]))
        assert not file.exists()
        now[0] = 15.0
        monitor.publish(made_up_snapshot(["/a"]))
    finally:
        os.umask(before)
    first = file.stat()
    assert parse(file.read_text()) and first.st_mode & 0o777 == 0o644
    now[0] = 16.0
    monitor.publish(made_up_snapshot(["/a"], Counts(lines_read=9)))
    assert values(parse(file.read_text()), source="/a")["lines_read"] == 0
    with file.open() as reading:
        monitor.publish(made_up_snapshot(["/a"], Counts(lines_read=9)), last=True)
        assert values(parse(reading.read()), source="/a")["lines_read"] == 0
    assert values(parse(file.read_text()), source="/a")["lines_read"] == 9
    assert os.listdir(tmp_path / "metrics") == ["oddline.prom"] and not said


def test_a_file_that_cannot_be_written_is_told_once(tmp_path, said):
    (tmp_path / "metrics").mkdir()
    monitor = Monitor(MetricsSettings(file=str(tmp_path / "metrics" / "oddline.prom")))
    (tmp_path / "metrics").rmdir()
    for _ in range(3):
        monitor.publish(made_up_snapshot(["/a"]), last=True)
    assert len(said) == 1 and "oddline.prom cannot be written: No such file or directory" in said[0]


@pytest.mark.parametrize("name", ["nowhere/oddline.prom", "folder.prom"])
def test_a_file_that_can_never_be_written_is_refused(tmp_path, name):
    (tmp_path / "folder.prom").mkdir()
    with pytest.raises(ConfigError, match=r"metrics_file .*prom cannot be written; name a file in a folder"):
        Monitor(MetricsSettings(file=str(tmp_path / name)))


def test_a_tailed_file_is_never_replaced(bundle, tmp_path, call_agent):
    log = tmp_path / "log.prom"
    log.write_bytes(b"a line\n")
    (tmp_path / "agent.yaml").write_text(f"metrics_file: {log}\nsinks: ['jsonl:{tmp_path}/alerts']\n")
    done = call_agent("tail", log, "--once", "-b", bundle, "--config", tmp_path / "agent.yaml")
    assert done.returncode == 2 and "metrics_file is a file that is tailed" in done.stderr
    assert log.read_bytes() == b"a line\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("metrics: 9464", "metrics: Expected `str"),
        ("metrics: localhost", "metrics: 'localhost' is not understood; write HOST:PORT"),
        ("metrics: 'localhost:0'", "is not understood"),
        ("metrics: 'localhost:65536'", "is not understood"),
        ("metrics: '::1:9464'", "is not understood"),
        ("metrics: '[::g]:9464'", "metrics: '.*g' not permitted|metrics: '.*': .*'::g'"),
        ("metrics_file: /a/b.txt", r"metrics_file: '/a/b.txt' does not end with .prom"),
    ],
)
def test_settings_that_cannot_be(tmp_path, text, words):
    (tmp_path / "agent.yaml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        load_config(tmp_path / "agent.yaml")
