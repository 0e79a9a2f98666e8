"""Learning templates from all distinct canonical texts of a training set at once.

Drain (P. He et al., 2017) sees one line after the other and goes down a tree of fixed depth, then decides by
similarity. Here the whole set is known, so the tree can ask what each position of all texts holds, and split only where
words differ that are neither data nor names (compare A. Makanju et al., Clustering event logs using iterative
partitioning, 2009).
"""

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache

from agent.text.templates import WILDCARD, Templates, Words

MIN_WORDS = 3  # constant words that make a template: with fewer, texts that only look alike would become one
MANY = 6  # different words at a position, all else equal, that make it a variable: names, rather than states or verbs
_DAYS = "Mon|Tue|Wed|Thu|Fri|Sat|Sun|Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_DATA = re.compile(rf"<\w+>|\d|[/\\@]|\w\.\w|^(?:{_DAYS})$")  # masks, numbers, paths, addresses, dotted names, dates
_MASK = re.compile(r"<\w+>")
_LETTERS = re.compile(r"[^\W\d_]{2}")


def learn_templates(texts: Mapping[str, int]) -> Templates:
    """Templates of these texts (how often each occurs), the most frequent first; every text matches one of them.

    Texts that are equal but for data become one. Those of equally many words are then split until each group is one
    template: MIN_WORDS places at least hold a constant word, the others data or one of MANY words. What comes of it
    depends on the texts and their counts alone.
    """
    groups: dict[int, set[Words]] = defaultdict(set)
    for text in texts:
        words = tuple(text.split())
        groups[len(words)].add(words)
    templates, waiting = [], [_merge_shapes(group) for group in groups.values()]
    while waiting:
        group = waiting.pop()
        position = _splitting(group)
        if position is None:
            templates.append(_common(group))
        else:
            waiting += _split(group, position)
    return _number(templates, texts)


def _merge_shapes(texts: set[Words]) -> list[Words]:
    """Texts that are equal but for data, as one with a wildcard where their data differ."""
    groups: dict[Words, list[Words]] = defaultdict(list)
    for words in texts:
        shape = tuple(WILDCARD if _is_data(word) else word for word in words)
        groups[shape if sum(map(_is_word, shape)) >= MIN_WORDS else words].append(words)
    return list({_common(group) for group in groups.values()})


def _splitting(group: list[Words]) -> int | None:
    """The position at which to split: the one of fewest words, of those that are no variables if there are some. None
    where the group is one template.
    """
    columns = [set(column) for column in zip(*group, strict=True)]
    varying = [position for position, words in enumerate(columns) if len(words) > 1]
    rigid = [position for position in varying if not _is_variable(columns[position])]
    constant = sum(len(words) == 1 and _is_word(min(words)) for words in columns)
    if not varying or (not rigid and constant >= MIN_WORDS):
        return None
    return min(rigid or varying, key=lambda position: len(columns[position]))


def _split(group: list[Words], position: int) -> list[list[Words]]:
    """The texts by their word at a position."""
    parts: dict[str, list[Words]] = defaultdict(list)
    for words in group:
        parts[words[position]].append(words)
    return list(parts.values())


def _common(group: list[Words]) -> Words:
    return tuple(words[0] if len(set(words)) == 1 else WILDCARD for words in zip(*group, strict=True))


def _is_variable(words: set[str]) -> bool:
    """Whether the words of a position are names, as there are so many, or some of them data."""
    return len(words) >= MANY or WILDCARD in words or any(map(_is_data, words))


@lru_cache(maxsize=65536)
def _is_data(word: str) -> bool:
    return _DATA.search(word) is not None


@lru_cache(maxsize=65536)
def _is_word(word: str) -> bool:
    """Whether it has two letters on end that are not of a mask."""
    return _LETTERS.search(_MASK.sub("", word)) is not None


def _number(templates: list[Words], texts: Mapping[str, int]) -> Templates:
    """The templates in the order of their frequency."""
    templates = sorted(templates)
    found, counts = Templates(templates), Counter[int]()
    for text, count in texts.items():
        counts[found.match(text)] += count
    order = sorted(range(len(templates)), key=lambda index: -counts[index + 1])
    return Templates([templates[index] for index in order])


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
