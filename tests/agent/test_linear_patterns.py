"""Every regular expression of the agent's own takes time that grows with the length of a text, and no faster."""

import importlib
import inspect
import pkgutil
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice, product
from re import _constants as op
from re import _parser as parser
from typing import Any

import pytest

import agent
from agent.text.lines import _zeros_after
from agent.text.records import _values

TINY, SHORT, LONG = 25, 8 << 10, 64 << 10  # TINY is much already for what is exponential
SLACK = 4  # times what is linear
CANDIDATES = "a0A:-_.,/[]()<>\"'\\= #TZ%@\0\té"
OF_CATEGORY = {
    op.CATEGORY_DIGIT: "0",
    op.CATEGORY_SPACE: " ",
    op.CATEGORY_WORD: "a",
    op.CATEGORY_NOT_DIGIT: "!",
    op.CATEGORY_NOT_SPACE: "a",
    op.CATEGORY_NOT_WORD: "!",
}
REPEATS = (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT)
BY_PLACE = {"FORMATS": "match", "_HEADS": "match", "MASKS": "sub"}  # how those that lie in a table are used


def in_set(character: str, members: list[Any]) -> bool:
    """Whether a class holds a character."""
    for kind, value in members:
        if kind is op.LITERAL and ord(character) == value:
            return True
        if kind is op.RANGE and value[0] <= ord(character) <= value[1]:
            return True
        if kind is op.CATEGORY:
            name = {"DIGIT": "d", "SPACE": "s", "WORD": "w"}[str(value).rpartition("_")[2]]
            if re.match("\\" + (name.upper() if "NOT" in str(value) else name), character):
                return True
    return False


def characters(kind: Any, value: Any) -> list[str]:
    """Some characters that an atom takes."""
    if kind is op.LITERAL:
        return [chr(value)]
    if kind is op.NOT_LITERAL:
        return [one for one in CANDIDATES if ord(one) != value][:3]
    if kind is op.ANY:
        return ["a", " "]
    if kind is op.IN:
        wanted = value[0][0] is not op.NEGATE
        found = [one for one in CANDIDATES if in_set(one, value) == wanted]
        return found[:6] or [chr(low) for kind, low in value if kind is op.LITERAL][:1]
    return [OF_CATEGORY[value]] if kind is op.CATEGORY else []


def inner(kind: Any, value: Any) -> list[Any]:
    """The sequences within an item."""
    if kind in REPEATS:
        return [value[2]]
    if kind is op.SUBPATTERN:
        return [value[3]]
    if kind is op.BRANCH:
        return list(value[1])
    if kind in (op.ASSERT, op.ASSERT_NOT):
        return [value[1]]
    return [value] if kind is op.ATOMIC_GROUP else []


def sample(items: Any) -> str:
    """A short text that a sequence matches, as far as nothing looks around."""
    text = ""
    for kind, value in items:
        if kind in REPEATS:
            text += sample(value[2]) * max(value[0], 1 if value[1] else 0)
        elif kind not in (op.ASSERT, op.ASSERT_NOT) and inner(kind, value):
            text += sample(inner(kind, value)[0])
        else:
            text += "".join(characters(kind, value)[:1])
    return text


def atoms(items: Any) -> list[str]:
    """The characters of all atoms in a sequence."""
    found: dict[str, None] = {}
    for kind, value in items:
        found.update(dict.fromkeys(characters(kind, value)))
        for sequence in inner(kind, value):
            found.update(dict.fromkeys(atoms(sequence)))
    return list(found)


def repeats(items: Any, before: str = "") -> Iterator[tuple[str, str]]:
    """What stands before each repetition, and texts to repeat there."""
    for kind, value in items:
        for sequence in inner(kind, value):
            if kind in REPEATS:
                few = atoms(sequence)[:6]
                yield from (
                    (before, pump) for pump in {sample(sequence), *few, *map("".join, product(few[:4], few[:4]))}
                )
            yield from repeats(sequence, before)
        before += sample([(kind, value)])


