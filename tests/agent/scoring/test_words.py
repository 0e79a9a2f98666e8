"""Tokens as the words that a person reads."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.scoring.words import LikelyToken, Token, Word, words

LIKELY = [LikelyToken("x", 0.5)]


def row(text: str, bits: float = 1.0, **more: Any) -> Token:
    return Token(text=text, bits=bits, expected=LIKELY, **more)


def told(tokens: list[Token], kind: str) -> list[tuple[str, float]]:
    return [(word.text, word.bits) for word in words(tokens, kind)]


def of_text(text: str) -> list[tuple[str, float]]:
    return told([row(letter) for letter in text], "char")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lost key", [("lost", 5), ("key", 3)]),
        ("  lost", [("lost", 6)]),
        ("from <ip>:", [("from", 5), ("<ip>", 4), (":", 1)]),
        ("a-b.c@d/e f", [("a-b.c@d/e", 10), ("f", 1)]),
        ("uid=0 --", [("uid", 3), ("=", 1), ("0", 2), ("--", 2)]),
        ("  ", [("  ", 2)]),
    ],
)
def test_characters_are_joined_to_words_with_the_space_after(text, expected):
    assert of_text(text) == expected


def test_pieces_count_where_their_first_letter_is():
    tokens = [row("ses", 1), row("sion", 2), row(" mel", 4), row("ting", 8), row(" ", 16), row(" .", 32)]
    assert told(tokens, "bpe") == [("session", 3), ("melting", 28), (".", 32)]


def test_the_end_is_a_word_without_text():
    tokens = [row("a", 1), row("", 2, end=True)]
    assert words(tokens, "char")[1] == Word(text="", end=True, bits=2)
    assert words(tokens, "word")[1] == Word(text="", end=True, bits=2, expected=LIKELY)


def test_a_word_with_an_unknown_character_is_unknown():
    found = words([row("a"), row(" "), row("é", unknown=True), row("b")], "char")
    assert [bool(word.unknown) for word in found] == [False, True]


def test_an_empty_line_is_a_word():
    assert told([row("", 3), row("", 2, end=True)], "char") == [("", 3), ("", 2)]
    assert words([], "char") == words([], "word") == []


def test_words_and_fields_stay_as_they_are():
    tokens = [row("ws1", field="pc", looked_at=[])]
    assert words(tokens, "fields") == [Word(text="ws1", field="pc", bits=1.0, expected=LIKELY)]


@given(st.lists(st.tuples(st.text(max_size=5), st.floats(0, 100)), max_size=30), st.sampled_from(["char", "bpe"]))
def test_no_bit_is_lost(pairs, kind):
    found = words([row(text, bits) for text, bits in pairs], kind)
    assert sum(word.bits for word in found) == pytest.approx(sum(bits for _, bits in pairs), abs=0.1)
