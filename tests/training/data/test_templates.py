"""Templates: what is learnt from texts, and that the agent matches exactly that."""

import csv
import gzip
import itertools
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import agent
from agent.errors import BundleError
from agent.text.canonical import MASKS, Normalizer, fold
from agent.text.templates import FILE, UNSEEN, WILDCARD, Templates
from training.data.templates import grouping_accuracy, learn_templates

DATA = Path(os.environ.get("ODDLINE_DATA", "../shared/data")) / "templates"
NAMES = ["ada", "bela", "carl", "dora", "emil", "fanny", "gus", "hedi"]
HOSTS = ["<ip>", "<host>", "vault", "attic"]
EVENTS = {
    "login": "vaultd: accepted key of {name} from {host}",
    "refused": "vaultd: refused key of {name} from {host}",
    "opened": "vaultd: drawer opened for {name}",
    "closed": "vaultd: drawer closed for {name}",
    "wrote": "vaultd: wrote {path} in <num> ms",
    "state": "latchd: latch is now {state}",
    "tick": "latchd: tick <num>",
    "tock": "latchd: tock <num>",
    "alone": "<time>",
    "nothing": "",
}
PATHS = ["/srv/vault/a.key", "/srv/vault/b.key", "/tmp/spill"]
WORDS = st.sampled_from(["lost", "found", "key", "vault", "of", "<num>", "/srv/a", "/srv/b", "b.c", WILDCARD, "<", "é"])
FEW = st.sampled_from(["a", "b", WILDCARD])
TEXTS = st.lists(WORDS, max_size=6).map(" ".join)


def made_up() -> tuple[Counter[str], dict[str, str]]:
    """Texts of a made-up log with their counts, and the event of each."""
    texts, events = Counter[str](), {}
    for event, text in EVENTS.items():
        for name, host, path in itertools.product(NAMES, HOSTS, PATHS):
            for state in ("open", "shut") if event == "state" else ("",):
                line = text.format(name=name, host=host, path=path, state=state)
                texts[line] += 1
                events[line] = f"{event} {state}".strip()
    return texts, events


def fits(template: str, text: str) -> bool:
    words, others = template.split(), text.split()
    return len(words) == len(others) and all(a in (b, WILDCARD) for a, b in zip(words, others, strict=True))


def slow_match(templates: list[list[str]], text: str) -> int:
    """What `match` must find, by looking at every template."""
    found = [
        (words.count(WILDCARD), number) for number, words in enumerate(templates, 1) if fits(" ".join(words), text)
    ]
    return min(found, default=(0, UNSEEN))[1]


def through_json(templates: Templates) -> Templates:
    return Templates.from_json(msgspec.json.decode(msgspec.json.encode(templates.to_json())))


def test_events_of_a_made_up_log_are_found_again():
    texts, events = made_up()
    templates = learn_templates(texts)
    lines = list(texts.elements())
    found = [templates.match(line) for line in lines]
    assert grouping_accuracy(found, [events[line] for line in lines]) == (1, 1)
    assert {templates.text(number) for number in found} >= {
        "vaultd: accepted key of <*> from <*>",
        "vaultd: drawer opened for <*>",
        "vaultd: wrote <*> in <num> ms",
        "latchd: latch is now shut",
        "latchd: tick <num>",
        "<time>",
        "",
    }


def test_two_names_that_never_come_twice_are_both_variables():
    pairs = zip(NAMES, reversed(NAMES), strict=True)
    templates = learn_templates({f"vaultd: {one} gave the key to {other}": 1 for one, other in pairs})
    assert templates.to_json()["templates"] == ["vaultd: <*> gave the key to <*>"]


def test_few_plain_words_are_states_and_many_are_names():
    states, names = ("open", "shut", "stuck", "lost", "bent"), NAMES[:6]
    assert len(learn_templates({f"latchd: front latch is {state}": 1 for state in states})) == 5
    assert len(learn_templates({f"latchd: front latch is {name}": 1 for name in names})) == 1


