"""Messages of a connection, however their framing is broken and however the bytes come."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.sources.network.framing import Framer

MOST = 1000
TEXTS = st.text("abc 0123456789<>äö", max_size=30)


def message(number: int, text: str = "from 192.0.2.7 port 22") -> bytes:
    return f"<34>1 2026-11-30T10:00:00Z h1 sshd 12 - - Accepted number {number}; {text}".encode()


def framed(content: bytes, more: int = 0, count: bytes | None = None) -> bytes:
    return (b"%d" % max(0, len(content) + more) if count is None else count) + b" " + content


def read(data: bytes, size: int = 0) -> tuple[list[bytes], list[str]]:
    complaints: list[str] = []
    framer, size = Framer(MOST, complaints.append), size or len(data) or 1
    found = [text for at in range(0, len(data), size) for text, _ in framer.feed(data[at : at + size])]
    return found, complaints


@pytest.mark.parametrize("more", [*range(-60, 0), *range(1, 61)])
def test_a_wrong_count_damages_its_message_and_the_next_at_most(more):
    sent = [message(number, "from 192.0.2.7 with a key") for number in range(20)]
    found, complaints = read(b"".join(framed(one, more if number == 5 else 0) for number, one in enumerate(sent)))
    assert set(sent) - set(found) <= {sent[5], sent[6]} and complaints
    assert [one for one in found if one in sent] == [one for one in sent if one in found]


@pytest.mark.parametrize("more", [-3, -2, -1, 1, 2, 3])
def test_digits_at_the_end_of_a_message_that_is_counted_too_short_cost_no_more_than_they_announce(more):
    sent = [message(number) for number in range(200)]
    found, _ = read(b"".join(framed(one, more if number == 5 else 0) for number, one in enumerate(sent)))
    assert set(sent[40:]) <= set(found)


@pytest.mark.parametrize("count", ["0", "007", "4000000000", "99999999999999", "17000000", "1", "2", "900", "16777216"])
def test_a_count_that_cannot_be_meant_damages_its_message_and_the_next_at_most(count):
    sent = [message(number) for number in range(40)]
    data = b"".join(framed(one, 0, count.encode() if number == 5 else None) for number, one in enumerate(sent))
    found, _ = read(data)
    lost = set(sent) - set(found)
    assert lost <= {sent[5], sent[6]}
    assert found[-1] == sent[-1]


@pytest.mark.parametrize("text", ["für Käthe", "für Käthe, port 22", "ü 1", "üü 12", "äöü 2222", "日本 7"])
def test_a_sender_that_counts_characters_is_read_whole_but_for_its_damaged_messages(text):
    sent = [message(number, text if number % 4 == 0 else "for Bob, port 22") for number in range(40)]
    found, complaints = read(b"".join(framed(one, len(one.decode()) - len(one)) for one in sent))
    assert {one for one in sent if b"Bob" in one} <= set(found) and complaints


@given(st.lists(st.tuples(TEXTS, st.integers(-12, 12)), min_size=1, max_size=12), st.integers(1, 40))
@settings(max_examples=300)
def test_it_does_not_matter_how_the_bytes_come(parts, size):
    data = b"".join(framed(message(number, text), more) for number, (text, more) in enumerate(parts))
    assert read(data, size) == read(data)


@given(st.binary(max_size=300), st.integers(1, 20))
@settings(max_examples=300)
def test_it_does_not_matter_how_any_bytes_come(data, size):
    assert read(data, size) == read(data)


PIECES = st.sampled_from(b"0,1,9,<,>, ,\n,\0,x,<34>,5 <7>,12 <34>abc,8 <34>abcd,20 <34>".split(b","))


@given(st.lists(PIECES | st.integers(0, 40).map(lambda number: b"%d" % number), max_size=40), st.integers(1, 20))
@settings(max_examples=500)
def test_it_does_not_matter_how_frames_of_all_kinds_come(pieces, size):
    data = b"".join(pieces)
    assert read(data, size) == read(data)


@given(st.lists(TEXTS, max_size=12))
def test_right_counts_hide_whatever_looks_like_a_frame(texts):
    sent = [message(number, f"{text} 34 <34>1 fake\n\0 7 <1>") for number, text in enumerate(texts)]
    found, complaints = read(b"".join(map(framed, sent)))
    assert found == sent and not complaints


@given(st.lists(TEXTS, max_size=12), st.sampled_from([b"\n", b"\0", b"\r\n"]), st.integers(1, 30))
def test_messages_that_end_with_a_line_feed_or_nul_come_whole(texts, end, size):
    sent = [message(number, text) for number, text in enumerate(texts)]
    found, complaints = read(b"".join(one + end for one in sent), size)
    assert [one.rstrip(b"\r") for one in found] == sent and not complaints


KINDS = st.integers(-12, 12) | st.sampled_from([-10, 10, "characters", b"0", b"0%d"]) | st.integers(500, 10**9)
LOGGED = st.text("ab 0123456789<>äö\n", max_size=30)


@given(st.lists(LOGGED, min_size=5, max_size=12), KINDS, st.integers(0, 9), st.integers(1, 300))
@settings(max_examples=600, deadline=None)
def test_whatever_a_sender_counts_all_but_the_damaged_message_and_the_next_arrive(texts, kind, place, size):
    sent, place = [message(number, text) for number, text in enumerate(texts)], place % (len(texts) - 3)
    frames = [framed(one) for one in sent]
    wrong = sent[place]
    if kind == "characters":
        frames[place] = framed(wrong, len(wrong.decode()) - len(wrong))
    elif isinstance(kind, bytes):
        frames[place] = framed(wrong, count=kind % len(wrong) if b"%" in kind else kind)
    else:
        frames[place] = framed(wrong, kind) if abs(kind) <= 12 else framed(wrong, count=b"%d" % kind)
    data = b"".join(frames)
    found, complaints = read(data, size)
    assert set(sent) - set(found) <= set(sent[place : place + 2])
    assert (found, complaints) == read(data)


@pytest.mark.parametrize("count", [5_000, 70_000, 5_000_000, 16_777_216, 999_999_999])
def test_a_count_that_is_far_too_large_swallows_nothing_and_is_said(count):
    sent = [message(number, "with a line feed\nin it, port 22") for number in range(20)]
    frames = [framed(one, count=b"%d" % count) if number == 5 else framed(one) for number, one in enumerate(sent)]
    found, complaints = read(b"".join(frames))
    assert found[:5] == sent[:5] and found[-13:] == sent[7:] and len(complaints) == 1


def test_a_frame_in_a_message_is_text_unless_another_follows_it_by_its_count():
    quoted = framed(message(7)) + b" was quoted"
    assert read(framed(message(1) + quoted) + framed(message(2))) == ([message(1) + quoted, message(2)], [])
    ended = message(1) + framed(message(7))
    assert read(framed(ended) + framed(message(2))) == ([ended, message(2)], [])


def test_counted_messages_and_others_may_follow_each_other():
    draw, sent = random.Random(5), [message(number) for number in range(50)]
    data = b"".join(framed(one) + draw.choice([b"", b"\n"]) if draw.random() < 0.5 else one + b"\n" for one in sent)
    assert read(data) == (sent, [])


def test_what_is_held_is_bounded():
    framer = Framer(MOST, lambda complaint: None)
    for piece in (framed(message(1), 5), b"x" * 10_000, b"9" * 10_000, b" <34>" * 5000, b"500 <34>" * 2000):
        framer.feed(piece)
        assert len(framer._data) - framer._at < 3 * MOST + 9000
