"""A bundle: the folder that holds a trained model and all that the agent must know of it.

manifest.json  what is in it (`Manifest`), with the SHA-256 of every other file
*.onnx         the graphs
tokenizer.json
events.json    of a model that looks at events: their templates and ids
known.npz      hashes of the canonical texts seen in training, and the common ones as token ids
parity.npz     inputs and outputs of each graph, to replay on the host
"""

import hashlib
import zipfile
import zlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.bundle.onnx import first_line, open_session
from agent.errors import BundleError
from agent.scoring.relative import Relative
from agent.text.events import FILE, Events
from agent.text.headers import Format
from agent.text.tokenizers import Tokenizer, load_tokenizer

FORMAT_VERSION = 2  # 1 has neither records, carried states nor relative scores
MANIFEST = "manifest.json"
TOLERANCE = 1e-4  # the largest difference from the trained model that a host may show (`largest_difference`)


class Tensor(msgspec.Struct, forbid_unknown_fields=True):
    """An input or output of a graph. An axis is its length or, where that varies, its name."""

    name: str
    dtype: str
    axes: list[int | str]


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
    """Scores of held-out normal lines: their number, mean, standard deviation, and the score at each of the
    quantiles.
    """

    lines: int
    mean: float
    std: float
    quantiles: list[float]
    scores: list[float]


class Threshold(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """fixed: `value`. quantile: the score at `q` of the scale. sigma: mean + k * std of the last `window` scores of a
    source.
    """

    kind: str
    value: float | None = None
    q: float | None = None
    k: float | None = None
    window: int | None = None


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


class Known:
    """The canonical texts of the training set.

    hashes  uint64 [texts], sorted: every one of them
    tokens  int64 [common, tokens], padded with 0: those common enough to be shown
    """

    def __init__(self, hashes: NDArray[np.uint64], tokens: NDArray[np.int64]) -> None:
        self.hashes = hashes
        self.tokens = tokens

    def __contains__(self, text: str) -> bool:
        wanted = text_hash(text)
        index = int(np.searchsorted(self.hashes, wanted))
        return index < len(self.hashes) and bool(self.hashes[index] == wanted)


def text_hash(text: str) -> np.uint64:
    """The first 8 bytes of the SHA-256 of a text."""
    return np.uint64(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]))


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Bundle:
    """A verified bundle: its manifest, tokenizer, known texts, events and onnxruntime sessions."""

    def __init__(self, path: Path, manifest: Manifest, provider: str) -> None:
        self.path = path
        self.manifest = manifest
        self.provider = provider
        self.id = file_sha256(path / MANIFEST)
        self.tokenizer = self._load_tokenizer()
        self.known = self._load_known()
        self.events = self._load_events()
        self.sessions = {name: open_session(path / graph.file, provider) for name, graph in manifest.graphs.items()}
        for name, graph in manifest.graphs.items():
            _check_signature(f"{path / graph.file}", graph, self.sessions[name])

    @classmethod
    def load(cls, path: Path, provider: str = "cpu") -> "Bundle":
        """Opens a bundle after its format version and every file's hash were verified; a BundleError says what is
        wrong.
        """
        manifest = read_manifest(path)
        for name, expected in manifest.files.items():
            file = path / name
            if not file.is_file():
                raise BundleError(f"bundle {path}: {name} is missing; export it again, or copy the whole folder")
            if file_sha256(file) != expected:
                raise BundleError(
                    f"bundle {path}: {name} is damaged (its SHA-256 is not the manifest's); copy or export it again"
                )
        needed = {"tokenizer.json", "known.npz", "parity.npz", *(graph.file for graph in manifest.graphs.values())}
        unlisted = needed - manifest.files.keys()
        if unlisted:
            raise BundleError(f"bundle {path}: the manifest lists no hash of {sorted(unlisted)[0]}; export it again")
        return cls(path, manifest, provider)

    def run(self, graph: str, wanted: list[str] | None = None, **inputs: NDArray) -> list[NDArray]:
        """The outputs of a graph that are wanted, or all in the order of its signature."""
        try:
            return self.sessions[graph].run(wanted, inputs)
        except Exception as error:  # its exceptions share no base class
            raise BundleError(f"bundle {self.path}: the graph {graph} failed: {first_line(error)}") from None

    def parity(self) -> dict[str, float]:
        """The largest difference between this host's outputs and the recorded ones, for each graph."""
        recorded = self._load_npz("parity.npz")
        cases = sorted({key.rpartition("/")[0] for key in recorded})
        for graph in {case.split("/")[0] for case in cases} ^ self.manifest.graphs.keys():
            raise BundleError(f"bundle {self.path}: parity.npz and the manifest do not both have the graph {graph!r}")
        worst = {
            graph: [self._difference(graph, case, recorded) for case in cases if case.split("/")[0] == graph]
            for graph in self.manifest.graphs
        }
        return {graph: float(np.max(differences)) for graph, differences in worst.items()}  # NaN where one is NaN

    def _difference(self, graph: str, case: str, recorded: dict[str, NDArray]) -> float:
        signature = self.manifest.graphs[graph]
        missing = {f"{case}/{tensor.name}" for tensor in signature.inputs + signature.outputs} - recorded.keys()
        if missing:
            raise BundleError(f"bundle {self.path}: parity.npz lacks {min(missing)}; export it again")
        found = self.run(graph, **{tensor.name: recorded[f"{case}/{tensor.name}"] for tensor in signature.inputs})
        expected = [recorded[f"{case}/{tensor.name}"] for tensor in signature.outputs]
        if [(one.shape, one.dtype) for one in found] != [(one.shape, one.dtype) for one in expected]:
            raise BundleError(f"bundle {self.path}: {case} has outputs of another shape or type than parity.npz says")
        return float(np.max([largest_difference(one, other) for one, other in zip(found, expected, strict=True)]))

    def _load_tokenizer(self) -> Tokenizer:
        try:
            return load_tokenizer(_decode_json(self.path / "tokenizer.json"))
        except BundleError as error:
            raise BundleError(f"bundle {self.path}: {error}") from None

    def _load_events(self) -> Events | None:
        if FILE not in self.manifest.files:
            return None
        try:
            return Events.from_json(_decode_json(self.path / FILE))
        except BundleError as error:
            raise BundleError(f"bundle {self.path}: {error}") from None

    def _load_known(self) -> Known:
        content = self._load_npz("known.npz")
        missing = {"hashes", "tokens"} - content.keys()
        if missing:
            raise BundleError(f"bundle {self.path}: known.npz lacks {min(missing)}; export it again")
        hashes, tokens = content["hashes"], content["tokens"]
        kinds = (hashes.dtype, hashes.ndim, tokens.dtype, tokens.ndim)
        if kinds != (np.uint64, 1, np.int64, 2) or tokens.min(initial=0) < 0:
            raise BundleError(f"bundle {self.path}: known.npz is damaged: wrong shapes or types")
        if tokens.max(initial=0) >= len(self.tokenizer):
            raise BundleError(f"bundle {self.path}: known.npz has words that tokenizer.json lacks; export it again")
        return Known(hashes, tokens)

    def _load_npz(self, name: str) -> dict[str, NDArray]:
        try:
            with (self.path / name).open("rb") as file, np.load(file, allow_pickle=False) as content:
                return dict(content)
        except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise BundleError(f"bundle {self.path}: {name} cannot be read: {error}") from None


