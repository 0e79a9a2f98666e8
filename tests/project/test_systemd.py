"""The unit and the configuration that a host gets are understood by systemd and by the agent."""

import re
import resource
import subprocess
from pathlib import Path

import msgspec
import pytest
from helpers.processes import require_program

from agent.config import AgentConfig, load_config
from agent.delivery.sinks import open_sink
from agent.host.limits import raise_file_limit
from agent.host.log import TAG

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "systemd" / "oddline.service"
DROP_IN = ROOT / "systemd" / "network.conf"
CONFIG = ROOT / "packaging" / "agent.yaml"


def verify(folder: Path, unit: str, drop_in: str | None = None) -> str:
    """What `systemd-analyze verify` complains of; the agent's program is stood in for, since it is not in /opt here."""
    (folder / "oddline.service").write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", unit))
    if drop_in is not None:
        (folder / "oddline.service.d").mkdir()
        (folder / "oddline.service.d" / "network.conf").write_text(drop_in)
    command = [require_program("systemd-analyze"), "verify", "--man=no", str(folder / "oddline.service")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr + done.stdout


@pytest.mark.parametrize("drop_in", [None, DROP_IN])
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path, drop_in):
    complaints = verify(tmp_path, UNIT.read_text(), None if drop_in is None else drop_in.read_text())
    assert "oddline.service" not in complaints and "network.conf" not in complaints


def test_systemd_complains_of_a_misspelt_line(tmp_path):
    assert "WatchdogSecs" in verify(tmp_path, UNIT.read_text().replace("WatchdogSec=", "WatchdogSecs="))


def test_the_unit_starts_the_agent_with_the_configuration_that_it_names():
    start = re.search(r"(?m)^ExecStart=(.*)$", UNIT.read_text())[1].split()
    assert Path(start[0]).name == "agent"
    assert start[1:] == ["run", "--config", "/etc/oddline/agent.yaml"]


def test_the_state_folder_is_the_one_that_systemd_makes():
    name = re.search(r"(?m)^StateDirectory=(.*)$", UNIT.read_text())[1]
    assert load_config(CONFIG).state == f"/var/lib/{name}"


def test_the_journal_names_the_agent_as_it_names_itself():
    assert re.search(r"(?m)^SyslogIdentifier=(.*)$", UNIT.read_text())[1] == TAG


def test_a_stop_is_told_to_the_agent_alone():
    """Else journalctl ends first, and the agent says so and starts it anew."""
    assert re.search(r"(?m)^KillMode=mixed$", UNIT.read_text())


def test_the_configuration_explains_every_key():
    written = set(re.findall(r"(?m)^(\w+):", CONFIG.read_text()))
    assert written == {field.encode_name for field in msgspec.structs.fields(AgentConfig)}
    assert re.search(r"(?m)^\w+:.*\n\w+:", CONFIG.read_text()) is None, "a key without a comment before it"


def test_what_the_configuration_does_not_choose_is_the_default():
    given = msgspec.to_builtins(load_config(CONFIG))
    chosen = {key for key, value in msgspec.to_builtins(AgentConfig()).items() if given[key] != value}
    assert chosen == {"sources", "sinks", "state"}


def test_the_sinks_of_the_configuration_can_be_opened():
    for url in load_config(CONFIG).sinks:
        open_sink(url, "web1", str).close()


@pytest.mark.parametrize("call", ["getrlimit", "setrlimit"])
def test_a_sandbox_that_refuses_to_tell_or_raise_limits_does_not_end_the_agent(call, monkeypatch):
    calls = []

    def refuse(*_):
        calls.append(call)
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(resource, call, refuse)
    raise_file_limit()
    assert calls == [call]
