"""`agent config` refuses what `agent run` does, with the same words, and opens and writes nothing."""

import os
import socket
import stat
from pathlib import Path

import pytest
import yaml
from helpers.processes import require_program
from helpers.waiting import free_port

pytestmark = pytest.mark.usefixtures("no_thread_left")
AGENT_YAML = Path(__file__).parents[3] / "packaging" / "agent.yaml"


def write(folder: Path, **content: object) -> Path:
    """A configuration file; {folder} in what it says stands for the folder."""
    file = folder / "agent.yaml"
    file.write_text(yaml.safe_dump(content).replace("{folder}", str(folder)))
    return file


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """The files of a folder with their sizes and times of writing."""
    found = (os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names)
    return {name: (os.lstat(name).st_size, os.lstat(name).st_mtime_ns) for name in found}


REFUSED = [
    ({"sinks": ["foo://x"]}, 2, "sink 'foo://x' is not understood"),
    ({"sinks": ["udp://a:99999"]}, 2, "a port is a number from 1 to 65535"),
    ({"sinks": ["tls://a?ca=/nope"]}, 2, "ca /nope cannot be read"),
    ({"sinks": ["tls://a?colour=/nope"]}, 2, "is not understood"),
    ({"sinks": ["https://h/x#secret=/nope"]}, 2, "secret /nope cannot be read"),
    ({"sinks": ["jsonl:{folder}/a", "jsonl:{folder}/a"]}, 2, "is named twice"),
    ({"sinks": ["unix:/" + "x" * 200]}, 2, "at most 107 bytes"),
    ({"sources": ["listen:foo"]}, 2, "sources[0]: listen:foo is not understood"),
    ({"sources": ["journal:?color=red"]}, 2, "color='red' is not understood"),
    ({"sources": [""]}, 2, "sources[0]: '' is an empty name"),
    ({"sources": ["{folder}"]}, 4, "is a directory"),
    ({"sources": []}, 4, "no log to read"),
    ({"bundle": "/nope"}, 3, "/nope is no folder"),
    ({"bundle": "{folder}"}, 3, "has no manifest.json"),
    ({"sources": ["{folder}/*"], "sinks": ["jsonl:{folder}/alerts"]}, 2, "would read its own alerts"),
    ({"sources": ["{folder}/*"], "metrics_file": "{folder}/a.prom"}, 2, "it would be overwritten"),
    ({"metrics_file": "{folder}/nowhere/a.prom"}, 2, "metrics_file {folder}/nowhere/a.prom cannot be written"),
    ({"state": "{folder}/agent.yaml"}, 2, "state {folder}/agent.yaml cannot be used: File exists"),
    ({"state": "{folder}/agent.yaml/in"}, 2, "state {folder}/agent.yaml/in cannot be used: Not a directory"),
]


@pytest.mark.parametrize(("wrong", "code", "words"), REFUSED, ids=[words for _, _, words in REFUSED])
def test_what_run_refuses_config_refuses_in_the_same_words(bundle, tmp_path, call_agent, wrong, code, words):
    sound = {"sources": ["{folder}/app.log"], "bundle": str(bundle), "sinks": ["jsonl:/nowhere/alerts"]}
    file = write(tmp_path, **(sound | wrong))
    checked = call_agent("config", file)
    assert checked.returncode == code and words.replace("{folder}", str(tmp_path)) in checked.stderr, checked
    assert not checked.stdout and len(checked.stderr.splitlines()) == 1
    run = call_agent("run", "--config", file)
    assert (run.returncode, run.stderr) == (checked.returncode, checked.stderr)


def test_nothing_is_opened_or_written(bundle, tmp_path, call_agent):
    """Ports that are taken, logs that are missing or are no text, and folders to be made are no error."""
    (tmp_path / "packed.log").write_bytes(b"\x1f\x8b\x08 packed")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        local = [f"listen:tcp://127.0.0.1:{port}", f"listen:udp://:{free_port()}", "listen:udp://host.invalid:514"]
        remote = ["udp://host.invalid", "tcp://127.0.0.1:1", "tls://127.0.0.1:1", "https://127.0.0.1:1/x", "journald:"]
        file = write(
            tmp_path,
            sources=["{folder}/no.log", "{folder}/*.log", "{folder}/pipe", "-", "listen:unix:{folder}/in", *local],
            sinks=["console:", "jsonl:{folder}/alerts", "jsonl:-", "unix:{folder}/out", *remote],
            bundle=str(bundle),
            state="{folder}/later/state",
            metrics=f"127.0.0.1:{port}",
            metrics_file="{folder}/oddline.prom",
        )
        before = tree(tmp_path)
        done = call_agent("config", file)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert yaml.safe_load(done.stdout)["state"] == f"{tmp_path}/later/state"
    assert tree(tmp_path) == before and stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)


def test_a_journal_wants_journalctl(bundle, tmp_path, call_agent, monkeypatch):
    file = write(tmp_path, sources=["journal:?unit=ssh.service"], bundle=str(bundle))
    require_program("journalctl")
    assert call_agent("config", file).returncode == 0
    monkeypatch.setenv("PATH", str(tmp_path))
    checked, run = call_agent("config", file), call_agent("run", "--config", file)
    assert checked.returncode == run.returncode == 4 and "not installed" in checked.stderr == run.stderr


def test_the_configuration_of_the_package_is_sound(call_agent):
    done = call_agent("config", AGENT_YAML)
    assert done.returncode == 0, done.stderr
