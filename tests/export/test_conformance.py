"""One set of checks for every family and configuration: trained, exported, run as a stream, stopped, restored."""

import dataclasses
import random
from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest
from helpers.made_up import AUTH_HEADER, auth_rows, made_up_lines
from helpers.recipes import make_once

from agent.bundle.bundle import TOLERANCE, Bundle
from agent.bundle.manifest import Threshold
from agent.bundle.onnx import open_session
from agent.scoring.engine import ScoringEngine
from agent.scoring.settings import ScoringSettings
from agent.text.lines import LineSplitter
from export.parity import verify
from export.writer import export_run
from training.evaluation.model import open_subject, score_in_order
from training.fitting.job import Job, run_job
from training.fitting.run_folder import load_run
from training.models import FAMILIES

_NOW = datetime(2026, 3, 9, tzinfo=UTC)
USER = r"^[^,]*,([^,]+)"
RECORDS = {"header": AUTH_HEADER}
WORDS = RECORDS | {"tokenizer": {"min_frequency": 2}}
CHARS = RECORDS | {"tokenizer": {"kind": "char", "max_tokens": 40}}
PIECES = {"tokenizer": {"kind": "bpe", "max_tokens": 24, "max_vocabulary": 300}}
SMALL = {"embedding": 8, "hidden": 6, "context": 5, "keys": 4, "batch_size": 16, "epochs": 2, "learning_rate": 0.01}


def language(tokens, stream=None, **model):
    more = {"stream": stream} if stream else {}
    return {"family": "language-model", **tokens, **more, "model": SMALL | model}


def two_stage(stream=None, head="regression", **more):
    encoder = {"embedding": 8, "hidden": 8, "vector": 16, "epochs": 2}
    detector = {"head": head, "hidden": 8, "epochs": 2}
    content = {"family": "two-stage", "encoder": encoder, "detector": detector, "window": {"size": 4}, **more}
    return content | ({"stream": stream} if stream else {})


def autoencoder(stream=None, **model):
    small = {"hidden": 8, "latent": 6, "epochs": 3, "embedding": 5, "max_events": 40}
    content = {"family": "sequence-autoencoder", "window": {"size": 5}, "model": small | model}
    return content | ({"stream": stream} if stream else {})


CONFIGURATIONS = {
    "EM word, relative to the mean": language(WORDS, USER) | {"relative": "mean"},
    "EM gru, two residual layers, dropout": language(WORDS, cell="gru", layers=2, residual=True, dropout=0.1),
    "EM char, tied": language(CHARS, tie=True, embedding=6),
    "EM fixed attention": language(WORDS, attention="fixed"),
    "EM syntax attention": language(CHARS, attention="syntax"),
    "EM bpe, semantic attention 1": language(PIECES, attention="semantic1"),
    "EM semantic attention 2": language(WORDS, attention="semantic2", cell="rnn"),
    "BEM": language(WORDS, bidirectional=True),
    "BEM rnn, two layers, tied": language(CHARS, bidirectional=True, cell="rnn", layers=2, tie=True),
    "T-EM": language(WORDS, USER, tier="mean"),
    "T-BEM": language(CHARS, USER, tier="mean", bidirectional=True),
    "TA-EM": language(PIECES, r"^(\w+ +\d+ \d+:\d)", tier="attention"),
    "TA-BEM, relative to the median": language(WORDS, USER, tier="attention", bidirectional=True)
    | {"relative": "median"},
    "transformer": language(CHARS, architecture="transformer"),
    "transformer, two blocks, two heads, tied": language(
        WORDS, architecture="transformer", layers=2, heads=2, tie=True
    ),
    "two-stage": two_stage(),
    "two-stage codebook, padded streams, time of day": two_stage(r"req-\d+", "codebook", time_of_day=True),
    "sequence autoencoder": autoencoder(),
    "sequence autoencoder, one layer, padded streams, whole windows": autoencoder(r"req-\d+", layers=1)
    | {"score": "window"},
    "sequence autoencoder, embedded events": autoencoder(event="embedding"),
}


@dataclasses.dataclass
class Made:
    name: str
    run: object
    folder: object
    lines: list

    def engine(self, **settings):
        return ScoringEngine(Bundle.load(self.folder), ScoringSettings(**settings))


@pytest.fixture(scope="module", params=CONFIGURATIONS)
def made(request, shared):
    content = CONFIGURATIONS[request.param]
    lines = auth_rows(400) if isinstance(content.get("header"), dict) else made_up_lines(400)

    def make(folder):
        log, config = folder / "log", folder / "config.yaml"
        log.write_bytes(b"".join(lines))
        config.write_bytes(msgspec.yaml.encode(content))
        run_job(Job([log], folder / "run", config, (), {}, None, None, None, "cpu", 1, False))
        export_run(load_run(folder / "run"), folder / "bundle", False, [], False)

    folder = make_once(shared / f"conformance-{list(CONFIGURATIONS).index(request.param)}", make)
    return Made(request.param, load_run(folder / "run"), folder / "bundle", lines)


