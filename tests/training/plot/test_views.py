"""Pictures of what language models make of lines: what is computed for them, what is drawn, what is refused."""

import struct
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from helpers.made_up import AUTH_HEADER, auth_rows, made_up_lines
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from agent.errors import ConfigError, SinkError, SourceError
from training.cli import app
from training.data.corpus import read_corpus
from training.evaluation.model import open_subject
from training.fitting.job import Job, run_job
from training.plot.drawing import _fold, draw_bars, draw_line, draw_matrix, expected, predicted, token_label
from training.plot.style import clean, save
from training.plot.views import average_weights, carried, inspect_line, plot_attention, plot_line

STREAM = r"^[^,]*,([^,]+)"
SMALL = {"embedding": 6, "hidden": 5, "context": 4, "batch_size": 16, "epochs": 1}


def make_run(folder: Path, stream: str | None, **model: object) -> Path:
    (folder / "auth.csv").write_bytes(b"".join(auth_rows(200)))
    content = {"family": "language-model", "header": AUTH_HEADER, "stream": stream, "model": SMALL | model}
    (folder / "config.yaml").write_bytes(msgspec.yaml.encode(content))
    logs, config = [folder / "auth.csv"], folder / "config.yaml"
    run_job(Job(logs, folder / "run", config, (), {"seed": 1}, None, None, None, "cpu", 1, False))
    return folder / "run"


@pytest.fixture(scope="module")
def tiered(tmp_path_factory):
    """A run of a model with tiered attention on the fields of records; auth.csv lies beside it."""
    return make_run(tmp_path_factory.mktemp("tiered"), STREAM, tier="attention")


@pytest.fixture(scope="module")
def transformer(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("transformer"), None, architecture="transformer", heads=2)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A run of a model without attention that reads both ways."""
    return make_run(tmp_path_factory.mktemp("plain"), None, bidirectional=True)


@pytest.fixture
def log(tmp_path):
    (tmp_path / "app.log").write_bytes(b"".join(made_up_lines(60, seed=2, odd=(30,))))
    return tmp_path / "app.log"


def opened(path, log):
    subject = open_subject(path)
    corpus = read_corpus([log], subject.header, subject.masks, subject.stream, normalizer=subject.normalizer)
    return subject, corpus, [subject.normalizer.texts[text_id] for text_id in corpus.ids.tolist()]


# what is computed


def test_the_average_is_that_of_the_lines_with_the_most_common_number_of_tokens(char_bundle, log):
    subject, corpus, texts = opened(char_bundle, log)
    lengths = [len(subject.tokenizer.encode(text)) for text in texts[:40]]
    common = max(sorted(set(lengths)), key=lengths.count)
    by_hand = [
        subject.scorer.all_outputs(text, [])["attention"]
        for text, length in zip(texts[:40], lengths, strict=True)
        if length == common
    ]
    found = average_weights(subject, corpus, "attention", 40)
    assert (found.tokens, found.lines) == (common, len(by_hand)) and 1 < len(by_hand) < 40
    np.testing.assert_allclose(found.weights, np.mean(by_hand, axis=0), atol=1e-6)
    np.testing.assert_allclose(found.weights.sum(axis=1), [0, *[1] * common], atol=1e-5)


def by_stream(subject, corpus, texts):
    """What the model gives for each line in order, each stream's state carried by hand."""
    states = {}
    for stream, text in zip(corpus.streams.tolist(), texts, strict=True):
        before = states.get(stream, [np.zeros(4, np.float32)] * 2)
        found = subject.scorer.all_outputs(text, before)
        states[stream] = [found["next_hidden"], found["next_cell"]]
        yield before, found


