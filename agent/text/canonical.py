"""From the bytes of a line to the id of its canonical text.

A line's key is its bytes with every number folded to `0`, or for delimited records the row of its fields as they are.
The canonical text (header left out, variable parts masked; of a row its fields) is computed from the key alone, so
equal keys mean equal texts and a table of keys is an exact cache.
"""

import re
from collections.abc import Callable, Iterable

import numpy as np
import numpy.ma  # np.unique loads it when it is first called, when perhaps no file can be opened
from numpy.typing import NDArray

from agent.errors import BundleError
from agent.text.headers import Format, strip_header
from agent.text.lines import Block
from agent.text.record_reader import RecordReader
from agent.text.records import Records
from agent.text.text_table import PADDING, TextTable

MAX_TEXT = 1024  # characters of a canonical text; the rest is cut
_MAX_CACHED = 4 << 20  # bytes of keys that are cached
_MAX_CACHED_KEY = 2048  # bytes; a longer key is computed anew each time, so that long lines cannot fill the memory

_DIGIT, _HEX, _OTHER = 1, 2, 4
_DIGITS = b"0123456789"
_TO_CLASS = bytes(
    _DIGIT
    if byte in _DIGITS
    else _HEX
    if byte in b"abcdefABCDEF"
    else _OTHER
    if chr(byte).isalpha() and byte < 128
    else 0
    for byte in range(256)
)
_TO_ZERO = bytes(ord("0") if byte in _DIGITS else byte for byte in range(256))


def fold(data: bytes) -> bytes:
    """`data` with each run of decimal digits as one `0`, and each hexadecimal word with a decimal digit likewise.

    A word is a run of ASCII letters and digits; `0x` before hexadecimal digits counts as hexadecimal. Line feeds stay.
    """
    classes = np.frombuffer(bytearray(data.translate(_TO_CLASS)), np.uint8)
    zeroed = np.frombuffer(bytearray(data.translate(_TO_ZERO)), np.uint8)
    if b"0x" in data or b"0X" in data:
        _count_crosses(np.frombuffer(data, np.uint8), classes)
    _fold_hexadecimal(classes, zeroed)
    digits = classes == _DIGIT
    keep = np.empty(len(digits), bool)
    keep[:1] = True
    np.logical_and(digits[1:], digits[:-1], out=keep[1:])
    np.logical_not(keep[1:], out=keep[1:])
    return zeroed[keep].tobytes()


def _count_crosses(raw: NDArray[np.uint8], classes: NDArray[np.uint8]) -> None:
    """Makes the x of every 0x hexadecimal, in place."""
    crosses = np.flatnonzero((raw[1:] | 0x20) == ord("x")) + 1
    classes[crosses[raw[crosses - 1] == ord("0")]] = _HEX


def _fold_hexadecimal(classes: NDArray[np.uint8], zeroed: NDArray[np.uint8]) -> None:
    """Makes hexadecimal words that hold a digit digits, in place.

    Such a word has a digit beside a hexadecimal letter.
    """
    beside = np.flatnonzero((classes[1:] ^ classes[:-1]) == (_DIGIT | _HEX))
    if not len(beside):
        return
    gaps = np.flatnonzero(classes == 0)
    words = np.unique(np.searchsorted(gaps, beside))
    starts = np.append(-1, gaps)[words] + 1
    ends = np.append(gaps, len(classes))[words]
    bounds = np.stack([starts, ends], axis=1).ravel()
    held = np.bitwise_or.reduceat(np.append(classes, np.uint8(0)), bounds)[::2]
    starts, ends = starts[held == (_DIGIT | _HEX)], ends[held == (_DIGIT | _HEX)]
    lengths = ends - starts
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    indices = np.repeat(starts, lengths) + within
    classes[indices], zeroed[indices] = _DIGIT, ord("0")


def _pattern(text: str, mask: str) -> tuple[re.Pattern[str], str]:
    return re.compile(text, re.ASCII), mask


# On folded text, where every number is a single 0. The order is that of application.
MASKS: dict[str, tuple[re.Pattern[str], str]] = {
    "uuid": _pattern(r"(?<![\w-])(?:0|[a-fA-F]{8})(?:-(?:0|[a-fA-F]{4})){3}-(?:0|[a-fA-F]{12})(?![\w-])", "<uuid>"),
    # a fingerprint of a key: named, in base64 or hexadecimal digits, or the 16 pairs of an MD5
    "hash": _pattern(
        r"\b(?:SHA|MD)0:[\w+/=:.-]{16,}|(?<![\w:])(?:0|[a-fA-F]{2})(?::(?:0|[a-fA-F]{2})){15}(?![\w:])", "<hash>"
    ),
    "mac": _pattern(r"(?<![\w:])(?:0|[a-fA-F]{2})(?:[:-](?:0|[a-fA-F]{2})){5,}(?![\w:])", "<mac>"),
    "ip": _pattern(
        r"(?<![\w.:])0\.0\.0\.0(?![\w.])"
        r"|(?<![\w.:])(?=[0a-fA-F:]*::|(?:[0a-fA-F]*:){7})[0a-fA-F:]{2,}(?:\.0){0,3}(?![\w:])",
        "<ip>",
    ),
    "host": _pattern(
        r"(?<![\w./@-])(?:[\w-]+\.)+(?:com|net|org|edu|gov|mil|info|biz|arpa|local)(?![\w-]|\.\w)"
        r"|(?<![\w./@-])(?:[\w-]+\.){2,}[a-zA-Z]{2}(?![\w-]|\.\w)",
        "<host>",
    ),
    # what lies deep in a tree is data; the first two folders, and shorter paths, say what is meant
    "path": _pattern(r"(?<![\w./])((?:/[\w.+@~-]+){2})(?:/[\w.+@~=-]*){3,}", r"\1/<path>"),
    "hex": _pattern(r"(?<!\w)0x0?(?!\w)", "<hex>"),
    "time": _pattern(r"(?<![\w:])0:0:0(?:[.,]0)?(?![\w:])", "<time>"),
    "num": _pattern(r"(?:(?<![\w>])-|(?<=_)-)?(?<![A-Za-z])0(?![A-Za-z])", "<num>"),
}

