"""Pictures of latent spaces: what is computed of which model, what is drawn, what is refused."""

from types import SimpleNamespace

import numpy as np
import pytest
from helpers.made_up import made_up_lines
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from agent.errors import ConfigError
from training.cli import app
from training.data.corpus import read_corpus
from training.evaluation.model import open_subject
from training.fitting.job import Job, run_job
from training.plot.latent import Points, choose, draw_points, find_points, pca, plot_latent, tsne

SMALL = ("model.epochs=1", "model.hidden=6", "model.latent=3", "model.layers=1", "window.size=5", "model.batch_size=16")


@pytest.fixture(scope="module")
def sequences(tmp_path_factory):
    """A run of a sequence autoencoder; app.log and labels lie beside it."""
    folder = tmp_path_factory.mktemp("sequences")
    (folder / "app.log").write_bytes(b"".join(made_up_lines(200, seed=2)))
    (folder / "labels").write_text("0\n" * 150 + "1\n" * 10 + "-\n" * 40)
    options = {"seed": 1, "family": "sequence-autoencoder"}
    run_job(Job([folder / "app.log"], folder / "run", None, SMALL, options, None, None, None, "cpu", 1, False))
    return folder / "run"


def opened(path, log, labels=None):
    subject = open_subject(path)
    read = subject.features.read if subject.features else None
    return subject, read_corpus(
        [log], subject.header, subject.masks, subject.stream, labels, read, normalizer=subject.normalizer
    )


def test_windows_of_a_sequence_autoencoder_are_drawn_by_label(sequences):
    subject, corpus = opened(sequences, sequences.parent / "app.log", sequences.parent / "labels")
    found = find_points(subject, corpus, True, 1000, "pca")
    assert found.what == "windows" and found.values.tolist() == corpus.labels[4:].tolist()
    of_line = subject.features.of(corpus.numbers, corpus.ids)
    windows = np.stack([of_line[end - 4 : end + 1] for end in range(4, 200)])
    latent = subject.scorer.latent(None, windows).astype(float)
    assert latent.shape == (196, 3)
    apart = np.linalg.norm(found.coordinates[:, None] - found.coordinates, axis=2)
    assert (apart <= np.linalg.norm(latent[:, None] - latent, axis=2) + 1e-5).all()
    (axes,) = draw_points(found, "title").axes
    labels = [one.get_label() for one in axes.collections]
    assert labels == ["left out (40)", "labelled normal (146)", "labelled anomalous (10)"]
    drawn, due = (
        np.unique(np.round(some, 6), axis=0) for some in (axes.collections[2].get_offsets(), found.coordinates[146:156])
    )
    np.testing.assert_allclose(drawn, due)


def test_windows_are_coloured_by_the_scores_of_the_model(sequences):
    subject, corpus = opened(sequences, sequences.parent / "app.log")
    found = find_points(subject, corpus, False, 60, "pca")
    windows = np.stack([subject.features.of(corpus.numbers, corpus.ids)[end - 4 : end + 1] for end in range(4, 200)])
    rows = np.arange(60) * 196 // 60
    np.testing.assert_allclose(found.values, subject.score(np.zeros((196, 5), np.int32), windows)[rows], rtol=1e-5)
    assert "60 of 196 windows, evenly spaced" in found.notes
    axes, bar = draw_points(found, "title").axes
    assert axes.collections[0].get_array().tolist() == sorted(found.values.astype(float).tolist())
    assert bar.get_ylabel() == "score"


def test_lines_of_a_two_stage_bundle_are_drawn_by_their_vectors(bundle, tmp_path):
    (tmp_path / "app.log").write_bytes(b"".join(made_up_lines(60, seed=2, odd=(30,))))
    subject, corpus = opened(bundle, tmp_path / "app.log")
    found = find_points(subject, corpus, False, 1000, "pca")
    size = subject.window.size
    ids = corpus.ids if subject.window.pad else corpus.ids[size - 1 :]
    assert found.what == "lines" and len(found.coordinates) == len(ids)
    np.testing.assert_allclose(found.coordinates, pca(subject.scorer.vectors(ids).astype(float))[0], atol=1e-6)


@given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 99))
def test_principal_components_hold_most_of_the_variance(count, width, seed):
    vectors = np.random.default_rng(seed).normal(size=(count, width)) * np.arange(1, width + 1)
    places, shares = pca(vectors)
    assert places.shape == (count, 2) and np.allclose(places.mean(axis=0), 0, atol=1e-9)
    eigenvalues = np.sort(np.linalg.eigvalsh(np.atleast_2d(np.cov(vectors.T, bias=True))))[::-1]
    wanted = np.pad(eigenvalues, (0, 2))[:2]
    np.testing.assert_allclose(places.var(axis=0), wanted, atol=1e-8)
    np.testing.assert_allclose(shares, wanted / (eigenvalues.sum() if count > 1 else 1), atol=1e-8)
    np.testing.assert_allclose(pca(vectors + 7)[0], places, atol=1e-7)


