"""A bundle that cannot be trusted is refused with one line that names what is wrong, before a log is read."""

import json
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.processes import refusal, run_agent

from agent.bundle.bundle import Bundle, file_sha256
from agent.errors import BundleError

FILES = ("detector.onnx", "encoder.onnx", "known.npz", "parity.npz", "tokenizer.json")


@pytest.fixture
def copy(bundle, tmp_path) -> Path:
    return shutil.copytree(bundle, tmp_path / "copy")


def edit_json(file: Path, change: Callable[[Any], None]) -> None:
    content = json.loads(file.read_bytes())
    change(content)
    file.write_text(json.dumps(content))


def correct_hash(folder: Path, name: str) -> None:
    digest = file_sha256(folder / name)
    edit_json(folder / "manifest.json", lambda manifest: manifest["files"].update({name: digest}))


def edit_npz(folder: Path, name: str, change: Callable[[dict[str, np.ndarray]], None]) -> None:
    with np.load(folder / name) as file:
        content = dict(file)
    change(content)
    packed = BytesIO()
    np.savez(packed, **content)
    (folder / name).write_bytes(packed.getvalue())
    correct_hash(folder, name)


def assert_refused(call_agent, folder: Path, named: str, *commands: str) -> None:
    """Both commands end with 3 and one line that holds `named`; check needs none but the bundle."""
    log = folder.parent / "log"
    log.write_bytes(b"Mar  9 00:00:00 web1 sshd[1]: hello\n")
    command_lines = {"check": ["check", folder], "tail": ["tail", log, "--once", "--from", "start", "-b", folder]}
    for command in commands or ("check", "tail"):
        done = call_agent(*command_lines[command], *(["--sink", "console:"] if command == "tail" else []))
        (line,) = done.stderr.splitlines()
        assert done.returncode == 3 and not done.stdout, line
        assert line.startswith("error: ") and named in line and "fault of oddline" not in line, line


def test_a_good_bundle_is_sound(bundle):
    done = run_agent("check", bundle)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(f"{bundle}: sound. 5 files".encode()) and done.stdout.count(b"\n") == 1


def test_check_as_json(bundle, call_agent):
    report = json.loads(call_agent("check", bundle, "--json").stdout)
    assert sorted(report["files"]) == list(FILES) and report["id"] == file_sha256(bundle / "manifest.json")
    assert sorted(report["parity"]) == ["detector", "encoder"] and max(report["parity"].values()) <= 1e-4


def test_inspect_shows_the_manifest(bundle, call_agent):
    manifest = json.loads(call_agent("inspect", bundle, "--json").stdout)
    assert manifest == json.loads((bundle / "manifest.json").read_bytes())
    shown = call_agent("inspect", bundle).stdout
    for part in ("two-stage, scored by vectors", "4 lines", "euclidean", "6 texts known", "quantile", "graph detector"):
        assert part in shown, part


@pytest.mark.parametrize("command", ["check", "inspect"])
def test_the_command_as_a_process_of_its_own_refuses(bundle, tmp_path, command):
    code, line = refusal(command, tmp_path / "nowhere")
    assert code == 3 and f"{tmp_path}/nowhere is no folder" in line


def test_no_bundle(call_agent, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    assert_refused(call_agent, tmp_path / "nowhere", "nowhere is no folder")
    assert_refused(call_agent, tmp_path / "file", "file is no folder")
    assert_refused(call_agent, tmp_path / "empty", "it has no manifest.json")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file(call_agent, copy, name):
    (copy / name).unlink()
    assert_refused(call_agent, copy, f"{name} is missing")


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_short_or_altered_in_one_byte(call_agent, copy, name):
    content = (copy / name).read_bytes()
    middle = len(content) // 2
    for damaged in (content[:-1], content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :], b""):
        (copy / name).write_bytes(damaged)
        assert_refused(call_agent, copy, f"{name} is damaged")


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"null", b'"\xff"', b'{"format_version": "1"}', b"{}"])
def test_a_manifest_that_is_none(call_agent, copy, content):
    (copy / "manifest.json").write_bytes(content)
    assert_refused(call_agent, copy, "manifest.json")


