"""Signals that come while the agent is only starting: none ends it otherwise than later, and none is lost."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.made_up import made_up_lines
from helpers.processes import environment, refusal, start_agent
from helpers.waiting import text_of, until

SEED = int(os.environ.get("ODDLINE_SEED", "7"))
# Sends itself a signal as soon as anything is imported that is neither of Python nor of the agent.
EARLY = """
import os, sys

class First:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in {*sys.stdlib_module_names, "agent"}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), int(os.environ["NUMBER"]))

sys.meta_path.insert(0, First())
from agent.cli import SCRIPT; SCRIPT()
"""


@pytest.fixture
def config(tmp_path: Path, bundle: Path) -> Path:
    (tmp_path / "app.log").write_bytes(b"".join(made_up_lines(30)))
    (tmp_path / "agent.yaml").write_text(
        f"sources: [{tmp_path}/app.log]\nsinks: ['jsonl:{tmp_path}/alerts']\nbundle: {bundle}\n"
    )
    return tmp_path / "agent.yaml"


def start_early(number: int, said: Path, *arguments: object, script: str = "main") -> subprocess.Popen:
    code = EARLY.replace("SCRIPT", script)
    with said.open("wb") as stderr:
        return subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)], stderr=stderr, env=environment({"NUMBER": str(number)})
        )


@pytest.mark.parametrize(("script", "before"), [("main", ()), ("oddline", ("agent",))])
@pytest.mark.parametrize("command", ["run", "tail"])
def test_a_hangup_before_anything_is_imported_is_taken_as_a_reload(tmp_path, config, command, script, before):
    arguments = ["run", "--config", config] if command == "run" else ["tail", tmp_path / "app.log", "--config", config]
    with start_early(signal.SIGHUP, tmp_path / "said", *before, *arguments, script=script) as process:
        try:
            until(lambda: "reloaded: bundle" in text_of(tmp_path / "said") or process.poll() is not None)
            assert process.poll() is None, text_of(tmp_path / "said")
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_before_anything_is_imported_is_a_clean_stop(tmp_path, config, number):
    with start_early(number, tmp_path / "said", "run", "--config", config) as process:
        try:
            assert process.wait(120) == 0 and "Traceback" not in text_of(tmp_path / "said")
        finally:
            process.kill()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, None)])
def test_a_command_that_is_no_service_ends_at_once(tmp_path, config, number, code):
    """Even where a file is named like a service."""
    with start_early(number, tmp_path / "said", "score", "run", "tail") as process:
        try:
            ended = process.wait(60)
            assert ended == code if code else ended != 0
        finally:
            process.kill()


def test_signals_at_any_time_of_the_start_neither_kill_nor_get_lost(tmp_path, config):
    chance = random.Random(SEED)
    for turn in range(10):
        said, last = tmp_path / f"said{turn}", chance.choice([signal.SIGTERM, signal.SIGINT])
        with said.open("wb") as stderr, start_agent("run", "--config", config, stderr=stderr) as process:
            try:
                until(lambda one=process: _handles(one, signal.SIGHUP))
                for _ in range(chance.randrange(1, 4)):
                    time.sleep(chance.uniform(0, 0.7))  # the time itself is what is drawn
                    process.send_signal(signal.SIGHUP)
                time.sleep(chance.uniform(0, 0.5))
                assert process.poll() is None, f"seed {SEED}, turn {turn}: {text_of(said)}"
                process.send_signal(last)
                assert process.wait(60) == 0, f"seed {SEED}, turn {turn}: {text_of(said)}"
            finally:
                process.kill()
        assert "Traceback" not in text_of(said)


def test_a_refusal_stays_one_whatever_was_noted(tmp_path, config):
    config.write_text("sources: [\n")
    code, line = refusal("run", "--config", config)
    assert code == 2 and "is no YAML" in line
    with start_early(signal.SIGTERM, tmp_path / "said", "run", "--config", config) as process:
        assert process.wait(60) == 2


def _handles(process: subprocess.Popen, number: int) -> bool:
    """Whether the process handles a signal; proc_pid_status(5)."""
    assert process.poll() is None
    (caught,) = [
        line for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if line.startswith("SigCgt")
    ]
    return bool(int(caught.split()[1], 16) & 1 << number - 1)
