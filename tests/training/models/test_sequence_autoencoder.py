"""The sequence autoencoder: what it sees, what it finds, and what odd input does to it."""

import json
import shutil
from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest
import torch
from helpers.processes import run_agent

from agent.alerting.policy import AlertPolicy
from agent.bundle.bundle import Bundle
from agent.bundle.manifest import Threshold
from agent.errors import BundleError, ConfigError
from agent.scoring.engine import ScoringEngine
from agent.scoring.features import CYCLIC
from agent.scoring.reasons import Reason, ReconstructionReason, decode_reason
from agent.scoring.settings import ScoringSettings
from agent.text.events import FIRST, UNSEEN_EVENT
from agent.text.lines import LineSplitter
from training.config import load
from training.evaluation.model import open_subject
from training.fitting.job import Job, run_job
from training.models import CONFIGS, sequence_autoencoder
from training.models.sequence_autoencoder.config import AutoencoderConfig
from training.models.sequence_autoencoder.networks import ReconstructionLoss, SequenceAutoencoder

NOW = datetime(2026, 6, 1, tzinfo=UTC)
FAMILY = "family=sequence-autoencoder"


def test_the_defaults_are_those_of_the_document():
    config = load(CONFIGS, None, [FAMILY])
    model = config.model
    assert (config.window.size, model.layers, model.hidden, model.latent, model.dropout) == (20, 2, 64, 64, 0.2)
    assert (model.batch_size, model.epochs, model.learning_rate, model.event) == (64, 100, 1e-3, "scaled")
    assert (config.threshold.kind, config.threshold.q, config.slow_walk_share) == ("quantile", 0.995, 0.025)


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("window.end=true", "no time and no event"),
        ("score=first", "score"),
        ("model.event=guessed", "model.event"),
        ("slow_walk_share=1", "slow_walk_share"),
        ("model.latent=0", "model.latent"),
    ],
)
def test_settings_that_cannot_be(setting, why):
    with pytest.raises(ConfigError, match=why):
        load(CONFIGS, None, [FAMILY, setting])


def windows(*, events, batch=2, size=5):
    found = np.random.default_rng(0).normal(size=(batch, size, 9)).clip(-1, 1).astype(np.float32)
    found[..., 8] = events
    return torch.from_numpy(found)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@torch.no_grad()
def test_an_error_is_the_mean_of_the_squares_and_no_id_is_clipped():
    model = SequenceAutoencoder(AutoencoderConfig(hidden=6, latent=4, layers=1)).eval()
    some = windows(events=0.5)
    errors, expected, latent = model(some)
    assert latent.shape == (2, 4) and expected.shape == some.shape
    torch.testing.assert_close(errors, (expected - some).square().mean(2))
    far = model(windows(events=1e6))[0]
    assert far.min() > 1e10 and torch.isfinite(far).all()
    loss, weight = ReconstructionLoss(model)(some)
    torch.testing.assert_close(loss / weight, errors.mean())


@torch.no_grad()
def test_an_embedded_event_is_as_odd_as_it_is_improbable_and_a_strange_one_most_of_all():
    model = SequenceAutoencoder(AutoencoderConfig(hidden=6, latent=4, event="embedding", max_events=7)).eval()
    known = model(windows(events=FIRST + 3.0))[0]
    strange = model(windows(events=float(UNSEEN_EVENT)))[0]
    beyond = model(windows(events=FIRST + 7.0))[0]
    assert known.max() < strange.min() and strange.max() < 20 / 9 + 1
    torch.testing.assert_close(beyond, strange)


@torch.no_grad()
def test_no_strange_event_is_ever_expected():
    model = SequenceAutoencoder(AutoencoderConfig(hidden=6, latent=4, layers=1, event="embedding", max_events=5)).eval()
    model.wide.bias[CYCLIC + UNSEEN_EVENT] = 100.0
    assert (model(windows(events=FIRST))[1][..., CYCLIC] != UNSEEN_EVENT).all()


@torch.no_grad()
def test_a_window_is_reconstructed_from_its_latent_alone():
    model = SequenceAutoencoder(AutoencoderConfig(hidden=6, latent=3)).eval()
    calls = []
    model.decoder.register_forward_pre_hook(lambda _, args: calls.append(args[0]))
    model(windows(events=0.3))
    (seen,) = calls
    assert seen.shape == (2, 5, 3) and (seen == seen[:, :1]).all()


