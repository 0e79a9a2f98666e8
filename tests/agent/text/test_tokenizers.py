"""Tokenizers of every kind: their contract, what each promises of its own, and how they are stored."""

import json
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import BundleError, ConfigError
from agent.text.records import Records, Split
from agent.text.tokenizers import BEGIN, END, PAD, SPECIAL, UNKNOWN, load_tokenizer
from agent.text.tokenizers.bpe import FEWEST, BpeTokenizer
from agent.text.tokenizers.char import CharTokenizer
from agent.text.tokenizers.fields import FieldTokenizer
from agent.text.tokenizers.word import WordTokenizer
from training.config import RunConfig, load
from training.data.tokenizer import train_tokenizer

LINES = {
    "sshd: Accepted publickey for deploy from <ip>": 40,
    "sshd: session opened for user deploy(uid=<num>)": 12,
    "cron: (root) CMD (run-parts --report /etc/cron.daily)": 3,
    "shopd: Zahlung für 日本 angenommen": 1,
}
RECORDS = Records(columns=["time", "user", "host", "kind"], time="time", split={"user": Split("@", ["name", "domain"])})
ROWS = {"alice@EXAMPLE,h1,Network": 9, "bob@EXAMPLE,h1,": 5, "bob,h2,Batch": 2, '"h1,x",h1,Network': 2, "carol,h9,": 1}

WORDS = WordTokenizer.train(LINES, max_tokens=8, max_vocabulary=100, min_frequency=2)
FIELDS = FieldTokenizer.train(ROWS, RECORDS, max_vocabulary=100, min_frequency=2)
CHARS = CharTokenizer(20)
PAIRS = BpeTokenizer.train(LINES, max_tokens=12, max_vocabulary=320, min_frequency=2)
KINDS = pytest.mark.parametrize("tokenizer", [WORDS, FIELDS, CHARS, PAIRS], ids=lambda tokenizer: tokenizer.kind)

TEXTS = st.one_of(
    st.text(),
    st.lists(st.sampled_from([*SPECIAL, *LINES, *ROWS, ",", " ", '"', "日", "deploy"])).map("".join),
)


def reload(tokenizer):
    """What a bundle's tokenizer.json gives back."""
    return load_tokenizer(json.loads(msgspec.json.encode(tokenizer.to_json())))


@KINDS
@given(text=TEXTS)
def test_encode_takes_the_first_pieces_and_makes_no_special_id_but_unknown(tokenizer, text):
    ids, pieces = tokenizer.encode(text), tokenizer.split(text)
    assert len(ids) == min(len(pieces), tokenizer.max_tokens) >= 1
    assert all(type(token) is int and UNKNOWN <= token < len(tokenizer) for token in ids)
    assert not {BEGIN, END} & set(ids)
    assert len(tokenizer.unknown(text)) <= len(ids)


@KINDS
@given(text=TEXTS)
def test_what_was_stored_gives_the_same_ids(tokenizer, text):
    loaded = RELOADED[tokenizer.kind]
    assert loaded.encode(text) == tokenizer.encode(text) and loaded.split(text) == tokenizer.split(text)
    assert loaded.decode(loaded.encode(text)) == tokenizer.decode(tokenizer.encode(text))


RELOADED = {tokenizer.kind: reload(tokenizer) for tokenizer in (WORDS, FIELDS, CHARS, PAIRS)}


@KINDS
def test_what_was_stored_is_the_same(tokenizer):
    loaded = RELOADED[tokenizer.kind]
    assert type(loaded) is type(tokenizer) and loaded.to_json() == tokenizer.to_json()
    assert (len(loaded), loaded.max_tokens, loaded.labels()) == (
        len(tokenizer),
        tokenizer.max_tokens,
        tokenizer.labels(),
    )


@KINDS
def test_every_token_has_a_printable_name_and_the_special_ones_theirs(tokenizer):
    names = [tokenizer.name(token) for token in range(len(tokenizer))]
    assert tuple(names[:4]) == SPECIAL and all(name.isprintable() for name in names)


@KINDS
def test_padding_begin_and_end_are_no_text(tokenizer):
    ids = tokenizer.encode(next(iter(ROWS if tokenizer is FIELDS else LINES)))
    assert tokenizer.decode([BEGIN, *ids, END, PAD, PAD]) == tokenizer.decode(ids) != ""


