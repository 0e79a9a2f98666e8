"""The generator of logs: what one seed gives, how a host lives, what is labelled, and what is refused."""

import hashlib
import json
import re
import tracemalloc
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import groupby, islice, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from agent.errors import ConfigError
from agent.text.headers import detect, parse_header
from agent.text.lines import LineSplitter
from training.cli import app
from training.data.labels import read_labels
from training.synth import INCIDENTS, Line, format_line, generate, write_log
from training.synth.daemons import constant
from training.synth.host import Activity
from training.synth.incidents import ALL
from training.synth.machine import reboot
from training.synth.rhythm import every
from training.synth.services import SERVICES
from training.synth.timeline import Incident, Planned, Timeline

BY_PLACE = ("wrong-order", "wrong-hour", "rate-jump", "silence")
# Every line of an incident has one of these texts, and no other line has.
TEXTS = {
    "segfault": r"segfault at|EXT4-fs error|shopd\.service: (Main|Failed|Sched)|Started Web shop",
    "unseen-burst": r"^kvmeshd: ",
    "disk-errors": r"ata1(\.00)?: (exc|failed|error|EH)|I/O error|pending|EXT4-fs (error|\(sda1\): Remount)",
    "out-of-memory": r"oom|Out of memory|OOM|Mem-Info|pagecache|swap|shopd\.service: (Main|Failed|Sched)|Started Web",
    "brute-force": r"user unknown|port 22$|203\.0\.113\.\d+(  user=root)?$|[Ii]nvalid user|root",
    "privilege-abuse": r"carol|sysupd|session closed for user root",
}


@cache
def log(
    incident: str = "none", count: int = 9000, seed: int = 3, services: tuple[str, ...] | None = None
) -> list[Line]:
    return list(generate(count, seed, incident, services))


def template(line: Line) -> str:
    text = re.sub(r"\b[0-9A-Fa-f]{10}\b", "<id>", line.message)
    return f"{line.program}: " + re.sub(r"\d+", "0", text)


def sessions(lines: list[Line]) -> list[list[str]]:
    """The texts of each process or mail; what the one process of dhclient writes is cut where it pauses."""
    groups: dict[object, list[Line]] = defaultdict(list)
    renewal = 0
    for line in lines:
        queue = re.match(r"[0-9A-F]{10}", line.message)
        before = groups[line.pid, renewal]
        if line.program == "dhclient" and before and line.time - before[-1].time > timedelta(seconds=2):
            renewal += 1
        groups[queue.group() if queue else (line.pid, renewal)].append(line)
    return [[template(line) for line in group] for group in groups.values() if group]


def fingerprint(lines: list[Line]) -> str:
    text = "".join(f"{format_line(line, 'iso8601')} {line.label} {line.kind}\n" for line in lines)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def test_one_seed_gives_one_log_for_good():
    """The same under Python 3.11, 3.12 and 3.13. Figures in docs and model cards rest on it."""
    assert fingerprint(list(generate(6000, 2, "all"))) == "750583ae115427a7"
    assert fingerprint(list(generate(600, 1, preset="plain"))) == "998f70af011247c7"


def test_another_seed_gives_another_log():
    first, again, other = (list(generate(2000, seed, "segfault")) for seed in (1, 1, 2))
    assert first == again
    assert [line.message for line in first] != [line.message for line in other]


@settings(max_examples=20, deadline=None, phases=(Phase.reuse, Phase.generate))  # to shrink takes minutes
@given(st.data())
def test_there_are_as_many_lines_as_wanted_in_the_order_of_their_times(data):
    wanted = data.draw(st.lists(st.sampled_from(INCIDENTS), unique=True, max_size=3))
    others = data.draw(st.lists(st.sampled_from(sorted(SERVICES)), unique=True, max_size=3))
    services = dict.fromkeys(["shopd", "cron", *others])
    count, at = data.draw(st.integers(3500, 6000)), data.draw(st.floats(0.5, 0.99))
    lines = list(generate(count, data.draw(st.integers(0, 10**6)), ",".join(wanted) or "none", list(services), at))
    assert len(lines) == count
    assert all(early.time <= late.time for early, late in pairwise(lines))
    assert all(line.label == (line.kind != "") for line in lines)
    found = Counter(line.kind for line in lines if line.kind)
    assert set(found) == set(wanted)
    for incident in ALL:
        assert incident.name == "silence" or found[incident.name] <= incident.lines
        times = [line.time for line in lines if line.kind == incident.name]
        assert not times or (times[-1] - times[0]).total_seconds() <= incident.seconds


