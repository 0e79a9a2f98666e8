"""Training: it goes on where it was interrupted, keeps what was best, and refuses in one line what it cannot do."""

import gzip
import json
import math
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.made_up import made_up_lines
from typer.testing import CliRunner

import agent
from agent.errors import ConfigError
from training.cli import app, main
from training.config import RunConfig, StageConfig, load
from training.data.corpus import Corpus
from training.fitting import run_folder as folder
from training.fitting.fit import fit
from training.models import CONFIGS, FAMILIES
from training.models.base import Stage

EPOCHS = 3
SMALL = {
    "window.size": 3,
    "encoder.embedding": 4,
    "encoder.hidden": 4,
    "encoder.vector": 8,
    "detector.hidden": 4,
    **{f"{stage}.{key}": value for stage in ("encoder", "detector") for key, value in (
        ("epochs", EPOCHS), ("batch_size", 16), ("steps_per_epoch", 5), ("patience", 9), ("learning_rate", 0.02),
    )},
}  # fmt: skip


def arguments(log, out, *more, **settings):
    """The command line of a small training; `settings` have _ for a dot."""
    chosen = SMALL | {key.replace("_", ".", 1): value for key, value in settings.items()}
    sets = [f"--set={key}={value}" for key, value in chosen.items()]
    return ["fit", str(log), "--out", str(out), "--device", "cpu", *sets, *map(str, more)]