def test_the_state_before_a_line_is_that_of_all_lines_before_it(tiered):
    log = tiered.parent / "auth.csv"
    subject, corpus, texts = opened(tiered, log)
    rows = list(by_stream(subject, corpus, texts))
    found = average_weights(subject, corpus, "tier_attention", 150)
    np.testing.assert_allclose(
        found.weights, np.mean([row["tier_attention"] for _, row in rows[:150]], axis=0), atol=1e-5
    )
    assert found.lines == 150 and found.weights.sum() == pytest.approx(1, abs=1e-5)
    for number in (1, 2, 77, 200):
        tokens, text, before = inspect_line(subject, corpus, number)
        wanted, outputs = rows[number - 1]
        assert text == texts[number - 1]
        np.testing.assert_allclose(before, wanted, atol=1e-5)
        np.testing.assert_allclose([token["bits"] for token in tokens], outputs["losses"] / np.log(2), atol=2e-3)
    assert not np.allclose(rows[76][0], 0), "line 77 has lines of its stream before it"


def test_what_is_carried_does_not_depend_on_the_part_that_is_asked_for(tiered, monkeypatch):
    subject, corpus, _ = opened(tiered, tiered.parent / "auth.csv")
    whole = carried(subject, corpus, range(200))
    monkeypatch.setattr("training.plot.views._AT_ONCE", 17)
    for rows in (range(5), range(33, 35), range(50, 120), range(199, 200)):
        for part, one in zip(carried(subject, corpus, rows), whole, strict=True):
            np.testing.assert_allclose(part, one[rows.start : rows.stop], atol=1e-6)


def test_a_model_without_a_state_carries_nothing(char_bundle, log):
    subject, corpus, _ = opened(char_bundle, log)
    assert carried(subject, corpus, range(10)) == []


# what is drawn


TOKENS = [
    {"text": "ws1", "field": "pc", "bits": 1.0, "expected": [{"text": "ws2", "p": 0.25}]},
    {"text": "C$1$", "field": "user", "bits": 9.0, "expected": [{"text": "<unk user>", "p": 0.3, "unknown": True}]},
    {"text": "", "end": True, "bits": 0.1, "expected": [{"text": "ws2", "p": 0.01}]},
]


def test_how_tokens_are_written():
    assert [token_label(token, "fields") for token in TOKENS] == ["ws1", "C$1$", "(end)"]
    assert [expected(token, "fields") for token in TOKENS] == ["ws2 25%", "(unknown) 30%", "ws2 1%"]
    assert [predicted(token, "fields") for token in TOKENS] == ["ws1 50%", "(unknown) 30%", "(end) 93%"]
    space = {"text": " ", "bits": 3.0, "expected": [{"text": "<unk>", "p": 0.5, "unknown": True}]}
    assert (token_label(space, "char"), expected(space, "char"), token_label(TOKENS[2], "char")) == ("␣", "\ufffd", "↵")
    assert token_label({"text": ""}, "word") == '""'


@given(st.text(max_size=60), st.integers(1, 40))
def test_a_text_is_made_of_what_can_be_drawn(text, most):
    found = clean(text, most)
    assert len(found) == min(len(text), most) and found.isprintable()
    assert clean(found, most) == found


def test_strange_characters_are_replaced_and_others_kept():
    assert clean("a\x1b[é☃漢\ud800\n$") == "a\ufffd[é☃\ufffd\ufffd\ufffd$"
    assert clean("x" * 50, 5) == "xxxx…"


def texts_of(axes):
    return [text.get_text() for text in axes.texts]


def test_the_matrix_names_tokens_and_leaves_out_what_holds_nothing():
    weights = np.tril(np.arange(1, 17).reshape(4, 4) / 20.0, -1)
    axes, _ = draw_matrix(weights, ["a", "b", "c"], ["a", "b", "c"], ["p", "q", "r", "s"], "title").axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["(begin)", "a", "b"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "c", "(end)"]
    drawn = axes.images[0].get_array()
    assert drawn.filled(-1).tolist() == [[0.25, -1, -1], [0.45, 0.5, -1], [0.65, 0.7, 0.75]]
    assert texts_of(axes) == ["0.25", "0.45", "0.50", "0.65", "0.70", "0.75", "predicted", "q", "r", "s"]


