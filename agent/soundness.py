"""What a bundle must be beyond the types in its manifest: usable rules, and graphs that fit each other."""

from agent.bundle import Bundle, Manifest, Scale, Tensor
from agent.errors import BundleError, ConfigError
from agent.headers import check_format
from agent.normalize import select_masks
from agent.scorers import SCORERS
from agent.streams import StreamKey
from agent.threshold import check_threshold

_VECTOR_GRAPHS = {  # inputs by name and type, outputs by type
    "encoder": ([("ids", "int64"), ("lengths", "int64")], ["float32"]),
    "detector": ([("windows", "float32")], ["float32"]),
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
        _check_scale(manifest.scale)
        if manifest.scorer == "vectors":
            _check_vectors(manifest)
    except (BundleError, ConfigError) as error:
        raise BundleError(f"bundle {bundle.path}: {error}") from None


def _check_rules(manifest: Manifest) -> None:
    check_format(manifest.header)
    select_masks(manifest.masks)
    StreamKey(manifest.stream)
    check_threshold(manifest.threshold)
    if manifest.window.size < 2:
        raise BundleError(f"window.size: {manifest.window.size} is too small; the least is 2")


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
    for name, kind in (("distance", str), ("time_of_day", bool)):
        if not isinstance(manifest.settings.get(name), kind):
            raise BundleError(f"the manifest lacks the setting {name!r} or its value is wrong; export it again")
    for name, expected in _VECTOR_GRAPHS.items():
        if name not in manifest.graphs:
            raise BundleError(f"the manifest lacks the graph {name!r}; export it again")
        graph = manifest.graphs[name]
        found = [(tensor.name, tensor.dtype) for tensor in graph.inputs], [tensor.dtype for tensor in graph.outputs]
        if found != expected:
            raise BundleError(f"the graph {name} has the tensors {found}, it needs {expected}; export it again")
    encoder, detector = (manifest.graphs[name] for name in _VECTOR_GRAPHS)
    width = _lengths(encoder.outputs[0])[-1] + 2 * manifest.settings["time_of_day"]
    wanted = [manifest.window.size - 1, width], [width]
    taken = _lengths(detector.inputs[0]), _lengths(detector.outputs[0])
    if taken != wanted:
        raise BundleError(
            f"its detector takes windows of {taken[0]} and gives {taken[1]}; with its encoder and window that must be "
            f"{wanted[0]} and {wanted[1]}; export it again"
        )


def _lengths(tensor: Tensor) -> list[int]:
    """The lengths of all axes but the first, the batch; -1 where one is not fixed."""
    return [axis if isinstance(axis, int) else -1 for axis in tensor.axes[1:]] or [-1]
