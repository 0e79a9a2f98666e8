"""The agent reports to nobody: no network, no file but its output, and onnxruntime is told before its import."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.made_up import made_up_lines
from helpers.processes import environment, require_program

_COMMAND = [sys.executable, "-c", "from agent.cli import main; main()"]
_WATCHER = """
import os, sys

class Watcher:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            print(os.environ.get("ORT_DISABLE_TELEMETRY"), file=sys.stderr)

sys.meta_path.insert(0, Watcher())
from agent.cli import main
main()
"""


@pytest.fixture
def home(tmp_path) -> dict[str, str]:
    """The environment of a user who has nothing yet."""
    names = {"HOME": "home", "XDG_CACHE_HOME": "cache", "XDG_CONFIG_HOME": "config", "XDG_DATA_HOME": "data"}
    variables = environment({name: str(tmp_path / "user" / folder) for name, folder in names.items()})
    for name in names:
        Path(variables[name]).mkdir(parents=True)
    variables |= {"TMPDIR": variables["HOME"], "PYTHONDONTWRITEBYTECODE": "1"}
    variables.pop("ORT_DISABLE_TELEMETRY", None)
    return variables


@pytest.fixture
def log(tmp_path) -> Path:
    path = tmp_path / "app.log"
    path.write_bytes(b"".join(made_up_lines(30, odd=(20,))))
    return path


def test_nothing_is_left_in_the_users_folders(bundle, log, home, tmp_path):
    command = [*_COMMAND, "score", log, "-b", bundle, "-o", tmp_path / "scores"]
    done = subprocess.run(command, env=home, capture_output=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len((tmp_path / "scores").read_bytes().splitlines()) == 30
    assert not [path for path in (tmp_path / "user").rglob("*") if not path.is_dir()]


def test_onnxruntime_is_told_before_its_import(bundle, log, home):
    done = subprocess.run(
        [sys.executable, "-c", _WATCHER, "score", log, "-b", bundle], env=home, capture_output=True, timeout=120
    )
    assert done.returncode == 0 and done.stderr.split() == [b"1"]


@pytest.mark.parametrize(
    "arguments",
    [["score", "{log}", "-o", "{out}"], ["tail", "{log}", "--once", "--from", "start", "--sink", "jsonl:{out}"]],
    ids=["score", "tail"],
)
def test_no_network_and_no_other_file(bundle, log, home, tmp_path, arguments):
    strace, trace, out = require_program("strace"), tmp_path / "trace", tmp_path / "out"
    command = [argument.format(log=log, out=out) for argument in arguments]
    calls = "trace=socket,connect,sendto,open,openat,openat2,creat,mkdir,rename,unlink"
    done = subprocess.run(
        [strace, "-f", "-qq", "-o", trace, "-e", calls, *_COMMAND, *command, "--bundle", bundle],
        env=home,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    lines = trace.read_text(errors="replace").splitlines()
    assert out.stat().st_size and any("encoder.onnx" in line for line in lines), "the trace saw what was done"
    assert not [line for line in lines if re.search(r"\b(?:connect|sendto)\(|AF_INET|AF_NETLINK", line)]
    written = {
        found[1]
        for line in lines
        if (found := re.search(r'"([^"]*)", [^"]*O_(?:WRONLY|RDWR|CREAT)', line)) and "= -1" not in line
    }
    unnamed = {found[1] for line in lines if (found := re.search(r'"([^"]*)", [^"]*O_TMPFILE', line))}
    assert unnamed <= {str(tmp_path)}, "what has no name yet lies where the output is to be"
    written -= unnamed
    assert {path for path in written if not path.startswith(("/dev/", "/proc/"))} <= {str(out), part_of(lines, out)}
    assert not os.listdir(home["HOME"]) and json.loads(out.read_bytes().splitlines()[0])


def part_of(lines: list[str], out: Path) -> str:
    """The name under which the output was made before it was whole."""
    found = [re.search(r'rename\("([^"]*)"', line) for line in lines]
    names = [one[1] for one in found if one]
    assert all(Path(name).parent == out.parent and out.name in name for name in names)
    return names[0] if names else ""
