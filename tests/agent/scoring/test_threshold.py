"""Limits, p-values and severities."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.bundle.manifest import Scale, Threshold
from agent.errors import ConfigError
from agent.scoring.threshold import Limits, check_threshold, p_value, severity

SCALE = Scale(lines=999, mean=1.0, std=0.5, quantiles=[0.0, 0.5, 0.9, 1.0], scores=[0.0, 1.0, 2.0, 4.0])


@pytest.mark.parametrize(
    ("rule", "limit"),
    [
        (Threshold("fixed", value=0.5), 0.5),
        (Threshold("quantile", q=0.9), 2.0),
        (Threshold("quantile", q=0.95), 3.0),
        (Threshold("quantile", q=1.0), 4.0),
        (Threshold("sigma", k=2.0, window=3), 2.0),
    ],
)
def test_the_limit_to_start_with(rule, limit):
    assert Limits(rule, SCALE).constant == pytest.approx(limit)


def test_sigma_looks_at_the_scores_before_alone():
    limits = Limits(Threshold("sigma", k=2.0, window=3), SCALE).of(
        "log", np.array([1, np.nan, 2, 3, 100, 5], np.float32)
    )
    past = np.array([[1, 2, 3], [2, 3, 100]])
    expected = past.mean(axis=1) + 2 * past.std(axis=1)
    np.testing.assert_allclose(limits, [2, 2, 2, 2, *expected], rtol=1e-6)


@given(st.lists(st.floats(0, 100, width=32), max_size=50), st.integers(1, 7), st.integers(2, 6))
def test_sigma_does_not_depend_on_blocks(values, cut, window):
    scores = np.array(values, np.float32)
    rule = Threshold("sigma", k=2.5, window=window)
    whole = Limits(rule, SCALE).of("log", scores)
    limits = Limits(rule, SCALE)
    parts = [limits.of("log", scores[start : start + cut]) for start in range(0, len(scores), cut)]
    assert np.concatenate([np.zeros(0, np.float32), *parts]).tolist() == whole.tolist()


def test_sigma_goes_on_after_a_restart_and_keeps_sources_apart():
    rule = Threshold("sigma", k=1.0, window=2)
    scores = np.array([1, 5, 2, 9], np.float32)
    one, other = Limits(rule, SCALE), Limits(rule, SCALE)
    one.of("a", scores[:2])
    one.of("b", np.array([50, 60, 70], np.float32))
    other.restore("a", one.blob("a"))
    assert other.of("a", scores[2:]).tolist() == one.of("a", scores[2:]).tolist()
    assert Limits(Threshold("fixed", value=1.0), SCALE).blob("a") is None


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Threshold("magic"), r"threshold.kind: 'magic' is unknown; choose one of fixed, quantile, sigma"),
        (Threshold("fixed"), "fixed takes value, not nothing"),
        (Threshold("quantile", q=0.9, value=1.0), "quantile takes q, not q and value"),
        (Threshold("quantile", q=1.5), "1.5 is no quantile"),
        (Threshold("sigma", k=2.0, window=1), "choose 2 or more"),
    ],
)
def test_an_impossible_rule_is_refused(rule, words):
    with pytest.raises(ConfigError, match=words):
        check_threshold(rule)


def test_sigma_has_the_defaults_of_its_source():
    assert check_threshold(Threshold("sigma")) == Threshold("sigma", k=2.5, window=100)


@pytest.mark.parametrize(("score", "p"), [(-1, 1.0), (0, 1.0), (1, 0.5), (2, 0.1), (3, 0.05), (4, 0.001), (99, 0.001)])
def test_p_value(score, p):
    assert p_value(score, SCALE) == pytest.approx(p)


@pytest.mark.parametrize(("score", "name"), [(1.5, "low"), (2.0, "medium"), (3.5, "high"), (6.0, "critical")])
def test_severity(score, name):
    assert severity(score, SCALE) == name
