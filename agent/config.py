"""The agent's configuration: YAML into checked types."""

import os
import re
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec
import yaml

from agent.alerting.settings import AlertSettings
from agent.bundle.manifest import Threshold
from agent.errors import ConfigError
from agent.host.log import Level
from agent.scoring.settings import ScoringSettings
from agent.scoring.threshold import check_threshold
from agent.sources.decoding.multiline import Multiline
from agent.sources.decoding.settings import ReadingSettings
from agent.sources.files.globs import is_url
from agent.state.store import MAX_OUTBOX
from agent.telemetry.settings import MetricsSettings

T = TypeVar("T")
_LEAST_OUTBOX = 1
_MOST_BYTES, _MOST_DEPTH, _MOST_NODES = 1 << 20, 32, 100_000  # of a YAML file; of nodes those of aliases count anew
_LARGEST = 2**53  # up to which every whole number is a float64 too

_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(.*)`")
_SINK = re.compile(r"sinks\[.*\]")
_STEP = re.compile(r"\[[^\[\]]*\]|[^.\[\]]+")  # of a path such as `sources[...].path`
_MERGE = "tag:yaml.org,2002:merge"
_QUOTES = 'what ends with a colon wants quotes in YAML, such as "journal:" or "console:"'


class FileInput(msgspec.Struct, forbid_unknown_fields=True, rename={"start": "from"}):
    """A source as it is configured. from: where to begin when nothing is known of it; null as the configuration says.

    encoding, multiline: as in ReadingSettings.
    """

    path: str
    start: Literal["start", "end"] | None = None
    encoding: str = ReadingSettings.encoding
    multiline: Multiline | None = ReadingSettings.multiline


class InputSpec(NamedTuple):
    """A path, a pattern or a URL, where to begin when nothing is known of it, and how its bytes are made into lines."""

    path: str
    start: Literal["start", "end"]
    reading: ReadingSettings


class AgentConfig(msgspec.Struct, forbid_unknown_fields=True, rename={"start": "from"}):
    """All that `agent run` and `agent tail` can be told. packaging/agent.yaml explains each key."""

    sources: list[str | FileInput] = []
    bundle: str = "default"
    sinks: list[str] = []
    state: str | None = None
    start: Literal["start", "end"] = "end"
    threshold: Threshold | None = None
    header: str | None = None
    stream: str | None = None
    provider: Literal["auto", "cpu", "cuda"] = "auto"
    fold_lines: int = AlertSettings.fold_lines
    max_alert_share: float = AlertSettings.max_alert_share
    max_alert_burst: int = AlertSettings.max_alert_burst
    slow_walk_share: float | None = AlertSettings.slow_walk_share
    max_line: int = ReadingSettings.max_line
    max_streams: int = ScoringSettings.max_streams
    max_outbox: int = MAX_OUTBOX
    metrics: str | None = MetricsSettings.address
    metrics_file: str | None = MetricsSettings.file
    cache: bool = ScoringSettings.cache
    log_level: Level = "info"

    def scoring_settings(self) -> ScoringSettings:
        """Those of scoring; a ConfigError names the one that cannot be."""
        return ScoringSettings(self.threshold, self.header, self.stream, self.max_streams, self.cache)

    def alert_settings(self) -> AlertSettings:
        """Those of alerts; a ConfigError names the one that cannot be."""
        return AlertSettings(self.fold_lines, self.max_alert_share, self.max_alert_burst, self.slow_walk_share)

    def metrics_settings(self) -> MetricsSettings:
        """Those of the metrics; a ConfigError names the one that cannot be."""
        return MetricsSettings(self.metrics, self.metrics_file)

    def inputs(self) -> list[InputSpec]:
        """The sources, each with its own settings; a ConfigError names the one that cannot be."""
        listed = [FileInput(source) if isinstance(source, str) else source for source in self.sources]
        return [
            InputSpec(one.path, one.start or self.start, ReadingSettings(self.max_line, one.encoding, one.multiline))
            for one in listed
        ]


def load_config(path: Path) -> AgentConfig:
    """The configuration in a YAML file; a ConfigError names the file, the key and what is allowed."""
    return check_config(load_yaml(path, AgentConfig), str(path))


def check_config(config: AgentConfig, where: str) -> AgentConfig:
    """`config` where its values are possible, else a ConfigError."""
    try:
        if config.threshold is not None:
            config.threshold = check_threshold(config.threshold)
        for index, source in enumerate(config.sources):
            _check_source(source, f"sources[{index}]")
        for index, url in enumerate(config.sinks):
            _check_characters(url, f"sinks[{index}]")
        for key in ("bundle", "state", "metrics_file"):
            _check_name(getattr(config, key), key)
        config.scoring_settings()
        config.alert_settings()
        config.metrics_settings()
        ReadingSettings(config.max_line)
        if config.max_outbox < _LEAST_OUTBOX:
            raise ConfigError(f"max_outbox: {config.max_outbox} is too small; the least is {_LEAST_OUTBOX}")
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    return config


def _check_source(source: str | FileInput, where: str) -> None:
    source, at = (FileInput(source), where) if isinstance(source, str) else (source, f"{where}.path")
    _check_name(source.path, at)
    try:
        reading = ReadingSettings(encoding=source.encoding, multiline=source.multiline)
    except ConfigError as error:
        raise ConfigError(f"{where}.{error}") from None
    try:
        if is_url(source.path):
            _check_url(source.path, reading)
    except ConfigError as error:
        raise ConfigError(f"{at}: {error}") from None


def _check_url(url: str, reading: ReadingSettings) -> None:
    from agent.sources.journal.journalctl import parse_journal
    from agent.sources.live import message_reading
    from agent.sources.network.listen import parse_listen, parse_listen_path

    message_reading(url, reading)
    if url.startswith("journal:"):
        parse_journal(url)
    elif not url.startswith("listen:unix:"):
        parse_listen(url)
    else:
        parse_listen_path(url)


def _check_name(name: str | None, where: str) -> None:
    if name == "":
        raise ConfigError(f"{where}: '' is an empty name; write one or leave it out")
    _check_characters(name or "", where)


def _check_characters(name: str, where: str) -> None:
    if "\0" in name or not _is_encodable(name):
        raise ConfigError(f"{where}: {name!r} has a character that no path can have; leave it out")


def _is_encodable(path: str) -> bool:
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return True


def load_yaml(path: Path, kind: type[T]) -> T:
    """A YAML file as a checked type; a key that is there twice is a ConfigError."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise ConfigError(f"larger than a configuration may be, which is {_MOST_BYTES} bytes")
        content = yaml.load(data.decode("utf-8"), Loader=_Loader)  # noqa: S506 - a SafeLoader
        _check_numbers(content)
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist; name a configuration file that does") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    except Exception as error:  # noqa: BLE001 - of a tag whose value is none PyYAML raises what it likes
        why = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"{path} is no YAML: {why}") from None
    return convert({} if content is None else content, kind, str(path))


def _check_numbers(content: Any, at: str = "") -> None:
    """A ConfigError names the number that is not finite, or too large for anything."""
    if isinstance(content, dict | list):
        rows = content.items() if isinstance(content, dict) else ((f"[{i}]", one) for i, one in enumerate(content))
        for key, value in rows:
            _check_numbers(value, f"{at}{key}" if isinstance(content, list) or not at else f"{at}.{key}")
    elif isinstance(content, int | float) and not abs(content) <= _LARGEST:
        raise ConfigError(f"{at}: {str(content)[:20]} is no number that can be used; the largest is 2**53")


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice, of which YAML's own would take the last in silence, and what is nested deeply
    or much larger than it is written.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._sizes: dict[yaml.Node, tuple[int, int]] = {}  # of whole nodes: all nodes in it, and how deep it is

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """A node, of which nothing is made yet."""
        is_alias = self.check_event(yaml.AliasEvent)
        self._depth += 1
        self._require(0, self._depth)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is None:
            return node
        if not is_alias:
            parts = node.value if isinstance(node, yaml.CollectionNode) else ()
            inner = [self._sizes[one] for part in parts for one in (part if isinstance(part, tuple) else (part,))]
            self._sizes[node] = 1 + sum(size for size, _ in inner), 1 + max((depth for _, depth in inner), default=0)
        elif node not in self._sizes:
            raise ConfigError(f"line {node.start_mark.line + 1}: an alias stands within what it names; write it out")
        size, depth = self._sizes[node]
        self._require(size, self._depth + depth)
        return node

    def _require(self, size: int, depth: int) -> None:
        if depth > _MOST_DEPTH:
            raise ConfigError(f"it is nested too deeply; the most are {_MOST_DEPTH} levels")
        if size > _MOST_NODES:
            raise ConfigError(f"it has more than {_MOST_NODES} values, those of aliases counted anew")

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:  # the stubs want another type than yaml passes
        """A mapping as it is written; what `<<` brings in is no part of it yet."""
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE):
            line = key.start_mark.line + 1
            if key.value in lines:
                raise ConfigError(f"{key.value}: named twice, in lines {lines[key.value]} and {line}; name it once")
            lines[key.value] = line
        return node


def convert(content: Any, kind: type[T], where: str, strict: bool = True) -> T:
    """Plain data as a checked type; a ConfigError names the key's path and what is allowed there.

    Unless `strict`, a number may be a text: YAML reads 1e-3 as one.
    """
    try:
        return msgspec.convert(content, kind, strict=strict)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {_explain(str(error), kind)}") from None


def _explain(message: str, kind: type) -> str:
    what, _, at = message.partition(" - at `$")
    path = at.rstrip("`").lstrip(".")
    here = _types_at(msgspec.inspect.type_info(kind), path)
    unknown = _UNKNOWN_FIELD.fullmatch(what)
    if unknown:
        key = f"{path}.{unknown[1]}" if path else unknown[1]
        allowed = [field.encode_name for one in here for field in getattr(one, "fields", ())]
        hint = f"; {_QUOTES}" if unknown[1] == "journal" else ""
        return f"{key}: unknown key; allowed here: {', '.join(allowed)}{hint}"
    if _SINK.fullmatch(path) and "got `object`" in what:
        return f"{path}: {what}; {_QUOTES}"
    values = [str(value) for one in here for value in getattr(one, "values", ())]
    return (f"{path}: " if path else "") + what + (f"; choose one of {', '.join(values)}" if values else "")


def _types_at(info: Any, path: str) -> list[Any]:
    """What may stand at a path such as `sources[...].path`."""
    here = _options(info)
    for step in _STEP.findall(path):
        inner = [_item(one) if step.startswith("[") else _field(one, step) for one in here]
        here = [option for one in inner if one is not None for option in _options(one)]
    return here


def _options(info: Any) -> list[Any]:
    return list(getattr(info, "types", (info,)))


def _item(info: Any) -> Any:
    return getattr(info, "item_type", getattr(info, "value_type", None))


def _field(info: Any, name: str) -> Any:
    return next((field.type for field in getattr(info, "fields", ()) if field.encode_name == name), None)