def test_data_are_no_reason_to_tell_names_and_states_apart():
    texts = {
        f"vaultd: {'/a' if name in NAMES[:4] else '/b'} is {state} by {name}": 1 for name in NAMES for state in "xyz"
    }
    found = learn_templates(texts).to_json()["templates"]
    assert found == [f"vaultd: <*> is {state} by <*>" for state in "xyz"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/srv/a", "/srv/b"),
        ("C:\\a", "C:\\b"),
        ("a@b", "c@d"),
        ("vault.service", "attic.service"),
        ("<ip>", "<host>"),
        ("<num>ms", "never"),
        ("disk0", "attic"),
        ("Mon", "Tue"),
    ],
)
def test_two_words_that_look_like_data_are_a_variable(one, other):
    texts = {f"vaultd: lost it at {word} today": 1 for word in (one, other)}
    assert learn_templates(texts).to_json()["templates"] == ["vaultd: lost it at <*> today"]


@pytest.mark.parametrize(("one", "other"), [("opened", "closed"), ("read-only", "disk_full"), ("key=a", "key=b")])
def test_two_plain_words_are_none(one, other):
    assert len(learn_templates({f"vaultd: lost it at {word} today": 1 for word in (one, other)})) == 2


def test_texts_with_too_little_in_common_stay_apart():
    assert len(learn_templates({f"latchd: tick /srv/{name}": 1 for name in NAMES})) == len(NAMES)
    assert len(learn_templates({f"latchd: tick of /srv/{name}": 1 for name in NAMES})) == 1


def test_data_on_which_all_agree_stay():
    texts = {f"vaultd: wrote /srv/index for {name}": 1 for name in NAMES}
    assert learn_templates(texts).to_json()["templates"] == ["vaultd: wrote /srv/index for <*>"]


def test_the_most_frequent_template_is_the_first():
    templates = learn_templates({"one rare thing": 1, "a common thing": 5, "some other thing": 3})
    assert [templates.text(number) for number in (1, 2, 3)] == ["a common thing", "some other thing", "one rare thing"]


@given(st.dictionaries(TEXTS, st.integers(1, 9), max_size=30))
def test_every_text_matches_exactly_what_was_learnt(texts):
    templates = learn_templates(texts)
    content = templates.to_json()
    split = [line.split() for line in content["templates"]]
    for text in texts:
        number = templates.match(text)
        assert number == slow_match(split, text) != UNSEEN
        assert fits(templates.text(number), text)
        assert through_json(templates).match(text) == number


@given(st.lists(st.lists(FEW, max_size=3), max_size=9), st.lists(st.lists(FEW, max_size=3).map(" ".join), max_size=20))
def test_matching_agrees_with_looking_at_every_template(split, texts):
    templates = Templates(split)
    distinct = Templates(list(dict.fromkeys(map(tuple, split))))
    assert through_json(distinct).to_json() == distinct.to_json()
    for text in texts:
        assert templates.match(text) == slow_match(split, text)
        assert through_json(distinct).text(distinct.match(text)) == templates.text(templates.match(text))


@given(st.dictionaries(TEXTS, st.integers(1, 9), max_size=30), st.randoms(use_true_random=False))
def test_the_order_of_the_texts_does_not_matter(texts, draw):
    shuffled = list(texts.items())
    draw.shuffle(shuffled)
    assert learn_templates(dict(shuffled)).to_json() == learn_templates(texts).to_json()


def test_the_hash_seed_does_not_matter():
    code = "import test_templates as it; print(it.learn_templates(it.noise()).to_json())"
    roots = os.pathsep.join([str(Path(__file__).parent), str(Path(agent.__file__).parents[1])])
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": roots},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert found == {f"{learn_templates(noise()).to_json()}\n"}


def noise() -> dict[str, int]:
    """Texts of few words, so that many ways to split them are equally good."""
    draw = random.Random(4)
    return {" ".join(draw.choices(["lost", "found", "key", "/a/b", "<ip>", "of", "it"], k=5)): 1 for _ in range(400)}


def test_a_text_without_a_template_is_unseen():
    templates = Templates([["latch", WILDCARD, "shut"], [WILDCARD, WILDCARD]])
    assert [templates.match(text) for text in ("latch is shut", "any two")] == [1, 2]
    for text in ("latch is open", "latch", "", "latch is shut now", "Latch is shut", "latch is shut."):
        assert templates.match(text) == UNSEEN
    assert Templates([]).match("latch") == learn_templates({}).match("") == UNSEEN