def test_words_come_back_in_lower_case_with_spaces_between_them():
    assert WORDS.split("sshd: Accepted <ip>") == ["sshd", ":", "accepted", "<ip>"]
    assert WORDS.decode(WORDS.encode("sshd: Accepted <ip>")) == "sshd : accepted <ip>"
    assert WORDS.decode(WORDS.encode("sshd: rejected <ip>")) == "sshd : <unk> <ip>"
    assert WORDS.unknown("sshd: Rejected <moon>") == ["rejected", "<moon>"]
    assert WORDS.labels() is None


@given(st.lists(st.sampled_from(WORDS.vocabulary[4:]), min_size=1, max_size=8))
def test_known_words_come_back(words):
    assert WORDS.split(WORDS.decode(WORDS.encode(" ".join(words)))) == words


@pytest.mark.parametrize("special", SPECIAL)
def test_a_special_word_in_a_text_is_a_word_like_others(special):
    assert WORDS.decode(WORDS.encode(special)).split() in (["<unk>"], ["<unk>", "/", "<unk>", "<unk>"])
    seen = WordTokenizer.train({special: 5}, 8, 100, 1)
    assert min(seen.encode(special)) >= len(SPECIAL) and "".join(map(seen.name, seen.encode(special))) == special


def test_each_part_of_a_record_has_an_unknown_value_of_its_own():
    assert FIELDS.labels() == ["name", "domain", "host", "kind"] and FIELDS.max_tokens == 4
    assert FIELDS.encode("mallory@NOWHERE,h7,Smartcard") == [4, 5, 6, 7]
    assert [FIELDS.name(token) for token in range(4, 8)] == [f"<unk {name}>" for name in FIELDS.labels()]
    assert FIELDS.unknown("mallory@EXAMPLE,h7,") == ["mallory", "h7"]
    assert FIELDS.encode("") == [FIELDS.encode("bob,h2,")[1]] * 4, "an empty value is frequent, so a word"


def test_the_parts_of_a_record_share_their_words_and_are_counted_together():
    ids = FIELDS.encode("bob@h1,h1,bob")
    assert ids[1] == ids[2] and ids[0] == ids[3] and min(ids) >= 8
    assert FIELDS.name(ids[0]) == "bob"
    once_in_each = FieldTokenizer.train({"x@y,x,z": 1}, RECORDS, 100, 2)
    assert once_in_each.vocabulary[8:] == ["x"]
    assert len(FieldTokenizer.train(ROWS, RECORDS, 9, 1)) == 9
    assert len(FieldTokenizer.train(ROWS, RECORDS, 5, 1)) == 8, "the unknown values are not optional"


def test_a_value_that_reads_like_a_special_token_is_a_value():
    tokenizer = FieldTokenizer.train({"<s>@<unk name>,</s>,<pad>": 1}, RECORDS, 100, 1)
    assert min(tokenizer.encode("<s>@<unk name>,</s>,<pad>")) >= 8
    assert FIELDS.encode("<s>@<unk name>,</s>,<pad>") == [4, 5, 6, 7]


@given(st.lists(st.sampled_from(FIELDS.vocabulary[8:]), min_size=4, max_size=4))
def test_known_values_come_back(values):
    ids = [FIELDS.vocabulary.index(value) for value in values]
    assert FIELDS.encode(FIELDS.decode(ids)) == ids


def test_a_record_reads_as_it_was():
    assert [FIELDS.decode(FIELDS.encode(text)) for text in ("alice@EXAMPLE,h1,Network", "bob@EXAMPLE,h1,")] == [
        "alice@EXAMPLE,h1,Network",
        "bob@EXAMPLE,h1,",
    ]
    assert FIELDS.decode(FIELDS.encode('"h1,x",h1,Network')) == '"h1,x@",h1,Network'
    assert FIELDS.decode(FIELDS.encode("mallory@EXAMPLE,h1,")) == "<unk name>@EXAMPLE,h1,"


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=20))
def test_printable_characters_come_back(text):
    assert CHARS.decode(CHARS.encode(text)) == text and not CHARS.unknown(text)
    assert CHARS.encode(text) == [ord(character) - 28 for character in text]


