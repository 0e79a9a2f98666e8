"""The replay of `agent check` in a process of its own, with limits, so that a hostile model ends that one alone."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from agent.bundle.bundle import Bundle
from agent.bundle.files import MOST_TOTAL
from agent.errors import BundleError, OddlineError
from agent.scoring.engine import ScoringEngine

_SECONDS = 8  # of processor time, without the start
_PATIENCE = 60  # seconds until a process that only waits is ended
_MEMORY = 1 << 30  # bytes, beside three times those of the bundle


class Replay(msgspec.Struct, frozen=True):
    """What a replay found: the bundle's id, its files with their hashes, and the difference of each graph.

    error: why there is none of it.
    """

    id: str = ""
    files: dict[str, str] = {}
    parity: dict[str, float | None] = {}
    error: str = ""


def replay(path: Path, provider: str) -> Replay:
    """Loads and replays a bundle in another process; a BundleError says what is wrong, or what ended the process."""
    command = [sys.executable, "-P", "-m", "agent.commands.replay", str(path), provider, str(_SECONDS), str(_MEMORY)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=_PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise BundleError(f"bundle {path}: its replay did not end within {_PATIENCE} s; export it again") from None
    if done.returncode:
        raise BundleError(
            f"bundle {path}: its replay {_ending(done.returncode)}; it may take {_SECONDS} s of processor time and "
            f"{_MEMORY >> 20} MiB of memory beside its own size"
        )
    found = msgspec.json.decode(done.stdout.splitlines()[-1], type=Replay)
    if found.error:
        raise BundleError(found.error)
    return found


def _ending(code: int) -> str:
    return f"ended with {code}" if code > 0 else f"was ended by {signal.Signals(-code).name}"


def _set_limits(path: Path, provider: str, seconds: int, memory: int) -> None:
    used = int(time.process_time()) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (used + seconds, used + seconds + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if provider == "cpu":  # CUDA maps more than there is
        size = sum(entry.stat(follow_symlinks=False).st_size for entry in os.scandir(path)) if path.is_dir() else 0
        resource.setrlimit(resource.RLIMIT_DATA, (memory + 3 * min(size, MOST_TOTAL),) * 2)


def _find(path: Path, provider: str) -> Replay:
    try:
        bundle = Bundle.load(path, provider)
        ScoringEngine(bundle)
        return Replay(bundle.id, bundle.manifest.files, dict(bundle.parity()))
    except MemoryError:
        return Replay(error=f"bundle {path}: it takes more memory than a check allows")
    except OddlineError as error:
        return Replay(error=str(error))


def _main(path: str, provider: str, seconds: str, memory: str) -> None:
    _set_limits(Path(path), provider, int(seconds), int(memory))
    sys.stdout.buffer.write(b"\n" + msgspec.json.encode(_find(Path(path), provider)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