def adversaries(pattern: re.Pattern[Any], size: int) -> Iterator[Any]:
    """Texts of about `size`: beginnings of the pattern, something of it over and over, and what does not end it."""
    is_text = isinstance(pattern.pattern, str)
    tree = parser.parse(pattern.pattern, pattern.flags)
    few = atoms(tree)[:8]
    pumps = [("", pump) for pump in [sample(tree), sample(tree)[:-1], *few, *map("".join, product(few, few))]]
    for before, pump in dict.fromkeys([*pumps, *repeats(tree)]):
        for after in ("", "\0", sample(tree)[-1:] + "!"):
            text = before + pump * (size // max(1, len(pump))) + after
            yield text if is_text else text.encode("latin-1", "replace")


def compiled(value: Any) -> list[re.Pattern[Any]]:
    """The patterns that a value of a module holds."""
    if isinstance(value, re.Pattern):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [one for part in value for one in compiled(part)] if isinstance(value, list | tuple) else []


def call_of(source: str, name: str) -> str:
    """`match` where a module uses a pattern from a given place alone, else `finditer`."""
    used = set(re.findall(rf"\b{name}\.(\w+)", source))
    return BY_PLACE.get(name) or ("match" if used and used <= {"match", "fullmatch"} else "finditer")


def find_patterns() -> dict[str, tuple[re.Pattern[Any], str]]:
    found = {
        "records, comma": (_values(","), "finditer"),
        "records, blank": (_values(" "), "finditer"),
        "zeros": (_zeros_after(b"\n"), "finditer"),
    }
    for info in pkgutil.walk_packages(agent.__path__, "agent."):
        module = importlib.import_module(info.name)
        for name, value in vars(module).items():
            for number, pattern in enumerate(compiled(value)):
                found[f"{info.name}.{name} {number}"] = pattern, call_of(inspect.getsource(module), name)
    return found


PATTERNS = find_patterns()


def seconds(use: Callable[[Any], Any], text: Any, tries: int) -> float:
    best = float("inf")
    for _ in range(tries):
        start = time.perf_counter()
        use(text)
        best = min(best, time.perf_counter() - start)
    return best


def superlinear(pattern: re.Pattern[Any], call: str) -> str:
    """A text for which the time grows faster than its length, shortened; none where there is none."""
    function = getattr(pattern, call)
    use = {
        "match": function,
        "sub": lambda text: function("", text),
        "finditer": lambda text: deque(function(text), 0),
    }[call]
    pairs = zip(adversaries(pattern, SHORT), adversaries(pattern, LONG), strict=True)
    for tiny in islice(adversaries(pattern, TINY), 600):
        if seconds(use, tiny, 1) > 0.1 and seconds(use, tiny, 2) > 0.1:
            return f"{tiny!r} takes a tenth of a second"
    for short, long in islice(pairs, 600):
        if seconds(use, short, 1) > 0.1 and seconds(use, short, 2) > 0.1:
            return f"{short[:60]!r} of {len(short)} takes a tenth of a second"
        if seconds(use, long, 1) > 0.1:
            limit = SLACK * LONG / SHORT * seconds(use, short, 5)
            if all(seconds(use, long, 1) > limit for _ in range(7)):
                return f"{long[:60]!r} takes more than {limit:.3f} s"
    return ""


@pytest.mark.parametrize("name", PATTERNS)
def test_the_time_grows_with_the_length_alone(name):
    assert not superlinear(*PATTERNS[name])


@pytest.mark.parametrize(
    ("pattern", "call"),
    [
        (r"(a+)+$", "match"),
        (r"\d+x", "finditer"),
        (r"(?:[^\s=]+=\S+ ?)*\]", "finditer"),
        (r"(?:\w+\.)+com", "finditer"),
    ],
)
def test_what_is_not_linear_is_found(pattern, call):
    assert superlinear(re.compile(pattern), call)


def test_none_is_compiled_where_this_does_not_look():
    """In functions; those of users are RE2's, those that are made of a parameter are named above."""
    allowed = {"agent.text.records", "agent.text.lines", "agent.text.canonical"}
    for info in pkgutil.walk_packages(agent.__path__, "agent."):
        source = inspect.getsource(importlib.import_module(info.name))
        inside = re.findall(r"(?m)^ .*\bre\.(?:sub|match|search|fullmatch|findall|finditer|split)\(", source)
        inside += re.findall(r"(?m)^    return re\.compile\(", source) if info.name not in allowed else []
        assert not inside, info.name
