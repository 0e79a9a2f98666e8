"""A bundle made to harm is refused in one line before anything of it is loaded, or is harmless."""

import hashlib
import io
import json
import os
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.commands import replay as replay_module
from agent.errors import BundleError

SEED = int(os.environ.get("ODDLINE_SEED", "7"))
NASTY: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**62, 2**64, -(10**30), 10**300, 1e308, -1e308, 1e-320, 0.5, "", "x", ".",
    "..", "../x", "/dev/zero", "a\0b", "x\x1b[2J\n", "\u202e", "x" * 20_000, "(a+)+$", "(?=a)", "(" * 5000, "object",
    "float16", [], {}, [[]], ["batch"], ["batch", 2**40], ["batch", -3], [None], [1e308, 2], list(range(5000)),
    ["num"] * 5000, {"a": 1}, {"": ""}, {"../x": "0" * 64}, {"columns": ["a"], "delimiter": "\t"},
    {"kind": "fixed", "value": 1e308},
]  # fmt: skip
DEEP = "[" * 100_000 + "]" * 100_000


@pytest.fixture
def copy(char_bundle, tmp_path) -> Path:
    return shutil.copytree(char_bundle, tmp_path / "copy")


def edit(file: Path, change: Callable[[Any], None]) -> None:
    content = json.loads(file.read_bytes())
    change(content)
    file.write_text(json.dumps(content))


def rehash(folder: Path) -> None:
    digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}
    files = json.loads((folder / "manifest.json").read_bytes())["files"]
    if isinstance(files, dict):
        edit(
            folder / "manifest.json", lambda m: m.update(files=files | {n: digests[n] for n in digests & files.keys()})
        )


def inner(*path: str | int, value: Any, file: str = "manifest.json") -> Callable[[Path], None]:
    def change(content: Any) -> None:
        for step in path[:-1]:
            content = content[step]
        content[path[-1]] = value

    def apply(folder: Path) -> None:
        edit(folder / file, change)
        rehash(folder)

    return apply