def test_characters_keep_their_case_and_others_are_unknown():
    assert len(CHARS) == 99 and CHARS.encode(" ~Aa") == [4, 98, 37, 69]
    assert CHARS.encode("é\t\x7f日\ud800") == [UNKNOWN] * 5 and CHARS.decode(CHARS.encode("aéb")) == "a\ufffdb"
    assert CHARS.unknown("aéb日" + "x" * 20 + "ü") == ["é", "日"]
    assert CHARS.encode("x" * 50) == CHARS.encode("x" * 20) and len(CHARS.split("x" * 50)) == 50


UNCUT = BpeTokenizer(PAIRS._library, 10**6)


@given(TEXTS)
def test_pairs_are_those_of_the_library_and_come_back(text):
    import tokenizers

    library = tokenizers.Tokenizer.from_str(json.dumps(PAIRS.to_json()["library"]))
    ids = library.encode(text).ids
    assert UNCUT.encode(text) == ([token + 4 for token in ids] or [UNKNOWN])
    assert UNCUT.decode(UNCUT.encode(text)) == text == library.decode(ids)
    assert not UNCUT.unknown(text)


@given(st.text(st.characters(max_codepoint=127), min_size=1))
def test_pieces_of_pairs_make_up_the_text(text):
    assert "".join(UNCUT.split(text)) == text


def test_a_byte_that_is_no_character_alone_is_shown():
    assert UNCUT.split("日") == [r"\xe6", r"\x97", r"\xa5"]
    assert [UNCUT.name(token) for token in UNCUT.encode("\n\t")] == [r"\n", r"\t"]
    assert PAIRS.decode(UNCUT.encode("日")[:2]) == "\ufffd"


def test_special_words_of_a_text_are_pieces():
    ids = UNCUT.encode("<s>a</s><pad>")
    assert min(ids) >= 4 and UNCUT.decode(ids) == "<s>a</s><pad>"


def test_training_of_pairs_is_repeatable_and_bounded():
    again = BpeTokenizer.train(dict(reversed(LINES.items())), 12, 320, 2)
    assert again.to_json() == PAIRS.to_json() and FEWEST < len(PAIRS) <= 320
    assert len(BpeTokenizer.train(LINES, 12, FEWEST, 1)) == FEWEST
    ten, many = (BpeTokenizer.train({"abab": times, "cdcd": 10}, 12, 280, 2).to_json() for times in (10, 10**9))
    assert ten == many


def put(*keys, value):
    """A change of JSON data that sets one value."""

    def change(content):
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


def rename(old, new):
    """A change of the library's vocabulary that renames a token."""

    def change(content):
        vocabulary = content["library"]["model"]["vocab"]
        vocabulary[new] = vocabulary.pop(old)

    return change


ADDED = {"id": 5, "content": "moon", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}


@pytest.mark.parametrize(
    ("tokenizer", "change", "named"),
    [
        (WORDS, lambda content: content.pop("kind"), "lacks 'kind'"),
        (WORDS, put("kind", value=["word"]), "of the kind"),
        (WORDS, put("max_tokens", value=True), "max_tokens"),
        (WORDS, put("vocabulary", 3, value="moon"), "wrong special words"),
        (FIELDS, lambda content: content.pop("records"), "lacks 'records'"),
        (FIELDS, put("records", value=None), "records: "),
        (FIELDS, put("records", "columns", value=[]), "records: .*none is named"),
        (FIELDS, put("records", "columns", value=["time", "user", "host"]), "not that of its records"),
        (FIELDS, put("max_tokens", value=3), "not that of its records"),
        (FIELDS, put("vocabulary", 5, value="moon"), "not that of its records"),
        (FIELDS, put("vocabulary", 9, value=7), "not that of its records"),
        (FIELDS, put("vocabulary", value="moon"), "not that of its records"),
        (CHARS, lambda content: content.pop("max_tokens"), "lacks 'max_tokens'"),
        (CHARS, put("max_tokens", value=0), "max_tokens"),
        (CHARS, put("max_tokens", value="20"), "max_tokens"),
        (PAIRS, lambda content: content.pop("library"), "lacks 'library'"),
        (PAIRS, put("max_tokens", value=-1), "max_tokens"),
        (PAIRS, put("library", value="moon"), "damaged"),
        (PAIRS, put("library", value={}), "damaged"),
        (PAIRS, put("library", "model", "type", value="WordPiece"), "damaged"),
        (PAIRS, put("library", "model", "merges", value=[["Q", "moon"]]), "damaged"),
        (PAIRS, put("library", "model", "vocab", "!", value=10**6), "damaged"),
        (PAIRS, put("library", "model", "vocab", "!", value=-1), "damaged"),
        (PAIRS, rename("!", "日"), "damaged"),
        (PAIRS, put("library", "added_tokens", value=[ADDED | {"special": True}]), "damaged"),
        (PAIRS, put("library", "normalizer", value={"type": "Lowercase"}), "damaged"),
        (PAIRS, put("library", "pre_tokenizer", value=None), "damaged"),
        (PAIRS, put("library", "decoder", value=None), "damaged"),
        (PAIRS, put("library", "model", "dropout", value=0.5), "damaged"),
    ],
    ids=lambda value: getattr(value, "kind", None) or (value if isinstance(value, str) else ""),
)
def test_damaged_json_is_refused(tokenizer, change, named):
    content = json.loads(msgspec.json.encode(tokenizer.to_json()))
    change(content)
    with pytest.raises(BundleError, match=named) as refusal:
        load_tokenizer(content)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("content", [None, [], 5, "word", {}])
