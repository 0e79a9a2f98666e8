"""Fuzzes the targets one after another, guided by the branches that are taken (libFuzzer, by atheris).

    python -m fuzz --seconds 60 [TARGET ...]

What is found goes to fuzz-findings/, and belongs into the corpus once it is mended. Exit code 1 where something was.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from fuzz.targets import TARGETS

CORPUS, FINDINGS = Path(__file__).parent / "corpus", Path("fuzz-findings")
_MOST_MEMORY, _LONGEST, _LARGEST = 2048, 10, 4096  # MB, seconds and bytes of an input
_CHILD = """
import atheris, sys
with atheris.instrument_imports(include=["agent"]):
    from fuzz.targets import TARGETS
target = TARGETS[sys.argv.pop(1)]
atheris.Setup(sys.argv, target)
atheris.Fuzz()
"""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all by default")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    options = parser.parse_args()
    if unknown := set(options.targets) - TARGETS.keys():
        parser.error(f"no such target: {', '.join(sorted(unknown))}; choose of {', '.join(TARGETS)}")
    print("| target | inputs | inputs a second | branches | found |\n| --- | ---: | ---: | ---: | --- |", flush=True)
    found = [name for name in options.targets or TARGETS if not _fuzz(name, options.seconds)]
    sys.exit(1 if found else 0)


def _fuzz(name: str, seconds: int) -> bool:
    """Whether a target held for so long; prints a row of the table."""
    FINDINGS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as grown:
        limits = [f"-max_total_time={seconds}", f"-rss_limit_mb={_MOST_MEMORY}", f"-timeout={_LONGEST}"]
        limits += [f"-max_len={_LARGEST}", f"-artifact_prefix={FINDINGS}/{name}-", "-print_final_stats=1"]
        command = [sys.executable, "-c", _CHILD, name, *limits, grown, str(CORPUS / name)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    runs = re.findall(r"stat::number_of_executed_units: (\d+)", done.stderr)
    branches = re.findall(r"cov: (\d+)", done.stderr)
    inputs = int(runs[-1]) if runs else 0
    outcome = "nothing" if done.returncode == 0 else "a fault"
    print(
        f"| {name} | {inputs:,} | {inputs / seconds:,.0f} | {branches[-1] if branches else 0} | {outcome} |", flush=True
    )
    if done.returncode:
        print(done.stdout[-2000:] + done.stderr[-4000:], file=sys.stderr)
    return done.returncode == 0


if __name__ == "__main__":
    main()
