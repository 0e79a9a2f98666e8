"""Where the state says that files were read to, of which some have no source now."""

from pathlib import Path

from agent.inputs.open_sources import InputSpec, OpenSources
from agent.sources.factory import read_checkpoint
from agent.sources.files.checkpoint import FileCheckpoint
from agent.sources.files.globs import is_named
from agent.state.retrying import RetryingState
from agent.state.store import State


def stored_positions(state: State | RetryingState) -> dict[str, FileCheckpoint]:
    """The positions in the state, by name."""
    return {name: at for name, checkpoint in state.checkpoints().items() if (at := read_checkpoint(checkpoint))}


def idle_positions(
    wanted: InputSpec, stored: dict[str, FileCheckpoint], opened: OpenSources
) -> dict[str, FileCheckpoint]:
    """Those of stored positions whose names a pattern has and no source."""
    names = stored.keys() - opened.by_name.keys()
    return {name: at for name, at in stored.items() if name in names and is_named(Path(name), wanted.input.path)}
