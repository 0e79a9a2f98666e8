"""`agent check` and `agent inspect`: is a bundle sound, and what does it hold."""

from typing import Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agent.app.build import available_provider, bundle_folder
from agent.bundle.bundle import TOLERANCE, Bundle
from agent.bundle.manifest import Manifest, read_manifest
from agent.commands.replay import replay
from agent.errors import BundleError
from agent.scoring.engine import ScoringEngine
from agent.text.canonical import printable
from agent.text.records import Records

_UNITS = {"word": "words", "fields": "values"}


def check_bundle(name: str, provider: str, as_json: bool) -> None:
    """Verifies hashes, signatures and parity; a BundleError says what is wrong."""
    path = bundle_folder(name)
    found = replay(path, available_provider(provider))
    for graph, difference in found.parity.items():
        if difference is None or not difference <= TOLERANCE:
            raise BundleError(
                f"bundle {path}: {graph} differs by {_exponent(difference)} from what was recorded (allowed: "
                f"{TOLERANCE:.0e}); its scores cannot be trusted on this host"
            )
    if as_json:
        report = {"bundle": str(path), "id": found.id, "files": found.files, "parity": found.parity}
        typer.echo(msgspec.json.encode(report))
        return
    parity = ", ".join(f"{graph} {_exponent(difference)}" for graph, difference in found.parity.items())
    typer.echo(f"{path}: sound. {len(found.files)} files have their hashes; largest difference on {provider}: {parity}")


def _exponent(difference: float | None) -> str:
    """A difference as it is read; JSON has null for one that is no number."""
    return "nan" if difference is None else f"{difference:.1e}"


def inspect_bundle(name: str, as_json: bool) -> None:
    """Prints the manifest, whole as JSON or as a table for people."""
    path = bundle_folder(name)
    manifest = read_manifest(path)
    if as_json:
        typer.echo(msgspec.json.encode(manifest))
        return
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in _rows(manifest, Bundle.load(path)):
        table.add_row(key, escape(printable(value)))
    Console(soft_wrap=False).print(table)


def _rows(manifest: Manifest, bundle: Bundle) -> list[tuple[str, str]]:
    engine = ScoringEngine(bundle)
    window, scale, known = manifest.window, manifest.scale, bundle.known
    rule = msgspec.to_builtins(manifest.threshold)
    return [
        ("name", manifest.name),
        ("family", f"{manifest.family}, scored by {manifest.scorer}"),
        ("created", f"{manifest.created} ({_pairs(manifest.producer)})"),
        ("training", _pairs(manifest.training)),
        (
            "lines",
            f"header {_header(manifest)}, stream {manifest.stream or 'one a file'}",
        ),
        (
            "window",
            f"{window.size} lines" + (", padded" if window.pad else "") + (", ends count" if window.end else ""),
        ),
        ("settings", _pairs(manifest.settings)),
        (
            "carried",
            ", ".join(f"{tensor.name}{tensor.axes[1:]}" for tensor in manifest.state) or "the window alone",
        ),
        ("relative", "no" if manifest.relative is None else _pairs(msgspec.to_builtins(manifest.relative))),
        ("vocabulary", f"{_vocabulary(bundle)}; {len(known.hashes)} texts known, {len(known.tokens)} shown"),
        ("threshold", f"{_pairs(rule)}: scores above {engine.limits.constant:.4g}"),
        (
            "normal scores",
            f"mean {scale.mean:.4g}, std {scale.std:.4g}, largest {scale.scores[-1]:.4g}, of {scale.lines} lines",
        ),
        ("metrics", _pairs(manifest.metrics) or "none"),
        *((f"graph {name}", _signature(graph)) for name, graph in manifest.graphs.items()),
        (
            "size",
            f"{_size(bundle) / 1e6:.2f} MB in {len(manifest.files) + 1} files",
        ),
    ]


def _vocabulary(bundle: Bundle) -> str:
    """How many tokens there are, of what."""
    return f"{len(bundle.tokenizer)} {_UNITS.get(bundle.tokenizer.kind, bundle.tokenizer.kind + ' tokens')}"


def _header(manifest: Manifest) -> str:
    """How lines are read; no mask applies to records."""
    masks = "" if isinstance(manifest.header, Records) else f", masks {' '.join(manifest.masks)}"
    return f"{manifest.header}{masks}"


def _size(bundle: Bundle) -> int:
    return sum((bundle.path / file).stat().st_size for file in bundle.manifest.files)


def _pairs(content: dict[str, Any]) -> str:
    return ", ".join(f"{key} {_short(value)}" for key, value in content.items())


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + _pairs(value) + ")"
    if isinstance(value, list):
        return "; ".join(_short(one) for one in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _signature(graph: Any) -> str:
    def show(tensors: list[Any]) -> str:
        return ", ".join(f"{tensor.name} {tensor.dtype}[{', '.join(map(str, tensor.axes))}]" for tensor in tensors)

    return f"{graph.file}: {show(graph.inputs)} -> {show(graph.outputs)}"
