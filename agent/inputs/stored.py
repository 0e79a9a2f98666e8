"""Where the state says that files were read to, of which some have no source now."""

from pathlib import Path

from agent.inputs.open_sources import InputSpec, OpenSources
from agent.sources.factory import read_position
from agent.sources.files.globs import is_named
from agent.sources.files.position import Position
from agent.state.retrying import RetryingState
from agent.state.store import State


def stored_positions(state: State | RetryingState) -> dict[str, Position]:
    """The positions in the state, by name."""
    return {name: at for name, mark in state.marks().items() if (at := read_position(mark))}


def idle_positions(wanted: InputSpec, stored: dict[str, Position], opened: OpenSources) -> dict[str, Position]:
    """Those of stored positions whose names a pattern has and no source."""
    names = stored.keys() - opened.by_name.keys()
    return {name: at for name, at in stored.items() if name in names and is_named(Path(name), wanted.input.path)}