def blocks(lines, seed=None):
    """The lines as one block, or cut at random places."""
    draw, splitter, data = random.Random(seed), LineSplitter("log"), b"".join(lines)
    ends = [len(data)] if seed is None else [*sorted(draw.sample(range(1, len(data)), 40)), len(data)]
    cut = (splitter.feed(data[start:end]) for start, end in zip([0, *ends], ends, strict=False))
    return [block for block in cut if block is not None]


def scores(engine, some):
    return np.concatenate([engine.score(block).scores for block in some])


def test_the_graphs_agree_with_torch_at_every_length_and_batch(made):
    for spec in FAMILIES[made.run.config.family].graphs(made.run.config, made.run.model):
        lengths = tuple(range(1, max(spec.lengths) + 1)) if spec.name in ("model", "encoder") else spec.lengths
        every = dataclasses.replace(spec, lengths=lengths)
        assert verify(every, open_session(made.folder / f"{spec.name}.onnx")) <= TOLERANCE


def test_the_host_replays_what_was_recorded(made):
    differences = Bundle.load(made.folder).parity()
    assert differences and max(differences.values()) <= TOLERANCE


def test_the_agent_scores_as_torch_does(made):
    bundle, run = open_subject(made.folder), open_subject(made.folder.parent / "run")
    found = []
    for subject in (bundle, run):
        corpus = _corpus(subject, made)
        if subject.in_order is None:
            found.append(
                subject.score(np.repeat(corpus.ids[:, None], subject.window.size, 1), _features(subject, corpus))
            )
        else:
            found.append(score_in_order(subject.in_order(len(corpus.keys)), corpus, subject.features))
    assert np.isfinite(found[0]).all() and np.ptp(found[0]) > 0
    np.testing.assert_allclose(found[0], found[1], atol=2e-4, rtol=1e-4)


def _corpus(subject, made):
    from training.data.corpus import read_corpus

    log, read = made.folder.parent / "log", subject.features and subject.features.read
    return read_corpus([log], subject.header, subject.masks, subject.stream, None, read, False, subject.normalizer)


def _features(subject, corpus):
    if subject.features is None:
        return None
    found = subject.features.of(corpus.numbers, corpus.ids)
    return np.repeat(found[:, None], subject.window.size, 1)


def test_any_cutting_gives_the_same_scores(made):
    whole = scores(made.engine(), blocks(made.lines))
    assert whole.tobytes() == scores(made.engine(), blocks(made.lines, seed=1)).tobytes()
    assert whole.tobytes() == scores(made.engine(cache=False), blocks(made.lines, seed=2)).tobytes()


def test_a_restart_changes_no_score(made):
    parts = blocks(made.lines, seed=3)
    whole, kept = scores(made.engine(), parts), {}
    first, found = made.engine(), []
    for block in parts[:20]:
        scored = first.score(block)
        found.append(scored.scores)
        kept |= {(block.source, key): first.stream_states.dump(block.source, key, []) for key in scored.keys}
    second = made.engine()
    for (source, key), blob in kept.items():
        second.stream_states.restore(source, key, blob)
    assert np.concatenate([*found, scores(second, parts[20:])]).tobytes() == whole.tobytes()


def test_few_streams_are_kept_and_scores_stay_the_same_for_any_cutting(made):
    few = [scores(made.engine(max_streams=2), blocks(made.lines, seed=seed)) for seed in (None, 4)]
    assert few[0].tobytes() == few[1].tobytes()


def test_bad_lines_have_scores_and_reasons(made):
    bad = [b"\n", b",,,,,\n", b"\xff\xfe\x00 \x1b[31m\n", b"a,b\n", b'"' + b"x" * 5000 + b"\n", "é‮漢\n".encode()]
    engine = made.engine(threshold=Threshold("fixed", -1e9))
    scored = engine.score(blocks(bad + made.lines[:5] + bad)[0])
    assert np.isfinite(scored.scores[scored.scores == scored.scores]).all()
    assert np.isnan(scored.scores).sum() < len(scored.block)
    assert len(scored.anomalies) == (~np.isnan(scored.scores)).sum() > 5
    for index in scored.anomalies:
        assert msgspec.json.decode(msgspec.json.encode(engine.reason(scored, index)))["kind"]


def test_texts_that_are_forgotten_change_no_score(made, monkeypatch):
    whole = scores(made.engine(), blocks(made.lines))
    monkeypatch.setattr("agent.scoring.engine.MAX_TEXTS", 5)
    assert whole.tobytes() == scores(made.engine(), blocks(made.lines, seed=5)).tobytes()


def test_lines_of_nothing_that_was_learnt_are_odder(made):
    odd = [b"9999,zz@zz,QQQ,zzz,zz~zz,zz\n", b"@@##%%^^ nothing of this was ever seen {}{}{} ZZZ\n"] * 4
    found = scores(made.engine(), blocks(made.lines + odd))
    if made.run.config.family != "two-stage":  # which looks at the order, too
        assert np.nanmean(found[-8:]) > np.nanmean(found[:-8])
