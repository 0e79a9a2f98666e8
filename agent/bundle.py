"""A bundle: the folder that holds a trained model and all that the agent must know of it.

manifest.json  what is in it (`Manifest`), with the SHA-256 of every other file
*.onnx         the graphs
tokenizer.json
known.npz      hashes of the canonical texts seen in training, and the common ones as token ids
parity.npz     inputs and outputs of each graph, to replay on the host
"""

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.errors import BundleError
from agent.runtime import open_session
from agent.tokenizer import WordTokenizer, load_tokenizer

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
TOLERANCE = 1e-4  # the largest difference from the trained model that a host may show


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
    header: str
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
    """A verified bundle: its manifest, tokenizer, known texts and, opened on first use, its onnxruntime sessions."""

    def __init__(self, path: Path, manifest: Manifest, provider: str) -> None:
        self.path = path
        self.manifest = manifest
        self.provider = provider
        self.id = file_sha256(path / MANIFEST)
        self.tokenizer: WordTokenizer = load_tokenizer(_decode_json(path / "tokenizer.json"))
        self.known = self._load_known()
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

    def run(self, graph: str, **inputs: NDArray) -> list[NDArray]:
        """The outputs of a graph, in the order of its signature."""
        return self.sessions[graph].run(None, inputs)

    def parity(self) -> dict[str, float]:
        """The largest difference between this host's outputs and the recorded ones, for each graph."""
        worst = dict.fromkeys(self.manifest.graphs, 0.0)
        with _load_npz(self.path / "parity.npz") as recorded:
            for case in sorted({key.rsplit("/", 1)[0] for key in recorded.files}):
                graph = case.split("/")[0]
                signature = self.manifest.graphs.get(graph)
                if signature is None:
                    raise BundleError(f"bundle {self.path}: parity.npz has a case of an unknown graph {graph!r}")
                outputs = self.run(
                    graph, **{tensor.name: recorded[f"{case}/{tensor.name}"] for tensor in signature.inputs}
                )
                for tensor, output in zip(signature.outputs, outputs, strict=True):
                    difference = np.abs(output - recorded[f"{case}/{tensor.name}"]).max(initial=0.0)
                    worst[graph] = max(worst[graph], float(difference))
        return worst

    def _load_known(self) -> Known:
        with _load_npz(self.path / "known.npz") as content:
            try:
                return Known(content["hashes"], content["tokens"])
            except KeyError as error:
                raise BundleError(f"bundle {self.path}: known.npz lacks {error}") from None


def read_manifest(path: Path) -> Manifest:
    """The manifest of the bundle in a folder."""
    file = path / MANIFEST
    if not path.is_dir():
        raise BundleError(f"bundle {path} is no folder; name one that `oddline export onnx` wrote")
    if not file.is_file():
        raise BundleError(f"{path} is no bundle: it has no {MANIFEST}")
    content = _decode_json(file)
    version = content.get("format_version") if isinstance(content, dict) else None
    if not isinstance(version, int):
        raise BundleError(f"{file} is no manifest of oddline: it has no format_version")
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
    except (OSError, msgspec.DecodeError) as error:
        raise BundleError(f"{file} cannot be read: {error}") from None


def _load_npz(file: Path) -> Any:
    try:
        return np.load(file, allow_pickle=False)
    except (OSError, ValueError) as error:
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
