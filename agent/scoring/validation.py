"""What a bundle must be beyond the types in its manifest: usable rules, and graphs that fit each other."""

from typing import Any

from agent.bundle.bundle import Bundle
from agent.bundle.manifest import Graph, Manifest, Scale, Tensor
from agent.errors import BundleError, ConfigError
from agent.scoring.features import CYCLIC
from agent.scoring.relative import check_relative
from agent.scoring.scorers import SCORERS
from agent.scoring.scorers.reconstruction import SCORES
from agent.scoring.scorers.surprise import REDUCTIONS
from agent.scoring.streams import StreamKey
from agent.scoring.threshold import check_threshold
from agent.text.canonical import select_masks
from agent.text.events import FILE as EVENTS
from agent.text.headers import check_format
from agent.text.tokenizers.fields import FieldTokenizer

_ENCODER = ([("ids", "int64"), ("lengths", "int64")], ["float32"])
_RECONSTRUCTED = ("errors", "reconstruction", "latent")
_DETECTORS = {  # of each scorer: inputs by name and type, outputs by type
    "vectors": ([("windows", "float32")], ["float32"]),
    "codebook": ([("windows", "float32"), ("actual", "float32")], ["float32", "float32"]),
}


def check_bundle(bundle: Bundle) -> None:
    """Refuses a bundle that cannot be used for scoring; a BundleError says why."""
    manifest = bundle.manifest
    if manifest.scorer not in SCORERS:
        raise BundleError(
            f"bundle {bundle.path} needs the scorer {manifest.scorer!r}, this agent has {', '.join(SCORERS)}; "
            "update oddline"
        )
    try:
        _check_rules(manifest)
        _check_fields(bundle)
        _check_scale(manifest.scale)
        _check_share(manifest.settings.get("slow_walk_share", 0))
        _CHECKS[manifest.scorer](manifest)
        if manifest.scorer == "reconstruction" and bundle.events is None:
            raise BundleError(f"the manifest lists no {EVENTS}; export it again")
    except (BundleError, ConfigError) as error:
        raise BundleError(f"bundle {bundle.path}: {error}") from None


def _check_rules(manifest: Manifest) -> None:
    check_format(manifest.header)
    select_masks(manifest.masks)
    StreamKey(manifest.stream)
    check_threshold(manifest.threshold)
    if manifest.relative is not None:
        check_relative(manifest.relative)
        if manifest.window.end:
            raise BundleError("relative scores do not go with window.end; export it again")


def _check_fields(bundle: Bundle) -> None:
    """Whether a tokenizer of fields is of the records that the lines are."""
    tokenizer = bundle.tokenizer
    if isinstance(tokenizer, FieldTokenizer) and tokenizer.records != bundle.manifest.header:
        raise BundleError("tokenizer.json is of other records than the manifest's header; export it again")


def _check_scale(scale: Scale) -> None:
    if not scale.scores or len(scale.scores) != len(scale.quantiles):
        raise BundleError(
            f"scale: {len(scale.quantiles)} quantiles and {len(scale.scores)} scores do not belong together"
        )
    if scale.quantiles != sorted(scale.quantiles) or scale.scores != sorted(scale.scores):
        raise BundleError("scale: its quantiles or scores do not rise")
    if scale.std < 0 or scale.lines < 0:
        raise BundleError(f"scale: a deviation of {scale.std:g} over {scale.lines} lines is not possible")


def _check_vectors(manifest: Manifest) -> None:
    """Whether the settings and graphs are those of the scorer, and fit each other and the window."""
    settings = manifest.settings
    if manifest.window.size < 2:
        raise BundleError(f"window.size: {manifest.window.size} is too small; the least is 2")
    if manifest.state:
        raise BundleError(f"the scorer {manifest.scorer} carries no state, the manifest has one; export it again")
    for name, kind in (("distance", str), ("time_of_day", bool), ("width", int)):
        if not isinstance(settings.get(name), kind):
            raise BundleError(f"the manifest lacks the setting {name!r} or its value is wrong; export it again")
    for name, expected in (("encoder", _ENCODER), ("detector", _DETECTORS[manifest.scorer])):
        graph = _graph(manifest, name)
        found = [(tensor.name, tensor.dtype) for tensor in graph.inputs], [tensor.dtype for tensor in graph.outputs]
        if found != expected:
            raise BundleError(f"the graph {name} has the tensors {found}, it needs {expected}; export it again")
    detector, vector = manifest.graphs["detector"], settings["width"]
    seen = vector + 2 * settings["time_of_day"]
    windows, scored = [manifest.window.size - 1, seen], manifest.scorer == "vectors"
    _check_lengths(manifest.graphs["encoder"].outputs, [[vector]], "encoder gives")
    _check_lengths(detector.inputs, [windows] if scored else [windows, [vector]], "detector takes")
    _check_lengths(detector.outputs, [[seen]] if scored else [[], [vector]], "detector gives")