def test_the_matrix_of_places_that_see_themselves_is_whole():
    weights = np.tril(np.full((3, 3), 0.5))
    axes, _ = draw_matrix(weights, ["a", "b"], ["a", "b"], [], "title").axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["(begin)", "a", "b"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "(end)"]
    assert axes.images[0].get_array().count() == 6


def test_bars_have_the_height_of_the_weights():
    (axes,) = draw_bars(np.array([0.25, 0.75]), ["a", "b"], "title").axes
    assert [bar.get_height() for bar in axes.patches] == [0.25, 0.75]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b"]


def test_the_boxes_of_a_line_are_darker_where_it_surprises():
    axes, _ = draw_line(TOKENS, "fields", "title").axes
    light = [sum(box.get_facecolor()[:3]) for box in axes.patches]
    assert len(light) == 3 and light[1] < light[0] < light[2]
    assert texts_of(axes) == ["pc", "ws1", "ws2 25%", "user", "C$1$", "(unknown) 30%", "(end)", "ws2 1%"]


@given(st.lists(st.floats(0.5, 150), min_size=1, max_size=200))
def test_boxes_do_not_overlap_and_rows_are_not_too_wide(widths):
    places, height = _fold(widths, 3)
    rows = {}
    for (left, top, width), wanted in zip(places, widths, strict=True):
        assert width == wanted and top >= 0 and top + 1 < height
        row = rows.setdefault(top, [])
        assert not row or left >= sum(row[-1])
        assert left == 0 or left + width <= 116
        row.append((left, width))
    assert list(rows) == sorted(rows)


def size_of(path: Path) -> tuple[int, int]:
    """Width and height of a PNG."""
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", data[16:24])


@pytest.mark.parametrize("kind", ["char", "bpe", "word"])
def test_hostile_lines_are_drawn_without_a_warning(tmp_path, kind):
    strange = ["\x1b", "\ud800", "漢", "🜁", "$x_1$", "\\frac", "ا", "\u202e", "e\u0301", "", " ", "x" * 900, "<&>--"]
    likely = [{"text": text, "p": 0.1} for text in strange]
    tokens = [{"text": text, "bits": 700.0, "expected": [other]} for text, other in zip(strange, likely, strict=True)]
    for suffix, start in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
        save(draw_line(tokens, kind, "$\x00" * 200), tmp_path / f"a{suffix}")
        assert (tmp_path / f"a{suffix}").read_bytes().startswith(start)
    labels = [token_label(token, kind) for token in tokens]
    weights = np.tril(np.ones((14, 14)), -1)
    save(draw_matrix(weights, labels, labels, [*labels, "$"], "title"), tmp_path / "b.png")
    assert min(size_of(tmp_path / "b.png")) > 500


@pytest.mark.parametrize("count", [1, 16, 40, 130])  # the largest that has cells of each size
def test_a_picture_grows_with_its_tokens(tmp_path, count):
    labels = ["x"] * count
    weights = np.tril(np.ones((count + 1, count + 1)), -1)
    save(draw_matrix(weights, labels, labels, [], "title"), tmp_path / "a.png")
    save(
        draw_line([{"text": "x", "bits": 0.0, "expected": [{"text": "y", "p": 0}]}] * count, "char", ""),
        tmp_path / "b.png",
    )
    for name in ("a.png", "b.png"):
        width, height = size_of(tmp_path / name)
        assert 60 < width < 4000 and 60 < height < 4000


# from the command line


