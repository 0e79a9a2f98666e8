"""The two-stage family: what its layers promise, its losses by hand, and that every configuration reaches the agent."""

import dataclasses

import numpy as np
import pytest
import torch
from helpers.made_up import made_up_lines

from agent.bundle.bundle import TOLERANCE, Bundle
from agent.scoring.engine import ScoringEngine
from agent.scoring.features import time_of_day
from agent.scoring.scorers.judges import DISTANCES
from agent.text.lines import LineSplitter
from agent.text.tokenizers import PAD
from export.writer import export_run
from training.config import load
from training.data.corpus import Corpus, read_corpus
from training.data.windows import Windows
from training.fitting.job import Job, run_job
from training.fitting.run_folder import load_run
from training.models import CONFIGS, two_stage
from training.models.base import TrainingData
from training.models.examples import TextExamples
from training.models.layers import Recurrent
from training.models.two_stage.config import DetectorConfig, EncoderConfig
from training.models.two_stage.family import VectorWindows
from training.models.two_stage.networks import (
    CodebookDetector,
    CodebookLoss,
    RegressionLoss,
    TextAutoencoder,
    TextDecoder,
    TextEncoder,
)

WORDS = 30


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def weights(layer):
    """The weights of an nn.LSTM as the operator takes them."""
    suffixes = ("_l0", "_l0_reverse")[: 1 + layer.bidirectional]
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    weight, recurrent, *biases = (torch.stack([getattr(layer, name + end) for end in suffixes]) for name in names)
    return weight, recurrent, torch.cat(biases, dim=1)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("operator", [False, True])
@torch.no_grad()
def test_the_lstm_is_torchs_on_each_sequence_alone(bidirectional, operator):
    lstm = Recurrent(5, 4, bidirectional)
    x, lengths = torch.randn(6, 9, 5), torch.tensor([9, 1, 3, 7, 9, 2])
    if operator:
        outputs, states = torch.ops.oddline.recurrent(x, lengths, *weights(lstm.layer), "lstm")
    else:
        outputs, states = lstm(x, lengths)
    assert outputs.shape == (6, 9, 4 * (1 + bidirectional)) and states.shape == (6, 1 + bidirectional, 4)
    for row, length in enumerate(lengths.tolist()):
        expected, (last, _) = lstm.layer(x[row : row + 1, :length])
        torch.testing.assert_close(outputs[row, :length], expected[0])
        torch.testing.assert_close(states[row], last[:, 0])
        assert not outputs[row, length:].any()


@torch.no_grad()
def test_without_lengths_every_sequence_is_whole():
    lstm, x = Recurrent(5, 4, True), torch.randn(3, 7, 5)
    for whole, given in zip(lstm(x), lstm(x, torch.full((3,), 7)), strict=True):
        torch.testing.assert_close(whole, given)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_operator_tells_the_exporter_its_shapes(bidirectional):
    lstm = Recurrent(5, 4, bidirectional)
    arguments = (torch.randn(3, 6, 5), torch.tensor([6, 2, 1]), *(one.detach() for one in weights(lstm.layer)), "lstm")
    torch.library.opcheck(torch.ops.oddline.recurrent.default, arguments, test_utils="test_faketensor")


@pytest.fixture
def encoder():
    return TextEncoder(EncoderConfig(embedding=6, hidden=5, vector=16), WORDS).eval()


def texts(*lengths):
    """Random token ids, padded, and their lengths."""
    ids = torch.zeros(len(lengths), max(lengths), dtype=torch.int64)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.randint(1, WORDS, (length,))
    return ids, torch.tensor(lengths)


@torch.no_grad()
def test_neither_padding_nor_company_changes_a_vector(encoder):
    ids, lengths = texts(4, 9, 1, 6)
    together = encoder(ids, lengths)
    wider = encoder(torch.nn.functional.pad(ids, (0, 20), value=PAD), lengths)
    torch.testing.assert_close(wider, together)
    for row, length in enumerate(lengths.tolist()):
        alone = encoder(ids[row : row + 1, :length], lengths[row : row + 1])
        torch.testing.assert_close(alone[0], together[row])
        assert row == 0 or not torch.allclose(together[row], together[0], atol=1e-3)


