"""Writes a bundle: in a staging folder beside its place, verified there, then renamed."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

import agent
from agent.bundle.bundle import TOLERANCE, Bundle, file_sha256
from agent.bundle.known_texts import text_hash
from agent.bundle.manifest import FORMAT_VERSION, MANIFEST, Graph, Manifest, Relative, Scale
from agent.bundle.onnx import import_onnxruntime, open_session
from agent.errors import BundleError, ConfigError
from agent.host.atomic_file import replace_folder
from agent.scoring.relative import prior
from agent.text import templates
from agent.text.tokenizers import pad
from export.calibrate import held_out, read_logs, scale_of, score_lines
from export.graphs import OPSET, export_graph
from export.parity import difference, record, verify
from export.quantize import agreement, quantize
from training.fitting.run_folder import Run, npz, write
from training.models import FAMILIES
from training.models.base import GraphSpec

_MOST_HASHES, _MOST_SHOWN = 1_000_000, 4096
_UNCALIBRATED = Scale(0, 0.0, 0.0, [0.0, 1.0], [0.0, 0.0])


def export_run(run: Run, out: Path, int8: bool, calibrate: list[Path], overwrite: bool) -> dict[str, Any]:
    """Exports a finished run to a bundle; what was measured on the way.

    Every graph is compared with torch, the scale computed by the agent's own scorer, and the bundle loaded and replayed
    before it takes its place. An existing bundle is refused unless `overwrite`.
    """
    if out.exists() and not overwrite:
        raise ConfigError(f"{out} exists; name another folder, or give --overwrite")
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]) and not (out / MANIFEST).is_file():
        raise ConfigError(f"{out} is no bundle, so it is not overwritten; name another folder")
    corpus = read_logs(run, calibrate) if calibrate else held_out(run)
    with _staging(out) as folder:
        specs = FAMILIES[run.config.family].graphs(run.config, run.model)
        report: dict[str, Any] = {"difference": {}}
        for spec in specs:
            export_graph(spec, folder / f"{spec.name}.onnx")
            report["difference"][spec.name] = verify(spec, open_session(folder / f"{spec.name}.onnx"))
        _write_parts(folder, run, specs)
        _write_manifest(folder, out.name, run, specs, _UNCALIBRATED, report, int8)
        scores = score_lines(Bundle.load(folder), corpus)
        if int8:
            report |= _quantize(folder, run, specs, report)
            exact, scores = scores, score_lines(Bundle.load(folder), corpus)
            report["agreement"] = agreement(exact, scores)
        relative = None
        if run.config.relative != "none" and len(scores):
            relative = prior(run.config.relative, scores)
            _write_manifest(folder, folder.name, run, specs, _UNCALIBRATED, report, int8, relative)
            scores = score_lines(Bundle.load(folder), corpus)
        _write_manifest(folder, out.name, run, specs, scale_of(scores), report, int8, relative)
        report["replay"] = _replay(folder)
        replace_folder(folder, out)
    return report


def _quantize(folder: Path, run: Run, specs: list[GraphSpec], report: dict[str, Any]) -> dict[str, Any]:
    """Replaces the graphs by quantised ones; their largest differences from torch."""
    for spec in specs:
        quantize(folder / f"{spec.name}.onnx")
    _write_parts(folder, run, specs)
    _write_manifest(folder, folder.name, run, specs, _UNCALIBRATED, report, True)
    return {
        "difference_int8": {spec.name: difference(spec, open_session(folder / f"{spec.name}.onnx")) for spec in specs}
    }


def _write_parts(folder: Path, run: Run, specs: list[GraphSpec]) -> None:
    """tokenizer.json, known.npz, parity.npz and, of a model that looks at events, events.json."""
    write(folder / "tokenizer.json", msgspec.json.encode(run.tokenizer.to_json()))
    if run.events is not None:
        write(folder / templates.FILE, msgspec.json.encode(run.events.to_json()))
    write(folder / "known.npz", npz(_known(run)))
    cases: dict[str, Any] = {}
    for spec in specs:
        cases |= record(spec, open_session(folder / f"{spec.name}.onnx"))
    write(folder / "parity.npz", npz(cases))


def _known(run: Run) -> dict[str, Any]:
    """The hashes of the most frequent training texts, and the tokens of the common ones, each sequence once."""
    order = np.argsort(-run.counts[1:], kind="stable") + 1
    order = order[run.counts[order] > 0]
    hashes = np.array(sorted(text_hash(run.texts[text]) for text in order[:_MOST_HASHES].tolist()), np.uint64)
    common = order[run.counts[order] >= run.config.known_min_count][:_MOST_SHOWN]
    sequences = dict.fromkeys(tuple(run.tokenizer.encode(run.texts[text])) for text in common.tolist())
    return {"hashes": hashes, "tokens": pad(sequences)[0]}


def _write_manifest(
    folder: Path,
    name: str,
    run: Run,
    specs: list[GraphSpec],
    scale: Scale,
    report: dict[str, Any],
    int8: bool,
    relative: Relative | None = None,
) -> None:
    config, family = run.config, FAMILIES[run.config.family]
    files = sorted(path.name for path in folder.iterdir() if path.name != MANIFEST)
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        name=name,
        family=config.family,
        scorer=family.scorer(run.config),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        producer=_producer(int8),
        training=_training(run),
        header=config.header,
        masks=config.masks,
        stream=config.stream,
        window=config.score_window(),
        settings=family.settings(config),
        graphs={spec.name: Graph(f"{spec.name}.onnx", spec.inputs, spec.outputs) for spec in specs},
        state=family.state(run.config),
        scale=scale,
        threshold=config.threshold.threshold(),
        metrics={"losses": run.metrics["best"]} | report,
        files={name: file_sha256(folder / name) for name in files},
        relative=relative,
    )
    write(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))


def _producer(int8: bool) -> dict[str, str | int]:
    packages = ("torch", "onnx", "onnxscript")
    runtime = import_onnxruntime().__version__
    versions = {name: version(name) for name in packages}
    return {"oddline": agent.__version__} | versions | {
        "onnxruntime": runtime, "opset": OPSET, "quantize": "int8" if int8 else "none"
    }  # fmt: skip


def _training(run: Run) -> dict[str, Any]:
    keys = (
        "lines",
        "streams",
        "left_out",
        "unseen_events",
        "texts",
        "words",
        "span",
        "selection",
        "sources",
        "seconds",
        "device",
    )
    return {key: run.metrics[key] for key in keys if key in run.metrics}


def _replay(folder: Path) -> dict[str, float]:
    """Loads the bundle as a host does and replays its recorded cases; refused where they are not reproduced."""
    replayed = Bundle.load(folder).parity()
    for graph, worst in replayed.items():
        if not worst <= TOLERANCE:
            raise BundleError(f"graph {graph} does not reproduce its own recorded outputs (difference {worst:.3g})")
    return replayed


@contextlib.contextmanager
def _staging(out: Path) -> Iterator[Path]:
    """A new folder beside `out`; whatever happens it does not stay."""
    folder = Path(os.path.realpath(out)).parent / f".{out.name}.{os.getpid()}.staging"
    try:
        folder.mkdir(parents=True)
        yield folder
    except OSError as error:
        raise ConfigError(f"bundle {out} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
