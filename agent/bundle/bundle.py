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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.bundle.known_texts import Known
from agent.bundle.manifest import MANIFEST, Manifest, decode_json, read_manifest
from agent.bundle.onnx import first_line, open_session
from agent.bundle.signature import check_signature
from agent.errors import BundleError
from agent.text.events import Events
from agent.text.templates import FILE
from agent.text.tokenizers import Tokenizer, load_tokenizer

TOLERANCE = 1e-4  # the largest difference from the trained model that a host may show (`largest_difference`)


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
            check_signature(f"{path / graph.file}", graph, self.sessions[name])

    @classmethod
    def load(cls, path: Path, provider: str = "cpu") -> "Bundle":
        """Opens a bundle whose format version and files' hashes are right; a BundleError says what is wrong."""
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
            raise BundleError(f"bundle {path}: the manifest lists no hash of {min(unlisted)}; export it again")
        return cls(path, manifest, provider)

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
        recorded = self._load_npz("parity.npz")
        cases = sorted({key.rpartition("/")[0] for key in recorded})
        for graph in {case.split("/")[0] for case in cases} ^ self.manifest.graphs.keys():
            raise BundleError(f"bundle {self.path}: parity.npz and the manifest do not both have the graph {graph!r}")
        worst = {
            graph: [self._difference(graph, case, recorded) for case in cases if case.split("/")[0] == graph]
            for graph in self.manifest.graphs
        }
        return {graph: float(np.max(differences)) for graph, differences in worst.items()}  # NaN where one is NaN

    def _difference(self, graph: str, case: str, recorded: dict[str, NDArray[Any]]) -> float:
        signature = self.manifest.graphs[graph]
        missing = {f"{case}/{tensor.name}" for tensor in signature.inputs + signature.outputs} - recorded.keys()
        if missing:
            raise BundleError(f"bundle {self.path}: parity.npz lacks {min(missing)}; export it again")
        found = self.run(graph, {tensor.name: recorded[f"{case}/{tensor.name}"] for tensor in signature.inputs})
        expected = [recorded[f"{case}/{tensor.name}"] for tensor in signature.outputs]
        if [(one.shape, one.dtype) for one in found] != [(one.shape, one.dtype) for one in expected]:
            raise BundleError(f"bundle {self.path}: {case} has outputs of another shape or type than parity.npz says")
        return float(np.max([largest_difference(one, other) for one, other in zip(found, expected, strict=True)]))

    def _load_tokenizer(self) -> Tokenizer:
        try:
            return load_tokenizer(decode_json(self.path / "tokenizer.json"))
        except BundleError as error:
            raise BundleError(f"bundle {self.path}: {error}") from None

    def _load_events(self) -> Events | None:
        if FILE not in self.manifest.files:
            return None
        try:
            return Events.from_json(decode_json(self.path / FILE))
        except BundleError as error:
            raise BundleError(f"bundle {self.path}: {error}") from None

    def _load_known(self) -> Known:
        content = self._load_npz("known.npz")
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

    def _load_npz(self, name: str) -> dict[str, NDArray[Any]]:
        try:
            with (self.path / name).open("rb") as file, np.load(file, allow_pickle=False) as content:
                return dict(content)
        except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise BundleError(f"bundle {self.path}: {name} cannot be read: {error}") from None


def largest_difference(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Of numbers that ought to be equal: absolute up to 1, relative to the expected one above; NaN where one is NaN."""
    return float((np.abs(found - expected) / np.maximum(np.abs(expected), 1)).max(initial=0.0))