def scored(engine, data, name="log"):
    return engine.score(LineSplitter(name).feed(data))


def read(folder):
    return (folder.parent / "later").read_bytes(), np.array((folder.parent / "labels").read_text().split(), int)


def test_the_burst_of_unseen_events_is_found_and_told_as_such(sequence_bundle):
    data, labels = read(sequence_bundle)
    engine = ScoringEngine(Bundle.load(sequence_bundle))
    found = scored(engine, data)
    odd = found.scores > found.limits
    assert odd[labels == 1].all() and np.isnan(found.scores[:9]).all() and not np.isnan(found.scores[9:]).any()
    before = np.flatnonzero(labels)[0]
    assert odd[1100:before].mean() < 0.1
    first = AlertPolicy(engine).alerts(found, "file", NOW)[-1]
    assert first.severity == "critical" and labels[first.line - 1]
    reason = engine.reason(found, int(before))
    assert isinstance(reason, ReconstructionReason) and reason.event.unseen and reason.event.text.startswith("E9")
    assert reason.time < 0.1 and len(reason.errors) == 10 and not reason.expected.unseen


def test_the_score_of_a_window_is_its_mean(sequence_bundle, tmp_path):
    data, _ = read(sequence_bundle)
    whole = tmp_path / "whole"
    shutil.copytree(sequence_bundle, whole)
    manifest = json.loads((whole / "manifest.json").read_text())
    manifest["settings"]["score"] = "window"
    (whole / "manifest.json").write_text(json.dumps(manifest))
    last, mean = (ScoringEngine(Bundle.load(folder)) for folder in (sequence_bundle, whole))
    some = scored(last, data)
    means = scored(mean, data).scores
    last.limits = ScoringEngine(
        Bundle.load(sequence_bundle), ScoringSettings(threshold=Threshold("fixed", -1.0))
    ).limits
    told = scored(last, data, "again")
    row = 500
    errors = last.reason(told, row).errors
    assert errors[-1] == pytest.approx(float(some.scores[row]), rel=1e-3)
    assert np.mean(errors) == pytest.approx(float(means[row]), rel=1e-3)


ODD_LINES = [
    b"no time at all E7\n",
    b"\n",
    b"Mar 12 10:00:00 host1 app[1]: E1000000000000 far\n",
    b"Mar 12 10:00:00 host1 app[1]: E" + b"9" * 4000 + b"\n",
    b"Feb  1 09:00:00 host1 app[1]: E3 the clock jumped back\n",
    b"Mar 32 25:61:61 host1 app[1]: E3 no such time\n",
    b"\xff\xfe\x00\x1b[31m\n",
]


def test_odd_lines_have_finite_scores_and_reasons(sequence_bundle):
    data, _ = read(sequence_bundle)
    lines = data.splitlines(keepends=True)[:30]
    engine = ScoringEngine(Bundle.load(sequence_bundle), ScoringSettings(threshold=Threshold("fixed", -1.0)))
    found = scored(engine, b"".join(lines + ODD_LINES + lines[:3]))
    assert np.isfinite(found.scores[9:]).all()
    far, farther = found.scores[32], found.scores[33]
    assert far > 1e15 and farther > far, "an id is never clipped, but at the largest that is read"
    for index in found.anomalies:
        reason = engine.reason(found, index)
        assert decode_reason(Reason, json.loads(msgspec.json.encode(reason))) == reason
    told = AlertPolicy(engine).alerts(found, "file", NOW)
    assert {alert.severity for alert in told} <= {"low", "medium", "high", "critical"}


def test_two_hosts_in_one_log_are_two_streams_where_a_pattern_tells_them_apart(sequence_bundle):
    data, _ = read(sequence_bundle)
    lines = data.splitlines(keepends=True)[:300]
    other = [line.replace(b" host1 ", b" host2 ") for line in lines]
    mixed = b"".join(line for pair in zip(lines, other, strict=True) for line in pair)
    alone = scored(ScoringEngine(Bundle.load(sequence_bundle)), b"".join(lines)).scores
    apart = scored(ScoringEngine(Bundle.load(sequence_bundle), ScoringSettings(stream=r"\b(host\d)\b")), mixed).scores
    np.testing.assert_array_equal(apart[::2], alone)
    np.testing.assert_array_equal(apart[1::2], alone)
    together = scored(ScoringEngine(Bundle.load(sequence_bundle)), mixed).scores
    assert not np.array_equal(together[::2], alone, equal_nan=True), "their windows hold lines of both"


