"""Every target holds on its corpus, which has what was found once, and on what is drawn at random."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
SEEDS = {name: [file.read_bytes() for file in sorted((CORPUS / name).iterdir())] for name in TARGETS}


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_holds(name):
    assert SEEDS[name]
    for seed in SEEDS[name]:
        TARGETS[name](seed)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_what_is_spliced_of_the_corpus_and_random_bytes_holds(name, data):
    """Pieces of the corpus, cut and put together anew, with bytes between them."""
    parts = data.draw(st.lists(st.sampled_from(SEEDS[name]) | st.binary(max_size=12), max_size=4))
    cuts = [data.draw(st.tuples(st.integers(0, len(part)), st.integers(0, len(part)))) for part in parts]
    TARGETS[name](b"".join(part[min(cut) : max(cut)] for part, cut in zip(parts, cuts, strict=True)))
