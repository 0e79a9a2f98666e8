"""The configuration: what is accepted, and how a mistake is told."""

import pytest

from agent.config import AgentConfig, FileInput, load_config
from agent.errors import ConfigError


def write(tmp_path, text: str):
    path = tmp_path / "agent.yaml"
    path.write_text(text)
    return path


def test_defaults(tmp_path):
    assert load_config(write(tmp_path, "")) == AgentConfig()


def test_sources_take_the_general_start(tmp_path):
    config = load_config(write(tmp_path, "from: start\nsources: [/a, {path: /b, from: end}]"))
    assert config.inputs() == [FileInput("/a", "start"), FileInput("/b", "end")]


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