def test_neighbours_stay_neighbours_in_t_sne():
    draw = np.random.default_rng(3)
    vectors = np.concatenate([draw.normal(0, 0.1, (20, 4)), draw.normal(9, 0.1, (20, 4))])
    vectors[1] = vectors[0]
    places = tsne(vectors)
    assert np.array_equal(places[0], places[1]) and np.array_equal(places, tsne(vectors))
    middles = places[:20].mean(axis=0), places[20:].mean(axis=0)
    near = [np.linalg.norm(places - middle, axis=1) for middle in middles]
    assert (near[0] < near[1]).tolist() == [True] * 20 + [False] * 20
    with pytest.raises(ConfigError, match="4 different points are too few, 5 are needed; use pca"):
        tsne(vectors[[0, 1, 2, 3, 4]])


@given(st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=200), st.integers(2, 60))
def test_what_is_chosen_is_bounded_and_holds_anomalies(labels, most):
    labels = np.array(labels, np.int8)
    rows = choose(labels, most)
    assert len(rows) <= most and (np.diff(rows) > 0).all()
    odd = int((labels == 1).sum())
    assert (labels[rows] == 1).sum() >= min(odd, most // 2)
    if len(labels) <= most:
        assert len(rows) == len(labels)


def test_points_at_one_place_are_one_larger_mark():
    places = np.array([[0.0, 0.0]] * 8 + [[1.0, 1.0]] + [[0.0, 0.0]])
    figure = draw_points(Points(places, np.array([0] * 9 + [1]), True, "lines", ("x", "y"), []), "t")
    normal, odd = figure.axes[0].collections
    assert normal.get_offsets().tolist() == [[0, 0], [1, 1]] and odd.get_offsets().tolist() == [[0, 0]]
    large, small = normal.get_sizes()
    assert large > 4 * small and large > odd.get_sizes()[0]
    assert "marks are larger" in figure.texts[0].get_text()


@pytest.mark.parametrize("scores", [[1.0, 1.0], [0.0, 0.0], [-3.0, 5.0], [0.0, 2.0], [np.nan, 2.0], [-2.0, -2.0]])
def test_any_scores_give_colours(scores):
    points = Points(np.zeros((2, 2)), np.array(scores, np.float32), False, "lines", ("x", "y"), [])
    axes, _ = draw_points(points, "t").axes
    assert len(axes.collections[0].get_array()) == np.isfinite(scores).sum()
    assert np.isfinite(axes.collections[0].to_rgba(axes.collections[0].get_array())).all()


def test_what_cannot_be_drawn_is_refused(sequences, char_bundle, tmp_path):
    log, out = sequences.parent / "app.log", tmp_path / "a.png"
    with pytest.raises(ConfigError, match="has no latent space"):
        plot_latent(char_bundle, [log], out, None, 100, "pca")
    with pytest.raises(ConfigError, match="--method umap is unknown; choose one of pca, tsne"):
        plot_latent(sequences, [log], out, None, 100, "umap")
    with pytest.raises(ConfigError, match="ends in"):
        plot_latent(sequences, [log], tmp_path / "a.gif", None, 100, "pca")
    (tmp_path / "short").write_bytes(b"".join(made_up_lines(3)))
    with pytest.raises(ConfigError, match="3 lines make no window of 5"):
        plot_latent(sequences, [tmp_path / "short"], out, None, 100, "pca")
    with pytest.raises(ConfigError, match="200 labels for 3 lines"):
        plot_latent(sequences, [tmp_path / "short"], out, sequences.parent / "labels", 100, "pca")
    nothing = SimpleNamespace(values=np.full(2, np.nan), coordinates=np.zeros((2, 2)), labelled=False)
    with pytest.raises(ConfigError, match="none of these lines has a score"):
        draw_points(nothing, "t")
    assert not out.exists()


def test_pictures_from_the_command_line(sequences, tmp_path):
    log, labels = sequences.parent / "app.log", sequences.parent / "labels"
    for options in ([], ["--labels", str(labels)], ["--method", "tsne", "--most", "50"]):
        written = []
        for name in ("a.svg", "b.svg"):
            arguments = ["plot", "latent", str(sequences), str(log), "--out", str(tmp_path / name), *options]
            done = CliRunner().invoke(app, arguments, catch_exceptions=False)
            assert done.exit_code == 0 and "windows of app.log in the latent space of run" in done.output
            written.append((tmp_path / name).read_text())
        assert written[0] == written[1] and "Windows of app.log in the latent space of run" in written[0]
