"""The generator of syslog: what one seed gives, how it looks, and what it refuses."""

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from typer.testing import CliRunner

from agent.errors import ConfigError
from agent.headers import detect, parse_header
from agent.lines import LineSplitter
from training.cli import app
from training.synth import format_line, generate, write_log
from training.synth.services import SERVICES


def test_one_seed_gives_one_log_and_another_seed_another():
    first, again, other = (list(generate(2000, seed, "segfault")) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("incident", ["segfault", "none"])
@pytest.mark.parametrize("count", [300, 1999, 5000])
def test_there_are_as_many_lines_as_wanted_in_the_order_of_their_times(count, incident):
    lines = list(generate(count, 3, incident))
    assert len(lines) == count
    assert all(early.time <= late.time for early, late in pairwise(lines))


@pytest.mark.parametrize("form", ["rfc3164", "iso8601"])
def test_the_agent_reads_the_lines(tmp_path, form):
    made = list(generate(1000, 4, "segfault"))
    assert write_log(str(tmp_path / "syslog"), made, form) == 1000
    block = LineSplitter("syslog").feed((tmp_path / "syslog").read_bytes())
    assert detect(block) == form
    for line, text in zip(made, block.lines(), strict=True):
        header = parse_header(text, form, datetime(2026, 12, 1, tzinfo=UTC))
        assert (header.host, header.program, header.message) == ("web1", line.program, line.message)
        assert header.time == (line.time if form == "iso8601" else line.time.replace(microsecond=0))


def test_the_incident_is_there_once_after_two_thirds_and_only_if_wanted():
    assert not [line for line in generate(6000, 5) if "segfault" in line.message or "EXT4-fs error" in line.message]
    messages = [line.message for line in generate(6000, 5, "segfault")]
    blocks = [index for index, message in enumerate(messages) if "EXT4-fs error" in message]
    assert len(blocks) == 1 and 3940 < blocks[0] < 4000
    faults = [index for index, message in enumerate(messages) if "segfault" in message]
    assert len(faults) == 15 and faults[0] > blocks[0] and faults[-1] < 4080
    restarts = [message for message in messages if "restart counter" in message]
    assert restarts[-1].endswith("is at 15.")


def test_what_cron_opens_it_closes():
    lines = [line for line in generate(3000, 6, services=["cron"]) if "session" in line.message]
    opened = [line.pid for line in lines if "opened" in line.message]
    closed = [line.pid for line in lines if "closed" in line.message]
    assert len(opened) > 100
    assert set(opened[:-5]) <= set(closed)


def test_people_log_in_by_day():
    logins = [line for line in generate(20_000, 7, services=["sshd"]) if line.message.startswith("Accepted")]
    by_day = sum(8 <= line.time.hour < 18 and line.time.weekday() < 5 for line in logins)
    assert by_day > len(logins) / 2  # 50 of the 168 hours of a week


def test_every_service_can_be_had_alone():
    for name in SERVICES:
        assert len(list(generate(20, 8, services=[name]))) == 20


def test_with_a_rate_lines_are_appended_and_bear_the_present_time(tmp_path):
    path = tmp_path / "syslog"
    path.write_text("before\n")
    began = datetime.now(UTC)
    assert write_log(str(path), generate(30, 9), "iso8601", rate=1000) == 30
    before, *lines = path.read_text().splitlines()
    assert before == "before" and len(lines) == 30
    times = [datetime.fromisoformat(line.split()[0]) for line in lines]
    assert began <= times[0] and times == sorted(times)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"count": 0}, "too few"),
        ({"count": 299, "incident": "segfault"}, "300"),
        ({"count": 500, "incident": "flood"}, "'flood'"),
        ({"count": 10, "services": ["cron", "gopher"]}, "'gopher'"),
        ({"count": 10, "services": []}, "choose of cron"),
    ],
)
def test_what_cannot_be_made_up_is_refused_at_once(arguments, word):
    with pytest.raises(ConfigError, match=word):
        generate(**arguments)


def test_a_file_is_not_overwritten_and_a_refusal_leaves_none(tmp_path):
    path = tmp_path / "syslog"
    for form, rate in (("rfc9999", None), ("rfc3164", 0.0), ("rfc3164", -3.0)):
        with pytest.raises(ConfigError):
            write_log(str(path), generate(10), form, rate)
    assert not path.exists()
    path.write_text("mine")
    with pytest.raises(ConfigError, match="exists"):
        write_log(str(path), generate(10))
    assert path.read_text() == "mine"
    with pytest.raises(ConfigError, match="cannot be written"):
        write_log(str(tmp_path / "absent" / "syslog"), generate(10))


def test_the_command_writes_to_standard_output(tmp_path):
    done = CliRunner().invoke(app, ["synth", "-", "--lines", "5", "--seed", "3"])
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [format_line(line, "rfc3164") for line in generate(5, 3)]
