"""What a manifest may say: bounds of its names, numbers and sizes, checked before anything else is loaded."""

import math
import re
from typing import Any

import msgspec

from agent.bundle.files import check_name, walk
from agent.bundle.manifest import Manifest, Tensor
from agent.errors import BundleError
from agent.text.escape import escape

MOST_WINDOW = 4096  # lines
_MOST_TEXT, _MOST_NAME = 10_000, 255  # characters
_MOST_FILES, _MOST_GRAPHS, _MOST_TENSORS, _MOST_AXES = 64, 8, 64, 8
_MOST_QUANTILES = 100_000
_MOST_LENGTH = 1 << 24  # of an axis
_MOST_CARRIED = 1 << 20  # bytes that a stream carries
_LARGEST = 3e38  # what single precision still holds
_SIZES = {"float32": 4, "float64": 8, "int32": 4, "int64": 8, "bool": 1}  # of the types of tensors, in bytes
_SHA256 = re.compile(r"[0-9a-f]{64}")


def check_manifest(manifest: Manifest) -> None:
    """Refuses, by a BundleError, what no exporter writes and what could exhaust or mislead the host."""
    _check_texts(manifest)
    _at_most("files", len(manifest.files), _MOST_FILES)
    for name, digest in manifest.files.items():
        check_name(name)
        if not _SHA256.fullmatch(digest):
            raise BundleError(f"files: {name} has a SHA-256 that is none; export it again")
    if not 1 <= manifest.window.size <= MOST_WINDOW:
        raise BundleError(f"window.size: {manifest.window.size} lines; a window has 1 to {MOST_WINDOW}")
    _check_tensors(manifest)
    _check_numbers(manifest)


def _check_texts(manifest: Manifest) -> None:
    """Texts are short and printable; those of `training` and `metrics`, which nothing uses, are short."""
    for field in msgspec.structs.fields(manifest):
        content = msgspec.to_builtins(getattr(manifest, field.name))
        for text in (value for value, _ in walk(content) if isinstance(value, str)):
            if len(text) > (_MOST_NAME if field.name == "name" else _MOST_TEXT):
                raise BundleError(f"{field.name}: it holds a text of {len(text)} characters; export it again")
            if field.name not in ("training", "metrics") and not text.replace("\t", " ").isprintable():
                raise BundleError(f"{field.name}: '{escape(text, 60)}' is not printable; export it again")


def _check_tensors(manifest: Manifest) -> None:
    _at_most("graphs", len(manifest.graphs), _MOST_GRAPHS)
    for graph in manifest.graphs.values():
        check_name(graph.file)
        _at_most("graphs: tensors", len(graph.inputs) + len(graph.outputs), _MOST_TENSORS)
        for tensor in graph.inputs + graph.outputs:
            _check_tensor(tensor)
    _at_most("state", len(manifest.state), _MOST_TENSORS)
    carried = sum(_check_tensor(tensor) for tensor in manifest.state)
    _at_most("state: bytes that each stream carries", carried, _MOST_CARRIED)


def _check_tensor(tensor: Tensor) -> int:
    """How many bytes one row of its batch has, as far as its axes are fixed."""
    lengths = [axis for axis in tensor.axes if isinstance(axis, int)]
    if tensor.dtype not in _SIZES:
        raise BundleError(
            f"the tensor {tensor.name} is of the type {tensor.dtype!r}; choose one of {', '.join(_SIZES)}"
        )
    if len(tensor.axes) > _MOST_AXES or any(not 1 <= length <= _MOST_LENGTH for length in lengths):
        raise BundleError(f"the tensor {tensor.name} has the axes {tensor.axes[: _MOST_AXES + 1]}, which cannot be")
    return math.prod(lengths) * _SIZES[tensor.dtype]


def _check_numbers(manifest: Manifest) -> None:
    """What scores are compared with is finite in single precision, in which they are computed."""
    parts: dict[str, Any] = {"scale": manifest.scale, "threshold": manifest.threshold, "relative": manifest.relative}
    for name, part in parts.items():
        numbers = [value for value, _ in walk(msgspec.to_builtins(part)) if isinstance(value, int | float)]
        if not all(map(_is_moderate, numbers)):
            raise BundleError(f"{name}: it holds a number that is not finite in single precision; export it again")
    scale = manifest.scale
    _at_most("scale: quantiles", len(scale.quantiles), _MOST_QUANTILES)
    if any(not 0 <= quantile <= 1 for quantile in scale.quantiles):
        raise BundleError("scale: a quantile is not from 0 to 1; export it again")
    if manifest.threshold.kind == "sigma" and not _is_moderate(scale.mean + (manifest.threshold.k or 0.0) * scale.std):
        raise BundleError("threshold: its limit is not finite; export it again")


def _is_moderate(number: float) -> bool:
    return -_LARGEST < number < _LARGEST


def _at_most(what: str, found: int, most: int) -> None:
    if found > most:
        raise BundleError(f"{what}: {found} are too many; the most are {most}")
