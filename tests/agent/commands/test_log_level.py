"""How much a command tells of itself: --verbose, --quiet, and log_level in the configuration."""

import logging
from pathlib import Path

import pytest
import yaml
from helpers.made_up import made_up_lines

from agent.app.service import Service
from agent.config import AgentConfig
from agent.host.log import StderrHandler


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "app.log"
    path.write_bytes(b"".join(made_up_lines(20)))
    return path


@pytest.mark.parametrize(
    ("option", "level", "tells"),
    [([], "info", True), (["-q"], "info", False), ([], "warning", False), (["--verbose"], "error", True)],
)
def test_options_win_over_the_configuration(call_agent, log, tmp_path, option, level, tells):
    (tmp_path / "agent.yaml").write_text(yaml.safe_dump({"log_level": level, "sinks": [f"jsonl:{tmp_path}/alerts"]}))
    done = call_agent("tail", log, "--once", "--from", "start", "--config", tmp_path / "agent.yaml", *option)
    assert done.returncode == 0 and ("read 20 lines" in done.stderr) == tells == bool(done.stderr)


@pytest.mark.parametrize("command", ["tail", "score", "run"])
def test_verbose_and_quiet_exclude_each_other(call_agent, log, command):
    done = call_agent(command, *([] if command == "run" else [log]), "--verbose", "--quiet")
    assert done.returncode == 2 and "--verbose and --quiet exclude each other; choose one" in done.stderr


def test_a_reload_applies_another_level(log, tmp_path):
    config = AgentConfig(sources=[str(log)], sinks=[f"jsonl:{tmp_path}/alerts"])
    service = Service(lambda: config)
    (handler,) = (one for one in logging.getLogger("agent").handlers if isinstance(one, StderrHandler))
    assert handler.level == logging.INFO
    config = AgentConfig(sources=[str(log)], sinks=[f"jsonl:{tmp_path}/alerts"], log_level="error")
    service.reload()
    service.close()
    assert handler.level == logging.ERROR