def test_a_rate_jump_of_a_thing_that_takes_many_lines_stays_within_what_is_planned_for_it():
    lines = list(generate(3833, 1121, "rate-jump", ["shopd", "cron", "kernel", "sshd"], 0.83))
    found = [line for line in lines if line.kind == "rate-jump"]
    assert 250 < len(found) <= 320


def test_a_rate_jump_of_a_thing_that_takes_long_stays_within_what_is_planned_for_it():
    times = [line.time for line in generate(3500, 17146, "rate-jump", ["sshd", "systemd"], 0.5) if line.kind]
    assert 1200 < (times[-1] - times[0]).total_seconds() <= 1500


@pytest.mark.parametrize("kind", TEXTS)
def test_an_incident_with_texts_of_its_own_labels_these_and_nothing_else(kind):
    lines = log(kind)
    of_kind = [f"{line.program}: {line.message}" for line in lines if line.kind == kind]
    assert len(of_kind) >= 16 and {line.kind for line in lines} == {"", kind}
    assert [text for text in of_kind if not re.search(TEXTS[kind], text)] == []
    known = {template(line) for line in log(count=9000, seed=8)}
    assert sum(template(line) not in known for line in lines if line.kind == kind) > len(of_kind) / 2
    first = next(index for index, line in enumerate(lines) if line.label)
    assert abs(first - (len(lines) - len(of_kind)) * 2 / 3) < 100


@pytest.mark.parametrize("kind", BY_PLACE)
def test_an_incident_of_place_has_no_line_that_a_detector_of_new_texts_can_find(kind):
    known = {template(line) for seed in (8, 9) for line in log(count=30_000, seed=seed)}
    lines = [line for line in log(kind) if line.kind == kind]
    assert len(lines) >= 30
    assert {template(line) for line in lines} - known == set()


@pytest.mark.parametrize("service", ["sshd", "postfix", "dhclient", "backup", "cron"])
def test_a_wrong_order_never_occurs_otherwise(service):
    lines = log("wrong-order", 3000, 5, (service,))
    program = {"cron": "CRON", "postfix": "postfix"}.get(service, service)
    own = [line for line in lines if line.program.startswith(program)]
    normal = sessions([line for line in own if not line.kind][:-40])
    wrong = sessions([line for line in own if line.kind])
    assert len(wrong) == 10 and len(normal) > 50
    assert {order[0] for order in wrong} & {order[0] for order in normal} == set()
    assert {order[-1] for order in wrong} <= {order[0] for order in normal}


def test_a_wrong_hour_is_an_hour_at_which_it_never_happens():
    lines = [line for line in log("wrong-hour") if re.match(r"release \S+ ready", line.message)]
    wrong = [line for line in lines if line.kind]
    assert len(wrong) == 4 and all(line.time.hour < 6 for line in wrong)
    assert len(lines) > 20
    assert all(9 <= line.time.hour < 18 and line.time.weekday() < 5 for line in lines if not line.kind)


def test_the_rate_jumps_far_over_all_rates_before():
    lines = [line for line in log("rate-jump") if line.message.endswith(": removed")]
    times = {kind: [line.time.timestamp() for line in lines if line.kind == kind] for kind in ("", "rate-jump")}
    most = max(np.searchsorted(times[""], time + 600) - index for index, time in enumerate(times[""]))
    assert len(times["rate-jump"]) == 40 and times["rate-jump"][-1] - times["rate-jump"][0] < 720
    assert most < 10


