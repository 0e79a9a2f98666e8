"""The run folder: what a training leaves on the disk, and how it goes on after an interruption.

config.yaml, tokenizer.json         written first
progress.json, checkpoint.safetensors   while the training goes on
weights.safetensors                 the model
texts.json                          the canonical texts of the training lines, and how often each occurs
events.json                         of a model that looks at events: their templates and ids
heldout.npz                         the validation lines, for the calibration
scores.csv.gz                       of a walk: the scores of its windows
metrics.json                        written last: a run that has it is finished
"""

import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import safetensors.torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn

from agent.config import convert
from agent.errors import BundleError, ConfigError
from agent.host.atomic_file import replace_file
from agent.text.events import Events
from agent.text.templates import FILE
from agent.text.tokenizers import Tokenizer, load_tokenizer
from training.config import RunConfig
from training.models import CONFIGS, FAMILIES

CONFIG, TOKENIZER, PROGRESS, CHECKPOINT = "config.yaml", "tokenizer.json", "progress.json", "checkpoint.safetensors"
WEIGHTS, TEXTS, HELDOUT, METRICS = "weights.safetensors", "texts.json", "heldout.npz", "metrics.json"
SCORES, EVENTS = "scores.csv.gz", FILE
_FILES = (
    METRICS,
    CHECKPOINT,
    PROGRESS,
    SCORES,
    WEIGHTS,
    TEXTS,
    HELDOUT,
    EVENTS,
    TOKENIZER,
    CONFIG,
)  # in the order of removal

_DAMAGE = (
    OSError, EOFError, KeyError, ValueError, TypeError, RuntimeError,
    SafetensorError, msgspec.MsgspecError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def write(path: Path, content: bytes) -> None:
    """Writes a file so that after a crash it is the old one or the new one; a ConfigError where that cannot be."""
    try:
        replace_file(path, content, sync=True)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from None


def digest(content: Any) -> str:
    """The SHA-256 of something as JSON, in hexadecimal digits."""
    return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()


def prepare(run: Path, config: RunConfig, data: str, overwrite: bool) -> None:
    """Makes the folder ready: new, or to go on where the same config and data were interrupted; else a ConfigError.

    `data` is a digest of what is trained on. With `overwrite` a finished or different run is removed first.
    """
    identity = {"config": digest(config), "data": data}
    if run.exists() and not run.is_dir():
        raise ConfigError(f"run {run} is a file; name a folder")
    if run.is_dir() and any(run.iterdir()):
        problem = _problem(run, identity)
        if problem and not overwrite:
            raise ConfigError(f"run {run} {problem}; name another folder, or give --overwrite")
        if not problem:
            return
        for name in _FILES:
            (run / name).unlink(missing_ok=True)
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"run {run} cannot be written: {error.strerror or error}") from None
    write(run / CONFIG, msgspec.yaml.encode(config))
    write(run / PROGRESS, msgspec.json.encode(identity))


def _problem(run: Path, identity: dict[str, str]) -> str:
    """Why a training cannot go on in a folder; empty where it can."""
    if not (run / CONFIG).is_file():
        raise ConfigError(f"{run} is not empty and no run; name another folder")
    if (run / METRICS).exists():
        return "is finished"
    try:
        before = msgspec.json.decode((run / PROGRESS).read_bytes())
    except (OSError, msgspec.DecodeError):
        return "is incomplete"
    differing = [name for name, value in identity.items() if before.get(name) != value]
    if differing:
        return f"was started with another {' and other '.join(differing)}"
    return ""


def write_weights(run: Path, state: dict[str, Tensor]) -> None:
    """Writes the tensors of a trained model."""
    write(run / WEIGHTS, safetensors.torch.save(state))


def write_checkpoint(run: Path, groups: dict[str, dict[str, Tensor]], progress: dict[str, Any]) -> None:
    """Writes groups of tensors and how far the training is."""
    tensors = {
        f"{group}/{name}": value.detach().cpu() for group, values in groups.items() for name, value in values.items()
    }
    metadata = {"progress": msgspec.json.encode(progress).decode()}
    write(run / CHECKPOINT, safetensors.torch.save({name: value.clone() for name, value in tensors.items()}, metadata))


def read_checkpoint(run: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]] | None:
    """What `write_checkpoint` wrote; None where there is none."""
    path = run / CHECKPOINT
    if not path.exists():
        return None
    groups: dict[str, dict[str, Tensor]] = {}
    try:
        with safetensors.safe_open(path, "pt") as file:
            progress = msgspec.json.decode(file.metadata()["progress"])
            for key in file.keys():  # noqa: SIM118
                group, name = key.split("/", 1)
                groups.setdefault(group, {})[name] = file.get_tensor(key)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{path} is damaged ({error}); remove it to start anew") from None
    return groups, progress


def npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Arrays by name as the bytes of an npz file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


@dataclass(frozen=True)
class Run:
    """A finished run.

    texts    the canonical texts; the first is no line's
    counts   int64 [texts]: how often each occurs in the training and validation lines
    heldout  ids int32 [lines], into texts; streams int32 [lines]; numbers float64 [lines, columns], or none (length 0)
    events   what a model that looks at events knows of them, else None
    """

    path: Path
    config: RunConfig
    model: nn.Module
    tokenizer: Tokenizer
    texts: list[str]
    counts: NDArray[np.int64]
    heldout: dict[str, NDArray[Any]]
    metrics: dict[str, Any]
    events: Events | None = None


def load_run(path: Path) -> Run:
    """Reads a finished run; a ConfigError where it is none, a BundleError where it is damaged."""
    if not (path / CONFIG).is_file():
        raise ConfigError(f"{path} is no run: it has no {CONFIG}; name a folder that `oddline training fit` wrote")
    if not (path / METRICS).is_file():
        raise ConfigError(f"run {path} is not finished; run its `oddline training` command again to go on")
    try:
        return _load(path)
    except _DAMAGE as error:
        raise BundleError(f"run {path} is damaged: {' '.join(str(error).split())[:300]}") from None


def _load(path: Path) -> Run:
    content = msgspec.yaml.decode((path / CONFIG).read_bytes())
    family = content["family"] if isinstance(content, dict) else None
    if family not in FAMILIES:
        raise ConfigError(f"{path / CONFIG}: unknown family {family!r}; choose one of {', '.join(FAMILIES)}")
    config = convert(content, CONFIGS[family], str(path / CONFIG), strict=False)
    tokenizer = load_tokenizer(msgspec.json.decode((path / TOKENIZER).read_bytes()))
    model = FAMILIES[family].build(config, len(tokenizer))
    model.load_state_dict(safetensors.torch.load((path / WEIGHTS).read_bytes()))
    texts = msgspec.json.decode((path / TEXTS).read_bytes())
    with np.load(io.BytesIO((path / HELDOUT).read_bytes()), allow_pickle=False) as file:
        heldout = {name: file[name] for name in ("ids", "streams", "numbers")}
    ids, counts = heldout["ids"], np.array(texts["counts"], np.int64)
    known = len(ids) == 0 or (ids.min() > 0 and ids.max() < len(counts))
    if not known or len(counts) != len(texts["texts"]) or len(heldout["streams"]) != len(ids):
        raise ValueError(f"{TEXTS} and {HELDOUT} do not fit together")
    metrics = msgspec.json.decode((path / METRICS).read_bytes(), type=dict[str, Any])
    events = Events.from_json(msgspec.json.decode((path / EVENTS).read_bytes())) if config.uses_events else None
    return Run(path, config, model.eval(), tokenizer, texts["texts"], counts, heldout, metrics, events)
