"""Any line becomes printable text of bounded length."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.text.escape import MAX_MESSAGE, escape


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"plain text", "plain text"),
        ("größe €".encode(), "größe €"),
        (b"a\nb\r\tc\0", "a\\nb\\r\\tc\\x00"),
        (b"\x1b[31mred", "\\x1b[31mred"),
        (b"bad \xff\xfe", "bad \\xff\\xfe"),
        ("left\u202eright\u2028".encode(), "left\\u202eright\\u2028"),
    ],
)
def test_escape(line, text):
    assert escape(line) == text


@given(st.binary(max_size=5000))
def test_an_escaped_line_is_printable_and_bounded(line):
    text = escape(line)
    assert text.isprintable()
    assert len(text.encode()) <= MAX_MESSAGE


def test_a_long_line_is_cut_between_characters():
    text = escape("€" * 2000)
    assert text.endswith("€...")
    assert MAX_MESSAGE - 3 < len(text.encode()) <= MAX_MESSAGE