def test_a_silence_is_labelled_for_twenty_lines_after_each_time_that_was_missed():
    lines = log("silence", 3000, 5, ("cron", "shopd", "dhclient"))
    runs = [line.time for line in lines if line.program == "CRON" and line.time.minute % 10 == 0]
    due = [runs[0] + timedelta(minutes=10 * step) for step in range(round((runs[-1] - runs[0]).total_seconds() / 600))]
    missed = [time for time in due if not any(abs((time - run).total_seconds()) < 5 for run in runs)]
    assert len(missed) == 12 and missed[-1] - missed[0] == timedelta(minutes=110)
    back = next(run for run in runs if run > missed[-1])
    odd = set()
    for time in missed:
        after = [index for index, line in enumerate(lines) if time < line.time < back]
        odd |= set(after[:20])
    assert {index for index, line in enumerate(lines) if line.label} == odd
    assert {line.kind for line in lines} == {"", "silence"}


def test_a_silence_ends_twenty_lines_after_the_time_that_was_missed():
    ticks, job = (
        Activity(every(60, 30), constant("tick", 1, "tick")),
        Activity(every(3600, 0), constant("job", 1, "ran"), job="job"),
    )
    silence = Incident("silence", lambda host, services: [], 0, 2 * 3600)
    lines = list(islice(Timeline(0, {"a": [ticks], "b": [job]}, [Planned(3500 * 2, silence, "job")]).lines(), 400))
    assert [line.time.hour for line in lines if line.program == "job"] == [1, 4, 5, 6]
    odd = Counter(line.time.hour for line in lines if line.label)
    assert odd == {2: 20, 3: 20} and all(line.time.minute < 20 for line in lines if line.label)


def test_the_incident_of_crashes_counts_its_restarts():
    messages = [line.message for line in log("segfault")]
    assert sum("segfault at" in message for message in messages) == 15
    assert [message for message in messages if "restart counter" in message][-1].endswith("is at 15.")


def test_several_incidents_are_spread_over_the_last_third():
    lines = log("all", 12_000)
    assert {line.kind for line in lines} == {"", *INCIDENTS}
    assert min(index for index, line in enumerate(lines) if line.label) > 6000
    begin = {kind: next(i for i, line in enumerate(lines) if line.kind == kind) for kind in INCIDENTS}
    free = [begin[kind] for kind in TEXTS]
    assert min(late - early for early, late in pairwise(sorted(free))) > 100


def test_the_place_of_an_incident_can_be_chosen():
    for at in (0.5, 0.7, 0.9):
        lines = list(generate(4000, 2, "brute-force", at=at))
        assert abs(next(index for index, line in enumerate(lines) if line.label) / 4000 - at) < 0.05


def test_an_incident_leaves_the_normal_lines_as_they_are():
    """But for the numbers of processes and sessions, and those that its own lines push over the end."""
    services = ("cron", "sshd", "postfix")
    with_one = [line for line in log("brute-force", 3000, 4, services) if not line.kind]
    without = log("none", 3000, 4, services)
    assert [(line.time, template(line)) for line in with_one] == [
        (line.time, template(line)) for line in without[: len(with_one)]
    ]


def test_nights_and_weekends_are_quieter():
    lines = log("none", 30_000, 8)
    days = Counter(line.time.date() for line in lines if line.time.date() > lines[0].time.date())
    days.pop(lines[-1].time.date())
    week, weekend = ([n for day, n in days.items() if (day.weekday() >= 5) == end] for end in (False, True))
    assert np.mean(weekend) < 0.95 * np.mean(week)
    hours = Counter(line.time.hour for line in lines)
    assert sum(hours[hour] for hour in range(6)) < 0.7 * sum(hours[hour] for hour in range(9, 15))
    logins = [line for line in lines if line.message.startswith("Accepted") and "deploy" not in line.message]
    by_day = sum(7 <= line.time.hour < 18 and line.time.weekday() < 5 for line in logins)
    assert len(logins) * 0.7 < by_day < len(logins)


