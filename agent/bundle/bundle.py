"""A bundle: the folder that holds a trained model and all that the agent must know of it.

manifest.json  what is in it (`Manifest`), with the SHA-256 of every other file
*.onnx         the graphs
tokenizer.json
events.json    of a model that looks at events: their templates and ids
known.npz      hashes of the canonical texts seen in training, and the common ones as token ids
parity.npz     inputs and outputs of each graph, to replay on the host
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from agent.bundle.arrays import read_arrays
from agent.bundle.files import MOST_BYTES, MOST_JSON, MOST_TOTAL, decode_json, read_file
from agent.bundle.known_texts import Known
from agent.bundle.limits import check_manifest
from agent.bundle.manifest import Manifest, Tensor, decode_manifest, manifest_bytes
from agent.bundle.onnx import first_line, open_session
from agent.bundle.signature import check_signature
from agent.errors import BundleError
from agent.text.events import Events
from agent.text.templates import FILE
from agent.text.tokenizers import load_tokenizer

T = TypeVar("T")
TOLERANCE = 1e-4  # the largest difference from the trained model that a host may show (`largest_difference`)
_MOST_REPLAYED = 4096  # of an axis of what is replayed


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Bundle:
    """A verified bundle: its manifest, tokenizer, known texts, events and onnxruntime sessions."""

    def __init__(
        self, path: Path, manifest: Manifest, digest: str, contents: Mapping[str, bytes], provider: str
    ) -> None:
        """`digest`: the SHA-256 of the manifest. `contents`: of the files whose hashes were checked."""
        self.path = path
        self.manifest = manifest
        self.provider = provider
        self.id = digest
        self.tokenizer = self._decode(load_tokenizer, contents, "tokenizer.json")
        self.known = self._load_known(contents)
        self.events = self._decode(Events.from_json, contents, FILE) if FILE in contents else None
        self.sessions = {
            name: open_session(path / graph.file, provider, content=contents[graph.file])
            for name, graph in manifest.graphs.items()
        }
        for name, graph in manifest.graphs.items():
            check_signature(f"{path / graph.file}", graph, self.sessions[name])

    @classmethod
    def load(cls, path: Path, provider: str = "cpu") -> "Bundle":
        """Opens a bundle whose format version, limits and files' hashes are right; a BundleError says what is wrong."""
        stored = manifest_bytes(path)
        manifest = decode_manifest(path, stored)
        try:
            check_manifest(manifest)
        except BundleError as error:
            raise BundleError(f"bundle {path}: {error}") from None
        needed = {"tokenizer.json", "known.npz", "parity.npz", *(graph.file for graph in manifest.graphs.values())}
        room, contents = MOST_TOTAL, {}
        for name, expected in manifest.files.items():
            content = read_file(path, name, min(room, MOST_BYTES))
            room -= len(content)
            _check_digest(path, name, content, expected)
            if name in needed or name == FILE:
                contents[name] = content
        unlisted = needed - manifest.files.keys()
        if unlisted:
            raise BundleError(f"bundle {path}: the manifest lists no hash of {min(unlisted)}; export it again")
        return cls(path, manifest, hashlib.sha256(stored).hexdigest(), contents, provider)

    def run(
        self, graph: str, inputs: Mapping[str, NDArray[Any]], names: Sequence[str] | None = None
    ) -> list[NDArray[Any]]:
        """The named outputs of a graph, or all in the order of its signature."""
        try:
            outputs: list[NDArray[Any]] = self.sessions[graph].run(names, dict(inputs))
        except Exception as error:  # noqa: BLE001 - its exceptions share no base class
            raise BundleError(f"bundle {self.path}: the graph {graph} failed: {first_line(error)}") from None
        return outputs

    def parity(self) -> dict[str, float]:
        """The largest difference between this host's outputs and the recorded ones, for each graph."""
        recorded = self.recorded()
        worst = {
            graph: [self._difference(graph, case, recorded) for case in _cases(recorded, graph)]
            for graph in self.manifest.graphs
        }
        return {graph: float(np.max(differences)) for graph, differences in worst.items()}  # NaN where one is NaN

    def recorded(self) -> dict[str, NDArray[Any]]:
        """The arrays of parity.npz where they are inputs and outputs of every graph, else a BundleError."""
        content = read_file(self.path, "parity.npz")
        _check_digest(self.path, "parity.npz", content, self.manifest.files["parity.npz"])
        recorded = read_arrays(content, f"bundle {self.path}: parity.npz")
        for graph in {key.split("/")[0] for key in recorded} ^ self.manifest.graphs.keys():
            raise BundleError(f"bundle {self.path}: parity.npz and the manifest do not both have the graph {graph!r}")
        for graph, signature in self.manifest.graphs.items():
            for case in _cases(recorded, graph):
                missing = {f"{case}/{one.name}" for one in signature.inputs + signature.outputs} - recorded.keys()
                if missing:
                    raise BundleError(f"bundle {self.path}: parity.npz lacks {min(missing)}; export it again")
                for tensor in signature.inputs:
                    self._check_input(tensor, f"{case}/{tensor.name}", recorded[f"{case}/{tensor.name}"])
        return recorded

    def _check_input(self, tensor: Tensor, name: str, value: NDArray[Any]) -> None:
        """onnxruntime ends the process where a recurrent network is given an empty batch."""
        fits = value.ndim == len(tensor.axes) and value.dtype == tensor.dtype
        if not fits or any(not 1 <= length <= _MOST_REPLAYED for length in value.shape):
            raise BundleError(
                f"bundle {self.path}: {name} of parity.npz is no input {tensor.dtype}{tensor.axes} without empty axes, "
                f"or has one above {_MOST_REPLAYED}; export it again"
            )

    def _difference(self, graph: str, case: str, recorded: dict[str, NDArray[Any]]) -> float:
        signature = self.manifest.graphs[graph]
        found = self.run(graph, {tensor.name: recorded[f"{case}/{tensor.name}"] for tensor in signature.inputs})
        expected = [recorded[f"{case}/{tensor.name}"] for tensor in signature.outputs]
        if [(one.shape, one.dtype) for one in found] != [(one.shape, one.dtype) for one in expected]:
            raise BundleError(f"bundle {self.path}: {case} has outputs of another shape or type than parity.npz says")
        return float(np.max([largest_difference(one, other) for one, other in zip(found, expected, strict=True)]))

    def _decode(self, make: Callable[[Any], T], contents: Mapping[str, bytes], name: str) -> T:
        if len(contents[name]) > MOST_JSON:
            raise BundleError(f"bundle {self.path}: {name} is too large; the most are {MOST_JSON} bytes")
        try:
            return make(decode_json(contents[name], name))
        except BundleError as error:
            raise BundleError(f"bundle {self.path}: {error}") from None

    def _load_known(self, contents: Mapping[str, bytes]) -> Known:
        content = read_arrays(contents["known.npz"], f"bundle {self.path}: known.npz")
        missing = {"hashes", "tokens"} - content.keys()
        if missing:
            raise BundleError(f"bundle {self.path}: known.npz lacks {min(missing)}; export it again")
        hashes, tokens = content["hashes"], content["tokens"]
        kinds = (hashes.dtype, hashes.ndim, tokens.dtype, tokens.ndim)
        if kinds != (np.dtype(np.uint64), 1, np.dtype(np.int64), 2) or tokens.min(initial=0) < 0:
            raise BundleError(f"bundle {self.path}: known.npz is damaged: wrong shapes or types")
        if tokens.max(initial=0) >= len(self.tokenizer):
            raise BundleError(f"bundle {self.path}: known.npz has words that tokenizer.json lacks; export it again")
        return Known(hashes, tokens)


def _cases(recorded: Mapping[str, NDArray[Any]], graph: str) -> list[str]:
    """The names of a graph's cases: those of its arrays are graph/case/tensor."""
    return sorted({key.rpartition("/")[0] for key in recorded if key.split("/")[0] == graph})


def _check_digest(path: Path, name: str, content: bytes, expected: str) -> None:
    if hashlib.sha256(content).hexdigest() != expected:
        raise BundleError(
            f"bundle {path}: {name} is damaged (its SHA-256 is not the manifest's); copy or export it again"
        )


def largest_difference(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Of numbers that ought to be equal: absolute up to 1, relative to the expected one above; NaN where one is NaN."""
    return float((np.abs(found - expected) / np.maximum(np.abs(expected), 1)).max(initial=0.0))
