"""The configuration of a training run: defaults, then a YAML file, then `--set key.sub=value`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml
from msgspec import Meta

from agent.bundle.limits import MOST_WINDOW
from agent.bundle.manifest import Threshold, Window
from agent.config import convert, load_yaml
from agent.errors import BundleError, ConfigError
from agent.scoring.features import Read
from agent.scoring.streams import StreamKey
from agent.text.canonical import MASKS, select_masks
from agent.text.headers import Format, check_format
from agent.text.records import Records
from agent.text.tokenizers.base import LONGEST
from agent.text.tokenizers.bpe import FEWEST

Positive = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(gt=0, lt=1)]
Rate = Annotated[float, Meta(gt=0)]
HeldOut = Literal["streams", "last of each stream", "last lines"]

_THRESHOLDS: dict[str, dict[str, float | int | None]] = {
    "fixed": {"value": None},
    "quantile": {"q": 0.999},
    "sigma": {"k": 2.5, "window": 100},
}
_MAX_TOKENS = {"word": 64, "char": 122, "bpe": 64}


class TokenizerConfig(msgspec.Struct, forbid_unknown_fields=True):
    """The tokenizer: its kind, the tokens that it keeps of a line, the tokens that it knows, how often one must occur.

    kind            word (of delimited records: their values), char or bpe
    max_tokens      null: 64 words, 122 characters, 64 pieces of bpe; of delimited records always their parts
    max_vocabulary  with the special tokens; that of char is fixed
    """

    kind: Literal["word", "char", "bpe"] = "word"
    max_tokens: Annotated[int, Meta(ge=1, le=LONGEST)] | None = None
    max_vocabulary: Annotated[int, Meta(ge=5)] = 10000
    min_frequency: Positive = 1

    def __post_init__(self) -> None:
        if self.kind == "bpe" and self.max_vocabulary < FEWEST:
            raise ValueError(f"max_vocabulary: a tokenizer of the kind bpe needs {FEWEST} or more, every byte is one")

    def resolve(self, header: str | Records) -> None:
        """Sets `max_tokens` to what holds where it is null; a ValueError where it is not that of delimited records."""
        if isinstance(header, Records) and self.kind == "word":
            parts = len(header.parts())
            if self.max_tokens not in (None, parts):
                raise ValueError(
                    f"tokenizer.max_tokens is {self.max_tokens}, but a record has {parts} parts; set it to null"
                )
            self.max_tokens = parts
        self.max_tokens = self.max_tokens or _MAX_TOKENS[self.kind]

    def tokens_per_line(self) -> int:
        """`max_tokens` as `resolve` has set it."""
        assert self.max_tokens is not None
        return self.max_tokens


class WindowConfig(msgspec.Struct, forbid_unknown_fields=True):
    """As agent.bundle.manifest.Window; pad and end that are null hold where a stream pattern is set."""

    size: Annotated[int, Meta(ge=2, le=MOST_WINDOW)] = 10
    pad: bool | None = None
    end: bool | None = None


class ThresholdConfig(msgspec.Struct, forbid_unknown_fields=True):
    """As agent.bundle.manifest.Threshold; what is left out takes the default of its kind."""

    kind: Literal["fixed", "quantile", "sigma"] = "quantile"
    value: Annotated[float, Meta(ge=0)] | None = None
    q: Annotated[float, Meta(gt=0, le=1)] | None = None
    k: Rate | None = None
    window: Annotated[int, Meta(ge=2)] | None = None

    def __post_init__(self) -> None:
        defaults = _THRESHOLDS[self.kind]
        for name in ("value", "q", "k", "window"):
            if getattr(self, name) is None:
                setattr(self, name, defaults.get(name))
            elif name not in defaults:
                raise ValueError(f"a threshold of the kind {self.kind} takes {' and '.join(defaults)}, not {name}")
        if self.kind == "fixed" and self.value is None:
            raise ValueError("a threshold of the kind fixed needs a value")

    def threshold(self) -> Threshold:
        """What the manifest holds."""
        return Threshold(self.kind, self.value, self.q, self.k, self.window)


class StageConfig(msgspec.Struct, forbid_unknown_fields=True):
    """The optimisation of one stage of a model: Adam, with an early stop on the validation loss.

    steps_per_epoch   an epoch sees at most this many batches, drawn anew each time; null: all examples
    patience          epochs without a better validation loss until training ends
    improvement       the share by which a loss must fall to count as better for that
    goal              the validation loss that is good enough to end with
    decay             the learning rate is multiplied by this every `decay_steps` batches
    """

    learning_rate: Rate = 1e-3
    batch_size: Positive = 32
    epochs: Positive = 10
    patience: Positive = 3
    improvement: Annotated[float, Meta(ge=0, lt=1)] = 0.001
    steps_per_epoch: Positive | None = 1000
    goal: Annotated[float, Meta(ge=0)] = 0.0
    decay: Annotated[float, Meta(gt=0, le=1)] = 1.0
    decay_steps: Positive = 20


class RunConfig(msgspec.Struct, forbid_unknown_fields=True):
    """What every family's configuration holds; a family adds its own settings.

    relative  scores are told relative to their stream's: less its mean, or less its median and by its MAD
    """

    family: str = ""
    seed: Annotated[int, Meta(ge=0)] = 0
    header: Format = "auto"
    masks: list[str] = msgspec.field(default_factory=lambda: list(MASKS))
    stream: str | None = None
    tokenizer: TokenizerConfig = msgspec.field(default_factory=TokenizerConfig)
    validation: Share = 0.2
    threshold: ThresholdConfig = msgspec.field(default_factory=ThresholdConfig)
    relative: Literal["none", "mean", "median"] = "none"
    known_min_count: Positive = 1

    def __post_init__(self) -> None:
        try:
            check_format(self.header)
            StreamKey(self.stream)
            select_masks(self.masks)
        except (BundleError, ConfigError) as error:
            raise ValueError(str(error)) from None
        self.tokenizer.resolve(self.header)

    def score_window(self) -> Window:
        """How many lines a score looks at: one, unless the family says otherwise."""
        return Window(1)

    def line_reader(self) -> Read | None:
        """What the model needs of the raw lines, besides their texts."""
        return None

    @property
    def uses_events(self) -> bool:
        """Whether the model sees which event a line is."""
        return False

    def held_out(self) -> HeldOut:
        """What validation holds out: the last of the lines, or of each file's where every file is a stream."""
        return "last lines" if self.stream else "last of each stream"


def load(
    families: Mapping[str, type[RunConfig]],
    file: Path | None = None,
    overrides: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
) -> RunConfig:
    """The configuration of the family that it names (or the first): a YAML file, then overrides, then options.

    `overrides` are `key.sub=value`, their values in YAML; an option that is None counts as not given. A ConfigError
    names the key and what is allowed.
    """
    origin = str(file) if file else "configuration"
    content = load_yaml(file, dict[str, Any]) if file else {}
    for override in overrides:
        _override(content, override)
    content |= {key: value for key, value in (options or {}).items() if value is not None}
    name = content.get("family") or next(iter(families))
    if not isinstance(name, str) or name not in families:
        raise ConfigError(f"{origin}: unknown family {name!r}; choose one of {', '.join(families)}")
    return convert(content | {"family": name}, families[name], origin, strict=False)


def _override(content: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    keys = path.split(".")
    if not equals or not all(keys):
        raise ConfigError(f"--set {override}: write key=value or key.sub=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override}: the value is no YAML: {' '.join(str(error).split())}") from None
    for key in keys[:-1]:
        inner = content.get(key)
        content[key] = content = inner if isinstance(inner, dict) else {}
    content[keys[-1]] = value
