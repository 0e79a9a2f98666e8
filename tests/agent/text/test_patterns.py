"""Patterns of users: the matches of Python's bytes patterns, in bounded time, and words for what RE2 cannot do."""

import re
import time

import pytest
from helpers.processes import run_agent
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import ConfigError
from agent.text.lines import Block, LineSplitter
from agent.text.patterns import _DIGIT_BLIND, compile_pattern

ATOMS = [
    "a",
    "b",
    "é",
    r"\d",
    r"\D",
    r"\w",
    r"\S",
    r"\s",
    ".",
    "1",
    "[0-9]",
    "[^0-9a]",
    "[a-f0-9_-]",
    r"\[",
    "-",
    r"\b",
]
PARTS = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(st.sampled_from([r"\d", "[0-9]", r"\w", "a"]), st.sampled_from("*+?")).map("".join),
        st.tuples(st.sampled_from([r"\d", "[0-9]", r"\S", "b"]), st.just("{1,3}")).map("".join),
        inner.map(lambda part: f"({part})"),
    ),
    max_leaves=8,
)
LINES = st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b" ").replace(b"\r", b"a")), max_size=6)


def block_of(lines: list[bytes]) -> Block | None:
    return LineSplitter("log", max_line=1 << 20).feed(b"".join(line + b"\n" for line in lines))


def by_python(pattern: str, block: Block) -> list[bytes]:
    compiled = re.compile(pattern.encode())
    found = [compiled.search(line) for line in block.lines()]
    return [b"" if one is None else one[1 if compiled.groups else 0] or b"" for one in found]


@settings(max_examples=400, deadline=None)
@given(PARTS, LINES, st.lists(st.text("ab01 9-_[é", max_size=14).map(str.encode), max_size=9))
def test_the_matches_are_those_of_python_s_bytes_patterns(pattern, raw, close):
    block = block_of([line.replace(b"\v", b" ").lstrip(b"\0") for line in [*raw, *close]])
    if block is None:
        return
    compiled, expected = compile_pattern(pattern, "the pattern"), by_python(pattern, block)
    assert compiled.find(block) == expected and compiled.find(block) == expected
    begins = [re.match(pattern.encode(), line) is not None for line in block.lines()]
    assert [compiled.begins(line) for line in block.lines()] == begins


@pytest.mark.parametrize(
    ("pattern", "blind"),
    [
        (r"user(\d+)", True),
        (r"[a-z0-9_]{2,3}-[^0-9]", True),
        (r"port 22", False),
        (r"[0-8]", False),
        (r"[+-0-9]", False),
        (r"[{3}]", False),
        (r"[]{3}]", False),
        (r"[[:alpha:]{3}]", False),
        (r"\[0-9]", False),
        (r"\{3}", False),
        (r"\x31", False),
        (r"\Q[0-9]\E", False),
    ],
)
def test_which_patterns_tell_no_digit_from_another(pattern, blind):
    assert (_DIGIT_BLIND.fullmatch(pattern) is not None) == blind
    lines = [b"user%d port 2%d +%d] {%d} [%d-9] [a]{%d}" % ((number,) * 6) for number in range(10)]
    block, compiled = block_of(lines), compile_pattern(pattern, "the pattern")
    assert block is not None
    alone = [one for line in lines for one in compile_pattern(pattern, "the pattern").find(block_of([line]))]
    assert compiled.find(block) == alone


def test_characters_or_bytes():
    assert compile_pattern("[äö].-", "p", characters=True).begins("äß-".encode())
    assert not compile_pattern("^.-", "p").begins("ß-".encode())
    assert not compile_pattern(r"\d", "p", characters=True).begins("٣".encode())


def test_many_shapes_are_forgotten_and_found_again():
    compiled = compile_pattern(r"(\d+)$", "p")
    lines = [b"x" * (number % 700) + b" %d" % number for number in range(9000)]
    block = block_of(lines)
    for _ in range(2):
        assert compiled.find(block) == [b"%d" % number for number in range(9000)]
    assert len(compiled._parts) <= 4096


REFUSED = [
    (r"(?=a)", "no look-around"),
    (r"(?<!a)b", "no look-around"),
    (r"(\w+) \1", "no back-references"),
    (r"(?P<a>x)(?P=a)", "no back-references"),
    (r"(?(1)a|b)", "no back-references"),
    (r"a++", "no possessive"),
    (r"(?>a)", "no possessive"),
    (r"a\Z", r"\z for the end"),
    (r"(?x)a", "of flags"),
    (r"\u0041", r"\x{...}"),
    (r"a{1001}", "1000 times"),
    (r"((a{1,100}){1,100}){1,100}", "1000 times"),
    (r"a{99999999999999999999}", "{0,N}"),
    (r"a{,3}", "{0,N}"),
    (r"(((\w?){10}){10}){9}(\S?){1000}", "too large"),
    ("a" * 10_001, "too large"),
    ("(" * 50_000 + ")" * 50_000, "too large"),
    ("(", "missing )"),
    ("é(", "missing )"),
    ("[", "missing ]"),
    ("*", "no argument"),
    ("\ud800", "it is no text"),
]


@pytest.mark.parametrize(
    ("pattern", "hint"),
    REFUSED,
    ids=[pattern[:20].encode("ascii", "backslashreplace").decode() for pattern, _ in REFUSED],
)
def test_what_re2_cannot_do_is_said_in_one_line_with_what_to_write_instead(pattern, hint):
    for characters in (False, True):
        with pytest.raises(ConfigError) as caught:
            compile_pattern(pattern, "the stream pattern", characters)
        message = str(caught.value)
        assert message.startswith("the stream pattern ") and hint in message
        assert message.isprintable() and len(message) < 400


@pytest.mark.parametrize(
    "pattern", [r"(a+)+$", r"(a|a)*b", r"(.*)(.*)(.*)(.*)x$", r"(\w+\s?)*:", r"([ab]?){300}a[ab]{300}c", r"a*a*a*a*a*c"]
)
def test_a_line_of_64_kib_takes_bounded_time(pattern):
    block, compiled = block_of([b"a" * 65_000 + b"!", b"ab" * 32_000, b"aab" * 20_000]), compile_pattern(pattern, "p")
    start = time.process_time()
    assert len(compiled.find(block)) == 3
    assert time.process_time() - start < 30  # a backtracking engine takes years


def test_such_patterns_end_a_start_with_2(tmp_path):
    log, config = tmp_path / "log", tmp_path / "agent.yaml"
    log.write_bytes(b"hello\n")
    for text in (r"stream: '(\w+) \1'", r"sources: [{path: x, multiline: {start: '(?=a)'}}]"):
        config.write_text(text)
        done = run_agent("config", config)
        assert done.returncode == 2 and b"of RE2" in done.stderr and done.stderr.count(b"\n") == 1, done.stderr
    done = run_agent("score", log, "--stream", "(?<=a)b")
    assert done.returncode == 2 and b"no look-around" in done.stderr