@torch.no_grad()
def test_a_vector_has_the_length_1_and_nothing_negative(encoder):
    vectors = encoder(*texts(*range(1, 20)))
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(19))
    assert vectors.min() == 0 and (vectors > 0).any(1).all()


@torch.no_grad()
def test_the_decoder_sees_the_words_before_alone():
    decoder = TextDecoder(EncoderConfig(embedding=6, hidden=5, vector=16), WORDS).eval()
    ids, _ = texts(8, 8)
    vectors = torch.rand(2, 16)
    logits = decoder(vectors, ids)
    assert logits.shape == (2, 8, WORDS)
    for place in range(8):
        other = ids.clone()
        other[0, place] = ids[0, place] % (WORDS - 1) + 1
        changed = (decoder(vectors, other) != logits).any(2)
        assert not changed[1].any() and not changed[0, : place + 1].any()
        assert changed[0, place + 1 :].all()  # teacher forcing: they see the true word


@torch.no_grad()
def test_the_decoder_sees_the_vector_at_every_word():
    decoder = TextDecoder(EncoderConfig(embedding=6, hidden=5, vector=16), WORDS).eval()
    ids, vectors = texts(8)[0], torch.rand(1, 16)
    assert (decoder(vectors, ids) != decoder(vectors.flip(1), ids)).any(2).all()


@torch.no_grad()
def test_the_loss_of_the_autoencoder_is_the_cross_entropy_of_real_words():
    config = EncoderConfig(embedding=6, hidden=5, vector=16)
    model = TextAutoencoder(TextEncoder(config, WORDS), TextDecoder(config, WORDS)).eval()
    ids, lengths = texts(3, 7)
    loss, weight = model(ids, lengths, torch.tensor([5.0, 2.0]))
    logits = model.decoder(model.encoder(ids, lengths), ids).log_softmax(2)
    by_hand = [sum(-logits[row, at, ids[row, at]] for at in range(length)) for row, length in enumerate((3, 7))]
    assert weight == 5 * 3 + 2 * 7
    torch.testing.assert_close(loss, 5 * by_hand[0] + 2 * by_hand[1])


class Spy(torch.nn.Module):
    """A detector that predicts 1 everywhere and keeps what it saw."""

    def forward(self, windows):
        self.seen = windows
        return torch.ones_like(windows[:, 0])


def test_the_loss_of_the_regression_by_hand():
    spy, windows = Spy(), torch.zeros(2, 4, 3)
    windows[:, :3] = torch.randn(2, 3, 3)
    windows[0, 3], windows[1, 3] = torch.tensor([1.0, 3.0, 0.0]), torch.tensor([1.0, 1.0, -2.0])
    loss, weight = RegressionLoss(spy)(windows)
    assert (loss.item(), weight.item()) == (pytest.approx((0 + 4 + 1) / 3 + (0 + 0 + 9) / 3), 2)
    assert torch.equal(spy.seen, windows[:, :3])


def codebook(codes, places=6, bandwidth=0.1, features=0):
    config = DetectorConfig(hidden=5, head="codebook", max_codes=places, bandwidth=bandwidth)
    detector = CodebookDetector(config, codes.shape[1] + features, codes.shape[1]).eval()
    detector.set_codes(codes)
    return detector


CODES = torch.eye(8)[:4]


@torch.no_grad()
def test_a_known_vector_scores_the_surprise_of_its_code():
    detector, windows = codebook(CODES), torch.randn(4, 3, 8)
    scores, expected = detector(windows, CODES)
    chances = detector.log_weights(windows).exp()
    torch.testing.assert_close(chances[:, :4].sum(1), torch.ones(4))
    torch.testing.assert_close(scores, -chances.diagonal()[:4].log(), atol=1e-4, rtol=0)
    assert torch.equal(expected, CODES[chances.argmax(1)])


