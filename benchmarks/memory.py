"""The most memory of an agent on the worst that those who write lines can do: peak RSS of a run and of a restart.

Run as `python -m benchmarks.memory`; it ends with 1 where a peak is above the limit.
"""

import argparse
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_AGENT = [sys.executable, "-c", "from agent.cli import main; main()", "run", "--config"]
_ONCE = [*_AGENT[:3], "tail", "--once", "--config"]
_TIME = "Nov 30 10:00:00 host"
_WAIT = 0.2  # seconds between two looks at a process
_QUIET = 10.0  # seconds without processor time after which a run has nothing more to do
LIMIT = 192  # MB


def _word(draw: random.Random) -> str:
    return "".join(draw.choice("bcdfgklm") + draw.choice("aeiou") for _ in range(3))


def _wide(draw: random.Random, count: int) -> str:
    return "".join(chr(0x1F600 + draw.randrange(64)) for _ in range(count))


def streams(draw: random.Random) -> Iterator[str]:
    """14,000 streams, each of 3 long texts of wide characters."""
    for number in range(3 * 14_000):
        yield f"{_TIME} sshd[{number % 14_000}]: {_wide(draw, 40) * 22} {_word(draw)}"


def texts(draw: random.Random) -> Iterator[str]:
    """Texts of random characters of all planes."""
    planes = [(0x21, 0x7E), (0xA1, 0x24F), (0x4E00, 0x9FFF), (0x1F300, 0x1F6FF)]
    for _ in range(20_000):
        first, last = draw.choice(planes)
        yield f"{_TIME} app[1]: " + "".join(chr(draw.randint(first, last)) for _ in range(draw.randint(50, 800)))


def odd(draw: random.Random) -> Iterator[str]:
    """Very many lines, all of them odd and all told."""
    for _ in range(60_000):
        yield f"{_TIME} {_word(draw)}[1]: " + " ".join(_word(draw) for _ in range(draw.randint(2, 40)))


def _write(file: Path, lines: Iterator[str]) -> None:
    with file.open("w") as log:
        log.writelines(f"{line}\n" for line in lines)


def _one_log(lines: Callable[[random.Random], Iterator[str]]) -> Callable[[Path, random.Random], list[str]]:
    def prepare(folder: Path, draw: random.Random) -> list[str]:
        _write(folder / "log", lines(draw))
        return [str(folder / "log")]

    return prepare


def _files(folder: Path, draw: random.Random) -> list[str]:
    """1,000 logs of some lines each."""
    (folder / "logs").mkdir()
    for number in range(1000):
        lines = (f"{_TIME} app[{number}]: {_word(draw)} {_wide(draw, 40) * 5} {_word(draw)}" for _ in range(30))
        _write(folder / "logs" / f"{number}.log", lines)
    return [f"{folder}/logs/*.log"]


def _peak(process: int) -> int:
    """The largest resident memory of a process so far, in MB (proc(5), VmHWM in KiB)."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def _spent(process: int) -> int:
    return sum(map(int, Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]))


def _run(config: Path, sources: list[str]) -> int:
    """The peak of a run over all that is there, in MB."""
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*_ONCE, config, *sources], env=env, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the agent ended with {process.returncode}")
    return usage.ru_maxrss // 1024


def _listen(config: Path, port: int, count: int = 250) -> int:
    """The peak of a run with connections that each leave a frame unfinished, in MB."""
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen([*_AGENT, config], env=env, stderr=subprocess.DEVNULL) as agent:
        clients = []
        try:
            while len(clients) < count:
                try:
                    clients.append(socket.create_connection(("127.0.0.1", port)))
                except ConnectionRefusedError:
                    time.sleep(_WAIT)
                    continue
                clients[-1].sendall(b"16000000 <13>" + b"x" * 300_000)
            spent, since = -1, time.monotonic()
            while time.monotonic() - since < _QUIET:
                if _spent(agent.pid) > spent + 5:  # hundredths of a second: more than waiting takes
                    spent, since = _spent(agent.pid), time.monotonic()
                time.sleep(_WAIT)
            return _peak(agent.pid)
        finally:
            for client in clients:
                client.close()
            agent.terminate()


def _configure(folder: Path, sources: list[str], *more: str) -> Path:
    config = folder / "agent.yaml"
    names = ", ".join(f"'{source}'" for source in sources)
    lines = [f"sources: [{names}]", "from: start", f"state: {folder}/state", "sinks: ['jsonl:/dev/null']", *more]
    config.write_text("\n".join(lines) + "\n")
    return config


def measure(name: str) -> tuple[int, int]:
    """The peaks of a run and of a restart on its state, in MB."""
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        if name == "connections":
            with socket.create_server(("127.0.0.1", 0)) as server:
                port = server.getsockname()[1]
            config = _configure(folder, [f"listen:tcp://127.0.0.1:{port}"])
            return _listen(config, port), _listen(config, port)
        prepare, more = CASES[name]
        sources = prepare(folder, random.Random(5))
        config = _configure(folder, sources, *more)
        return _run(config, sources), _run(config, sources)


_ALL_TOLD = "threshold: {kind: fixed, value: -1000000.0}", "max_alert_share: 1", "fold_lines: 0"
CASES: dict[str, tuple[Callable[[Path, random.Random], list[str]], tuple[str, ...]]] = {
    "streams": (_one_log(streams), (r"stream: 'sshd\[(\d+)'",)),
    "texts": (_one_log(texts), ()),
    "odd lines": (_one_log(odd), _ALL_TOLD),
    "files": (_files, ()),
}


def main() -> None:
    """Prints a row for each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=[*CASES, "connections"], help="which of the cases")
    print("| case | peak MB | after a restart on that state |\n| --- | --- | --- |")
    worst = 0
    for name in parser.parse_args().cases:
        first, second = measure(name)
        worst = max(worst, first, second)
        print(f"| {name} | {first} | {second} |", flush=True)
    print(f"\nAll are to stay under {LIMIT} MB: " + ("so they do" if worst < LIMIT else f"{worst} MB is too much"))
    sys.exit(worst >= LIMIT)


if __name__ == "__main__":
    main()