def test_a_bundle_of_records(call_agent, copy, tmp_path):
    header = {"columns": ["at", "user", "host"], "time": "at"}
    edit_json(copy / "manifest.json", put("header", value=header))
    assert json.loads(call_agent("inspect", copy, "--json").stdout)["header"] == header
    assert "header csv: 3 columns, text user host, time at, stream one" in call_agent("inspect", copy).stdout
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_bytes(b"1,ann,h1,x\n2,ann\n3,ann,h1,x\n")
    second.write_bytes(b"1,ann,h1\n2,ann,h1,x\n")
    more, fewer = (
        "more fields than the 3 declared columns; those",
        "fewer fields than the 3 declared columns; the missing",
    )
    said = call_agent("score", first, second, "-b", copy).stderr.splitlines()
    assert [line.partition(": ")[2].rpartition(" were ")[0] for line in said] == [
        f"{first}: 2 rows have {more}",
        f"{first}: 1 row has {fewer} ones",
        f"{second}: 1 row has {more}",
    ]
    said = call_agent("tail", first, "--once", "--from", "start", "-b", copy, "--sink", "console:").stderr
    assert "format csv" in said and f"2 rows have {more} were left out" in said and f"1 row has {fewer} ones" in said


def put(*path: str | int, value: Any) -> Callable[[Any], None]:
    """A change of JSON data: the value at a path."""

    def change(content: Any) -> None:
        for step in path[:-1]:
            content = content[step]
        content[path[-1]] = value

    return change


