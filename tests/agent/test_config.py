"""The configuration: what is accepted, and how a mistake is told."""

import pytest

from agent.config import AgentConfig, InputSpec, load_config
from agent.errors import ConfigError
from agent.sources.decoding.multiline import Multiline
from agent.sources.decoding.settings import ReadingSettings


def write(tmp_path, text: str):
    path = tmp_path / "agent.yaml"
    path.write_text(text)
    return path


def test_defaults(tmp_path):
    assert load_config(write(tmp_path, "")) == AgentConfig()


def test_sources_take_what_is_set_for_all_and_what_is_set_for_each(tmp_path):
    each = "{path: /b, from: end, encoding: latin-1, multiline: {indentation: true}}"
    config = load_config(write(tmp_path, f"from: start\nmax_line: 500\nsources: [/a, {each}]"))
    assert config.inputs() == [
        InputSpec("/a", "start", ReadingSettings(500)),
        InputSpec("/b", "end", ReadingSettings(500, "latin-1", Multiline(indentation=True))),
    ]


@pytest.mark.parametrize(
    ("fields", "key"),
    [({"max_line": 63}, "max_line"), ({"encoding": "hex"}, "encoding"), ({"multiline": Multiline()}, "multiline")],
)
def test_settings_of_reading_that_cannot_be_are_refused_wherever_they_come_from(fields, key):
    with pytest.raises(ConfigError, match=f"^{key}: "):
        ReadingSettings(**fields)