@pytest.fixture
def call(capfd, monkeypatch):
    """The command `training`: its exit code and the lines on standard error."""

    def run(arguments):
        monkeypatch.setattr(sys, "argv", ["training", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, capfd.readouterr().err.splitlines()

    return run


@pytest.fixture
def train(call):
    """Trains to the end; what was said."""

    def run(*positional, **settings):
        code, lines = call(arguments(*positional, **settings))
        assert code == 0, lines
        return lines

    return run


@pytest.fixture
def refused(call):
    """The exit code and the one line of a refusal."""

    def run(arguments):
        code, lines = call(arguments)
        assert [line.startswith("error: ") for line in lines].count(True) == 1 and lines[-1].startswith("error: "), (
            lines
        )
        return code, lines[-1]

    return run


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "log"
    path.write_bytes(b"".join(made_up_lines(200)))
    return path


def result(run):
    """What a training gave, without what depends on the clock."""
    metrics = json.loads((run / folder.METRICS).read_text())
    losses = [(one["stage"], one["epoch"], one["loss"], one["validation"]) for one in metrics["epochs"]]
    return (run / folder.WEIGHTS).read_bytes(), losses, metrics["best"], (run / folder.HELDOUT).read_bytes()


HEADS = ["regression", "codebook"]


@pytest.fixture(scope="module")
def whole(log, tmp_path_factory):
    """The results of trainings that nothing interrupted, by head."""
    found = {}
    for head in HEADS:
        out = tmp_path_factory.mktemp("whole") / head
        done = CliRunner().invoke(app, arguments(log, out, detector_head=head))
        assert done.exit_code == 0, done.output
        found[head] = result(out)
    return found


def start(code, arguments):
    """Runs the command in a process of its own after some code, which may set `after(checkpoints)`."""
    before = """
import os, signal, training.fitting.run_folder as folder
write, count = folder.write_checkpoint, 0
after = lambda count: None
def write_checkpoint(*arguments):
    global count
    write(*arguments)
    count += 1
    after(count)
folder.write_checkpoint = write_checkpoint
"""
    paths = os.pathsep.join([str(Path(agent.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", f"{before}\n{code}\nfrom training.cli import main\nmain()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": paths}, check=False)


def interrupt_after(monkeypatch, checkpoints):
    """Ctrl-C comes when so many checkpoints are written."""
    write, left = folder.write_checkpoint, [checkpoints]

    def write_checkpoint(*arguments):
        write(*arguments)
        left[0] -= 1
        if not left[0]:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(folder, "write_checkpoint", write_checkpoint)


@pytest.mark.parametrize("checkpoints", range(1, 2 * EPOCHS + 1))
@pytest.mark.parametrize("head", HEADS)
def test_an_interrupted_training_ends_as_an_uninterrupted_one(
    whole, log, tmp_path, monkeypatch, call, train, head, checkpoints
):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt_after(patch, checkpoints)
        code, lines = call(arguments(log, out, detector_head=head))
    assert code == 130 and lines[-1] == f"interrupted; the same command goes on from the last whole epoch in {out}"
    assert not (out / folder.METRICS).exists()
    said = train(log, out, detector_head=head)
    assert len([line for line in said if " epoch " in line]) == 2 * EPOCHS - checkpoints
    assert result(out) == whole[head]


def test_interrupted_again_and_again(whole, log, tmp_path, monkeypatch, call, train):
    for _ in range(2 * EPOCHS):
        with monkeypatch.context() as patch:
            interrupt_after(patch, 1)
            assert call(arguments(log, tmp_path / "run"))[0] == 130
    train(log, tmp_path / "run")
    assert result(tmp_path / "run") == whole["regression"]


def test_a_kill_leaves_a_run_that_goes_on(whole, log, tmp_path, train):
    code = f"after = lambda count: count == {EPOCHS + 1} and os.kill(os.getpid(), signal.SIGKILL)"
    assert start(code, arguments(log, tmp_path / "run")).returncode == -signal.SIGKILL
    train(log, tmp_path / "run")
    assert result(tmp_path / "run") == whole["regression"]


def test_a_checkpoint_that_was_half_written_does_not_count(whole, log, tmp_path, monkeypatch, call, train):
    replace = os.replace

    def fail(path, target):
        if Path(target).name == folder.CHECKPOINT and Path(target).exists():
            os.truncate(path, 100)
            raise KeyboardInterrupt
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        assert call(arguments(log, tmp_path / "run"))[0] == 130
    train(log, tmp_path / "run")
    assert result(tmp_path / "run") == whole["regression"]
    assert not [path.name for path in (tmp_path / "run").iterdir() if path.name.startswith(".")]


def test_the_seed_alone_decides(whole, log, tmp_path, train):
    train(log, tmp_path / "same", "--seed", 0)
    assert result(tmp_path / "same") == whole["regression"]
    train(log, tmp_path / "other", "--seed", 1)
    assert result(tmp_path / "other")[0] != whole["regression"][0]


FILES = {"config.yaml", "tokenizer.json", "weights.safetensors", "texts.json", "heldout.npz", "metrics.json"}


def assert_no_pickle(run):
    for path in run.iterdir():
        head = path.read_bytes()[:2]
        assert path.suffix in (".yaml", ".json", ".safetensors", ".npz")
        assert head[:1] != b"\x80" and (head == b"PK") == (path.suffix == ".npz")
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                assert all(arrays[name].dtype != object for name in arrays)


def test_a_run_folder_holds_no_pickle(log, tmp_path, monkeypatch, call, train):
    with monkeypatch.context() as patch:
        interrupt_after(patch, EPOCHS + 1)
        call(arguments(log, tmp_path / "run"))
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "config.yaml", "tokenizer.json", "progress.json", "checkpoint.safetensors"
    }  # fmt: skip
    assert_no_pickle(tmp_path / "run")
    train(log, tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES
    assert_no_pickle(tmp_path / "run")


def test_the_metrics_say_what_was_trained_on(log, tmp_path, train):
    marks = ["0"] * 200
    marks[3], marks[4], marks[150] = "1", "-", "2"
    (tmp_path / "labels").write_bytes(gzip.compress("\n".join(marks).encode()))
    said = train(log, tmp_path / "run", "--labels", tmp_path / "labels", "--until", "0.9")
    assert said[0] == "200 lines read, 177 of 1 streams to train on, 3 left out by their labels"
    assert said[-1] == f"wrote {tmp_path}/run; next: oddline export onnx {tmp_path}/run --out BUNDLE"
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["lines"] == {"training": 142, "validation": 35} and metrics["left_out"] == 3
    assert metrics["selection"] == {"from": None, "until": "0.9"} and metrics["labels"]["name"] == "labels"
    assert (metrics["device"], metrics["devices"]) == ("cpu", 1) and metrics["versions"]["torch"]
    assert {one["examples"] for one in metrics["epochs"]} == {5 * 16}
    for stage, best in metrics["best"].items():
        losses = [one["validation"] for one in metrics["epochs"] if one["stage"] == stage]
        assert best["validation"] == min(losses) == losses[best["epoch"] - 1]
    texts = json.loads((tmp_path / "run" / "texts.json").read_text())
    assert sum(texts["counts"]) == 177 and texts["counts"][0] == 0 and texts["texts"][0] == ""


def test_the_tokenizer_knows_the_training_lines_alone(tmp_path, train):
    lines = made_up_lines(200)
    lines[-1] = b"Mar  9 10:00:00 web1 shopd[7]: unheard of\n"
    (tmp_path / "log").write_bytes(b"".join(lines))
    train(tmp_path / "log", tmp_path / "run")
    assert "unheard" not in json.loads((tmp_path / "run" / "tokenizer.json").read_text())["vocabulary"]
    assert any("unheard" in text for text in json.loads((tmp_path / "run" / "texts.json").read_text())["texts"])


def test_a_finished_run_is_replaced_only_when_told(whole, log, tmp_path, train, refused):
    out = tmp_path / "run"
    train(log, out, "--seed", 1)
    first = result(out)
    code, line = refused(arguments(log, out, "--seed", 1))
    assert code == 2 and line.endswith(f"run {out} is finished; name another folder, or give --overwrite")
    assert result(out) == first
    train(log, out, "--overwrite")
    assert result(out) == whole["regression"]


def test_a_started_run_goes_on_only_with_the_same_config_and_data(log, tmp_path, monkeypatch, call, train, refused):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt_after(patch, 1)
        call(arguments(log, out))
    kept = (out / folder.CHECKPOINT).read_bytes()
    other = tmp_path / "log"
    other.write_bytes(log.read_bytes() + b"one more\n")
    both = arguments(other, out, detector_hidden=5)
    for command, what in (
        (arguments(log, out, detector_hidden=5), "another config"),
        (arguments(other, out), "another data"),
        (arguments(log, out, "--until", "0.9"), "another data"),
        (both, "another config and other data"),
    ):
        code, line = refused(command)
        assert code == 2 and f"was started with {what}; name another folder, or give --overwrite" in line
    assert (out / folder.CHECKPOINT).read_bytes() == kept
    train(other, out, "--overwrite", detector_hidden=5)
    train(other, tmp_path / "new", detector_hidden=5)
    assert result(out) == result(tmp_path / "new")


@pytest.mark.parametrize("damage", [lambda data: data[:-50], lambda data: b"", lambda data: b"\x80\x02junk" + data])
def test_a_damaged_checkpoint_is_told(log, tmp_path, monkeypatch, call, train, refused, damage):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt_after(patch, 1)
        call(arguments(log, out))
    (out / folder.CHECKPOINT).write_bytes(damage((out / folder.CHECKPOINT).read_bytes()))
    code, line = refused(arguments(log, out))
    assert code == 3 and re.search(r"checkpoint\.safetensors is damaged .*; remove it to start anew", line)
    (out / folder.CHECKPOINT).unlink()
    train(log, out)


def test_a_folder_that_is_no_run_is_left_alone(log, tmp_path, refused):
    (tmp_path / "thesis").write_text("years of work")
    for out, words in ((tmp_path, "is not empty and no run"), (tmp_path / "thesis", "is a file; name a folder")):
        code, line = refused(arguments(log, out, "--overwrite"))
        assert code == 2 and f"{out} {words}" in line
    assert [path.name for path in tmp_path.iterdir()] == ["thesis"]
    code, line = refused(arguments(log, tmp_path / "thesis" / "run"))
    assert code == 2 and line == f"error: run {tmp_path}/thesis/run cannot be written: Not a directory"


def test_a_full_disk_is_told_and_the_training_goes_on_later(whole, log, tmp_path, monkeypatch, train, refused):
    replace = os.replace

    def fail(path, target):
        if os.path.basename(target) == folder.WEIGHTS:
            raise OSError(28, "No space left on device")
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        code, line = refused(arguments(log, tmp_path / "run"))
    assert code == 2 and line.endswith(f"{tmp_path}/run/weights.safetensors cannot be written: No space left on device")
    train(log, tmp_path / "run")
    assert result(tmp_path / "run") == whole["regression"]


def test_devices_that_are_not_there(log, tmp_path, monkeypatch, refused):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    code, line = refused([*arguments(log, tmp_path / "run"), "--device", "cuda"])
    assert code == 2 and "device cuda cannot be used: torch finds none; use --device cpu" in line
    code, line = refused([*arguments(log, tmp_path / "run"), "--device", "tpu"])
    assert code == 2 and "unknown device 'tpu'; choose one of auto, cpu, cuda" in line
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    code, line = refused([*arguments(log, tmp_path / "run"), "--device", "cuda", "--devices", "2"])
    assert code == 2 and "--devices 2: there are only 1" in line


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--set=encoder.epoch=3"], r"configuration: encoder\.epoch: unknown key; allowed here: .*epochs"),
        (
            ["--set=detector.head=oracle"],
            r"configuration: detector\.head: .*'oracle'; choose one of codebook, regression",
        ),
        (["--set=encoder.epochs=0"], r"encoder\.epochs: .*>= 1"),
        (["--set=encoder.hidden=wide"], r"encoder\.hidden: "),
        (["--set=encoder=3"], r"encoder: "),
        (["--set=encoder.dropout=1"], r"encoder\.dropout: "),
        (["--set=threshold.kind=fixed"], r"threshold: a threshold of the kind fixed needs a value"),
        (["--set=threshold.k=3"], r"threshold: a threshold of the kind quantile takes q, not k"),
        (["--set=masks=[num, nose]"], r"configuration: unknown mask 'nose'; this version knows"),
        (["--set=header=syslog"], r"configuration: unknown header format 'syslog'; choose one of auto"),
        (["--set=window.size=1"], r"window\.size: .*>= 2"),
        (["--set=windows=[1"], r"--set windows=\[1: the value is no YAML"),
        (["--set=encoder.epochs"], r"--set encoder.epochs: write key=value"),
        (["--set=.epochs=3"], r"--set \.epochs=3: write key=value"),
        (["--family", "oracle"], r"unknown family 'oracle'; choose one of two-stage"),
        (["--stream", "("], r"the stream pattern '\(' is no regular expression"),
        (["--from", "2"], r"--from 2: a fraction lies between 0 and 1"),
        (["--until", "0"], r"no line of 200 is left between --from and --until"),
        (["--config", "/nowhere.yaml"], r"/nowhere.yaml .*(does not exist|cannot be read)"),
        (["--devices", "0"], r"--devices"),
        (["--seed", "-1"], r"--seed"),
        (
            ["--set=encoder.batch_size=500"],
            r"the training set is too small: 160 normal lines .* 500 are needed",
        ),
        (["--set=tokenizer.min_frequency=9999"], r"no word is left .* set tokenizer.min_frequency \(9999\) lower"),
        (["--set=window.size=50"], r"validation give 0 windows of 50 lines, 1 are needed"),
        (
            ["--set=window.size=90"],
            r"too small: 160 normal lines for training give 71 windows of 90 lines, 180 are needed",
        ),
        (["--set=detector.learning_rate=1e30"], r"the training diverged: .* set detector\.learning_rate lower"),
    ],
)
def test_what_cannot_be_trained_is_one_line(log, tmp_path, refused, options, words):
    code, line = refused([*arguments(log, tmp_path / "run"), *options])
    assert code == 2 and re.search(words, line), line


def test_all_lines_left_out(log, tmp_path, refused):
    (tmp_path / "labels").write_text("1\n" * 200)
    code, line = refused(arguments(log, tmp_path / "run", "--labels", tmp_path / "labels"))
    assert code == 2 and "no normal line is left: the labels leave out all 200" in line


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"encoder: {epochs: [}", "is no YAML"),
        (b"- family", "mapping|Expected `object`"),
        (b"\xff\xfe\x00", "is no YAML|cannot be read"),
        (b"encoder: {hidden: 4, depth: 2}", r"encoder.*depth.*allowed"),
        (b"family: [two-stage]", "unknown family"),
    ],
)
def test_a_configuration_that_cannot_be_used(tmp_path, content, words):
    (tmp_path / "c.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=words) as caught:
        load(CONFIGS, tmp_path / "c.yaml")
    assert "\n" not in str(caught.value) and ("c.yaml" in str(caught.value) or "family" in words)


def test_a_file_gives_way_to_settings_and_those_to_options(tmp_path):
    (tmp_path / "c.yaml").write_text("seed: 1\nencoder: {hidden: 5, learning_rate: 1e-2}\nstream: 'a(b)'\n")
    config = load(CONFIGS, tmp_path / "c.yaml", ["seed=2", "encoder.hidden=6"], {"seed": 3, "stream": None})
    assert (config.seed, config.encoder.hidden, config.encoder.learning_rate) == (3, 6, 0.01)
    assert (config.family, config.stream, config.encoder.embedding) == ("two-stage", "a(b)", 64)
    assert config.score_window().pad and config.score_window().end  # as there is a stream pattern
    assert not load(CONFIGS).score_window().pad and not load(CONFIGS, None, ["window.end=false"]).score_window().end
    assert load(CONFIGS, None, ["encoder=", "encoder.hidden=7"]).encoder.hidden == 7


class Scripted(torch.nn.Module):
    """Its weight is the number of steps that it took, its validation loss what `losses` has for that."""

    losses: tuple[float, ...] = ()

    def __init__(self):
        super().__init__()
        self.steps = torch.nn.Parameter(torch.zeros(1))

    def forward(self, examples):
        if self.training:
            torch.rand(1)  # as dropout does
            return -self.steps.sum() * len(examples), torch.ones_like(examples).sum()
        return torch.tensor(self.losses[round(self.steps.item()) - 1]) * len(examples), torch.ones_like(examples).sum()


class Ones:
    def __len__(self):
        return 8

    def batch(self, rows):
        return (torch.ones(len(rows)),)


class ScriptedConfig(RunConfig, forbid_unknown_fields=True, kw_only=True):
    first: StageConfig


@pytest.fixture
def scripted(tmp_path, monkeypatch):
    """Trains a model whose validation losses are given; the epochs and the weights that were kept."""

    def run(*losses, second=(), seen=None, **settings):
        class First(Scripted):
            pass

        First.losses = losses

        class Second(Scripted):
            pass

        Second.losses = second

        def build(config, vocabulary):
            model = torch.nn.ModuleDict({"first": First(), "second": Second()})
            model.register_buffer("drawn", torch.zeros(1))
            return model

        def stages(config, model, data):
            yield Stage("first", model["first"], config.first, Ones(), Ones())
            if second:
                seen.append(model["first"].steps.item())
                torch.rand(1, out=model.drawn)
                yield Stage("second", model["second"], config.first, Ones(), Ones())

        monkeypatch.setitem(FAMILIES, "scripted", SimpleNamespace(build=build, stages=stages))
        settings = {"learning_rate": 1.0, "batch_size": 8, "epochs": 20, "patience": 3} | settings
        config = ScriptedConfig(family="scripted", first=StageConfig(**settings))
        lines = np.ones(40, np.int32)
        corpus = Corpus(["", "x"], lines, lines * 0, (lines * 0).astype(np.int8), None, None, [b""], [], None)
        out = tmp_path / "run"
        folder.prepare(out, config, str(losses), True)
        metrics = fit(config, corpus, corpus, out, {}, "cpu", 1)
        kept = folder.safetensors.torch.load((out / folder.WEIGHTS).read_bytes())
        return metrics, kept["first.steps"].item(), kept["second.steps"].item(), kept["drawn"].item()

    return run


@pytest.mark.parametrize(
    ("losses", "epochs", "best"),
    [
        ((5, 3, 4, 2, 2.5, 2.2, 2.1, 1), 7, 4),  # three in a row that are not better
        ((5, 4, 4, 4, 4, 3), 5, 2),
        ((1, 0.9995, 0.9992, 0.9991, 0.5), 4, 4),  # better, but not by a thousandth: kept, and not waited for
        ((9, 8, 7, 6, 5), 5, 5),
    ],
)
def test_it_ends_when_nothing_gets_better_and_keeps_the_best_epoch(scripted, losses, epochs, best):
    metrics, kept, *_ = scripted(*losses, epochs=len(losses))
    assert len(metrics["epochs"]) == epochs and metrics["best"]["first"]["epoch"] == best
    assert metrics["best"]["first"]["validation"] == pytest.approx(losses[best - 1])
    assert kept == pytest.approx(best, abs=1e-3)


def test_a_stage_begins_from_the_best_of_the_one_before(scripted):
    seen = []
    metrics, first, second, _ = scripted(3, 2, 4, 4, 4, 4, second=(1, 2, 2, 2), seen=seen)
    assert seen == [pytest.approx(2, abs=1e-3)] == [pytest.approx(first)]
    assert second == pytest.approx(1, abs=1e-3)
    assert [(one["stage"], one["epoch"]) for one in metrics["epochs"]] == [
        *(("first", epoch) for epoch in range(1, 6)),
        *(("second", epoch) for epoch in range(1, 5)),
    ]


def test_the_best_epoch_is_kept_over_an_interruption(scripted, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt_after(patch, 3)
        scripted(5, 2, 3, 4, 4, 4)
    metrics, kept, *_ = scripted(5, 2, 3, 4, 4, 4)
    assert len(metrics["epochs"]) == 5 and kept == pytest.approx(2, abs=1e-3)


@pytest.mark.parametrize("checkpoints", [1, 4, 6])
def test_what_a_stage_draws_is_the_same_after_an_interruption(scripted, monkeypatch, checkpoints):
    losses, second = (3, 4, 4, 4), (1, 2, 2, 2)
    whole = scripted(*losses, second=second, seen=[])
    other = (2, *losses[1:])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt_after(patch, checkpoints)
        scripted(*other, second=second, seen=[])
    assert scripted(*other, second=second, seen=[])[1:] == whole[1:]


def test_a_loss_that_is_good_enough_ends_a_stage(scripted):
    metrics, kept, *_ = scripted(3, 0.5, 0.1, goal=0.5)
    assert len(metrics["epochs"]) == 2 and kept == pytest.approx(2, abs=1e-3)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_ends_the_training(scripted, loss):
    with pytest.raises(ConfigError, match="the training diverged: the loss of first epoch 2/20"):
        scripted(3, loss, 1)


def test_two_processes_on_a_cpu_give_a_usable_model(log, tmp_path):
    if os.environ.get("ODDLINE_REQUIRE_ALL") != "1":
        pytest.skip("starts two more processes with torch; set ODDLINE_REQUIRE_ALL=1")
    from training.fitting.run_folder import load_run

    done = start("pass", [*arguments(log, tmp_path / "run", "--devices", "2"), "--set=detector.head=codebook"])
    assert done.returncode == 0, done.stderr
    run = load_run(tmp_path / "run")
    assert run.metrics["devices"] == 2 and {one["examples"] for one in run.metrics["epochs"]} == {80}
    losses = [one["validation"] for one in run.metrics["epochs"] if one["stage"] == "encoder"]
    assert losses[-1] < losses[0]
    assert len([line for line in done.stderr.splitlines() if " epoch " in line]) == 2 * EPOCHS  # told once
