r"""Regular expressions that users write, in agent.yaml, on the command line or in a bundle: their one engine is RE2.

RE2 does not backtrack: the time for a text grows with its length, whatever the pattern. In turn it has no
look-around and no back-references. \d, \w, \s and \b are those of ASCII.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import Any

import re2
from re2._re2 import RE2

from agent.errors import ConfigError
from agent.text.lines import Block

_MOST_LENGTH = 10_000  # characters of a pattern
_MOST_PROGRAM = 2_000  # instructions; a line of 64 KiB takes about a second at worst with so many
_SHOWN = 60  # characters of a pattern in a message
_MOST_SHAPES, _LONGEST_SHAPE = 4096, 512
_ANYWHERE, _AT_START = RE2.Anchor.UNANCHORED, RE2.Anchor.ANCHOR_START
_NOTHING = slice(0, 0)
_ZEROED = bytes(ord("0") if byte in b"0123456789" else byte for byte in range(256))
# RE2 takes a count that it does not know for text
_UNKNOWN_COUNT = re.compile(r"(?<!\\)\{(?:,[0-9]*|[0-9]{5,}(?:,[0-9]*)?|[0-9]{1,4},[0-9]{5,})\}")
# patterns in which no digit differs from another
_DIGIT_BLIND = re.compile(
    r"(?:\\[^0-9xpPQC]"
    r"|\[\^?(?:\\[^0-9xpPQC]|(?<!-)0-9|[^\[\]\\0-9])++\]"
    r"|\{[0-9]+(?:,[0-9]*)?\}"
    r"|[^\[\\0-9{])*+",
    re.DOTALL,
)
# by what RE2 names in its refusal: what to write instead
_INSTEAD = (
    (
        re.compile(r"\(\?<?[=!]"),
        "it has no look-around: match what stands around too, and put what you mean in a group",
    ),
    (re.compile(r"\\[1-9]|\(\?P$|\(\?\("), "it has no back-references: write out what the group holds"),
    (re.compile(r"[*+?}]\+$|\(\?>"), "it needs no possessive repetition and no atomic group, since it never goes back"),
    (re.compile(r"repetition size"), "repeat at most 1000 times, what is nested multiplied"),
    (re.compile(r"\\Z"), "write $ or \\z for the end"),
    (re.compile(r"\(\?"), "of flags it has i, m, s and U alone"),
    (re.compile(r"\\[uUN]"), "write \\x{...} for a character by its number"),
)


class Pattern:
    """A compiled pattern over bytes."""

    def __init__(self, compiled: "re2._Regexp") -> None:
        self._blind = _DIGIT_BLIND.fullmatch(compiled.pattern.decode()) is not None
        self._match = compiled._regexp.Match  # noqa: SLF001 - the objects around it take three times as long
        self._group = 1 if compiled.groups else 0
        self._parts: dict[bytes, slice] = {}

    def begins(self, text: bytes) -> bool:
        """Whether a text begins with a match."""
        return bool(self._match(_AT_START, text, 0, len(text))[0][0] == 0)

    def find(self, block: Block) -> list[bytes]:
        """The first group, or the whole match where there is no group, of the first match in each line; b"" for none.

        Where the pattern tells no digit from another, lines that differ in digits alone are looked at once.
        """
        if not self._blind:
            lines = list(block.lines())
            return [line[part] for line, part in zip(lines, self._find_all(lines), strict=True)]
        shapes = list(block.cut(block.data.translate(_ZEROED)))
        parts: list[Any] = list(map(self._parts.get, shapes))
        found = self._look_up(shapes) if None in parts else parts
        return [line[part] for line, part in zip(block.lines(), found, strict=True)]

    def _look_up(self, shapes: list[bytes]) -> Iterable[slice]:
        missing = [shape for shape in dict.fromkeys(shapes) if shape not in self._parts]
        parts = self._parts | dict(zip(missing, self._find_all(missing), strict=True))
        short = {shape: parts[shape] for shape in missing[:_MOST_SHAPES] if len(shape) <= _LONGEST_SHAPE}
        if len(self._parts) + len(short) > _MOST_SHAPES:
            self._parts.clear()
        self._parts.update(short)
        return map(parts.__getitem__, shapes)

    def _find_all(self, texts: list[bytes]) -> Iterator[slice]:
        """Where the group is in each text."""
        found = map(self._match, repeat(_ANYWHERE), texts, repeat(0), map(len, texts))
        return (slice(*spans[self._group]) if spans[self._group][1] > 0 else _NOTHING for spans in found)


def compile_pattern(text: str, what: str, characters: bool = False) -> Pattern:
    """A pattern that a user wrote; a ConfigError, in which `what` names it, says what to write instead.

    characters: it is for text in UTF-8, in which . and classes stand for whole characters; otherwise each byte
    stands for itself.
    """
    named = f"{what} {text if len(text) <= _SHOWN else text[:_SHOWN] + '...'!r}"
    if len(text) > _MOST_LENGTH:
        raise ConfigError(f"{named} is too large: {len(text)} characters, the most are {_MOST_LENGTH}")
    unknown = _UNKNOWN_COUNT.search(text)
    if unknown:
        raise ConfigError(
            f"{named} is no regular expression of RE2: {unknown[0][:_SHOWN]} repeats without a least number or "
            "more than 1000 times; write {0,N}, or \\{ for a brace"
        )
    compiled = _compile(text, named, characters)
    if compiled.programsize > _MOST_PROGRAM:
        raise ConfigError(
            f"{named} is too large for bounded time: {compiled.programsize} instructions, the most are "
            f"{_MOST_PROGRAM}; repeat less, or leave out alternatives"
        )
    return Pattern(compiled)


def _compile(text: str, named: str, characters: bool) -> "re2._Regexp":
    options = re2.Options()
    options.log_errors = False
    if not characters:
        options.encoding = re2.Options.Encoding.LATIN1
    try:
        return re2.compile(text.encode(), options)
    except UnicodeError:
        raise ConfigError(f"{named} is no regular expression of RE2: it is no text") from None
    except re2.error as error:
        raise ConfigError(f"{named} is no regular expression of RE2: {_explain(error)}") from None


def _explain(error: Exception) -> str:
    """What RE2 says, and what to write instead where that is known."""
    said = error.args[0] if error.args else "it cannot be read"
    said = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    hint = next((hint for pattern, hint in _INSTEAD if pattern.search(said)), "")
    return ascii(said[:_SHOWN])[1:-1].replace("\\\\", "\\") + (f"; {hint}" if hint else "")