def test_a_sigma_threshold_is_completed(tmp_path):
    config = load_config(write(tmp_path, "threshold: {kind: sigma, k: 3}"))
    assert (config.threshold.k, config.threshold.window) == (3, 100)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bundel: x", r"bundel: unknown key; allowed here: sources, bundle, sinks"),
        (
            "sources: [{path: a, form: start}]",
            r"sources\[0\]\.form: unknown key; allowed here: path, from",
        ),
        ("threshold: {kind: fixed, val: 1}", r"threshold\.val: unknown key; allowed here: kind, value, q, k, window"),
        ("max_line: long", r"max_line: Expected `int`, got `str`"),
        ("provider: tpu", r"provider: Invalid enum value 'tpu'; choose one of auto, cpu, cuda"),
        (
            "sources: [{path: a, from: middle}]",
            r"sources\[0\]\.from: Invalid enum value 'middle'; choose one of",
        ),
        ("header: syslog", r"unknown header format 'syslog'"),
        ("stream: '('", r"is no regular expression"),
        ("max_line: 3", r"max_line: 3 is too small; the least is 64"),
        ("threshold: {kind: fixed}", r"fixed takes value"),
        ("sinks:\n- console:", r"sinks\[0\]: .* wants quotes in YAML"),
        ("sources:\n- journal:", r"sources\[0\]\.journal: unknown key; .* wants quotes in YAML"),
        ("- a list", r"Expected `object`, got `array`"),
        ("a: [1", r"is no YAML"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(tmp_path, text, words):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=words) as caught:
        load_config(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\0")
    with pytest.raises(ConfigError, match=r"binary.yaml"):
        load_config(tmp_path / "binary.yaml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sources: [/a]\nbundle: b\nsources: [/b]\n", "sources: named twice, in lines 1 and 3; name it once"),
        ("sinks: []\n\n\n'sinks': ['console:']\n", "sinks: named twice, in lines 1 and 4"),
        ("sources:\n- path: /a\n  from: end\n  path: /b\n", "path: named twice, in lines 2 and 4"),
        ("threshold: {kind: fixed, value: 1,\n value: 2}", "value: named twice, in lines 1 and 2"),
        ("{bundle: a, bundle: b}", "bundle: named twice, in lines 1 and 1"),
        ("a: 2024-13-45", "is no YAML: month must be in"),
        ("[" * 1000, "it is nested too deeply; the most are 32 levels"),
        ("sources: ['']", r"sources\[0\]: '' is an empty name; write one"),
        ("sources: [/a, {path: ''}]", r"sources\[1\]\.path: '' is an empty name"),
        ("bundle: ''", "bundle: '' is an empty name"),
        ("state: ''", "state: '' is an empty name"),
        ("metrics_file: ''", "metrics_file: '' is an empty name"),
        ('sinks: ["jsonl:a\\0b"]', r"sinks\[0\]: .* has a character that no path can have"),
        ('state: "a\\0b"', "state: .* has a character that no path can have"),
        ("sources: ['listen:foo']", r"sources\[0\]: listen:foo is not understood; write listen:udp://HOST:PORT"),
        ("sources: ['listen:udp://:99999']", r"sources\[0\]: .* is not understood"),
        ("sources: ['listen:unix:']", r"sources\[0\]: listen:unix: is not understood; write listen:unix:PATH"),
        (f"sources: ['listen:unix:/{'x' * 200}']", r"sources\[0\]: .* a path of at most 107 bytes"),
        ("sources: ['journal:?color=red']", r"sources\[0\]: .*color='red' is not understood"),
        (
            "sources: [{path: 'journal:', encoding: utf-16}]",
            r"sources\[0\].path: .*encoding and multiline are for files",
        ),
    ],
)
def test_what_would_pass_in_silence_or_fail_later_is_told(tmp_path, text, words):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=words) as caught:
        load_config(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_keys_that_an_alias_brings_may_be_named_again(tmp_path):
    path = write(
        tmp_path,
        "sources:\n- &one {path: /a, from: start}\n- &two {<<: *one, path: /b}\n- {<<: *two, <<: *one, path: /c}\n",
    )
    assert [(one.path, one.start) for one in load_config(path).inputs()] == [
        ("/a", "start"),
        ("/b", "start"),
        ("/c", "start"),
    ]


def test_an_empty_name_on_the_command_line_is_told(call_agent):
    for arguments in (["tail", ""], ["tail", "/nowhere/log", "--bundle", ""]):
        done = call_agent(*arguments, "--once", "--sink", "console:")
        assert done.returncode == 2 and "command line: " in done.stderr and "'' is an empty name" in done.stderr


HOSTILE = [
    "{" * 2000,
    "a: " + "{b: " * 40 + "1" + "}" * 40,
    "a: &a [" + "x," * 30 + "]\n" + "".join(f"{b}: &{b} [{f'*{a},' * 30}]\n" for a, b in ("ab", "bc", "cd", "de")),
    "a: &a [1, *a]",
    "stream: " + "x" * (1 << 20),
    "max_line: 1" + "0" * 5000,
    "max_line: 1" + "0" * 400,
    "max_outbox: 9223372036854775808",
    "fold_lines: -1" + "0" * 30,
    "sources: [{path: a, multiline: {indentation: true, timeout: .inf}}]",
    "sources: [{path: a, multiline: {indentation: true, max_lines: 99999999999999999999}}]",
    "max_alert_share: .nan",
    "slow_walk_share: -.inf",
    "threshold: {kind: fixed, value: .NaN}",
    "threshold: {kind: fixed, value: .inf}",
    "threshold: {kind: fixed, value: 1.0e+999}",
    "threshold: {kind: fixed, value: 1.0e+300}",
    "threshold: {kind: quantile, q: .nan}",
    "threshold: {kind: sigma, k: .inf, window: 9}",
    "threshold: {kind: sigma, k: 2, window: 4611686018427387904}",
    "bundle: !!int ''",
    "bundle: !!timestamp x",
    "bundle: !!bool x",
    "bundle: !!binary x",
    "bundle: !!python/object/apply:os.getcwd []",
    "? [a]\n: b",
    "stream: 'a{4294967296}'",
    "stream: '" + "(" * 400 + "a" + "){9}" * 400 + "'",
    "header: '" + "x" * 70000 + "'",
    *(f"{key}: {value}" for key in ("bundle", "state", "metrics_file") for value in ('"a\\0b"', '"a\\uD800b"')),
    *(f"{key}: [{value}]" for key in ("sources", "sinks") for value in ('"jsonl:a\\0b"', '"jsonl:a\\uDFFFb"')),
]
NO_TEXT = ["rot13", "rot_13", "base64", "hex", "zlib_codec", "bz2", "uu", "quopri", "idna", "punycode", "undefined"]
NO_TEXT += ["unicode_escape", "raw_unicode_escape", "mbcs", "oem", "charmap"]
NO_TEXT += ["a\\0b", "../codecs", "\\uD800", " ", "x" * 9999]


@pytest.mark.parametrize(
    "text", [*HOSTILE, *(f'sources: [{{path: a, encoding: "{name}"}}]' for name in NO_TEXT)], ids=lambda text: text[:40]
)
def test_whatever_stands_in_the_file_it_is_a_refusal_in_one_line(tmp_path, text):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value) and len(str(caught.value)) < 2000


def test_aliases_that_make_little_are_taken(tmp_path):
    text = "sources:\n- &app {path: /a, from: start}\n- {<<: *app, path: /b}\nsinks: &none []\n"
    config = load_config(write(tmp_path, text))
    assert [(one.path, one.start) for one in config.sources] == [("/a", "start"), ("/b", "start")]
