"""How each source of a configuration is at present: open, waited for, or what keeps it from being read."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from agent.config import InputSpec
from agent.inputs.open_sources import OpenSources
from agent.sources.base import Source
from agent.sources.condition import Condition
from agent.sources.files.follower import FileSource
from agent.sources.files.globs import is_named


def conditions_of(
    single: Mapping[str, InputSpec], patterns: Iterable[InputSpec], opened: OpenSources, refused: Mapping[str, str]
) -> list[Condition]:
    """single: what is no pattern, by the names of the sources. refused: files of patterns, and why they stay closed."""
    found = [_of_source(spec.path, name, opened.by_name.get(name)) for name, spec in single.items()]
    count = Counter(spec.path for name, spec in opened.specs.items() if opened.by_name[name].is_open)
    return found + [_of_pattern(spec.path, count[spec.path], refused) for spec in patterns]


def _of_source(path: str, name: str, source: Source | None) -> Condition:
    if source is None:
        return Condition(path, "cannot be opened", "what the log said of it at the last reload still holds")
    if source.ended:
        return Condition(path, "ended")
    if source.is_open or not isinstance(source, FileSource):
        return Condition(path, "open")
    if not os.path.lexists(name):
        return Condition(path, "waiting for the file")
    return Condition(path, "cannot be opened" if source.fault else "waiting for the file", source.fault)


def _of_pattern(pattern: str, count: int, refused: Mapping[str, str]) -> Condition:
    if count:
        return Condition(pattern, "open", f"{count} files" if count > 1 else "1 file")
    reason = next((reason for name, reason in refused.items() if is_named(Path(name), pattern)), "")
    return Condition(pattern, "cannot be opened" if reason else "names no file", reason)
