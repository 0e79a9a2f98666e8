"""Templates of canonical texts: learnt in training, frozen into a bundle, matched exactly by the agent."""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from agent.errors import BundleError

FILE = "templates.json"
WILDCARD = "<*>"
UNSEEN = 0  # the number of no template
_VERSION = 1

Words = tuple[str, ...]
_Table = tuple[Callable[[Words], Any], dict[Any, int]]  # what picks certain words of a text, and templates by these


class Templates:
    """Numbered templates: sequences of words (runs without white space), in which `<*>` stands for any one word.

    A text matches where it has as many words and each is that of the template or meets a `<*>`. Of several templates
    the one with the fewest `<*>` wins, of these the one with the lower number. A word that was literally `<*>` in a
    text is a wildcard as well. Matching is one look into a table for each way in which the templates of this length
    place their wildcards, whatever the text is.
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
            raise _damaged("its version is missing or wrong")
        if version != _VERSION:
            raise BundleError(f"{FILE} has version {version}, this agent reads version {_VERSION}; update oddline")
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
        for tables in self._index.get(len(words), ()):
            found = [number for pick, table in tables if (number := table.get(pick(words)))]
            if found:
                return min(found)
        return UNSEEN

    def text(self, number: int) -> str:
        """A template as one string, "unseen" for UNSEEN; an IndexError where no template has this number."""
        if not UNSEEN <= number <= len(self._templates):
            raise IndexError(f"no template has the number {number}, the last is {len(self._templates)}")
        return "unseen" if number == UNSEEN else " ".join(self._templates[number - 1])


def _damaged(why: str) -> BundleError:
    return BundleError(f"{FILE} is damaged: {why}; export the bundle again")


def _index(templates: list[Words]) -> dict[int, list[list[_Table]]]:
    """For each length groups of tables: those of templates with no wildcard, with one and so on."""
    tables: dict[tuple[int, tuple[int, ...]], _Table] = {}
    for number, words in enumerate(templates, 1):
        constant = tuple(place for place, word in enumerate(words) if word != WILDCARD)
        pick, table = tables.setdefault((len(words), constant), (_picker(constant), {}))
        table.setdefault(pick(words), number)
    groups: dict[tuple[int, int], list[_Table]] = {}
    for (length, constant), table in tables.items():
        groups.setdefault((length, length - len(constant)), []).append(table)
    index: dict[int, list[list[_Table]]] = {}
    for length, wildcards in sorted(groups):
        index.setdefault(length, []).append(groups[length, wildcards])
    return index


def _picker(places: tuple[int, ...]) -> Callable[[Words], Any]:
    return itemgetter(*places) if places else lambda words: ()
