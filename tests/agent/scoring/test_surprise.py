"""The scorer of the language models, and scores relative to their stream, on made-up graphs."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.bundle.manifest import Relative, Tensor, Window
from agent.errors import BundleError
from agent.scoring.relative import apply, carried_row, check_relative, prior
from agent.scoring.scorers.surprise import SurpriseScorer, reduce
from agent.scoring.stream_scorer import StreamScorer
from agent.text.text_table import TextTable
from agent.text.tokenizers.char import CharTokenizer

STATE = [Tensor("hidden", "float32", ["batch", 2])]


def graphs(how="mean", carried=False, most=12):
    """A model that is as surprised at a token as its id is large and, where it carries, at how many lines came before;
    the end costs 1.
    """
    calls = []

    def run(graph, inputs, wanted=None):
        ids, lengths = inputs["ids"], inputs["lengths"]
        calls.append(ids.shape)
        losses = np.zeros((len(ids), ids.shape[1] + 1), np.float32)
        losses[:, :-1] = ids
        losses[np.arange(len(ids)), lengths] = 1
        found = {"losses": losses, "log_probabilities": np.zeros((*losses.shape, 99), np.float32)}
        if carried:
            losses[:, 0] += 1000 * inputs["hidden"][:, 0]
            found["next_hidden"] = inputs["hidden"] + [1, 0]
        return [found[name] for name in wanted or found]

    outputs = ["losses", "log_probabilities", *(["next_hidden"] if carried else [])]
    manifest = SimpleNamespace(
        settings={"reduce": how},
        state=STATE if carried else [],
        graphs={"model": SimpleNamespace(outputs=[SimpleNamespace(name=name) for name in outputs])},
    )
    return SimpleNamespace(run=run, tokenizer=CharTokenizer(most), manifest=manifest, calls=calls)


TEXTS = ["", "a", "bc", "def", "ghijklmnop", "q" * 12, "r" * 13, "", "é"]
IDS = np.arange(1, len(TEXTS), dtype=np.int32)


def expected(text, how="mean", before=0, most=12):
    tokens = [ord(c) - 28 if " " <= c <= "~" else 1 for c in text[:most]] or [1]
    values = [tokens[0] + 1000.0 * before, *tokens[1:], 1.0]
    return {"mean": np.mean, "max": np.max, "sum": np.sum}[how](values)


@pytest.mark.parametrize("how", ["mean", "max", "sum"])
@pytest.mark.parametrize("cache", [True, False])
def test_a_score_is_the_mean_the_largest_or_the_sum_of_the_surprise(how, cache):
    scorer = SurpriseScorer(graphs(how), TextTable(TEXTS), cache)
    wanted = [expected(text, how) for text in TEXTS[1:]]
    for _ in range(2):
        np.testing.assert_allclose(scorer.score(IDS[:, None]), wanted, rtol=1e-6)


def test_a_text_is_computed_once_and_anew_after_renumbering():
    bundle = graphs()
    texts = TextTable(TEXTS)
    scorer = SurpriseScorer(bundle, texts)
    first = scorer.score(IDS[:, None])
    count = len(bundle.calls)
    assert np.array_equal(scorer.score(np.repeat(IDS, 3)[:, None]), np.repeat(first, 3)) and len(bundle.calls) == count
    texts.compact(IDS)
    assert np.array_equal(scorer.score(IDS[:, None]), first) and len(bundle.calls) > count


def test_lines_beyond_the_limit_are_counted_each_time():
    for carried in (False, True):
        bundle = graphs(carried=carried)
        scorer = SurpriseScorer(bundle, TextTable(TEXTS))
        lines = StreamScorer(scorer, Window(1), bundle.manifest.state)
        for count in (1, 2):
            list(lines.push("log", [b""] * len(IDS), IDS))
            assert scorer.cut_lines == count  # the text of 13 characters; that of 12 is whole
            assert [len(TEXTS[text_id]) for text_id in IDS[scorer.is_cut(IDS)]] == [13]


def test_batches_are_bounded_and_of_lines_of_like_length():
    bundle = graphs(most=4000)
    texts = ["", *("x" * length for length in (1, 7, 8, 9, 3999, 4000, 3995))] + ["y" * 3990] * 20
    scorer = SurpriseScorer(bundle, TextTable(texts))
    scorer.score(np.arange(1, len(texts), dtype=np.int32)[:, None])
    assert {width for _, width in bundle.calls} == {8, 16, 3992, 4000}
    assert max(rows * (width + 1) * 99 for rows, width in bundle.calls) <= 1 << 20
    assert min(rows for rows, _ in bundle.calls) >= 2


@given(
    st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.integers(1, len(TEXTS) - 1)), max_size=40),
    st.lists(st.integers(0, 40), max_size=4),
)
@settings(deadline=None, max_examples=60)
def test_states_follow_their_streams_however_lines_are_cut(lines, cuts):
    bundle = graphs(carried=True)
    scorer = StreamScorer(SurpriseScorer(bundle, TextTable(TEXTS)), Window(1), STATE)
    bounds = sorted({0, len(lines), *(min(cut, len(lines)) for cut in cuts)})
    found, before = [], []
    for start, stop in itertools.pairwise(bounds):
        keys, ids = [key for key, _ in lines[start:stop]], np.array([text for _, text in lines[start:stop]], np.int32)
        for piece in scorer.push("log", keys, ids):
            found += piece.scores.tolist()
            before += piece.before[0][:, 0].tolist()
    seen = [sum(other == key for other, _ in lines[:place]) for place, (key, _) in enumerate(lines)]
    assert before == seen
    wanted = [expected(TEXTS[text], before=count) for (_, text), count in zip(lines, seen, strict=True)]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_a_stream_that_left_starts_anew():
    bundle = graphs(carried=True)
    scorer = StreamScorer(SurpriseScorer(bundle, TextTable(TEXTS)), Window(1), STATE, most=1)
    keys, before = [b"a", b"a", b"b", b"a"], []
    for piece in scorer.push("log", keys, np.array([1, 1, 1, 1], np.int32)):
        before += piece.before[0][:, 0].tolist()
    assert before == [0, 1, 0, 0]


def test_what_a_stream_carries_is_restored_to_the_bit():
    bundle = graphs(carried=True)
    one, other = (StreamScorer(SurpriseScorer(bundle, TextTable(TEXTS)), Window(1), STATE) for _ in range(2))
    list(one.push("log", [b"a", b"b", b"a"], np.array([1, 2, 3], np.int32)))
    for key in (b"a", b"b"):
        slot = one.streams.slot("log", key)
        other.streams.restore("log", key, [], [], 2, one.streams.load(slot))
    pieces = [next(lines.push("log", [b"b", b"a"], np.array([4, 5], np.int32))) for lines in (one, other)]
    assert pieces[0].scores.tobytes() == pieces[1].scores.tobytes()
    assert pieces[1].before[0][:, 0].tolist() == [1, 2]


@given(st.integers(1, 40), st.integers(0, 60), st.sampled_from(["mean", "max", "sum"]))
def test_padding_changes_no_bit_of_a_score(length, more, how):
    losses = np.random.default_rng(length).exponential(size=(1, length)).astype(np.float32)
    padded = np.concatenate([losses, np.zeros((1, more), np.float32)], axis=1)
    counts = np.array([length])
    assert reduce(losses, counts, how).tobytes() == reduce(padded, counts, how).tobytes()


def relative_scores(relative, scores, cuts=()):
    carried = np.repeat(carried_row(relative), 3, axis=0)
    bounds = [0, *cuts, len(scores)]
    parts = itertools.pairwise(bounds)
    slots = np.arange(len(scores)) % 2
    return np.concatenate([apply(relative, scores[a:b], slots[a:b], carried) for a, b in parts]), carried


def test_the_mean_of_a_stream_is_subtracted():
    scores = np.random.default_rng(0).normal(5, 1, 200).astype(np.float32)
    found, _ = relative_scores(Relative("mean", 3.0, 1.0), scores)
    own = scores[::2].astype(float)
    for place in (0, 1, 7, 99):
        assert found[2 * place] == pytest.approx(own[place] - (own[:place].sum() + 8 * 3.0) / (place + 8), abs=1e-5)


def test_the_median_of_the_last_64_is_subtracted_and_the_rest_divided_by_their_mad():
    scores = np.random.default_rng(0).normal(5, 1, 400).astype(np.float32)
    found, _ = relative_scores(Relative("median", 3.0, 2.0), scores)
    own = scores[::2].astype(float)
    assert found[6] == pytest.approx((own[3] - 3) / 2, abs=1e-5)  # the first eight by the prior
    for place in (8, 50, 64, 65, 150):
        before = own[max(0, place - 64) : place]
        center = np.median(before)
        assert found[2 * place] == pytest.approx(
            (own[place] - center) / (1.4826 * np.median(abs(before - center))), rel=1e-4
        )


def test_a_stream_that_never_varies_is_divided_by_a_share_of_the_prior():
    found, _ = relative_scores(Relative("median", 3.0, 2.0), np.array([4.0] * 60 + [5.0, 5.0], np.float32))
    assert found[-1] == pytest.approx(1 / 0.2) and found[-3] == 0


@pytest.mark.parametrize("kind", ["mean", "median"])
def test_relative_scores_do_not_depend_on_cuts_and_skip_what_has_none(kind):
    scores = np.random.default_rng(1).exponential(1, 300).astype(np.float32)
    scores[[3, 50]] = np.nan
    relative = Relative(kind, 1.0, 0.5)
    whole, carried = relative_scores(relative, scores)
    cut, again = relative_scores(relative, scores, (1, 2, 77, 200))
    assert whole.tobytes() == cut.tobytes() and carried.tobytes() == again.tobytes()
    assert np.flatnonzero(np.isnan(whole)).tolist() == [3, 50] and carried[0, 0] + carried[1, 0] == 298


def test_the_prior_is_that_of_the_scores():
    scores = np.array([1, 2, 3, 4, 100], np.float32)
    assert prior("mean", scores) == Relative("mean", 22.0, pytest.approx(float(np.std(scores))))
    assert prior("median", scores) == Relative("median", 3.0, pytest.approx(1.4826))


@pytest.mark.parametrize(
    "relative", [Relative("mode", 0, 1), Relative("mean", float("nan"), 1), Relative("median", 0, -1)]
)
def test_impossible_rules_are_refused(relative):
    with pytest.raises(BundleError, match="relative"):
        check_relative(relative)
