"""Pieces of words as tokens: byte-level byte pair encoding, by the library `tokenizers`."""

from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any

import msgspec

from agent.errors import BundleError, ConfigError, OddlineError
from agent.text.tokenizers.base import SPECIAL, UNKNOWN, is_length

FEWEST = len(SPECIAL) + 256  # the special tokens and every byte
_SHIFT = len(SPECIAL)
_MOST_REPEATS = 10


class BpeTokenizer:
    """Byte-level byte pair encoding; case is kept, and no text is unknown.

    After R. Sennrich et al., Neural machine translation of rare words with subword units, 2016, on bytes. `library` is
    a tokenizers.Tokenizer without special tokens; our ids are its ids + 4, so that no text can make a special one.
    """

    kind = "bpe"

    def __init__(self, library: Any, max_tokens: int) -> None:
        self.max_tokens = max_tokens
        self._library = library
        self._pieces = _pieces(library.get_vocab())

    @classmethod
    def train(
        cls, texts: Mapping[str, int], max_tokens: int, max_vocabulary: int, min_frequency: int
    ) -> "BpeTokenizer":
        """A tokenizer that merges the most frequent pairs of `texts` (text -> how often it occurs).

        It has at most `max_vocabulary` tokens with the special ones and the bytes. A text counts at most 10 times.
        """
        package = _import(ConfigError)
        library = _empty(package)
        trainer = package.trainers.BpeTrainer(
            vocab_size=max_vocabulary - _SHIFT,
            min_frequency=min_frequency,
            show_progress=False,
            special_tokens=[],
            initial_alphabet=sorted(package.pre_tokenizers.ByteLevel.alphabet()),
        )
        library.train_from_iterator(_repeat(texts), trainer)
        return cls(library, max_tokens)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "BpeTokenizer":
        """The tokenizer of which `to_json` made `content`.

        A BundleError or KeyError where it is damaged, or where the library is not installed.
        """
        library, max_tokens = content["library"], content["max_tokens"]
        package = _import(BundleError)
        try:
            loaded = package.Tokenizer.from_str(msgspec.json.encode(library).decode())
        except Exception as error:  # noqa: BLE001 - its exceptions share no base class
            raise BundleError(f"tokenizer.json is damaged: {error}") from None
        if _settings(loaded) != _settings(_empty(package)) or not _is_whole(loaded.get_vocab()):
            raise BundleError("tokenizer.json is damaged: its library part is no byte-level encoding as oddline makes")
        if not is_length(max_tokens):
            raise BundleError("tokenizer.json is damaged: wrong max_tokens")
        return cls(loaded, max_tokens)

    def __len__(self) -> int:
        return _SHIFT + len(self._pieces)

    def encode(self, text: str) -> list[int]:
        """The ids of a text's first pieces; an empty text is one unknown piece."""
        return [token + _SHIFT for token in self._ids(text)[: self.max_tokens]] or [UNKNOWN]

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._library.encode(text, add_special_tokens=False).ids
        return ids

    def split(self, text: str) -> list[str]:
        r"""The pieces of a text; a byte that is no character alone reads \xNN."""
        return [self._pieces[token] for token in self._ids(text)] or [""]

    def name(self, token_id: int) -> str:
        r"""The piece itself; what is not printable reads \xNN or the like."""
        if token_id < _SHIFT:
            return SPECIAL[token_id]
        piece = self._pieces[token_id - _SHIFT]
        return piece if piece.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in piece)

    def decode(self, ids: Iterable[int]) -> str:
        """The text; U+FFFD where a character is cut."""
        real = [token - _SHIFT for token in ids if token >= _SHIFT]
        text: str = self._library.decode(real, skip_special_tokens=False)
        return text

    def unknown(self, text: str) -> list[str]:
        """Nothing: every byte is known."""
        return []

    def labels(self) -> None:
        """Pieces have places without names."""
        return

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads: the library's own JSON as data."""
        library = msgspec.json.decode(self._library.to_str())
        return {"kind": self.kind, "max_tokens": self.max_tokens, "library": library}


def _import(refusal: type[OddlineError]) -> ModuleType:
    try:
        import tokenizers
    except ImportError:
        raise refusal(
            "tokens of the kind bpe need the package tokenizers, which is not installed; "
            "run: pip install 'oddline[bpe]'"
        ) from None
    return tokenizers


def _empty(package: ModuleType) -> Any:
    library = package.Tokenizer(package.models.BPE())
    library.pre_tokenizer = package.pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = package.decoders.ByteLevel()
    return library


def _repeat(texts: Mapping[str, int]) -> Iterator[str]:
    return (text for text, times in sorted(texts.items()) for _ in range(min(times, _MOST_REPEATS)))


def _settings(library: Any) -> dict[str, Any]:
    """All of the library's JSON but what training makes."""
    content: dict[str, Any] = msgspec.json.decode(library.to_str())
    return content | {"model": content["model"] | {"vocab": None, "merges": None}}


def _alphabet() -> dict[str, int]:
    """The byte for which each character of the library's vocabulary stands.

    Bytes that are printable in Latin-1 stand for themselves, the others are moved to 256 and up (GPT-2, Radford et al.
    2019).
    """
    kept = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    moved = [byte for byte in range(256) if byte not in kept]
    return {chr(byte): byte for byte in kept} | {chr(256 + index): byte for index, byte in enumerate(moved)}


def _pieces(vocabulary: dict[str, int]) -> list[str]:
    """The text of each id."""
    alphabet = _alphabet()
    ordered = sorted(vocabulary, key=vocabulary.__getitem__)
    return [bytes(alphabet[character] for character in word).decode("utf-8", "backslashreplace") for word in ordered]


def _is_whole(vocabulary: dict[str, int]) -> bool:
    """Whether the ids are 0 and up without a gap, of nothing but bytes, all of which are there."""
    alphabet = _alphabet()
    gapless = sorted(vocabulary.values()) == list(range(len(vocabulary)))
    return gapless and alphabet.keys() == set("".join(vocabulary)) and alphabet.keys() <= vocabulary.keys()
