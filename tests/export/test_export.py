"""From a run to a bundle: verified against torch, calibrated as the agent scores, written whole or not at all."""

import dataclasses
import gzip
import json
import random
import re
import shutil
import sys
from datetime import datetime
from importlib.metadata import version

import msgspec
import numpy as np
import onnx
import pytest
import torch
from helpers.made_up import made_up_lines
from onnx import numpy_helper
from scipy.stats import spearmanr

from agent.bundle.bundle import TOLERANCE, Bundle, file_sha256
from agent.bundle.known_texts import text_hash
from agent.bundle.manifest import FORMAT_VERSION, Tensor, Window, read_manifest
from agent.errors import BundleError, ConfigError
from agent.scoring.engine import ScoringEngine
from agent.text.lines import LineSplitter
from agent.text.tokenizers import PAD
from export import parity, quantize
from export.cli import main
from export.writer import export_run
from training.fitting.run_folder import load_run
from training.models.base import GraphSpec


@pytest.fixture
def run(bundle):
    """The run that the bundle was made of. Not to be changed: copy it."""
    return load_run(bundle.parent / "run")


@pytest.fixture
def graphs(bundle, monkeypatch):
    """Takes graphs that were exported before: the exporter needs seconds for each."""
    monkeypatch.setattr("export.writer.export_graph", lambda spec, path: shutil.copy(bundle / path.name, path))