def test_rare_things_happen_without_an_incident():
    lines = log("none", 30_000, 8) + log("none", 20_000, 1, ("systemd", "sshd"))
    seen = " ".join({line.message for line in lines})
    for event in ("rebooting", "Received signal 15", "Failed password", "Reloaded", "USB Keyboard", "deferred"):
        assert event in seen
    assert all(not line.label for line in lines)


def test_at_a_reboot_all_stops_and_the_clock_of_the_kernel_begins_again():
    lines = list(generate(25_000, 1, services=["systemd", "sshd", "kernel"]))
    downs = [index for index, line in enumerate(lines) if line.message == "System is rebooting."]
    assert downs
    for down in downs:
        boot = next(index for index in range(down, len(lines)) if "Linux version" in lines[index].message)
        assert boot - down < 10 and lines[boot].time - lines[down].time > timedelta(seconds=15)
        assert {line.program for line in lines[down:boot]} <= {"systemd-logind", "systemd", "rsyslogd"}
        clocks = [float(line.message[1:13]) for line in lines[boot : boot + 10]]
        assert clocks == sorted(clocks) and 0 < clocks[0] < 1
        closed = [line.message for line in lines[boot:] if "Removed session" in line.message]
        opened = [line.message for line in lines[boot:] if line.message.startswith("New session")]
        assert not opened or opened[0].split()[2] in ("1", "2")
        assert not closed or closed[0].split()[2].rstrip(".") in {message.split()[2] for message in opened}


def test_what_runs_at_a_reboot_is_cut_and_nothing_begins_before_the_machine_is_up():
    ticks = Activity(every(5, 0), constant("tick", 1, "tick"))
    long = Activity(every(100, 0), lambda host: [(0, "long", 1, "began"), (60, "long", 1, "ended")])
    boots = Activity(every(1000, 520), reboot)
    lines = list(islice(Timeline(0, {"a": [ticks], "b": [long], "c": [boots]}).lines(), 1500))
    downs = [index for index, line in enumerate(lines) if line.message == "System is rebooting."]
    assert len(downs) > 3
    for down in downs:
        up = next((i for i in range(down, len(lines)) if lines[i].message.startswith("Startup finished")), len(lines))
        assert {line.program for line in lines[down:up]} & {"tick", "long"} == set()
        assert [line.message for line in lines[up:] if line.program == "long"][:1] in ([], ["began"])


def test_what_cron_opens_it_closes():
    lines = [line for line in generate(3000, 6, services=["cron"]) if "session" in line.message]
    opened = [line.pid for line in lines if "opened" in line.message]
    closed = [line.pid for line in lines if "closed" in line.message]
    assert len(opened) > 100
    assert set(opened[:-5]) <= set(closed)


def test_every_service_can_be_had_alone():
    for name in SERVICES:
        assert len(list(generate(20, 8, services=[name]))) == 20


def test_the_memory_needed_does_not_grow_with_the_log():
    peaks = []
    for count in (3000, 24_000):
        tracemalloc.start()
        for _ in generate(count, 5, "segfault"):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 100_000 < 1_000_000


def test_the_plain_log_has_the_days_and_ids_that_a_model_needs_before_its_burst():
    lines = list(generate(preset="plain"))
    assert len(lines) == 11_000 and sum(line.label for line in lines) == 1000
    assert {line.kind for line in lines} == {"", "unseen-burst"}
    normal, burst = ([line for line in lines if line.label == label] for label in (0, 1))
    assert 72 <= (normal[-1].time - normal[0].time).days <= 78
    before = [line for line in normal if line.time < burst[0].time]
    assert len(before) == pytest.approx(9000, abs=5)
    ids = [int(re.match(r"E(\d+) ", line.message).group(1)) for line in lines]
    assert {number for number, line in zip(ids, lines, strict=True) if not line.label} == set(range(1, 31))
    train = normal[:8000]
    assert {int(line.message.split()[0][1:]) for line in train} == set(range(1, 31))
    assert {line.time.day for line in train} == set(range(1, 32)) and {line.time.hour for line in train} == set(
        range(24)
    )
    assert {number for number, line in zip(ids, lines, strict=True) if line.label} == set(range(900, 1000))
    assert burst[-1].time - burst[0].time < timedelta(minutes=6)
    assert len({line.message for line in burst}) == 1000
    places = [index for index, line in enumerate(lines) if line.label]
    assert places[-1] - places[0] < 1010