def test_the_windows_of_another_bundle_warm_up_anew(sequence_bundle, tmp_path):
    data, _ = read(sequence_bundle)
    lines = data.splitlines(keepends=True)
    first = ScoringEngine(Bundle.load(sequence_bundle))
    block = scored(first, b"".join(lines[:50]))
    (key,) = set(block.keys)
    blob = first.stream_states.dump("log", key, [])
    other = tmp_path / "other"
    shutil.copytree(sequence_bundle, other)
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps(manifest | {"name": "other"}))
    same, anew = ScoringEngine(Bundle.load(sequence_bundle)), ScoringEngine(Bundle.load(other))
    for engine in (same, anew):
        engine.stream_states.restore("log", key, blob)
    rest = b"".join(lines[50:70])
    assert not np.isnan(scored(same, rest).scores).any()
    assert np.isnan(scored(anew, rest).scores).tolist() == [True] * 9 + [False] * 11


def damage(folder, **settings):
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["settings"] |= settings
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda folder: damage(folder, event="guessed"), "'event' must be one of scaled, embedding"),
        (lambda folder: damage(folder, score=None), "'score' must be one of last, window"),
        (lambda folder: damage(folder, slow_walk_share=2), "slow_walk_share"),
        (lambda folder: (folder / "events.json").unlink(), "events.json is missing"),
        (lambda folder: (folder / "events.json").write_text("{}"), "events.json is damaged"),
    ],
)
def test_a_damaged_bundle_is_refused(sequence_bundle, tmp_path, change, why):
    folder = tmp_path / "bundle"
    shutil.copytree(sequence_bundle, folder)
    change(folder)
    with pytest.raises(BundleError, match=why):
        ScoringEngine(Bundle.load(folder))


def test_the_commands_of_an_operator(sequence_bundle, tmp_path):
    checked = run_agent("check", sequence_bundle)
    assert checked.returncode == 0, checked.stderr
    shown = run_agent("inspect", sequence_bundle)
    assert shown.returncode == 0 and b"sequence-autoencoder" in shown.stdout
    later = sequence_bundle.parent / "later"
    done = run_agent("tail", later, "--once", "--from", "start", "-b", sequence_bundle, "--sink", "console:")
    assert done.returncode == 0 and b"an event never seen" in done.stdout
    assert b"of the last 1000 lines are odd" in done.stdout


def test_the_latent_of_windows(sequence_bundle):
    subject = open_subject(sequence_bundle)
    latent = subject.scorer.latent(np.zeros((3, 10), np.int32), np.zeros((3, 10, 9), np.float32))
    assert latent.shape == (3, 16) and (latent == latent[0]).all()


def test_more_events_than_there_is_room_for_are_refused(sequence_bundle, tmp_path):
    settings = (FAMILY, "model.event=embedding", "model.max_events=5", "model.epochs=1")
    log = sequence_bundle.parent / "log"
    with pytest.raises(ConfigError, match=r"events, model.max_events is 5: set it to \d+ or more"):
        run_job(Job([log], tmp_path / "run", None, settings, {}, None, None, None, "cpu", 1, False))


def test_learning_from_lines_without_any_time_or_number(tmp_path):
    (tmp_path / "log").write_text("".join(f"step {'abc'[number % 3]} done\n" for number in range(400)))
    settings = (FAMILY, "model.epochs=1", "model.hidden=4", "model.latent=4", "window.size=4")
    run_job(Job([tmp_path / "log"], tmp_path / "run", None, settings, {}, None, None, None, "cpu", 1, False))
    subject = open_subject(tmp_path / "run")
    assert len(subject.scorer.events.known) >= 1 and not subject.scorer.events.numbered
    assert sequence_autoencoder.state(None) == []


def test_lines_that_complete_no_window_have_no_score(sequence_bundle, tmp_path):
    log = tmp_path / "few"
    log.write_bytes(b"".join(read(sequence_bundle)[0].splitlines(keepends=True)[:5]))
    told = run_agent("score", log, "--bundle", sequence_bundle)
    assert told.returncode == 0, told.stderr
    assert [json.loads(line)["score"] for line in told.stdout.splitlines()] == [None] * 5
