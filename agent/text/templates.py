"""Templates of canonical texts: learnt in training, frozen into a bundle, matched exactly by the agent."""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from agent.errors import BundleError

FILE = "events.json"  # of the bundle that holds them
WILDCARD = "<*>"
UNSEEN = 0  # the number of no template
_VERSION = 1

Words = tuple[str, ...]
# how many wildcards the templates have, what picks the other words of a text, and the templates by these words
_Table = tuple[int, Callable[[Words], Any], dict[Any, int]]


class Templates:
    """Numbered templates: sequences of words (runs without white space), in which `<*>` stands for any one word.

    A text matches where it has as many words and each is that of the template or meets a `<*>`. Of several templates
    the one with the fewest `<*>` wins, of these the one with the lower number. A word that was literally `<*>` in a
    text is a wildcard as well. Matching is one look into a table for each way in which the templates of this length
    and first word place their wildcards, whatever the text is.
    """

    def __init__(self, templates: Sequence[Sequence[str]]) -> None:
        """The first has the number 1; of equal ones only the first is ever found."""
        self._templates = [tuple(words) for words in templates]
        self._index = _index(self._templates)

    @classmethod
    def from_json(cls, data: Any) -> "Templates":
        """The templates of which `to_json` made `data`; a BundleError where they are damaged or of another version."""
        version = data.get("version") if isinstance(data, dict) else None
        if type(version) is not int:
            raise _damaged("the version of its templates is missing or wrong")
        if version != _VERSION:
            raise BundleError(
                f"the templates of {FILE} have version {version}, this agent reads {_VERSION}; update oddline"
            )
        lines = data.get("templates")
        if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
            raise _damaged("its templates are no list of texts")
        templates = [line.split() for line in lines]
        for number, words in enumerate(templates, 1):
            if " ".join(words) != lines[number - 1]:
                raise _damaged(f"template {number} has other white space than single spaces between words")
        if len(set(lines)) < len(lines):
            raise _damaged("a template is in it twice")
        return cls(templates)

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads: the version and each template as one string, in the order of their numbers."""
        return {"version": _VERSION, "templates": [" ".join(words) for words in self._templates]}

    def __len__(self) -> int:
        return len(self._templates)

    def match(self, text: str) -> int:
        """The number of a text's template, from 1, or UNSEEN."""
        words = tuple(text.split())
        best, fewest = UNSEEN, len(words)
        for first in (words[:1], (WILDCARD,)):
            for wildcards, pick, table in self._index.get((len(words), first), ()):
                if wildcards > fewest:
                    break
                number = table.get(pick(words))
                if number and (not best or (wildcards, number) < (fewest, best)):
                    best, fewest = number, wildcards
        return best

    def text(self, number: int) -> str:
        """A template as one string, "unseen" for UNSEEN; an IndexError where no template has this number."""
        if not UNSEEN <= number <= len(self._templates):
            raise IndexError(f"no template has the number {number}, the last is {len(self._templates)}")
        return "unseen" if number == UNSEEN else " ".join(self._templates[number - 1])


def _damaged(why: str) -> BundleError:
    return BundleError(f"{FILE} is damaged: {why}; export the bundle again")


def _index(templates: list[Words]) -> dict[tuple[int, Words], list[_Table]]:
    """The tables of templates by their length and first word, in the order of their wildcards.

    Templates that place their wildcards alike share a table.
    """
    tables: dict[tuple[int, Words, tuple[int, ...]], dict[Any, int]] = {}
    for number, words in enumerate(templates, 1):
        constant = tuple(index for index, word in enumerate(words) if word != WILDCARD)
        table = tables.setdefault((len(words), words[:1], constant), {})
        table.setdefault(_picker(constant)(words), number)
    index: dict[tuple[int, Words], list[_Table]] = {}
    for (length, first, constant), table in sorted(tables.items(), key=lambda item: -len(item[0][2])):
        index.setdefault((length, first), []).append((length - len(constant), _picker(constant), table))
    return index


def _picker(indices: tuple[int, ...]) -> Callable[[Words], Any]:
    return itemgetter(*indices) if indices else lambda words: ()
