"""Why a line is anomalous: a kind of reason for each kind of model and alarm, told apart in JSON by the key `kind`."""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from agent.scoring.words import Token, Word


class Reason:
    """Why a line is anomalous. What is UNSET of one is left out of its JSON.

    In a type that is decoded it wants `decode_reason` as dec_hook.
    """

    __slots__ = ()


class KnownText(msgspec.Struct, frozen=True):
    """A text that training saw, and how far from it the vector in question is."""

    text: str = ""
    distance: float = 0.0


class KnownEvent(msgspec.Struct, frozen=True):
    """An event. unseen: training never saw it, and where it has no number its text is empty."""

    text: str = ""
    unseen: bool = False


class DistanceReason(Reason, msgspec.Struct, frozen=True, tag_field="kind", tag="distance"):
    """The vector of the line is far from what was expected, or is surprising there.

    nearest, expected: the known text nearest to a line that is new, and to what was expected. relative, raw: where the
    score is relative to those of its stream, in what way, and the score itself.
    """

    distance: float = 0.0
    threshold: float = 0.0
    new_text: bool = False
    unknown_words: list[str] = []
    nearest: KnownText | None = None
    expected: KnownText | None = None
    relative: str | UnsetType = UNSET
    raw: float | UnsetType = UNSET


class SurpriseReason(Reason, msgspec.Struct, frozen=True, tag_field="kind", tag="surprise"):
    """The tokens of the line are improbable, one after another.

    bits: those of all tokens. carried: whether the score depends on the lines before. words: the most surprising ones.
    tokenizer: its kind. tokens: all that the model read. tokens_left_out: how many it did not. relative, raw: as of a
    DistanceReason.
    """

    surprise: float = 0.0
    threshold: float = 0.0
    new_text: bool = False
    unknown_words: list[str] = []
    bits: float = 0.0
    carried: bool = False
    words: list[Word] = []
    tokenizer: str = ""
    tokens: list[Token] = []
    tokens_left_out: int = 0
    relative: str | UnsetType = UNSET
    raw: float | UnsetType = UNSET


class ReconstructionReason(Reason, msgspec.Struct, frozen=True, tag_field="kind", tag="reconstruction"):
    """The event of the line or its time is not what the window makes one expect.

    expected: the event expected instead, if another. time: the share of the error that the time has. errors: those of
    each line of the window, the line's own last. relative, raw: as of a DistanceReason.
    """

    error: float = 0.0
    threshold: float = 0.0
    new_text: bool = False
    unknown_words: list[str] = []
    event: KnownEvent | None = None
    expected: KnownEvent | None = None
    time: float = 0.0
    errors: list[float] = []
    relative: str | UnsetType = UNSET
    raw: float | UnsetType = UNSET


class SlowWalkReason(Reason, msgspec.Struct, frozen=True, tag_field="kind", tag="slow walk"):
    """With this line too many are anomalous. odd: how many of the last `lines`."""

    odd: int = 0
    lines: int = 0


class NoticeReason(Reason, msgspec.Struct, frozen=True, tag_field="kind", tag="notice"):
    """The agent tells something about itself. name: what it is. times: how often it came since it was told last."""

    name: str = ""
    times: int = 1


class OtherReason(dict[str, Any], Reason):
    """A reason of a kind that this version does not know, as it was read and as it is passed on."""

    __slots__ = ()


ModelReason = DistanceReason | SurpriseReason | ReconstructionReason
KnownReason = ModelReason | SlowWalkReason | NoticeReason


def decode_reason(kind: type, content: object) -> Reason:
    """A reason of JSON data, as a dec_hook: whatever an older or newer agent, or anybody else, wrote as one.

    What a reason of a known kind lacks has its default; of another kind, or ill-formed, it is an OtherReason. A
    ValueError where `content` is no object; a NotImplementedError where another `kind` of type is wanted.
    """
    if kind is not Reason:
        raise NotImplementedError(f"{kind} is no type of this decoder")
    if not isinstance(content, dict):
        raise ValueError(f"Expected `object`, got `{_json_type(content)}`")
    try:
        known: KnownReason = msgspec.convert(content, KnownReason)
    except msgspec.ValidationError:
        return OtherReason(content)
    return known


def _json_type(content: object) -> str:
    names = {str: "str", bool: "bool", int: "int", float: "float", list: "array", type(None): "null"}
    return names.get(type(content), type(content).__name__)