@pytest.mark.parametrize("bandwidth", [0.1, 0.5])
@torch.no_grad()
def test_an_unknown_vector_adds_its_squared_distance(bandwidth):
    detector, windows = codebook(CODES[:1], bandwidth=bandwidth), torch.randn(5, 3, 8)
    vectors = torch.nn.functional.normalize(torch.rand(5, 8), dim=1)
    squares = (vectors - CODES[0]).square().sum(1)
    torch.testing.assert_close(detector(windows, vectors)[0], squares / (2 * bandwidth**2), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_the_score_is_that_of_the_mixture():
    detector, windows = codebook(CODES, bandwidth=0.6), torch.randn(7, 3, 8)
    vectors = torch.nn.functional.normalize(torch.rand(7, 8), dim=1)
    chances = detector.log_weights(windows).exp()[:, :4].double()
    squares = (vectors[:, None] - CODES).square().sum(2).double()
    density = (chances * (-squares / (2 * 0.6**2)).exp()).sum(1)
    torch.testing.assert_close(detector(windows, vectors)[0].double(), -density.log(), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_unused_places_never_win():
    detector = codebook(CODES[:2])
    with torch.no_grad():
        detector.dense.bias[2:] = 50  # whatever the layer says of them
    windows = torch.randn(50, 3, 8)
    chances = detector.log_weights(windows).exp()
    assert not chances[:, 2:].any()
    vectors = torch.cat([torch.zeros(1, 8), -torch.rand(49, 8)])  # nearest to the zeros of the unused places
    assert detector.nearest(vectors).max() <= 1
    assert set(map(tuple, detector(windows, vectors)[1].tolist())) <= set(map(tuple, CODES[:2].tolist()))
    assert torch.isfinite(detector(windows, vectors)[0]).all()


@torch.no_grad()
def test_codes_can_be_set_anew():
    detector = codebook(CODES, places=4)
    detector.set_codes(CODES[:2])
    assert detector.nearest(CODES).max() <= 1


@torch.no_grad()
def test_the_loss_of_the_codebook_by_hand():
    detector = codebook(CODES, features=2)
    windows = torch.randn(3, 4, 10)
    windows[:, 3, :8] = CODES[[2, 0, 3]] + 0.1
    loss, weight = CodebookLoss(detector)(windows)
    chances = detector.log_weights(windows[:, :3])
    assert weight == 3
    torch.testing.assert_close(loss, -(chances[0, 2] + chances[1, 0] + chances[2, 3]))


def corpus(ids):
    """One stream of these texts."""
    ids = np.array(ids, np.int32)
    marks = np.zeros(len(ids), np.int8)
    return Corpus(["", *"abcdef"], ids, ids * 0, marks, None, None, [b""], [], None)


TOKENS = np.array([[0, 0], [4, 5], [6, 0], [4, 5], [7, 8], [9, 0], [9, 9]], np.int32)
DATA = TrainingData(corpus([5, 4, 4, 2, 3, 3, 3, 1, 1, 4]), corpus([6, 6]), TOKENS, np.array([0, 2, 1, 2, 2, 1, 2]))


@pytest.mark.parametrize(
    ("settings", "texts"),
    [
        ((), [3, 4, 2, 5]),  # 1 has the tokens of 3; 6 is no training line's
        (("detector.max_codes=2",), [3, 4]),
        (("window.pad=true", "window.end=true"), [0, 3, 4, 2, 5]),
    ],
)
def test_the_codes_are_distinct_and_the_most_frequent_first(settings, texts):
    config = load(CONFIGS, None, ["detector.head=codebook", *settings])
    vectors = np.arange(7, dtype=np.float32)[:, None] * np.ones((1, 3), np.float32)
    assert two_stage._codes(config, DATA, vectors)[:, 0].tolist() == texts


def test_equal_texts_of_a_batch_are_one_with_their_weights():
    examples = TextExamples(DATA, DATA.train.ids, np.arange(1, 11))
    ids, lengths, weights = examples.batch(np.array([0, 1, 2, 9, 3]))
    assert (ids.tolist(), lengths.tolist()) == ([[6, 0], [7, 8], [9, 0]], [1, 2, 1])
    assert weights.tolist() == [4, 2 + 3 + 10, 1]


def test_windows_carry_the_time_of_day_where_it_is_asked_for():
    vectors = np.eye(7, 6, -1, dtype=np.float32)  # of no line: zeros
    seconds = np.array([0, 21600, np.nan, 43200])
    lines, rows = corpus([1, 2, 3, 4]), np.arange(4)
    (plain,) = VectorWindows(Windows(lines, 3, True, False), vectors).batch(rows)
    timed_lines = dataclasses.replace(lines, numbers=seconds[:, None])
    (timed,) = VectorWindows(Windows(timed_lines, 3, True, True), vectors).batch(np.arange(5))
    assert plain.shape == (4, 3, 6) and timed.shape == (5, 3, 8) and timed.dtype == torch.float32
    assert torch.equal(timed[:4, :, :6], plain)
    expected = time_of_day(seconds)
    assert timed[3, :, 6:].tolist() == expected[1:].tolist()
    assert timed[1, :, 6:].tolist() == [[0, 0], *expected[:2].tolist()]  # no line, no time
    assert not timed[4, 2].any()  # the end


@pytest.mark.parametrize("head", ["regression", "codebook"])
@pytest.mark.parametrize("timed", [False, True])
def test_widths(head, timed):
    config = load(CONFIGS, None, [f"detector.head={head}", f"time_of_day={timed}", "encoder.vector=16"])
    assert config.width() == 16 + 2 * timed
    encoder, detector = two_stage.graphs(config, two_stage.build(config, WORDS))
    assert encoder.outputs[0].axes == ["batch", 16]
    assert detector.inputs[0].axes == ["batch", 9, 16 + 2 * timed]
    sample = detector.sample(5, 9, np.random.default_rng(0))
    assert [list(sample[one.name].shape) for one in detector.inputs] == [[5, *one.axes[1:]] for one in detector.inputs]
    assert two_stage.settings(config) == {"distance": "euclidean", "time_of_day": timed, "width": 16}
    assert two_stage.scorer(config) == {"regression": "vectors", "codebook": "codebook"}[head]


PAD_AND_END = ("window.pad=true", "window.end=true")
REQUEST = r"req-\d+"
CONFIGURATIONS = {  # the name of a bundle of the fixtures, or settings and a stream pattern
    "euclidean": "bundle",
    "euclidean of streams": "padded_bundle",
    "euclidean with the time of day": "timed_bundle",
    "codebook with the time of day": "codebook_bundle",
    "manhattan": (("distance=manhattan", "time_of_day=true", *PAD_AND_END), None),
    "cosine": (("distance=cosine", "window.size=2", "tokenizer.max_tokens=5"), None),
    "codebook of streams": (("detector.head=codebook", "detector.max_codes=4", "detector.bandwidth=0.5"), REQUEST),
}


@pytest.fixture(scope="module", params=CONFIGURATIONS)
def exported(request, tmp_path_factory):
    """A run of each configuration and its bundle."""
    chosen = CONFIGURATIONS[request.param]
    if isinstance(chosen, str):
        path = request.getfixturevalue(chosen)
        return load_run(path.parent / "run"), Bundle.load(path)
    folder = tmp_path_factory.mktemp("run")
    (folder / "log").write_bytes(b"".join(made_up_lines(300)))
    small = {"encoder.embedding": 4, "encoder.hidden": 4, "encoder.vector": 6, "detector.hidden": 4, "window.size": 4}
    sets = [f"{key}={value}" for key, value in small.items()]
    sets += [f"{stage}.{key}" for stage in ("encoder", "detector") for key in ("epochs=2", "learning_rate=0.03")]
    options = {"stream": chosen[1]}
    job = Job([folder / "log"], folder / "run", None, (*sets, *chosen[0]), options, None, None, None, "cpu", 1, False)
    run_job(job)
    run = load_run(folder / "run")
    export_run(run, folder / "bundle", False, [], False)
    return run, Bundle.load(folder / "bundle")


LINES = made_up_lines(80, seed=4, odd=(30, 31, 55))


def block(lines):
    return LineSplitter("log").feed(b"".join(lines))


def test_the_bundle_replays_what_was_recorded(exported):
    _, bundle = exported
    assert 0 <= max(bundle.parity().values()) <= TOLERANCE
    assert len(bundle.parity()) == 2


@torch.no_grad()
def torch_scores(run, path):
    """The score of each place of a log, by torch and the training's own windows."""
    config, model = run.config, run.model
    lines = read_corpus([path], config.header, config.masks, config.stream, read=config.line_reader())
    rows = [run.tokenizer.encode(text) for text in lines.texts[1:]]
    vectors = np.zeros((len(rows) + 1, config.encoder.vector), np.float32)
    for number, row in enumerate(rows, 1):
        vectors[number] = model.encoder(torch.tensor([row]), torch.tensor([len(row)]))[0].numpy()
    window = config.score_window()
    windows = Windows(lines, window.size, window.pad, False)
    (whole,) = VectorWindows(windows, vectors).batch(np.arange(len(windows)))
    if config.detector.head == "codebook":
        scores = model.detector(whole[:, :-1], whole[:, -1, : config.encoder.vector])[0].numpy()
    else:
        scores = DISTANCES[config.distance](model.detector(whole[:, :-1]).numpy(), whole[:, -1].numpy())
    found = np.full(len(lines), np.nan, np.float32)
    found[windows.lines] = scores
    return found


def test_the_agent_scores_as_the_model_was_trained(exported, tmp_path):
    run, bundle = exported
    (tmp_path / "log").write_bytes(b"".join(LINES))
    expected = torch_scores(run, tmp_path / "log")
    found = ScoringEngine(bundle).score(block(LINES)).scores
    assert np.isnan(expected).sum() == (0 if run.config.score_window().pad else run.config.window.size - 1)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-3)
    assert np.nanstd(expected) > 0.01


def test_a_stream_scores_as_a_batch_and_goes_on_after_a_restart(exported):
    _, bundle = exported
    whole = ScoringEngine(bundle).score(block(LINES)).scores
    engine, single, saved = ScoringEngine(bundle), [], {}
    for number, line in enumerate(LINES):
        scored = engine.score(block([line]))
        single.append(scored.scores[0])
        saved |= {("log", key): engine.stream_states.dump("log", key, []) for key in scored.keys}
        if number % 7 == 0:
            engine = ScoringEngine(bundle)
            for key, blob in saved.items():
                engine.stream_states.restore(*key, blob)
    np.testing.assert_allclose(single, whole, rtol=1e-4, atol=1e-5)


def test_what_is_expected_does_not_depend_on_the_line_itself(exported):
    run, bundle = exported
    size = run.config.window.size
    engine = ScoringEngine(bundle)
    engine.score(block(LINES[:20]))
    scorer = engine.scorer
    features = np.zeros((size, 2), np.float32) if run.config.time_of_day else None
    window = np.arange(1, size + 1, dtype=np.int32)
    expected = scorer.expected(window, features)
    assert expected.shape == (run.config.encoder.vector,)
    for text in range(1, 7):
        same = np.append(window[:-1], text).astype(np.int32)
        np.testing.assert_array_equal(expected, scorer.expected(same, features))
    before = [np.append(window[:-2], [text, 1]).astype(np.int32) for text in range(1, 7)]
    if run.config.detector.head == "regression":  # a codebook expects one of its codes, maybe the same
        assert any((expected != scorer.expected(other, features)).any() for other in before)
