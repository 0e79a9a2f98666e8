"""How the very small bundles are made that tests take from tests/bundles; `python -m helpers.recipes` makes those anew.

They are committed so that the tests of the agent need neither torch nor time; what needs a run beside its bundle, the
tests of training and of the export, trains again by the same recipe.
"""

import fcntl
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from helpers.made_up import AUTH_HEADER, auth_rows, made_up_lines

BUNDLES = Path(__file__).parents[1] / "bundles"


def _train(folder: Path, config: Path | None, settings: tuple[str, ...], options: dict[str, object]) -> None:
    """Trains on the file `log` of a folder; the folders `run` and `bundle` are new in it."""
    from export.writer import export_run
    from training.fitting.job import Job, run_job
    from training.fitting.run_folder import load_run

    run_job(Job([folder / "log"], folder / "run", config, settings, options, None, None, None, "cpu", 1, False))
    export_run(load_run(folder / "run"), folder / "bundle", False, [], False)


def _two_stage(*settings: str, stream: str | None = None) -> Callable[[Path], None]:
    """A very small two-stage model that learned made-up lines."""
    small = (
        "encoder.epochs=4",
        "encoder.embedding=8",
        "encoder.hidden=8",
        "encoder.vector=6",
        "encoder.learning_rate=0.03",
        "detector.epochs=12",
        "detector.hidden=8",
        "detector.learning_rate=0.02",
        "window.size=4",
        "threshold.q=0.99",
    )

    def make(folder: Path) -> None:
        (folder / "log").write_bytes(b"".join(made_up_lines(600)))
        _train(folder, None, small + settings, {"stream": stream, "family": "two-stage", "seed": 3})

    return make


def _characters(folder: Path) -> None:
    (folder / "log").write_bytes(b"".join(made_up_lines(600)))
    small = ("tokenizer.kind=char", "tokenizer.max_tokens=80", "model.epochs=3", "model.hidden=16")
    settings = (*small, "model.learning_rate=0.03", "model.attention=semantic1", "threshold.q=0.99")
    _train(folder, None, settings, {"family": "language-model", "seed": 3})


def _tiered(folder: Path) -> None:
    (folder / "log").write_bytes(b"".join(auth_rows(600)))
    model = {"tier": "mean", "embedding": 8, "hidden": 8, "context": 6, "batch_size": 9, "epochs": 6}
    content = {"family": "language-model", "header": AUTH_HEADER, "stream": r"^[^,]*,([^,]+)", "relative": "mean"}
    content |= {"model": model | {"learning_rate": 0.02}, "threshold": {"q": 0.99}}
    (folder / "config.yaml").write_bytes(msgspec.yaml.encode(content))
    _train(folder, folder / "config.yaml", (), {})


def _sequence(folder: Path) -> None:
    """Of the plain preset's first normal lines; `later` is the whole with the burst, `labels` those of `later`."""
    from training.synth import generate, write_log

    write_log(str(folder / "later"), generate(1500, seed=1, preset="plain"), labels=str(folder / "labels"))
    with (folder / "later").open("rb") as file:
        (folder / "log").write_bytes(b"".join(file.readlines()[:1100]))
    small = ("model.hidden=16", "model.latent=16", "model.epochs=8", "model.learning_rate=0.005", "window.size=10")
    _train(folder, None, small, {"family": "sequence-autoencoder", "seed": 3})


COMMITTED: dict[str, Callable[[Path], None]] = {
    "two-stage": _two_stage(),
    "padded": _two_stage("window.pad=true", "window.end=true", stream=r"req-\d+"),
    "timed": _two_stage("time_of_day=true"),
    # with 16 values a vector fills a register; a sum over fewer depends on where onnxruntime lays it
    "codebook": _two_stage("detector.head=codebook", "detector.max_codes=64", "time_of_day=true", "encoder.vector=16"),
    "characters": _characters,
    "tiered": _tiered,
}
RECIPES = COMMITTED | {"sequence": _sequence}


def make_once(folder: Path, make: Callable[[Path], object]) -> Path:
    """A folder that several processes share, with a log, its run and its bundle: the first one makes it, the others
    wait for that."""
    with open(f"{folder}.lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
            make(partial)
            partial.rename(folder)
    return folder


def rebuild() -> None:
    """Makes every bundle of tests/bundles anew."""
    for name, make in COMMITTED.items():
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder))
            shutil.rmtree(BUNDLES / name, ignore_errors=True)
            shutil.copytree(Path(folder, "bundle"), BUNDLES / name)


if __name__ == "__main__":
    rebuild()
