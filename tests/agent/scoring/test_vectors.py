"""The scorer of vectors, with plain functions in place of the models."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import BundleError
from agent.scoring.scorers.judges import DISTANCES, by_distance
from agent.scoring.scorers.vectors import VectorScorer
from agent.text.text_table import TextTable
from agent.text.tokenizers import SPECIAL
from agent.text.tokenizers.word import WordTokenizer

TEXTS = ["", *(f"word{number} word{number % 3}" for number in range(1, 8))]
TOKENIZER = WordTokenizer([*SPECIAL, *(f"word{number}" for number in range(8))], 16)


def encode(ids, lengths):
    return np.stack([ids.sum(axis=1), (ids**2).sum(axis=1), lengths], axis=1).astype(np.float32)


def predict(windows):
    return windows.mean(axis=1)


def make(distance: str = "euclidean", **options) -> VectorScorer:
    return VectorScorer(encode, by_distance(predict, distance), TOKENIZER, TextTable(TEXTS), **options)


@pytest.mark.parametrize(("name", "value"), [("euclidean", 5.0), ("manhattan", 7.0), ("cosine", 1.0)])
def test_distances(name, value):
    predicted, actual = np.array([[3, 0], [3, 0]], np.float32), np.array([[0, 4], [0, 0]], np.float32)
    assert DISTANCES[name](predicted, actual)[0] == pytest.approx(value)
    assert DISTANCES["cosine"](predicted, actual)[1] == 1.0
    assert DISTANCES[name](actual, actual)[0] == pytest.approx(0.0, abs=1e-6)


def test_an_unknown_distance_is_refused():
    with pytest.raises(
        BundleError, match="unknown distance 'hamming'; this version knows euclidean, manhattan, cosine"
    ):
        make("hamming")


def test_the_score_is_the_distance_from_the_prediction():
    windows = np.array([[0, 2, 5]], np.int32)
    two, five = (encode(*padded(TEXTS[text_id])) for text_id in (2, 5))
    expected = np.sqrt(np.square(two / 2 - five).sum())
    assert make().score(windows)[0] == pytest.approx(expected)


def padded(text):
    ids = TOKENIZER.encode(text)
    return np.array([ids]), np.array([len(ids)])


@given(
    st.lists(st.lists(st.integers(0, 7), min_size=4, max_size=4), min_size=1, max_size=40),
    st.integers(1, 10),
    st.sampled_from(sorted(DISTANCES)),
)
def test_caches_and_batches_change_nothing(rows, cut, distance):
    windows = np.array(rows, np.int32)
    plain, cached, small = make(distance, cache=False), make(distance), make(distance, max_windows=6)
    expected = plain.score(windows)
    for scorer in (cached, small):
        for _ in range(2):
            parts = [scorer.score(windows[start : start + cut]) for start in range(0, len(windows), cut)]
            np.testing.assert_array_equal(np.concatenate(parts), expected)


def test_features_are_appended_where_there_is_a_line():
    seen = []

    def spy(windows):
        seen.append(windows)
        return windows[:, -1]

    scorer = VectorScorer(encode, by_distance(spy, "euclidean"), TOKENIZER, TextTable(TEXTS))
    features = np.full((1, 3, 2), 0.5, np.float32)
    scorer.score(np.array([[0, 1, 2]], np.int32), features)
    assert seen[0].shape == (1, 2, 5)
    assert seen[0][0, 0].tolist() == [0] * 5
    assert seen[0][0, 1, 3:].tolist() == [0.5, 0.5]


def test_windows_of_nothing_but_padding_are_scored():
    assert make().score(np.zeros((2, 3), np.int32)).tolist() == [0.0, 0.0]
    assert make().score(np.zeros((0, 3), np.int32)).tolist() == []


def test_renumbering_forgets_what_ids_meant():
    texts = TextTable(TEXTS)
    scorer = VectorScorer(encode, by_distance(predict, "euclidean"), TOKENIZER, texts)
    scorer.score(np.array([[1, 2, 3]], np.int32))
    before = scorer.score(np.array([[2, 4, 5]], np.int32))
    texts.compact(np.array([2, 4, 5], np.int32))
    assert scorer.score(np.array([[1, 2, 3]], np.int32)) == before


@pytest.mark.parametrize("cache", [True, False])
def test_lines_with_more_tokens_than_are_read_are_counted_each_time(cache):
    texts = TextTable(["", "one", "word " * 16, "word " * 17])
    scorer = VectorScorer(encode, by_distance(predict, "euclidean"), TOKENIZER, texts, cache)
    windows = np.array([[1, 3, 2], [3, 2, 3], [1, 1, 3], [0, 0, 1]], np.int32)
    for count in (2, 4):
        scorer.score(windows)
        assert scorer.cut_lines == count
        assert scorer.is_cut(windows[:, -1]).tolist() == [False, True, True, False]
    texts.compact(np.arange(4, dtype=np.int32))
    scorer.score(windows[2:])
    assert scorer.cut_lines == 5
