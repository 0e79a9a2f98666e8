"""Processor time of an agent that waits, beside `tail -F` of the same files in the same minute.

Run as `python -m benchmarks.idle`; the files are empty and nobody writes to them.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_AGENT = [sys.executable, "-c", "from agent.cli import main; main()", "tail"]
_SETTLE = 15.0  # seconds for loading the models and opening the files


def spent(process: int) -> float:
    """Seconds of processor time that all threads of a process have used (proc(5), schedstat: nanoseconds)."""
    threads = Path(f"/proc/{process}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def memory(process: int) -> float:
    """Megabytes of it that are in memory."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def measure(count: int, seconds: float) -> tuple[float, float, int, float]:
    """Of `count` idle files: CPU seconds a minute of the agent and of tail, the agent's threads and its megabytes."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, f"{number}.log") for number in range(count)]
        for file in files:
            file.touch()
        quiet = {
            "stdout": subprocess.DEVNULL,
            "stderr": subprocess.DEVNULL,
            "env": os.environ | {"OMP_NUM_THREADS": "1"},
        }
        started = [subprocess.Popen([*command, *files], **quiet) for command in (_AGENT, ["tail", "-F"])]
        try:
            time.sleep(_SETTLE)
            before, began = [spent(process.pid) for process in started], time.monotonic()
            time.sleep(seconds)
            after, minutes = [spent(process.pid) for process in started], (time.monotonic() - began) / 60
            agent, tail = ((end - start) / minutes for start, end in zip(before, after, strict=True))
            threads = len(os.listdir(f"/proc/{started[0].pid}/task"))
            return agent, tail, threads, memory(started[0].pid)
        finally:
            for process in started:
                process.terminate()
                process.wait()


def main() -> None:
    """Prints a row for each number of files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, nargs="+", default=[1, 100, 1000], help="how many files are followed")
    parser.add_argument("--seconds", type=float, default=60.0, help="for how long each number is measured")
    options = parser.parse_args()
    print("| idle files | agent, CPU s a minute | tail -F, CPU s a minute | ratio | agent's threads | agent's MB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for count in options.files:
        agent, tail, threads, megabytes = measure(count, options.seconds)
        ratio = f"{agent / tail:.1f}" if tail else "-"
        print(f"| {count:,} | {agent:.4f} | {tail:.4f} | {ratio} | {threads} | {megabytes:.0f} |", flush=True)


if __name__ == "__main__":
    main()