def test_the_plain_log_follows_its_options():
    lines = list(generate(500, 3, preset="plain"))
    assert (len(lines), sum(line.label for line in lines)) == (550, 50)
    assert not any(line.label for line in generate(500, 3, "none", preset="plain"))
    by_hour = Counter(line.time.hour for line in generate(5000, 3, "none", preset="plain"))
    assert sum(by_hour[hour] for hour in range(6)) < sum(by_hour[hour] for hour in range(9, 15))


@pytest.mark.parametrize("form", ["rfc3164", "iso8601"])
@pytest.mark.parametrize("preset", ["host", "plain"])
def test_the_agent_reads_the_lines(tmp_path, form, preset):
    made = list(generate(1000, 4, preset=preset)) + [line for line in log("all", 12_000) if line.label]
    assert write_log(str(tmp_path / "syslog"), made, form) == len(made)
    block = LineSplitter("syslog").feed((tmp_path / "syslog").read_bytes())
    assert detect(block) == form
    for line, text in zip(made, block.lines(), strict=True):
        header = parse_header(text, form, datetime(2026, 12, 1, tzinfo=UTC))
        assert (header.host, header.program, header.message) == (line.host, line.program, line.message)
        assert header.pid == ("" if line.pid is None else str(line.pid))
        assert header.time == (line.time if form == "iso8601" else line.time.replace(microsecond=0))


def test_a_line_looks_as_a_syslog_daemon_writes_it():
    line = Line(datetime(2026, 3, 2, 4, 5, 6, 7, tzinfo=UTC), "sshd", 12, "said [1]: this")
    assert format_line(line, "rfc3164") == "Mar  2 04:05:06 web1 sshd[12]: said [1]: this"
    assert format_line(line, "iso8601") == "2026-03-02T04:05:06.000007+00:00 web1 sshd[12]: said [1]: this"
    assert format_line(line._replace(pid=None), "rfc3164") == "Mar  2 04:05:06 web1 sshd: said [1]: this"


def test_the_agent_reads_the_lines_over_the_turn_of_a_year():
    lines = list(generate(330, 4, services=["rsyslogd"]))  # one a day
    assert (lines[0].time.year, lines[-1].time.year) == (2026, 2027)
    for line in lines:
        header = parse_header(format_line(line, "rfc3164").encode(), "rfc3164", lines[-1].time)
        assert header.time == line.time.replace(microsecond=0)


def test_a_json_line_is_one_object_with_the_same_fields():
    made = log("none", 1000, 4)
    for line in made:
        text = format_line(line, "json")
        fields = json.loads(text)
        assert "\n" not in text and datetime.fromisoformat(fields.pop("time")) == line.time
        pid = {} if line.pid is None else {"pid": line.pid}
        assert fields == {"host": "web1", "program": line.program, "message": line.message, **pid}


