"""Which tokenizer a configuration asks for."""

from collections.abc import Mapping

from agent.errors import ConfigError
from agent.text.records import Records
from agent.text.tokenizers import SPECIAL, Tokenizer
from agent.text.tokenizers.bpe import BpeTokenizer
from agent.text.tokenizers.char import CharTokenizer
from agent.text.tokenizers.fields import FieldTokenizer
from agent.text.tokenizers.word import WordTokenizer
from training.config import RunConfig


def train_tokenizer(config: RunConfig, texts: Mapping[str, int]) -> Tokenizer:
    """A tokenizer of the configured kind, trained on `texts` (text -> how often it occurs); the words of delimited
    records are their values. A ConfigError where none is left to know.
    """
    tokenizer = _train(config, texts)
    unknown = len(tokenizer.labels() or ())
    if len(tokenizer) <= len(SPECIAL) + unknown:
        settings = config.tokenizer
        raise ConfigError(
            f"no word is left of the training lines: set tokenizer.min_frequency ({settings.min_frequency}) lower "
            f"or tokenizer.max_vocabulary ({settings.max_vocabulary}) higher"
        )
    return tokenizer


def _train(config: RunConfig, texts: Mapping[str, int]) -> Tokenizer:
    settings = config.tokenizer
    limits = settings.max_vocabulary, settings.min_frequency
    if settings.kind == "char":
        return CharTokenizer(settings.tokens_per_line())
    if settings.kind == "bpe":
        return BpeTokenizer.train(texts, settings.tokens_per_line(), *limits)
    if isinstance(config.header, Records):
        return FieldTokenizer.train(texts, config.header, *limits)
    return WordTokenizer.train(texts, settings.tokens_per_line(), *limits)
