"""manifest.json: what a bundle says of its model, and how it is read."""

import os
from pathlib import Path
from typing import Any

import msgspec

from agent.bundle.files import decode_json, read_file
from agent.errors import BundleError
from agent.text.escape import escape
from agent.text.headers import Format

FORMAT_VERSION = 2  # 1 has neither records, carried states nor relative scores
MANIFEST = "manifest.json"
_MOST_BYTES = 4 << 20


class Tensor(msgspec.Struct, forbid_unknown_fields=True):
    """An input or output of a graph. An axis is its length or, where that varies, its name."""

    name: str
    dtype: str
    axes: list[int | str]

    def lengths(self) -> list[int]:
        """The lengths of all axes but the first, the batch; -1 where one is not fixed."""
        return [axis if isinstance(axis, int) else -1 for axis in self.axes[1:]]


class Graph(msgspec.Struct, forbid_unknown_fields=True):
    """An ONNX file and its signature."""

    file: str
    inputs: list[Tensor]
    outputs: list[Tensor]


class Window(msgspec.Struct, forbid_unknown_fields=True):
    """How many lines a score looks at, the scored one counted.

    pad: a stream's first lines are scored with nothing before them; otherwise they have no score.
    end: in a score of a whole session, the end of the stream counts as a line of its own.
    """

    size: int
    pad: bool = False
    end: bool = False


class Scale(msgspec.Struct, forbid_unknown_fields=True):
    """Scores of held-out normal lines: their number, mean, standard deviation, and the scores at the quantiles."""

    lines: int
    mean: float
    std: float
    quantiles: list[float]
    scores: list[float]


class Threshold(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What a score is held against.

    fixed: `value`. quantile: the score at `q` of the scale. sigma: mean + k * std of the last `window` scores of a
    source.
    """

    kind: str
    value: float | None = None
    q: float | None = None
    k: float | None = None
    window: int | None = None


class Relative(msgspec.Struct, forbid_unknown_fields=True):
    """How scores are told relative to those of their own stream (agent.scoring.relative).

    mean: a score less the mean of its stream's. median: less the median of the last 64, by their MAD.

    center, spread: of normal scores over all streams (mean and deviation, or median and MAD), which stand for the
    first 8 lines of a stream.
    """

    kind: str
    center: float
    spread: float


class Manifest(msgspec.Struct, forbid_unknown_fields=True):
    """manifest.json. `training` and `metrics` are for people; everything else the agent uses."""

    format_version: int
    name: str
    family: str
    scorer: str
    created: str
    producer: dict[str, str | int]
    training: dict[str, Any]
    header: Format
    masks: list[str]
    stream: str | None
    window: Window
    settings: dict[str, Any]
    graphs: dict[str, Graph]
    state: list[Tensor]
    scale: Scale
    threshold: Threshold
    metrics: dict[str, Any]
    files: dict[str, str]
    relative: Relative | None = None


def read_manifest(path: Path) -> Manifest:
    """The manifest of the bundle in a folder."""
    return decode_manifest(path, manifest_bytes(path))


def manifest_bytes(path: Path) -> bytes:
    """The manifest of the bundle in a folder as it is stored."""
    if not path.is_dir():
        raise BundleError(f"bundle {path} is no folder; name one that `oddline export onnx` wrote")
    if not os.path.lexists(path / MANIFEST):
        raise BundleError(f"{path} is no bundle: it has no {MANIFEST}")
    return read_file(path, MANIFEST, _MOST_BYTES)


def decode_manifest(path: Path, stored: bytes) -> Manifest:
    """What `manifest_bytes` gave, as a Manifest whose types are right; its values may still be impossible."""
    file = path / MANIFEST
    content = decode_json(stored, str(file))
    version = content.get("format_version") if isinstance(content, dict) else None
    if type(version) is not int or version < 1:
        raise BundleError(f"{file} is no manifest of oddline: its format_version is missing or wrong")
    if version > FORMAT_VERSION:
        raise BundleError(
            f"bundle {path} has format version {version}, this agent reads up to {FORMAT_VERSION}; update oddline"
        )
    try:
        return msgspec.convert(content, Manifest)
    except msgspec.ValidationError as error:
        raise BundleError(f"{file} is damaged: {escape(str(error), 300)}") from None