def test_with_a_rate_lines_and_labels_are_appended_and_bear_the_present_time(tmp_path):
    path, labels = tmp_path / "syslog", tmp_path / "labels"
    path.write_text("before\n")
    labels.write_text("1\n")
    began = datetime.now(UTC)
    assert write_log(str(path), generate(30, 9), "iso8601", 1000, str(labels)) == 30
    before, *lines = path.read_text().splitlines()
    assert before == "before" and len(lines) == 30
    assert labels.read_text() == "1\n" + 30 * "0\n"
    times = [datetime.fromisoformat(line.split()[0]) for line in lines]
    assert began <= times[0] and times == sorted(times)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"count": 0}, "too few"),
        ({"count": 299, "incident": "segfault"}, "300"),
        ({"count": 1000, "incident": "all"}, "too few"),
        ({"count": 500, "incident": "flood"}, "'flood'"),
        ({"count": 500, "incident": "segfault,flood"}, "'flood'"),
        ({"count": 500, "incident": ""}, "unknown incident ''"),
        ({"count": 500, "incident": "wrong-hour"}, "no room for the incident wrong-hour"),
        ({"count": 500, "incident": "wrong-hour", "services": ["cron"]}, "needs a host with the service shopd"),
        ({"count": 500, "incident": "silence", "services": ["backup"]}, "cron or shopd or dhclient"),
        ({"count": 10, "services": ["cron", "gopher"]}, "'gopher'"),
        ({"count": 10, "services": []}, "choose of cron"),
        ({"count": 500, "incident": "segfault", "at": 1.0}, "from 0.5"),
        ({"count": 500, "incident": "segfault", "at": float("nan")}, "from 0.5"),
        ({"preset": "fancy"}, "'fancy'"),
        ({"preset": "plain", "incident": "segfault"}, "'segfault'"),
        ({"preset": "plain", "services": ["cron"]}, "its own services"),
    ],
)
def test_what_cannot_be_made_up_is_refused_at_once(arguments, word):
    with pytest.raises(ConfigError, match=word):
        generate(**arguments)


def test_a_file_is_not_overwritten_and_a_refusal_leaves_none(tmp_path):
    path, labels = tmp_path / "syslog", tmp_path / "labels"
    for form, rate in (("rfc9999", None), ("rfc3164", 0.0), ("rfc3164", -3.0), ("rfc3164", float("nan"))):
        with pytest.raises(ConfigError):
            write_log(str(path), generate(10), form, rate)
    labels.write_text("mine")
    for beside, word in ((labels, "labels exists"), (tmp_path / "absent" / "labels", "cannot be written")):
        with pytest.raises(ConfigError, match=word):
            write_log(str(path), generate(10), labels=str(beside))
    for same in (str(path), "-"):
        with pytest.raises(ConfigError, match="differently"):
            write_log(str(path), generate(10), labels=same)
    assert not path.exists() and labels.read_text() == "mine"
    path.write_text("mine")
    with pytest.raises(ConfigError, match="exists"):
        write_log(str(path), generate(10))
    assert path.read_text() == "mine"


def test_the_command_writes_the_log_its_labels_and_its_incidents(tmp_path: Path):
    out, labels, kinds = (str(tmp_path / name) for name in ("log", "labels", "kinds"))
    arguments = ["synth", out, "--lines", "900", "--seed", "3", "--incident", "segfault", "--format", "iso8601"]
    done = CliRunner().invoke(app, [*arguments, "--labels", labels, "--kinds", kinds])
    assert done.exit_code == 0 and done.stdout == f"900 lines in {out}\n"
    made = list(generate(900, 3, "segfault"))
    assert Path(out).read_text().splitlines() == [format_line(line, "iso8601") for line in made]
    marks = read_labels(Path(labels), np.zeros(900, np.int32), [b""], None)
    assert marks.tolist() == [line.label for line in made]
    assert Path(kinds).read_text().splitlines() == [line.kind or "-" for line in made]
    assert [kind for kind, _ in groupby(Path(kinds).read_text().splitlines())][:2] == ["-", "segfault"]


def test_the_command_writes_to_standard_output():
    done = CliRunner().invoke(app, ["synth", "-", "--lines", "5", "--seed", "3"])
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [format_line(line, "rfc3164") for line in generate(5, 3)]


def test_the_help_names_every_incident():
    done = CliRunner().invoke(app, ["synth", "--help"], terminal_width=200)
    assert [name for name in INCIDENTS if name not in done.stdout] == []