def drop(*path: str) -> Callable[[Any], None]:
    def change(content: Any) -> None:
        for step in path[:-1]:
            content = content[step]
        del content[path[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (put("format_version", value=3), "has format version 3, this agent reads up to 2; update oddline"),
        (put("format_version", value=0), "format_version"),
        (put("scorer", value="oracle"), "needs the scorer 'oracle', this agent has vectors, codebook, surprise"),
        (put("masks", value=["ip", "moon"]), "unknown mask 'moon'"),
        (put("settings", "distance", value="hamming"), "unknown distance 'hamming'"),
        (put("settings", "distance", value=[1]), "distance"),
        (drop("settings", "distance"), "lacks the setting 'distance'"),
        (drop("settings", "time_of_day"), "lacks the setting 'time_of_day'"),
        (put("settings", "time_of_day", value="no"), "time_of_day"),
        (put("settings", "width", value=7), "its encoder gives the lengths [[6]]"),
        (put("scorer", value="codebook"), "the graph detector has the tensors"),
        (put("settings", "time_of_day", value=True), "detector"),
        (put("header", value="klingon"), "unknown header format 'klingon'"),
        (put("header", value={"columns": ["a"], "time": "b"}), "time: 'b' is none of its columns"),
        (put("header", value={"colums": ["a"]}), "unknown field `colums` - at `$.header`"),
        (put("stream", value="req-("), "req-("),
        (put("threshold", "kind", value="moon"), "threshold.kind"),
        (drop("threshold", "q"), "threshold"),
        (put("threshold", "q", value=7), "threshold.q"),
        (put("window", "size", value=5), "window"),
        (put("window", "size", value=1), "window"),
        (put("window", value=4), "Expected `object`, got `int` - at `$.window`"),
        (drop("scale"), "missing required field `scale`"),
        (put("moon", value=1), "unknown field `moon`"),
        (put("scale", "scores", value=[]), "scale"),
        (put("scale", "quantiles", value=[0.0, 1.0]), "scale"),
        (put("scale", "scores", 3, value=-1.0), "scale"),
        (drop("graphs", "detector"), "lacks the graph 'detector'"),
        (put("graphs", "encoder", "inputs", 0, "name", value="words"), "its inputs are ['ids', 'lengths']"),
        (put("graphs", "encoder", "inputs", 0, "dtype", value="int32"), "ids is of type tensor(int64)"),
        (put("graphs", "detector", "inputs", 0, "axes", value=["batch", 9, 6]), "windows has the shape"),
        (put("graphs", "detector", "outputs", 0, "axes", value=["batch"]), "predicted has the shape"),
        (put("graphs", "detector", "outputs", value=[]), "its outputs are ['predicted']"),
        (put("graphs", "encoder", "file", value="moon.onnx"), "moon.onnx"),
        (drop("files", "parity.npz"), "lists no hash of parity.npz"),
        (put("files", value={}), "lists no hash of"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_damaged_manifest(call_agent, copy, change, named):
    edit_json(copy / "manifest.json", change)
    assert_refused(call_agent, copy, named)


def test_a_graph_that_is_no_onnx(call_agent, copy):
    (copy / "detector.onnx").write_bytes(b"no model at all")
    correct_hash(copy, "detector.onnx")
    assert_refused(call_agent, copy, "detector.onnx is no model that onnxruntime can run")


def test_graphs_that_do_not_fit_each_other(call_agent, copy, timed_bundle):
    shutil.copy(timed_bundle / "detector.onnx", copy)
    correct_hash(copy, "detector.onnx")
    graph = json.loads((timed_bundle / "manifest.json").read_bytes())["graphs"]["detector"]
    edit_json(copy / "manifest.json", put("graphs", "detector", value=graph))
    assert_refused(call_agent, copy, "its detector takes the lengths [[3, 8]]")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (put("kind", value="syllable"), "kind 'syllable'"),
        (drop("vocabulary"), "vocabulary"),
        (put("vocabulary", value=5), "tokenizer.json is damaged"),
        (put("vocabulary", value=["<pad>", "<unk>", "<s>", "</s>", 7]), "tokenizer.json is damaged"),
        (put("vocabulary", 0, value="moon"), "tokenizer.json is damaged"),
        (put("max_tokens", value=0), "tokenizer.json is damaged"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_damaged_tokenizer_under_a_good_hash(call_agent, copy, change, named):
    edit_json(copy / "tokenizer.json", change)
    correct_hash(copy, "tokenizer.json")
    assert_refused(call_agent, copy, named)


@pytest.mark.parametrize("name", ["known.npz", "parity.npz"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"[1, 2]"])
def test_arrays_that_are_none_under_a_good_hash(call_agent, copy, name, content):
    (copy / name).write_bytes(content)
    correct_hash(copy, name)
    assert_refused(call_agent, copy, name, *(["check"] if name == "parity.npz" else []))


def shift(content: dict[str, np.ndarray], by: float) -> None:
    key = next(key for key in content if key.endswith("predicted"))
    content[key] = content[key] + np.float32(by)


def move(content: dict[str, np.ndarray], name: str, value: np.ndarray) -> None:
    content[name] = value


@pytest.mark.parametrize(
    ("name", "change", "named"),
    [
        ("parity.npz", lambda content: shift(content, 2e-4), "detector differs by 2.0e-04 from what was recorded"),
        ("parity.npz", lambda content: shift(content, np.nan), "detector differs by nan"),
        ("parity.npz", lambda content: content.clear(), "parity.npz and the manifest do not both have the graph"),
        ("parity.npz", lambda content: content.popitem(), "parity.npz lacks"),
        ("parity.npz", lambda content: move(content, "moon/1/x", np.zeros(1)), "moon"),
        (
            "parity.npz",
            lambda content: move(content, "detector/3/predicted", np.zeros((1, 1), np.float32)),
            "another shape",
        ),
        ("parity.npz", lambda content: move(content, "detector/3/windows", np.zeros(2, np.int8)), "detector"),
        ("known.npz", lambda content: content.pop("hashes"), "known.npz lacks"),
        ("known.npz", lambda content: move(content, "tokens", np.full((1, 2), 10**6)), "known.npz"),
        ("known.npz", lambda content: move(content, "hashes", np.zeros((2, 2))), "known.npz"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_arrays_that_do_not_fit(call_agent, copy, name, change, named):
    edit_npz(copy, name, change)
    assert_refused(call_agent, copy, named, *(["check"] if name == "parity.npz" else []))


def test_a_difference_that_is_allowed(call_agent, copy):
    edit_npz(copy, "parity.npz", lambda content: shift(content, 5e-5))
    assert call_agent("check", copy).returncode == 0


def test_words_that_the_graph_does_not_know_are_no_fault_of_ours(copy):
    """The vocabulary says more words than the encoder has: told at the first line that holds one."""
    edit_json(copy / "tokenizer.json", lambda content: content["vocabulary"].extend(f"moon{n}" for n in range(99)))
    correct_hash(copy, "tokenizer.json")
    with pytest.raises(BundleError, match=r"the graph encoder failed: .*out of data bounds"):
        Bundle.load(copy).run("encoder", {"ids": np.full((1, 1), 99), "lengths": np.ones(1, np.int64)})