_SPACES = re.compile(r"\s+")


def select_masks(names: Iterable[str]) -> list[tuple[re.Pattern[str], str]]:
    """The masks of these names, in the order of application; an unknown name is a BundleError."""
    chosen = set(names)
    unknown = chosen - MASKS.keys()
    if unknown:
        raise BundleError(f"unknown mask {min(unknown)!r}; this version knows {', '.join(MASKS)}")
    return [mask for name, mask in MASKS.items() if name in chosen]


def printable(text: str) -> str:
    """`text` with everything replaced that is not printable (control characters, bidirectional marks) by a space."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


class Normalizer:
    """Gives every line the id of its canonical text in `table`.

    Keys are cached, at most `max_keys` and 4 MiB; when there are so many, the older half goes. `shortened` counts the
    lines whose text was cut at MAX_TEXT characters. `records` is what reads delimited records, None for other formats;
    no mask applies to them.
    """

    def __init__(self, header: Format, masks: Iterable[str], max_keys: int = 16384, cache: bool = True) -> None:
        self._strip: Callable[[str], str] = strip_header(header)
        self.records = RecordReader(header) if isinstance(header, Records) else None
        self._masks = select_masks(masks)
        self._max_keys = max_keys if cache else 0
        self._young: dict[bytes, int] = {}
        self._young_bytes = 0
        self._old: dict[bytes, int] = {}
        self.table = TextTable()
        self.table.subscribe(self)
        self._shortened: set[int] = set()  # texts that stand for longer ones
        self.shortened = 0

    @property
    def texts(self) -> list[str]:
        """The texts of `table`, by their ids."""
        return self.table.texts

    def canonical(self, key: bytes) -> str:
        """The canonical text of a folded line, or of a row."""
        return self._bounded(self._whole(key))

    def _bounded(self, text: str) -> str:
        if len(text) <= MAX_TEXT:
            return text
        return text[:MAX_TEXT] if self.records is None else self.records.shorten(text, MAX_TEXT)

    def _whole(self, key: bytes) -> str:
        if self.records is not None:
            return self.records.text(key)
        text = self._strip(_SPACES.sub(" ", printable(key.decode("utf-8", "replace"))).strip())
        for pattern, mask in self._masks:
            text = pattern.sub(mask, text)
        return text

    def ids(self, block: Block) -> NDArray[np.int32]:
        """int32 [lines]: the id of each line's canonical text."""
        keys = self._keys(block)
        found = list(map(self._young.get, keys))
        if None in found:
            for index, text_id in enumerate(found):
                if text_id is None:
                    found[index] = self._look_up(keys[index])
        ids = np.array(found, np.int32)
        self.shortened += int(np.count_nonzero(self.is_shortened(ids)))
        return ids

    def is_shortened(self, ids: NDArray[np.int32]) -> NDArray[np.bool_]:
        """bool [ids]: which canonical texts were cut at MAX_TEXT characters."""
        if not self._shortened:
            return np.zeros(len(ids), bool)
        return np.isin(ids, np.fromiter(self._shortened, np.int32))

    def _keys(self, block: Block) -> list[bytes]:
        if self.records is not None:
            return self.records.keys(block)
        keys = fold(block.data).split(b"\n")
        keys.pop()
        return keys

    def _look_up(self, key: bytes) -> int:
        text_id = self._young.get(key) or self._old.get(key) or self._new(key)
        if self._max_keys and len(key) <= _MAX_CACHED_KEY:
            if len(self._young) >= self._max_keys // 2 or self._young_bytes > _MAX_CACHED // 2:
                self._old, self._young, self._young_bytes = self._young, {}, 0
            self._young[key] = text_id
            self._young_bytes += len(key)
        return text_id

    def _new(self, key: bytes) -> int:
        whole = self._whole(key)
        text_id = self.table.intern(self._bounded(whole))
        if len(whole) > MAX_TEXT:
            self._shortened.add(text_id)
        return text_id

    def take_warnings(self) -> list[str]:
        """Warnings of rows of a wrong width and of texts that were cut; the counters start again."""
        warnings = [] if self.records is None else self.records.take_warnings()
        if self.shortened:
            lines = "1 line has" if self.shortened == 1 else f"{self.shortened} lines have"
            warnings.append(f"{lines} a text of more than {MAX_TEXT} characters; what is beyond was left out")
        self.shortened = 0
        return warnings

    def renumber(self, moved: NDArray[np.int32]) -> None:
        """Follows the table: lines are looked up anew."""
        self._young, self._old, self._young_bytes = {}, {}, 0
        self._shortened = {int(moved[text_id]) for text_id in self._shortened if moved[text_id] != PADDING}
