"""Learning templates from all distinct canonical texts of a training set at once.

As Drain (P. He et al., 2017) it compares texts of equally many words. Drain sees one line after the other and must
decide by similarity; here every decision rests on all texts, so it can count what a place holds (A. Makanju et al.,
IPLoM, 2009), and two texts are one template only where nothing else separates them.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import lru_cache

from agent.templates import WILDCARD, Templates, Words

MIN_WORDS = 3  # constant words that make a template: with fewer, texts that only look alike would become one
MANY = 6  # different words at a place, all else equal, that make it a variable: names, rather than states or verbs
_DAYS = "Mon|Tue|Wed|Thu|Fri|Sat|Sun|Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_DATA = re.compile(rf"<\w+>|\d|[/\\@]|\w\.\w|^(?:{_DAYS})$")  # masks, numbers, paths, addresses, dotted names, dates
_MASK = re.compile(r"<\w+>")
_LETTERS = re.compile(r"[^\W\d_]{2}")


def learn_templates(texts: Mapping[str, int]) -> Templates:
    """Templates of these texts (how often each occurs), the most frequent first; every text matches one of them.

    First, texts that differ only in words that look like data become one template. Then, place by place until nothing
    changes, templates that differ only there do, where one of the words looks like data or there are MANY. A template
    keeps MIN_WORDS constant words. What comes of it depends on nothing but the texts and counts, not on their order.
    """
    by_length: dict[int, set[Words]] = defaultdict(set)
    for text in texts:
        words = tuple(text.split())
        by_length[len(words)].add(words)
    return _number([one for words in by_length.values() for one in _merge_places(_merge_shapes(words))], texts)


def _merge_shapes(texts: Iterable[Words]) -> set[Words]:
    """Texts of one length that are equal but for data, as one template; where they agree on data, it stays."""
    groups: dict[Words, list[Words]] = defaultdict(list)
    for words in texts:
        shape = tuple(WILDCARD if _is_data(word) else word for word in words)
        groups[shape if _is_enough(shape) else words].append(words)
    return {_common(group) for group in groups.values()}


def _common(group: Sequence[Words]) -> Words:
    return tuple(words[0] if len(set(words)) == 1 else WILDCARD for words in zip(*group, strict=True))


def _merge_places(templates: set[Words]) -> set[Words]:
    """Templates of one length, merged where one place alone keeps them apart and is a variable."""
    before = 0
    while len(templates) not in (1, before):
        before = len(templates)
        for place in range(len(next(iter(templates)))):
            for merged, group in _differing_at(place, templates).items():
                if len(group) > 1 and _is_enough(merged) and _is_variable([words[place] for words in group]):
                    templates.difference_update(group)
                    templates.add(merged)
    return templates


def _differing_at(place: int, templates: Iterable[Words]) -> dict[Words, list[Words]]:
    """The templates that are equal but for the word at `place`, by what they have in common."""
    groups: dict[Words, list[Words]] = defaultdict(list)
    for words in templates:
        groups[(*words[:place], WILDCARD, *words[place + 1 :])].append(words)
    return groups


def _is_variable(words: list[str]) -> bool:
    return len(words) >= MANY or any(word == WILDCARD or _is_data(word) for word in words)


def _is_enough(words: Words) -> bool:
    """Whether so much is constant that it can be a template."""
    return sum(map(_is_word, words)) >= MIN_WORDS


@lru_cache(maxsize=65536)
def _is_data(word: str) -> bool:
    return _DATA.search(word) is not None


@lru_cache(maxsize=65536)
def _is_word(word: str) -> bool:
    """Whether it has two letters on end that are not of a mask."""
    return _LETTERS.search(_MASK.sub("", word)) is not None


def _number(templates: list[Words], texts: Mapping[str, int]) -> Templates:
    """The templates in the order of their frequency, less those whose texts all match a more specific one."""
    templates = sorted(templates)
    found, counts = Templates(templates), Counter[int]()
    for text, count in texts.items():
        counts[found.match(text)] += count
    order = sorted(range(len(templates)), key=lambda index: -counts[index + 1])
    ordered = Templates([templates[index] for index in order])
    used = {ordered.match(text) for text in texts}
    return Templates([templates[index] for number, index in enumerate(order, 1) if number in used])


def grouping_accuracy(found: Sequence[Hashable], expected: Sequence[Hashable]) -> tuple[float, float]:
    """GA and FGA: how well labels of lines (any values) group the lines as the expected ones do; 0 to 1 each.

    A group counts only where it holds the same lines as an expected one. GA is the share of lines in such groups
    (J. Zhu et al., Tools and benchmarks for automated log parsing, 2019), FGA the F1 of the groups (Z. Jiang et al.,
    A large-scale evaluation for log parsing techniques, 2024).
    """
    sizes, expected_sizes = Counter(found), Counter(expected)
    pairs = Counter(zip(found, expected, strict=True))
    right = [size for (one, other), size in pairs.items() if sizes[one] == size == expected_sizes[other]]
    return sum(right) / len(found), 2 * len(right) / (len(sizes) + len(expected_sizes))