@pytest.fixture
def call(capfd, monkeypatch):
    """The command `export`: its exit code and the lines on standard error; nothing goes to standard output."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["export", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capfd.readouterr()
        assert shown.out == ""
        return ended.value.code, shown.err.splitlines()

    return run


def scores(bundle, lines):
    """What the agent gives to lines, those without a score left out."""
    block = LineSplitter("log").feed(b"".join(lines))
    found = ScoringEngine(Bundle.load(bundle)).score(block).scores
    return found[~np.isnan(found)]


def assert_scale(bundle, lines):
    scale, found = read_manifest(bundle).scale, scores(bundle, lines).astype(float)
    assert scale.lines == len(found) > 0 and (scale.quantiles[0], scale.quantiles[-1]) == (0, 1)
    assert scale.scores == pytest.approx(np.quantile(found, scale.quantiles), rel=1e-4, abs=1e-5)
    assert (scale.mean, scale.std) == pytest.approx((found.mean(), found.std()), rel=1e-4, abs=1e-5)


def test_the_manifest_tells_all(bundle, run):
    manifest = read_manifest(bundle)
    log = bundle.parent / "log"
    assert (manifest.format_version, manifest.name, manifest.family) == (FORMAT_VERSION, "bundle", "two-stage")
    assert datetime.fromisoformat(manifest.created).tzinfo is not None
    assert manifest.producer["opset"] == 20 and manifest.producer["quantize"] == "none"
    assert manifest.producer["torch"] == version("torch")
    assert {"oddline", "torch", "onnx", "onnxscript", "onnxruntime"} <= manifest.producer.keys()
    assert manifest.files == {path.name: file_sha256(path) for path in bundle.iterdir() if path.name != "manifest.json"}
    assert manifest.files.keys() == {"encoder.onnx", "detector.onnx", "tokenizer.json", "known.npz", "parity.npz"}
    assert manifest.training["lines"] == {"training": 480, "validation": 120}
    (source,) = manifest.training["sources"]
    assert (source["name"], source["sha256"], source["lines"]) == ("log", file_sha256(log), 600)
    assert manifest.training["texts"] == len(run.texts) - 1 and manifest.training["words"] == len(run.tokenizer)
    assert manifest.scale.lines == 117  # three lines fill the window
    assert len(manifest.scale.scores) == len(manifest.scale.quantiles) > 100
    assert (
        manifest.scale.scores == sorted(manifest.scale.scores) and manifest.scale.scores[0] < manifest.scale.scores[-1]
    )
    assert (manifest.threshold.kind, manifest.threshold.q) == ("quantile", 0.99)
    assert (manifest.window, manifest.header, manifest.stream) == (Window(4), "auto", None)
    assert manifest.metrics["difference"].keys() == manifest.metrics["losses"].keys() == manifest.graphs.keys()
    assert 0 <= max(manifest.metrics["difference"].values()) <= TOLERANCE


def test_the_graphs_tell_nothing_of_where_they_were_made(bundle):
    traces = ("site-packages", "training", ".py", "forward")
    for graph in bundle.glob("*.onnx"):
        content = graph.read_bytes()
        assert not [trace for trace in traces if trace.encode() in content]


def test_the_recorded_cases_are_small_and_of_every_length(bundle):
    with np.load(bundle / "parity.npz") as cases:
        shapes = {name: cases[name].shape for name in cases}
    assert {name.split("/")[1] for name in shapes if name.startswith("encoder")} == {"1", "3", "17", "64"}
    assert shapes["detector/3/windows"] == (2, 3, 6) and shapes["encoder/17/ids"] == (2, 17)
    assert max(Bundle.load(bundle).parity().values()) <= TOLERANCE


@pytest.mark.parametrize("kind", ["bundle", "timed_bundle", "codebook_bundle"])
def test_the_scale_is_what_the_agent_gives_to_the_held_out_lines(request, kind):
    assert_scale(request.getfixturevalue(kind), made_up_lines(600)[480:])


def test_the_scale_of_streams_is_that_of_the_last_ones(padded_bundle):
    lines = made_up_lines(600)
    keys = [re.search(rb"req-\d+|$", line)[0] for line in lines]
    order = list(dict.fromkeys(keys))
    held_out = set(order[-round(0.2 * len(order)) :])
    assert_scale(padded_bundle, [line for key, line in zip(keys, lines, strict=True) if key in held_out])


def test_other_logs_calibrate(graphs, run, bundle, tmp_path):
    one, two = made_up_lines(90, seed=5, odd=(40,)), made_up_lines(60, seed=6)
    (tmp_path / "a").write_bytes(b"".join(one))
    export_run(run, tmp_path / "one", False, [tmp_path / "a"], False)
    assert_scale(tmp_path / "one", one)
    assert read_manifest(tmp_path / "one").scale.scores[-1] > read_manifest(bundle).scale.scores[-1]
    (tmp_path / "b.gz").write_bytes(gzip.compress(b"".join(two)))
    export_run(run, tmp_path / "two", False, [tmp_path / "a", tmp_path / "b.gz"], False)
    assert read_manifest(tmp_path / "two").scale.lines == 90 + 60 - 2 * 3  # windows do not reach over files


def test_too_few_lines_to_calibrate_with(graphs, bundle, tmp_path, call):
    (tmp_path / "short").write_bytes(b"one\ntwo\n")
    code, lines = call("onnx", bundle.parent / "run", "--out", tmp_path / "b", "--calibrate", tmp_path / "short")
    assert code == 2 and len(lines) == 1 and "no line to calibrate with" in lines[0]
    assert not (tmp_path / "b").exists()
    code, lines = call("onnx", bundle.parent / "run", "--out", tmp_path / "b", "--calibrate", tmp_path / "none")
    assert code == 4 and len(lines) == 1 and f"{tmp_path / 'none'} does not exist" in lines[0]


def test_known_texts_are_those_of_the_run(bundle, run):
    known = Bundle.load(bundle).known
    assert known.hashes.tolist() == sorted(int(text_hash(text)) for text in run.texts[1:])
    assert "" not in known and run.texts[1] in known and "never seen" not in known


def test_rare_texts_are_known_but_not_shown(graphs, run, tmp_path):
    counts = np.array([0, 9, 1, 3, 2, 2, 3])
    assert len(run.texts) == len(counts)
    config = msgspec.structs.replace(run.config, known_min_count=3)
    export_run(dataclasses.replace(run, config=config, counts=counts), tmp_path / "b", False, [], False)
    known = Bundle.load(tmp_path / "b").known
    assert len(known.hashes) == 6
    shown = [[token for token in row if token != PAD] for row in known.tokens.tolist()]
    assert shown == [run.tokenizer.encode(run.texts[text]) for text in (1, 3, 6)]  # the most frequent first


class Twice(torch.nn.Module):
    def forward(self, x):
        return 2 * x


def spec(**changes):
    values = {
        "name": "twice",
        "module": Twice(),
        "inputs": [Tensor("x", "float32", ["batch", 3])],
        "outputs": [Tensor("y", "float32", ["batch", 3])],
        "sample": lambda batch, length, draw: {"x": draw.normal(size=(batch, 3)).astype(np.float32)},
        "lengths": (3,),
    }
    return GraphSpec(**values | changes)


class Session:
    """What parity asks of an onnxruntime session, of a graph that doubles its input."""

    def __init__(self, names=("x", "y"), axes=("batch", 3), give=lambda x: 2 * x):
        self.names, self.axes, self.give, self.batches = names, list(axes), give, []

    def get_inputs(self):
        return [Tensor(self.names[0], "", self.axes)]

    def get_outputs(self):
        return [Tensor(self.names[1], "", self.axes)]

    def run(self, _, inputs):
        self.batches.append(len(inputs["x"]))
        return [self.give(inputs["x"])]


for _signature in (Tensor,):  # onnxruntime calls the axes of a tensor its shape
    _signature.shape = property(lambda tensor: tensor.axes)


def test_parity_is_looked_at_over_batches_and_lengths():
    session = Session(axes=(None, 3))
    assert parity.verify(spec(lengths=(1, 5)), session) == 0
    assert sorted(set(session.batches)) == list(parity.BATCHES) and len(session.batches) == 2 * len(parity.BATCHES)
    assert parity.verify(spec(), Session(give=lambda x: 2 * x + 0.5 * TOLERANCE)) == pytest.approx(TOLERANCE / 2, 0.01)


@pytest.mark.parametrize(
    ("session", "error", "words"),
    [
        (Session(names=("z", "y")), parity.NamesError, "its inputs are ['z'], not ['x']"),
        (Session(names=("x", "z")), parity.NamesError, "its outputs are ['z'], not ['y']"),
        (Session(axes=(3, 3)), parity.AxesError, "x has the axes [3, 3], not ['batch', 3]"),
        (Session(axes=("batch", "n")), parity.AxesError, "x has the axes"),
        (Session(give=lambda x: 2 * x[:, :2]), parity.ShapeError, "y has the shape (1, 2), torch gives (1, 3)"),
        (Session(give=lambda x: 2 * x + 2 * TOLERANCE), parity.ValuesError, "y differs from torch by 0.0002"),
        (Session(give=lambda x: x * np.nan), parity.ValuesError, "y differs from torch by nan"),
        (Session(give=lambda x: 2 * x + (len(x) == 7)), parity.ValuesError, "at batch 7 and length 3"),
    ],
)
def test_a_graph_that_differs_is_refused(session, error, words):
    with pytest.raises(error, match=re.escape(words)) as caught:
        parity.verify(spec(), session)
    assert isinstance(caught.value, BundleError) and "graph twice" in str(caught.value)


def damage(path):
    """Changes one weight of a graph a little."""
    model = onnx.load(path)
    tensor = max(model.graph.initializer, key=lambda one: np.prod(one.dims))
    values = numpy_helper.to_array(tensor).copy()
    values.flat[values.size // 2 :] += 0.05
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, path)


@pytest.mark.parametrize("name", ["encoder", "detector"])
def test_a_graph_with_another_weight_makes_no_bundle(graphs, bundle, tmp_path, monkeypatch, call, name):
    def copy(spec, path):
        shutil.copy(bundle / path.name, path)
        if spec.name == name:
            damage(path)

    monkeypatch.setattr("export.writer.export_graph", copy)
    code, lines = call("onnx", bundle.parent / "run", "--out", tmp_path / "b")
    assert code == 3 and len(lines) == 1
    assert re.search(
        rf"graph {name} at batch \d+ and length \d+: \w+ differs from torch by .* 0.0001 is allowed", lines[0]
    )
    assert list(tmp_path.iterdir()) == []


def test_a_module_that_cannot_be_exported_is_told(bundle, tmp_path, monkeypatch, call):
    def refuse(*arguments, **options):
        raise torch.onnx.OnnxExporterError("no translation\nof anything")

    monkeypatch.setattr(torch.onnx, "export", refuse)
    code, lines = call("onnx", bundle.parent / "run", "--out", tmp_path / "b")
    assert (code, lines) == (3, ["error: graph encoder cannot be exported: no translation of anything"])
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_what_it_measured(graphs, bundle, tmp_path, call):
    code, lines = call("onnx", bundle.parent / "run", "--out", tmp_path / "new" / "b")
    assert code == 0 and len(lines) == 3
    for line, name in zip(lines, ("encoder", "detector"), strict=False):
        assert re.fullmatch(rf"{name}: differs from torch by at most [\d.e-]+", line)
    assert lines[2] == f"wrote {tmp_path}/new/b; next: oddline agent check {tmp_path}/new/b"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["b"]


def test_weights_of_8_bits(graphs, bundle, tmp_path, monkeypatch, call, call_agent):
    monkeypatch.setattr(quantize, "_SMALLEST", 64)
    lines = made_up_lines(300)
    random.Random(0).shuffle(lines)  # many unlike windows
    (tmp_path / "log").write_bytes(b"".join(lines))
    options = ("--quantize", "int8", "--calibrate", tmp_path / "log")
    code, said = call("onnx", bundle.parent / "run", "--out", tmp_path / "b", *options)
    assert code == 0
    assert len([line for line in said if "with int8 weights: differs from torch by at most" in line]) == 2
    assert re.match(r"int8: rank correlation of scores 0\.\d{5}, [\d.]+% of the top 1 % stay there", said[-2])
    manifest = read_manifest(tmp_path / "b")
    assert manifest.producer["quantize"] == "int8" and manifest.name == "b"
    assert 0.95 < manifest.metrics["agreement"]["spearman"] < 1
    assert all(TOLERANCE < worst < 1 for worst in manifest.metrics["difference_int8"].values())
    assert call_agent("check", tmp_path / "b").returncode == 0
    assert_scale(tmp_path / "b", lines)
    assert scores(tmp_path / "b", lines).tolist() != scores(bundle, lines).tolist()


def test_a_weight_of_8_bits_is_wrong_by_half_a_step_at_most(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(quantize, "_SMALLEST", 64)
    path = tmp_path / "encoder.onnx"
    shutil.copy(bundle / path.name, path)
    before = {one.name: numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer}
    quantize.quantize(path)
    after = {one.name: numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer}
    replaced = [name for name in before if name not in after]
    assert replaced and all(before[name].size >= 64 for name in replaced)
    for name in replaced:
        levels, scales = after[f"{name}.levels"], after[f"{name}.scales"]
        assert levels.dtype == np.int8
        largest = np.abs(levels.astype(int)).max(axis=1)
        assert (largest == np.where(scales > 1e-30, 127, 0)).all()  # a row of zeros stays one
        assert after[f"{name}.shape"].tolist() == list(before[name].shape)
        wrong = np.abs(levels * scales[:, None] - before[name].reshape(levels.shape))
        assert (wrong <= 0.501 * scales[:, None]).all() and wrong.max() > 0
    for name in before.keys() & after.keys():
        assert np.array_equal(before[name], after[name])


def test_agreement_is_spearmans_rank_correlation_with_ties():
    draw = np.random.default_rng(0)
    exact = np.round(draw.normal(size=1000), 1).astype(np.float32)
    other = np.round(exact + draw.normal(size=1000) / 2, 1).astype(np.float32)
    assert quantize.agreement(exact, other)["spearman"] == pytest.approx(spearmanr(exact, other).statistic)
    rising = np.arange(1000, dtype=np.float32)
    moved = np.where((rising >= 990) & (rising < 995), -1, rising)
    assert quantize.agreement(rising, rising * 2) == {"spearman": pytest.approx(1), "top_percent_kept": 1}
    assert quantize.agreement(rising, moved)["top_percent_kept"] == 0.5
    with pytest.raises(BundleError, match="no score"):
        quantize.agreement(rising[:0], rising[:0])


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_bundle_is_replaced_only_when_told(graphs, bundle, run, tmp_path, call):
    shutil.copytree(bundle, tmp_path / "b")
    before = content(tmp_path / "b")
    code, lines = call("onnx", bundle.parent / "run", "--out", tmp_path / "b")
    assert code == 2 and len(lines) == 1 and "b exists; name another folder, or give --overwrite" in lines[0]
    assert content(tmp_path / "b") == before
    config = msgspec.structs.replace(run.config, known_min_count=3)
    export_run(dataclasses.replace(run, config=config), tmp_path / "b", False, [], True)
    assert content(tmp_path / "b") != before and Bundle.load(tmp_path / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


@pytest.mark.parametrize("inside", [True, False])
def test_what_is_no_bundle_is_never_replaced(graphs, run, tmp_path, inside):
    precious = tmp_path / "precious"
    if inside:
        precious.mkdir()
    (precious / "thesis" if inside else precious).write_text("years of work")
    with pytest.raises(ConfigError, match="precious is no bundle, so it is not overwritten"):
        export_run(run, precious, False, [], True)
    assert (precious / "thesis" if inside else precious).read_text() == "years of work"


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt(), OSError(28, "No space left on device")])
@pytest.mark.parametrize("step", ["verify", "score_lines", "scale_of", "_replay"])
def test_an_export_that_fails_leaves_what_was_there(graphs, bundle, run, tmp_path, monkeypatch, step, error):
    def fail(*arguments):
        raise error

    monkeypatch.setattr(f"export.writer.{step}", fail)
    shutil.copytree(bundle, tmp_path / "old")
    before = content(tmp_path / "old")
    expected = ConfigError if isinstance(error, OSError) else type(error)
    for name in ("new", "old"):
        with pytest.raises(expected):
            export_run(run, tmp_path / name, False, [], True)
    assert [path.name for path in tmp_path.iterdir()] == ["old"] and content(tmp_path / "old") == before


def test_a_bundle_that_cannot_be_moved_in_leaves_the_old_one(graphs, bundle, run, tmp_path, monkeypatch):
    shutil.copytree(bundle, tmp_path / "b")
    before, rename = content(tmp_path / "b"), type(tmp_path).rename

    def fail(path, target):
        if path.name.endswith(".staging"):
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(type(tmp_path), "rename", fail)
    with pytest.raises(ConfigError, match="b cannot be written: Input/output error"):
        export_run(run, tmp_path / "b", False, [], True)
    assert [path.name for path in tmp_path.iterdir()] == ["b"] and content(tmp_path / "b") == before


def test_a_place_that_cannot_be_written_is_told(graphs, bundle, tmp_path, call):
    (tmp_path / "file").write_text("x")
    code, lines = call("onnx", bundle.parent / "run", "--out", tmp_path / "file" / "b")
    assert code == 2 and lines == [f"error: bundle {tmp_path}/file/b cannot be written: Not a directory"]


def alter(name, change):
    def run(folder):
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return run


def arrays(**changed):
    def run(folder):
        with np.load(folder / "heldout.npz") as file:
            columns = {name: file[name] for name in file}
        np.savez(folder / "heldout.npz", **columns | changed)

    return run


def text(old, new):
    return lambda data: data.replace(old, new)


def half(data):
    return data[: len(data) // 2]


def junk(data):
    return b"\xff\x00 junk"


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (shutil.rmtree, 2, "is no run: it has no config.yaml"),
        (lambda folder: (folder / "config.yaml").unlink(), 2, "is no run: it has no config.yaml"),
        (
            lambda folder: (folder / "metrics.json").unlink(),
            2,
            "is not finished; run its `oddline training` command",
        ),
        (lambda folder: (folder / "weights.safetensors").unlink(), 3, "is damaged: .*weights.safetensors"),
        (lambda folder: (folder / "heldout.npz").unlink(), 3, "is damaged: .*heldout.npz"),
        (alter("weights.safetensors", half), 3, "is damaged: "),
        (alter("weights.safetensors", junk), 3, "is damaged: "),
        (alter("weights.safetensors", text(b"detector.dense.bias", b"detector.dense.baes")), 3, "is damaged: .*baes"),
        (alter("heldout.npz", half), 3, "is damaged: "),
        (alter("heldout.npz", junk), 3, "is damaged: "),
        (arrays(ids=np.array([None, {}], object)), 3, "is damaged: .*allow_pickle"),
        (arrays(ids=np.full(120, 10_000, np.int32)), 3, "is damaged: "),
        (arrays(ids=np.full(120, -3, np.int32)), 3, "is damaged: "),
        (arrays(streams=np.zeros(3, np.int32)), 3, "is damaged: "),
        (alter("texts.json", half), 3, "is damaged: "),
        (alter("texts.json", lambda data: b"[]"), 3, "is damaged: "),
        (alter("tokenizer.json", half), 3, "is damaged: "),
        (alter("tokenizer.json", lambda data: b"{}"), 3, "tokenizer.json lacks"),
        (alter("tokenizer.json", text(b'"deploy",', b"")), 3, "is damaged: .*size mismatch"),
        (alter("metrics.json", half), 3, "is damaged: "),
        (alter("metrics.json", lambda data: b"[]"), 3, "is damaged: "),
        (alter("config.yaml", junk), 3, "is damaged: "),
        (
            alter("config.yaml", lambda data: b"- a\n- b\n"),
            2,
            r"config.yaml: unknown family None; choose one of two-stage",
        ),
        (alter("config.yaml", text(b"two-stage", b"oracle")), 2, "config.yaml: unknown family 'oracle'"),
        (alter("config.yaml", text(b"dropout", b"dropin")), 2, r"config.yaml: encoder.*dropin"),
        (alter("config.yaml", text(b"hidden: 8", b"hidden: 9")), 3, "is damaged: .*size mismatch"),
    ],
)
def test_a_run_that_cannot_be_used_is_told_in_one_line(bundle, tmp_path, call, change, code, words):
    folder = tmp_path / "run"
    shutil.copytree(bundle.parent / "run", folder)
    change(folder)
    found, lines = call("onnx", folder, "--out", tmp_path / "b")
    assert (found, len(lines)) == (code, 1) and lines[0].startswith("error: ")
    assert re.search(words, lines[0]), lines[0]
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["onnx"], "Missing argument 'RUN'"),
        (["onnx", "run"], "Missing option '--out'"),
        (["onnx", "run", "--out", "b", "--quantize", "int4"], "'int4' is not one of 'none', 'int8'"),
    ],
)
def test_a_wrong_command_line_is_one_line(call, arguments, words):
    code, lines = call(*arguments)
    assert code == 2 and len(lines) == 1 and words in lines[0]


def test_the_manifest_is_json_for_people(bundle):
    content = (bundle / "manifest.json").read_text()
    assert json.loads(content)["threshold"] == {"kind": "quantile", "q": 0.99} and content.count("\n") > 50
