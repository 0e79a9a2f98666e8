"""The command `agent` as a process, and the other programs that tests run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import agent

_AGENT = [sys.executable, "-c", "from agent.cli import main; main()"]


def require_program(name: str) -> str:
    """The path of a program; where it is missing the test skips, or fails under ODDLINE_REQUIRE_ALL=1."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path is None:
        missing = pytest.fail if os.environ.get("ODDLINE_REQUIRE_ALL") == "1" else pytest.skip
        missing(f"{name} is not installed")
    return path


def environment(more: dict[str, str] | None) -> dict[str, str]:
    """Of a subprocess that finds the agent under test wherever it runs."""
    paths = [str(Path(agent.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"} | (more or {})


def start_agent(*arguments: object, env: dict[str, str] | None = None, **options: object) -> subprocess.Popen:
    """The command `agent` as a process of its own, its output piped unless `options` say otherwise."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen([*_AGENT, *map(os.fspath, arguments)], env=environment(env), **pipes)


def run_agent(
    *arguments: object, input: bytes = b"", env: dict[str, str] | None = None, **options: object
) -> subprocess.CompletedProcess[bytes]:
    """Runs the command `agent` to its end; whatever happened, it has shown no traceback."""
    with start_agent(*arguments, env=env, stdin=subprocess.PIPE, **options) as process:
        try:
            stdout, stderr = process.communicate(input, timeout=120)
        except BaseException:
            process.kill()
            raise
    assert b"Traceback" not in (stderr or b""), stderr.decode(errors="replace")
    return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)


def refusal(*arguments: object, **options: object) -> tuple[int, str]:
    """Runs a command that has to refuse: its exit code and the one line that it says."""
    done = run_agent(*arguments, **options)
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), lines
    return done.returncode, lines[0]