def largest_difference(found: NDArray, expected: NDArray) -> float:
    """Of numbers that ought to be equal: absolute up to 1, relative to the expected one above; NaN where one is NaN."""
    return float((np.abs(found - expected) / np.maximum(np.abs(expected), 1)).max(initial=0.0))


def read_manifest(path: Path) -> Manifest:
    """The manifest of the bundle in a folder."""
    file = path / MANIFEST
    if not path.is_dir():
        raise BundleError(f"bundle {path} is no folder; name one that `oddline export onnx` wrote")
    if not file.is_file():
        raise BundleError(f"{path} is no bundle: it has no {MANIFEST}")
    content = _decode_json(file)
    version = content.get("format_version") if isinstance(content, dict) else None
    if not isinstance(version, int) or version < 1:
        raise BundleError(f"{file} is no manifest of oddline: its format_version is missing or wrong")
    if version > FORMAT_VERSION:
        raise BundleError(
            f"bundle {path} has format version {version}, this agent reads up to {FORMAT_VERSION}; update oddline"
        )
    try:
        return msgspec.convert(content, Manifest)
    except msgspec.ValidationError as error:
        raise BundleError(f"{file} is damaged: {error}") from None


def _decode_json(file: Path) -> Any:
    try:
        return msgspec.json.decode(file.read_bytes())
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise BundleError(f"{file} cannot be read: {error}") from None


def _check_signature(file: str, graph: Graph, session: Any) -> None:
    """Compares names, types and axes of the model with the manifest, in this order."""
    for what, expected, actual in (
        ("input", graph.inputs, session.get_inputs()),
        ("output", graph.outputs, session.get_outputs()),
    ):
        names = [tensor.name for tensor in expected]
        if names != [tensor.name for tensor in actual]:
            raise BundleError(
                f"{file}: its {what}s are {[tensor.name for tensor in actual]}, the manifest says {names}"
            )
        for tensor, found in zip(expected, actual, strict=True):
            dtype = f"tensor({'float' if tensor.dtype == 'float32' else tensor.dtype})"
            if found.type != dtype:
                raise BundleError(f"{file}: {what} {tensor.name} is of type {found.type}, the manifest says {dtype}")
            axes = [axis if isinstance(axis, int) else None for axis in tensor.axes]
            shape = [axis if isinstance(axis, int) else None for axis in found.shape]
            if axes != shape:
                raise BundleError(
                    f"{file}: {what} {tensor.name} has the shape {found.shape}, the manifest says {tensor.axes}"
                )