def _graph(manifest: Manifest, name: str) -> Graph:
    if name not in manifest.graphs:
        raise BundleError(f"the manifest lacks the graph {name!r}; export it again")
    return manifest.graphs[name]


def _check_surprise(manifest: Manifest) -> None:
    """Whether the settings, the graph and the carried state are those of a language model."""
    if manifest.window.size != 1:
        raise BundleError(f"window.size: {manifest.window.size} does not go with the scorer surprise, which takes 1")
    if manifest.settings.get("reduce") not in REDUCTIONS:
        raise BundleError(f"the setting 'reduce' must be one of {', '.join(REDUCTIONS)}; export it again")
    graph = _graph(manifest, "model")
    carried = [(tensor.name, tensor.dtype, tensor.axes) for tensor in manifest.state]
    inputs = [(tensor.name, tensor.dtype, tensor.axes) for tensor in graph.inputs]
    if inputs != [("ids", "int64", ["batch", "tokens"]), ("lengths", "int64", ["batch"]), *carried]:
        raise BundleError(f"the graph model takes {[name for name, _, _ in inputs]}; with its state that cannot be")
    outputs = {tensor.name: (tensor.dtype, len(tensor.axes)) for tensor in graph.outputs}
    needed = {"losses": ("float32", 2), "log_probabilities": ("float32", 3)}
    needed |= {f"next_{name}": (dtype, len(axes)) for name, dtype, axes in carried}
    for name, wanted in needed.items():
        if outputs.get(name) != wanted:
            raise BundleError(f"the graph model needs an output {name} of the type and rank {wanted}; export it again")
    for tensor in manifest.state:
        if tensor.axes[:1] != ["batch"] or not all(isinstance(axis, int) for axis in tensor.axes[1:]):
            raise BundleError(f"state: {tensor.name} has the axes {tensor.axes}; all but the first must be fixed")


def _check_share(share: Any) -> None:
    if type(share) not in (int, float) or not 0 <= share < 1:
        raise BundleError("the setting 'slow_walk_share' must be a number from 0 to below 1; export it again")


def _check_reconstruction(manifest: Manifest) -> None:
    """Whether the settings and the graph are those of the sequence autoencoder, and fit the window."""
    size, width = manifest.window.size, CYCLIC + 1
    if manifest.state or manifest.window.end:
        raise BundleError("the scorer reconstruction takes neither state nor window.end; export it again")
    for name, allowed in (("event", ("scaled", "embedding")), ("score", SCORES)):
        if manifest.settings.get(name) not in allowed:
            raise BundleError(f"the setting {name!r} must be one of {', '.join(allowed)}; export it again")
    graph = _graph(manifest, "autoencoder")
    if [(one.name, one.dtype) for one in graph.inputs] != [("windows", "float32")]:
        raise BundleError(f"the graph autoencoder takes {[one.name for one in graph.inputs]}, it must take windows")
    if [(one.name, one.dtype) for one in graph.outputs] != [(name, "float32") for name in _RECONSTRUCTED]:
        raise BundleError(
            f"the graph autoencoder gives {[one.name for one in graph.outputs]}, it must give "
            f"{', '.join(_RECONSTRUCTED)}"
        )
    _check_lengths(graph.inputs, [[size, width]], "autoencoder takes")
    _check_lengths(graph.outputs[:2], [[size], [size, width]], "autoencoder gives")


_CHECKS = {
    "vectors": _check_vectors,
    "codebook": _check_vectors,
    "surprise": _check_surprise,
    "reconstruction": _check_reconstruction,
}


def _check_lengths(tensors: list[Tensor], wanted: list[list[int]], what: str) -> None:
    found = [_lengths(tensor) for tensor in tensors]
    if found != wanted:
        raise BundleError(f"its {what} the lengths {found}; with its window and settings they must be {wanted}")


def _lengths(tensor: Tensor) -> list[int]:
    """The lengths of all axes but the first, the batch; -1 where one is not fixed."""
    return [axis if isinstance(axis, int) else -1 for axis in tensor.axes[1:]]
