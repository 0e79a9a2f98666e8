"""The loop of the agent among events in an unlucky order: it goes on, and says so."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import agent.inputs
from agent.config import AgentConfig, FileInput
from agent.service import Service
from agent.sources.patterns import matches

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