def test_what_is_no_tokenizer_is_refused(content):
    with pytest.raises(BundleError, match="lacks 'kind'"):
        load_tokenizer(content)


def test_pairs_without_the_library_are_refused_in_one_line(monkeypatch):
    content = PAIRS.to_json()
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    line = r"^[^\n]*need the package tokenizers, [^\n]*pip install 'oddline\[bpe\]'$"
    with pytest.raises(BundleError, match=line):
        load_tokenizer(content)
    with pytest.raises(ConfigError, match=line):
        BpeTokenizer.train(LINES, 12, 320, 2)
    assert reload(WORDS).encode("sshd") == WORDS.encode("sshd")


HEADER = msgspec.to_builtins(RECORDS)


def configured(**content):
    """A configuration with these keys."""
    return load({"": RunConfig}, options=content)


@pytest.mark.parametrize(
    ("content", "kind", "max_tokens"),
    [
        ({}, "word", 64),
        ({"tokenizer": {"max_tokens": 5}}, "word", 5),
        ({"tokenizer": {"kind": "char"}}, "char", 122),
        ({"tokenizer": {"kind": "char", "max_tokens": 9}}, "char", 9),
        ({"tokenizer": {"kind": "bpe"}}, "bpe", 64),
        ({"header": HEADER}, "fields", 4),
        ({"header": HEADER, "tokenizer": {"max_tokens": 4}}, "fields", 4),
        ({"header": HEADER, "tokenizer": {"kind": "char"}}, "char", 122),
        ({"header": HEADER, "tokenizer": {"kind": "bpe"}}, "bpe", 64),
    ],
)
def test_the_configuration_chooses_the_tokenizer_and_says_its_length(content, kind, max_tokens):
    config = configured(**content)
    tokenizer = train_tokenizer(config, ROWS if "header" in content else LINES)
    assert (tokenizer.kind, tokenizer.max_tokens, config.tokenizer.max_tokens) == (kind, max_tokens, max_tokens)
    again = msgspec.convert(msgspec.to_builtins(config), RunConfig)
    assert again == config, "what a run folder keeps is read back as it was"


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"tokenizer": {"kind": "syllable"}}, "tokenizer"),
        ({"tokenizer": {"kind": "bpe", "max_vocabulary": FEWEST - 1}}, "needs 260 or more"),
        ({"tokenizer": {"max_tokens": 0}}, "tokenizer"),
        ({"header": HEADER, "tokenizer": {"max_tokens": 64}}, "a record has 4 parts; set it to null"),
    ],
)
def test_a_configuration_of_no_tokenizer_is_refused(content, named):
    with pytest.raises(ConfigError, match=named):
        configured(**content)


def test_the_limits_of_the_configuration_hold():
    config = configured(tokenizer={"kind": "bpe", "max_vocabulary": 261})
    assert len(train_tokenizer(config, LINES)) == 261
    assert len(train_tokenizer(configured(tokenizer={"max_vocabulary": 6}), LINES)) == 6
    rare = configured(header=HEADER, tokenizer={"min_frequency": 10})
    assert train_tokenizer(rare, ROWS).vocabulary[8:] == ["h1", "EXAMPLE", "", "Network"]