def raw(name: str, content: bytes | str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        if name != "manifest.json":
            rehash(folder)

    return apply


def as_text(old: str, new: str) -> Callable[[Path], None]:
    """Writes what Python's JSON would not."""

    def apply(folder: Path) -> None:
        file = folder / "manifest.json"
        file.write_text(file.read_text().replace(old, new, 1))

    return apply


def instead(name: str, make: Callable[[Path], None]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return apply


def link_to_copy(path: Path) -> None:
    outside = path.parent.parent / "outside"
    outside.write_bytes(b"outside")
    path.symlink_to(outside)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(4 << 30)


def parity(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        with np.load(folder / "parity.npz") as content:
            arrays = {key: change(value) for key, value in content.items()}
        np.savez_compressed(folder / "parity.npz", **arrays)
        rehash(folder)

    return apply


def archive(header: bytes, body: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    """known.npz with one array of this header."""
    packed = io.BytesIO()
    length = len(header).to_bytes(2 if version == b"\x01\x00" else 4, "little")
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("hashes.npy", b"\x93NUMPY" + version + length + header + body)
    return packed.getvalue()


def described(shape: str, kind: str = "<u8") -> bytes:
    return f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()


HOSTILE: dict[str, Callable[[Path], None]] = {
    "a graph above": inner("graphs", "model", "file", value="../outside.onnx"),
    "a graph elsewhere": inner("graphs", "model", "file", value="/tmp/x.onnx"),
    "the folder as a graph": inner("graphs", "model", "file", value="."),
    "a device among the files": inner("files", "/dev/zero", value="0" * 64),
    "NUL in a name": inner("files", "a\0b", value="0" * 64),
    "a long name": inner("files", "a" * 5000, value="0" * 64),
    "no hash": inner("files", "other", value="x"),
    "many files": inner("files", value={f"f{number}": "0" * 64 for number in range(100)}),
    "a surrogate": as_text('"name": "', '"name": "\\ud800'),
    "a pipe": instead("known.npz", os.mkfifo),
    "a pipe as the manifest": instead("manifest.json", os.mkfifo),
    "a link": instead("known.npz", link_to_copy),
    "a link to a device": instead("manifest.json", lambda path: path.symlink_to("/dev/zero")),
    "a folder as the manifest": instead("manifest.json", Path.mkdir),
    "4 GiB of nothing": instead("manifest.json", sparse),
    "deep JSON": raw("manifest.json", '{"format_version": 2, "training": ' + DEEP + "}"),
    "JSON of depth 100": raw("manifest.json", '{"format_version": 2, "training": ' + "[" * 100 + "]" * 100 + "}"),
    "a deep tokenizer": raw("tokenizer.json", '{"kind": "char", "x": ' + DEEP + "}"),
    "a huge version": inner("format_version", value=10**40),
    "an endless version": as_text('"format_version": 2', '"format_version": 1e400'),
    "a huge window": inner("window", "size", value=10**30),
    "a large window": inner("window", "size", value=2**31),
    "a negative window": inner("window", "size", value=-5),
    "a huge name": inner("name", value="x" * 10_000_000),
    "control characters": inner("name", value="x\x1b[2J\u202e\nfake: line"),
    "a threshold of 1e308": inner("threshold", value={"kind": "fixed", "value": 1e308}),
    "a threshold without end": as_text('"threshold": {', '"threshold": {"value": 1e999, '),
    "a sigma of 1e300": inner("threshold", value={"kind": "sigma", "k": 1e300, "window": 100}),
    "a long sigma": inner("threshold", value={"kind": "sigma", "k": 3.0, "window": 2**62}),
    "scores of 1e308": inner("scale", "scores", value=[1e308] * 101),
    "a deviation of 1e308": inner("scale", "std", value=1e308),
    "relative to 1e308": inner("relative", value={"kind": "mean", "center": 1e308, "spread": 1e308}),
    "a pattern too large": inner("stream", value="((((a{1,100}){1,100}){1,100}){1,100})"),
    "a pattern of parentheses": inner("stream", value="(" * 50_000 + ")" * 50_000),
    "a pattern that looks around": inner("stream", value="(?=a)"),
    "a state of 2^40": inner("state", value=[{"name": "h", "dtype": "float32", "axes": ["batch", 2**40]}]),
    "a state of many axes": inner("state", value=[{"name": "h", "dtype": "float32", "axes": ["batch", *[999] * 6]}]),
    "a negative state": inner("state", value=[{"name": "h", "dtype": "float32", "axes": ["batch", -3]}]),
    "a state of objects": inner("state", value=[{"name": "h", "dtype": "object", "axes": ["batch", 3]}]),
    "many columns": inner("header", value={"columns": [f"c{number}" for number in range(20_000)]}),
    "a turning delimiter": inner("header", value={"columns": ["a"], "delimiter": "\u202e"}),
    "many tokens": inner("max_tokens", value=10**9, file="tokenizer.json"),
    "countless tokens": inner("max_tokens", value=10**30, file="tokenizer.json"),
    "a bomb": raw("known.npz", archive(described("(1073741824,)"), bytes(300 << 20))),
    "a shape that lies": raw("known.npz", archive(described("(1152921504606846976,)"))),
    "a negative shape": raw("known.npz", archive(described("(-1, -8)"), bytes(64))),
    "objects": raw("known.npz", archive(described("(1,)", "|O"), bytes(8))),
    "records": raw("known.npz", archive(described("(1,)").replace(b"'<u8'", b"[('a', '<u8')]"), bytes(8))),
    "parentheses for a header": raw("known.npz", archive(b"(" * 3000 + b")" * 3000)),
    "no text for a header": raw("known.npz", archive(b"\xff\xfe{'descr'", version=b"\x03\x00")),
    "no arrays": raw("known.npz", b"PK\x05\x06" + bytes(18)),
    "empty batches": parity(lambda value: value[:0]),
    "large batches": parity(lambda value: np.repeat(value, 5000, axis=0)),
    "arrays without axes": parity(lambda value: value.ravel()[0]),
}  # fmt: skip


def both(call_agent, folder: Path, log: Path) -> list[Any]:
    tail = ["tail", log, "--once", "--from", "start", "-b", folder, "--sink", "console:"]
    return [call_agent("check", folder), call_agent(*tail)]


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_made_to_harm_is_refused_in_one_line_by_check_and_tail(call_agent, copy, tmp_path, name):
    log = tmp_path / "log"
    log.write_bytes(b"Mar  9 00:00:00 web1 sshd[1]: hello\n")
    HOSTILE[name](copy)
    for done in both(call_agent, copy, log):
        (line,) = done.stderr.splitlines()
        assert done.returncode == 3 and not done.stdout, line
        assert line.startswith("error: ") and "fault of oddline" not in line
        assert line.isprintable() and len(line) < 700, line


def places(content: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values in JSON data, the inner ones of long lists left out."""
    if isinstance(content, dict):
        return [at, *(path for key, value in content.items() for path in places(value, (*at, key)))]
    if isinstance(content, list):
        return [at, *(path for index, value in enumerate(content[:3]) for path in places(value, (*at, index)))]
    return [at]


def draw_mutation(draw: random.Random, folder: Path) -> str:
    """Sets a value somewhere in the JSON of a bundle; what was set where."""
    file = draw.choice(["manifest.json"] * 4 + ["tokenizer.json"])
    path, value = draw.choice(places(json.loads((folder / file).read_bytes()))[1:]), draw.choice(NASTY)
    inner(*path, value=value, file=file)(folder)
    return f"ODDLINE_SEED={SEED}: {file} {path} = {str(value)[:50]}"


@pytest.mark.parametrize("number", range(300))
def test_any_value_anywhere_in_the_json_of_a_bundle_is_refused_or_harmless(
    call_agent, char_bundle, tiered_bundle, bundle, tmp_path, number
):
    draw = random.Random(f"{SEED} {number}")
    folder = shutil.copytree(draw.choice([char_bundle, tiered_bundle, bundle]), tmp_path / "copy")
    what = draw_mutation(draw, folder)
    log = tmp_path / "log"
    log.write_bytes(b"".join(b"Mar  9 00:00:%02d web1 sshd[1]: hello\n" % second for second in range(8)))
    command = ["tail", log, "--once", "--from", "start", "-b", folder, "--sink", "console:"]
    for one in [command, ["check", folder]] if number < 20 else [command]:
        done = call_agent(*one)
        assert done.returncode in (0, 3) and "fault of oddline" not in done.stderr, (what, done.stderr)
        if done.returncode:
            assert done.stderr.count("\n") == 1 and done.stderr[:-1].isprintable(), (what, done.stderr)


@pytest.mark.parametrize(("limit", "value"), [("_SECONDS", 0), ("_MEMORY", 1 << 20)])
def test_a_replay_that_takes_too_much_is_ended_in_words(call_agent, copy, monkeypatch, limit, value):
    monkeypatch.setattr(replay_module, limit, value)
    parity(lambda array: np.repeat(array, 1500, axis=0))(copy)
    done = call_agent("check", copy)
    assert done.returncode == 3 and done.stderr.count("\n") == 1 and "fault" not in done.stderr, done.stderr


@pytest.mark.parametrize("name", ["SEGV", "XCPU", "KILL"])
def test_a_replay_that_is_ended_is_told_with_its_signal(copy, monkeypatch, tmp_path, name):
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\nkill -{name} $$\n")
    program.chmod(0o755)
    monkeypatch.setattr(replay_module.sys, "executable", str(program))
    with pytest.raises(BundleError, match=f"its replay was ended by SIG{name}; it may take 8 s of processor time"):
        replay_module.replay(copy, "cpu")
