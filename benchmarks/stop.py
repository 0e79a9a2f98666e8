"""How long the agent takes to end in a storm: SIGTERM while every line is unfamiliar, odd and told.

Run as `python -m benchmarks.stop`; the time is given as a share of the 10 s that are promised.
"""

import argparse
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_AGENT = [sys.executable, "-c", "from agent.cli import main; main()", "run", "--config"]
_LINES = 100_000
_PROMISED = 10.0  # seconds
_READING = 2.0  # seconds in the storm before the signal


def write_storm(log: Path, seed: int) -> None:
    """Lines of two words each that no model has seen."""
    draw = random.Random(seed)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(4, 9))) for _ in range(5000)]
    with log.open("w") as file:
        for _ in range(_LINES):
            file.write(f"Nov 22 02:43:17 web1 app[1]: {draw.choice(words)} {draw.choice(words)}\n")


def measure(seed: int) -> float:
    """Seconds from SIGTERM to the end."""
    with tempfile.TemporaryDirectory() as folder:
        log, config, status = (Path(folder, name) for name in ("log", "agent.yaml", "metrics.prom"))
        write_storm(log, seed)
        config.write_text(
            f"sources: ['{log}']\nsinks: ['jsonl:{folder}/alerts']\nstate: {folder}/state\nfrom: start\n"
            "threshold: {kind: fixed, value: -1000000.0}\nmax_alert_share: 1\nfold_lines: 0\n"
            f"metrics_file: {status}\n"
        )
        env = os.environ | {"OMP_NUM_THREADS": "1"}
        with subprocess.Popen([*_AGENT, config], env=env, stderr=subprocess.DEVNULL) as agent:
            while not status.exists():  # written once it is ready
                time.sleep(0.05)
            time.sleep(_READING)
            began = time.monotonic()
            agent.send_signal(signal.SIGTERM)
            agent.wait()
            return time.monotonic() - began


def main() -> None:
    """Prints the median and the longest of several ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5, help="how often it is measured")
    ends = [measure(seed) for seed in range(parser.parse_args().times)]
    shares = [end / _PROMISED for end in ends]
    print(f"{len(ends)} ends in a storm, as shares of the {_PROMISED:.0f} s promised: ", end="")
    print(f"median {statistics.median(shares):.2f}, longest {max(shares):.2f}")


if __name__ == "__main__":
    main()
