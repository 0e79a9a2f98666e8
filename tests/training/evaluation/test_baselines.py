"""The simple detectors, on sequences small enough to compute by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.corpus import Corpus
from training.evaluation.baselines import (
    BASELINES,
    CountVector,
    Length,
    NewEvent,
    Rarity,
    TwoGram,
    line_items,
    session_items,
)

WORDS = np.arange(27)  # the text of the letter a has 1 word, of b 2, ...


def corpus(*streams):
    """A stream a string; every letter is a line with the text of that letter."""
    ids = np.array([ord(letter) - 96 for letters in streams for letter in letters], np.int32)
    owners = np.repeat(np.arange(len(streams)), [len(letters) for letters in streams]).astype(np.int32)
    texts = ["", *"abcdefghijklmnopqrstuvwxyz"]
    return Corpus(texts, ids, owners, np.zeros(len(ids), np.int8), None, None, [], [], None)


def sessions(*streams):
    return session_items(corpus(*streams))


def lines(*streams, size=3):
    lines = corpus(*streams)
    return line_items(lines, np.arange(len(lines)), size, WORDS)


def scores(baseline, train, test):
    detector = baseline()
    detector.fit(train)
    return detector.score(test, lambda done, total: None).tolist()


def test_sessions_are_delimited_and_in_the_order_of_their_streams():
    interleaved = corpus("ab", "c").subset(np.array([2, 0, 1]))
    items = session_items(interleaved)
    assert items.ids.tolist() == [0, 1, 2, 0, 0, 3, 0]
    assert items.starts.tolist() == [0, 4, 7]
    assert items.lengths.tolist() == [2, 1]


def test_lines_are_windows_that_do_not_cross_streams():
    items = lines("abc", "d")
    assert items.ids.reshape(-1, 3).tolist() == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [0, 0, 4]]
    assert items.lengths.tolist() == [1, 2, 3, 4]


def test_items_can_be_taken_in_any_number():
    items = sessions("ab", "cde", "f").subset(np.array([2, 1]))
    assert items.ids.tolist() == [0, 6, 0, 0, 3, 4, 5, 0]
    assert items.lengths.tolist() == [1, 3]
    assert len(items.subset(np.arange(0))) == 0


def test_new_event_counts_each_unseen_text_of_a_session_once():
    assert scores(NewEvent, sessions("ab", "c"), sessions("abc", "xax", "xyz", "b")) == [0, 1, 3, 0]


def test_new_event_of_a_line_looks_at_that_line_alone():
    assert scores(NewEvent, lines("abc"), lines("axbb")) == [0, 1, 0, 0]


def test_rarity_is_the_smoothed_negative_logarithm():
    rarity = Rarity(np.array([5, 5, 7])).of(np.array([5, 7, 6, 99]))
    assert rarity == pytest.approx([-math.log(3 / 6), -math.log(2 / 6), -math.log(1 / 6), -math.log(1 / 6)])


def test_length_of_a_session_is_its_lines():
    usual, rare, never = scores(Length, sessions("ab", "cd", "e"), sessions("xx", "y", "zzz"))
    assert (usual, rare, never) == pytest.approx((math.log(6 / 3), math.log(6 / 2), math.log(6)))


def test_length_of_a_line_is_its_words():
    usual, never = scores(Length, lines("bbb"), lines("bz"))
    assert (usual, never) == pytest.approx((math.log(5 / 4), math.log(5)))


def test_two_gram_counts_unseen_pairs_with_begin_and_end():
    train = sessions("abc")
    # abc: all known. ab: b ends. bc: b begins. acb: a-c, c-b, b ends. abab: b-a, b ends.
    assert scores(TwoGram, train, sessions("abc", "ab", "bc", "acb", "abab")) == [0, 1, 1, 3, 2]


def test_two_gram_of_a_line_is_its_rarity_where_the_pair_is_new():
    train = lines("aab")  # begin-a, a-a, a-b; a twice, b once, anything else never
    known, new, rare, unseen = scores(TwoGram, train, lines("aba", "b", "x"))[1:]
    assert known == 0
    assert (new, rare, unseen) == pytest.approx((math.log(6 / 3), math.log(6 / 2), math.log(6)))


def test_two_gram_does_not_pair_across_streams():
    assert scores(TwoGram, lines("ab", "ab"), lines("ab", "ab")) == [0, 0, 0, 0]


def test_count_vector_is_half_the_difference_of_shares_to_the_nearest():
    train = sessions("aabb", "ccc")
    # ba has the shares of aabb; aab is (2/3, 1/3) beside (1/2, 1/2); ac shares a half, acc 2/3, xy nothing
    found = scores(CountVector, train, sessions("ba", "aab", "ac", "acc", "xy"))
    assert found == pytest.approx([0, 1 / 6, 1 / 2, 1 / 3, 1])


def test_count_vector_of_a_line_looks_at_its_window_without_what_is_missing():
    found = scores(CountVector, lines("aab"), lines("bz", "caab"))
    # windows b, bz; c, ca, caa, aab (known). Known are a, aa (the same shares) and aab.
    assert found == pytest.approx([2 / 3, 2 / 3, 1, 1 / 2, 1 / 3, 0])


def test_count_vector_gives_the_same_in_pieces(monkeypatch):
    draw = np.random.default_rng(1)
    train, test = (sessions(*("".join(draw.choice(list("abcdef"), 5)) for _ in range(40))) for _ in range(2))
    whole = scores(CountVector, train, test)
    monkeypatch.setattr("training.evaluation.baselines._CELLS", 100)
    done = []
    detector = CountVector()
    detector.fit(train)
    assert detector.score(test, lambda at, total: done.append((at, total))).tolist() == whole
    assert len(done) > 1 and done[-1][0] == done[-1][1]


letters = st.lists(st.text("abcd", min_size=1, max_size=6), min_size=1, max_size=8)


@given(train=letters, test=letters)
def test_count_vector_is_what_the_definition_says(train, test):
    def shares(text):
        return np.array([text.count(letter) / len(text) for letter in "abcd"])

    wanted = [min(np.abs(shares(one) - shares(other)).sum() / 2 for other in train) for one in test]
    assert scores(CountVector, sessions(*train), sessions(*test)) == pytest.approx(wanted, abs=1e-12)


@given(train=letters, test=letters)
def test_two_gram_is_what_the_definition_says(train, test):
    def pairs(text):
        return list(zip("<" + text, text + ">", strict=True))

    known = {pair for text in train for pair in pairs(text)}
    assert scores(TwoGram, sessions(*train), sessions(*test)) == [
        sum(pair not in known for pair in pairs(text)) for text in test
    ]


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("items", [sessions, lines])
def test_every_baseline_gives_every_item_a_finite_score_and_knows_its_training(name, items):
    train = items("abc", "aab", "c")
    assert np.isfinite(scores(BASELINES[name], train, items("abzzz", "q"))).all()
    if name != "length":
        assert max(scores(BASELINES[name], train, train)) == pytest.approx(0)