def plot(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["plot", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_pictures_of_a_bundle(char_bundle, log, tmp_path):
    out = tmp_path / "a.png"
    said = plot("attention", char_bundle, log, "--out", out, "--most", 40)
    assert said.startswith(f"wrote {out}: average attention over ") and said.strip().endswith("among the first 40")
    width, height = size_of(out)
    assert 900 < width < 2500 and 900 < height < 2500
    assert plot("attention", char_bundle, log, "--line", 31, "--out", out).endswith("attention in line 31 of app.log\n")
    said = plot("line", char_bundle, log, "--line", 31, "--out", tmp_path / "b.SVG")
    assert "line 31 of app.log: " in said and " bits, " in said
    assert (tmp_path / "b.SVG").read_bytes().startswith(b"<?xml")


def test_the_rest_of_a_line_that_was_cut_is_told(char_bundle, tmp_path):
    (tmp_path / "long").write_bytes(b"Mar  9 00:00:00 web1 shopd[7]: get %s\n" % (b"x" * 99))
    title = plot_line(char_bundle, [tmp_path / "long"], tmp_path / "a.png", 1)
    assert title.endswith("; 30 more tokens were not read")


@pytest.mark.parametrize("line", [[], ["--line", 200]])
def test_pictures_of_runs(tiered, transformer, plain, tmp_path, line):
    sizes = []
    for number, run in enumerate((tiered, transformer)):
        plot("attention", run, run.parent / "auth.csv", "--out", tmp_path / f"{number}.png", *line)
        sizes.append(size_of(tmp_path / f"{number}.png"))
    assert all(400 < side < 1200 for size in sizes for side in size)
    plot("line", plain, plain.parent / "auth.csv", "--out", tmp_path / "line.pdf", "--line", 3)
    assert (tmp_path / "line.pdf").read_bytes().startswith(b"%PDF")


def test_the_same_picture_is_the_same_file(char_bundle, log, tmp_path):
    for suffix in (".png", ".svg", ".pdf"):
        paths = [tmp_path / f"{name}{suffix}" for name in "ab"]
        for path in paths:
            plot_line(char_bundle, [log], path, 31)
        assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("line", [0, -1, 61, 10**9])
def test_a_line_that_is_not_there_is_refused(char_bundle, log, tmp_path, line):
    for draw in (plot_line, plot_attention):
        with pytest.raises(ConfigError, match=f"--line {line}: there are the lines 1 to 60"):
            draw(char_bundle, [log], tmp_path / "a.png", line)


@pytest.mark.parametrize("name", ["a.gif", "a", "a.png.gz"])
def test_an_unknown_kind_of_picture_is_refused(char_bundle, log, tmp_path, name):
    with pytest.raises(ConfigError, match=r"ends in \.png, \.svg, \.pdf"):
        plot_attention(char_bundle, [log], tmp_path / name)


def test_a_picture_that_cannot_be_written_is_refused(char_bundle, log, tmp_path):
    with pytest.raises(SinkError, match=r"none/a\.png cannot be written: No such file or directory"):
        plot_line(char_bundle, [log], tmp_path / "none" / "a.png", 1)
    (tmp_path / "b.png").mkdir()
    with pytest.raises(SinkError, match=r"b\.png cannot be written: Is a directory"):
        plot_attention(char_bundle, [log], tmp_path / "b.png")


def test_a_log_without_lines_is_refused(char_bundle, tmp_path):
    (tmp_path / "empty").touch()
    with pytest.raises(SourceError, match="holds no line"):
        plot_attention(char_bundle, [tmp_path / "empty"], tmp_path / "a.png")


def test_a_model_without_attention_is_refused(plain, tmp_path):
    with pytest.raises(ConfigError, match=r"has no attention to draw; .*model\.tier: attention"):
        plot_attention(plain, [plain.parent / "auth.csv"], tmp_path / "a.png")


def test_a_model_of_another_family_is_refused(bundle, log, tmp_path):
    with pytest.raises(ConfigError, match="holds no language model"):
        plot_line(bundle, [log], tmp_path / "a.png", 1)


def test_without_matplotlib_it_says_what_to_install(char_bundle, log, tmp_path):
    code = (
        "import sys\n"
        "sys.modules['matplotlib'] = None\n"
        "from training.cli import main\n"
        "sys.argv = ['training', *sys.argv[1:]]\n"
        "main()\n"
    )
    for what in (["attention"], ["line", "--line", "3"]):
        command = [sys.executable, "-c", code, "plot", *what, char_bundle, log, "--out", tmp_path / "a.png"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2 and done.stderr.count("\n") == 1
        assert "matplotlib" in done.stderr and "pip install 'oddline[cpu,train]'" in done.stderr