def test_the_most_specific_template_wins_then_the_lower_number():
    templates = Templates([[WILDCARD, "b", WILDCARD], ["a", WILDCARD, "c"], [WILDCARD, "b", "c"], ["a", "b", "d"]])
    assert Templates([["a", WILDCARD, WILDCARD], [WILDCARD, "b", "c"]]).match("a b c") == 2
    expected = {"a b c": 2, "x b c": 3, "a b d": 4, "a b x": 1, "a x c": 2}
    assert {text: templates.match(text) for text in expected} == expected


def test_hostile_texts_match_or_are_unseen():
    words = [[WILDCARD] * 512, ["a", *[WILDCARD] * 511], *([*["a"] * n, WILDCARD] for n in range(1, 400))]
    templates = through_json(Templates(words))
    assert templates.match("a " * 512) == 2
    assert templates.match("<*> " * 512) == 1
    assert templates.match("a " * 399 + "b") == 401
    for text in ("a " * 399 + "b b", "a " * 100_000, "x" * 1_000_000, "\0 \x1f \u2028", "<*>", "<**> <*>"):
        assert templates.match(text) == UNSEEN


def test_a_word_that_looks_like_a_wildcard_is_one():
    templates = learn_templates({"lost <*> key": 1})
    assert templates.match("lost <*> key") == templates.match("lost my key") == 1


def test_templates_have_texts_and_a_number():
    templates = Templates([["latch", WILDCARD], []])
    assert [len(templates), *map(templates.text, (0, 1, 2))] == [2, "unseen", "latch <*>", ""]
    for number in (-1, 3):
        with pytest.raises(IndexError, match=f"no template has the number {number}"):
            templates.text(number)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "version of its templates is missing"),
        ([], "version of its templates is missing"),
        ({"templates": []}, "version of its templates is missing"),
        ({"version": "1", "templates": []}, "version of its templates is missing"),
        ({"version": True, "templates": []}, "version of its templates is missing"),
        ({"version": 2, "templates": []}, "have version 2, this agent reads 1; update oddline"),
        ({"version": 1}, "no list of texts"),
        ({"version": 1, "templates": {"a": 1}}, "no list of texts"),
        ({"version": 1, "templates": ["a", 1]}, "no list of texts"),
        ({"version": 1, "templates": ["a", ["b"]]}, "no list of texts"),
        ({"version": 1, "templates": ["a", "b  c"]}, "template 2 has other white space"),
        ({"version": 1, "templates": ["a\nb"]}, "template 1 has other white space"),
        ({"version": 1, "templates": ["a", "b", "a"]}, "in it twice"),
    ],
)
def test_damaged_templates_are_refused_in_one_line(data: Any, message: str):
    with pytest.raises(BundleError, match=message) as refused:
        Templates.from_json(data)
    assert FILE in str(refused.value)
    assert "\n" not in str(refused.value)


def test_grouping_accuracy_counts_only_whole_groups():
    assert grouping_accuracy([1, 1, 2, 3], "aabb") == (0.5, pytest.approx(2 * 1 / (3 + 2)))
    assert grouping_accuracy([1, 1, 1], "aab") == (0, 0)
    assert grouping_accuracy([7, 8, 8], "xyy") == (1, 1)


def test_annotated_samples_are_grouped_as_well_as_the_docs_say():
    paths = sorted(DATA.glob("*.csv.gz"))
    if len(paths) != 16:
        pytest.skip(f"the annotated samples are not in {DATA}; ODDLINE_DATA names the folder above")
    means = [0.0, 0.0]
    for index, path in enumerate(paths):
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        normalizer = Normalizer("none", MASKS)
        texts = [normalizer.canonical(fold(row["Content"].encode())) for row in rows]
        templates = learn_templates(Counter(texts))
        found = grouping_accuracy([templates.match(text) for text in texts], [row["EventId"] for row in rows])
        means[index % 2] += found[0] / 8
    assert means[0] > 0.971 - 0.01
    assert means[1] > 0.849 - 0.01
