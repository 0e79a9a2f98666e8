"""The checkpoints of files in the state, and those of them for which no source is open."""

from pathlib import Path

from agent.config import InputSpec
from agent.inputs.open_sources import OpenSources
from agent.sources.factory import read_checkpoint
from agent.sources.files.checkpoint import FileCheckpoint
from agent.sources.files.globs import is_named
from agent.state.retrying import RetryingState
from agent.state.store import State


def stored_checkpoints(state: State | RetryingState) -> dict[str, FileCheckpoint]:
    """The checkpoints in the state, by name."""
    return {name: at for name, checkpoint in state.checkpoints().items() if (at := read_checkpoint(checkpoint))}


def idle_checkpoints(
    spec: InputSpec, stored: dict[str, FileCheckpoint], opened: OpenSources
) -> dict[str, FileCheckpoint]:
    """Those of stored checkpoints whose names a pattern has and no source."""
    names = stored.keys() - opened.by_name.keys()
    return {name: at for name, at in stored.items() if name in names and is_named(Path(name), spec.path)}
