"""The loop of the agent among events in an unlucky order: it goes on, and says so."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import run_agent, start_agent

import agent.inputs
from agent.config import AgentConfig, FileInput
from agent.delivery import Delivery
from agent.errors import StateDamaged
from agent.service import Service
from agent.sinks import open_sink
from agent.sources.patterns import matches
from agent.state import State

pytestmark = pytest.mark.usefixtures("no_thread_left")


def configured(folder: Path, *sources: str | FileInput) -> AgentConfig:
    return AgentConfig(sources=[*sources], sinks=[f"jsonl:{folder}/alerts"], start="start")


def test_a_file_that_is_removed_while_it_is_found_ends_nothing(tmp_path, monkeypatch, capfd):
    def found_too_late(pattern: str, followed: frozenset[Path]) -> Iterator[tuple[Path, tuple[int, int]]]:
        for path, key in matches(pattern, followed):
            path.unlink()
            yield path, key

    (tmp_path / "short.log").touch()
    monkeypatch.setattr(agent.inputs, "matches", found_too_late)
    Service(lambda: configured(tmp_path, f"{tmp_path}/*.log")).run(once=True)
    assert "read 0 lines" in capfd.readouterr().err


@pytest.mark.parametrize("ends", ["full", "gone", "closed"])
def test_nobody_to_tell_is_no_reason_to_end(tmp_path, ends):
    logs = [tmp_path / name for name in ("one.log", "other.log")]
    for log in logs:
        log.write_text("one line\n")
    with open("/dev/full" if ends == "full" else os.devnull, "wb") as stderr:
        reader, pipe = os.pipe()
        os.close(reader)
        process = start_agent(
            *("tail", *logs, "--once", "--from", "start", "--sink", f"jsonl:{tmp_path}/alerts"),
            *("--state", tmp_path / "state"),
            stderr=pipe if ends == "gone" else stderr,
            **({"preexec_fn": lambda: os.close(2)} if ends == "closed" else {}),
        )
        os.close(pipe)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(run_agent("status", "--state", tmp_path / "state", "--json").stdout)["totals"]["lines_read"] == 2


def test_a_state_that_is_gone_for_good_is_told_when_the_sinks_are_to_change(tmp_path):
    sinks = [open_sink(f"jsonl:{tmp_path}/{name}", "host", str) for name in ("before", "after")]
    state = State(tmp_path / "state")
    delivery = Delivery(state, sinks[:1], print)
    delivery.start()
    Path(state.file).unlink()
    with pytest.raises(StateDamaged, match="removed or replaced"):
        delivery.replace(sinks[1:])
    delivery.stop()
    state.close()
