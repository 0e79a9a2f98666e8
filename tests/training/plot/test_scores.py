"""Pictures of scores and of losses: what is drawn of which file, what is thinned, what is refused."""

import shutil
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score
from typer.testing import CliRunner

from agent.errors import BundleError, ConfigError, SourceError
from training.cli import app
from training.fitting.run_folder import CHECKPOINT, METRICS, write_checkpoint
from training.plot.axis import choose_scale, plain
from training.plot.curves import _thin, curves, draw_curves, names, plot_curves
from training.plot.histogram import draw_histogram
from training.plot.labelled_scores import read_labelled_scores
from training.plot.losses import draw_losses, plot_losses, read_epochs
from training.plot.skyscraper import BUCKETS, MOST, draw_skyscraper, plot_skyscraper, spans, thin, x_values
from training.plot.style import RED, YELLOW

COLOURS = {"anomaly": RED, "labelled": YELLOW}


def record(line: int, score: float | None, limit: float = 10.0, source: str = "/var/log/app.log", **more) -> dict:
    odd = score is not None and score > limit
    row = {"source": source, "line": line, "offset": 0, "stream": "", "score": score, "threshold": limit}
    return row | {"anomaly": odd, "time": None} | more


def write_lines(path: Path, rows: list[dict]) -> Path:
    path.write_bytes(msgspec.json.Encoder().encode_lines(rows))
    return path


def write_scores(path: Path, scores: list[float | None], **more) -> Path:
    return write_lines(path, [record(line, score, **more) for line, score in enumerate(scores, 1)])


def sessions(path: Path, scores: dict[str, float]) -> Path:
    rows = [
        {"source": "a.log", "stream": key, "lines": 3, "first_line": number, "last_line": number + 2, "score": score}
        | {"threshold": 10.0, "anomaly": score > 10}
        for number, (key, score) in enumerate(scores.items(), 1)
    ]
    return write_lines(path, rows)


def write_labels(path: Path, marks: str) -> Path:
    path.write_text("\n".join(marks) + "\n")
    return path


def plotted(axes, label: str):
    """What bears this in the legend."""
    found = [one for one in (*axes.lines, *axes.collections, *axes.patches) if one.get_label().startswith(label)]
    assert len(found) == 1, label
    return found[0]


def towers(axes, label: str) -> dict[float, float]:
    """The tops of towers by their places."""
    return {float(foot[0]): float(top[1]) for foot, top in plotted(axes, label).get_segments()}


def notes(figure) -> str:
    return "\n".join(text.get_text() for text in figure.texts)


# the skyscraper


def test_a_tower_stands_for_each_score_and_the_threshold_is_a_line(tmp_path):
    figure = draw_skyscraper(read_labelled_scores(write_scores(tmp_path / "s", [1.0, None, 4.0, 20.0])))
    (axes,) = figure.axes
    assert axes.get_yscale() == "log"
    assert towers(axes, "score") == {1: 1, 3: 4, 4: 20}
    assert plotted(axes, "anomaly").get_xydata().tolist() == [[4, 20]]
    assert plotted(axes, "anomaly").get_color() == RED
    assert set(plotted(axes, "threshold 10").get_ydata()) == {10}
    assert axes.get_xlabel() == "number of the line in the file of scores"
    assert axes.get_title(loc="left") == "Scores of app.log"
    assert "4 lines, 1 anomaly, 1 without a score" in notes(figure)


def test_times_are_the_axis_where_they_are_known(tmp_path):
    times = ["2026-03-09T00:00:00+00:00", None, "2026-03-10T00:00:00Z", "2026-03-09T12:00:00+00:00"]
    rows = [record(line, 2.0 * line, time=time) for line, time in enumerate(times, 1)]
    figure = draw_skyscraper(read_labelled_scores(write_lines(tmp_path / "s", rows)))
    day = np.datetime64("2026-03-09").astype("datetime64[D]").astype(int)
    foots = [float(foot[0]) for foot, _ in plotted(figure.axes[0], "score").get_segments()]
    assert foots == [day, day, day + 0.5, day + 1]
    assert figure.axes[0].get_xlabel() == "time (UTC)"
    assert "1 line without a time" in notes(figure)


FIRST, LAST, OUTSIDE = "0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59+00:00", "9999-12-31T23:59:59-14:00"


@pytest.mark.parametrize(
    "times",
    [
        [FIRST, LAST, "2026-03-09T00:00:00Z"],
        [FIRST, "0001-01-01T00:00:09+00:00"],
        ["9999-12-31T23:59:50+00:00", LAST],
        [OUTSIDE, "2026-03-09T00:00:00Z", "2026-03-09T00:00:01Z"],
        ["0001-01-01T00:00:00+14:00", OUTSIDE],
        ["9999-01-01T00:00:00Z", LAST],
        [FIRST, "0001-12-31T00:00:00Z"],
        ["2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"],
    ],
)
def test_times_at_the_ends_of_the_calendar_are_drawn(tmp_path, times):
    rows = [record(line, 2.0 * line, time=time) for line, time in enumerate(times, 1)]
    plot_skyscraper(write_lines(tmp_path / "s", rows), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_lines_of_one_time_stand_by_their_number(tmp_path):
    rows = [record(line, 2.0, time="2026-03-09T00:00:00Z") for line in (1, 2, 3)]
    x, timed, _ = x_values(read_labelled_scores(write_lines(tmp_path / "s", rows)))
    assert x.tolist() == [1, 2, 3] and not timed


def test_labelled_spans_are_shaded(tmp_path):
    scores = write_scores(tmp_path / "s", [1.0] * 100)
    labels = write_labels(tmp_path / "l", "0" * 40 + "1" * 20 + "0" * 39 + "1")
    figure = draw_skyscraper(read_labelled_scores(scores, labels))
    shade = plotted(figure.axes[0], "labelled anomalous")
    assert [(path.vertices[:, 0].min(), path.vertices[:, 0].max()) for path in shade.get_paths()] == [
        (41, 60),
        pytest.approx((100 - 0.0495, 100 + 0.0495)),
    ]
    assert "21 labelled anomalous" in notes(figure)


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.booleans()), min_size=1, max_size=60))
def test_spans_cover_what_is_marked_and_nothing_that_lies_apart(rows):
    x, marked = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    found = spans(x, marked)
    inside = np.array([np.any((found[:, 0] <= place + 1e-6) & (place - 1e-6 <= found.sum(axis=1))) for place in x])
    assert inside[marked].all()
    assert (found[1:, 0] >= found[:-1].sum(axis=1) - 1e-6).all()
    room = np.ptp(x) / 1000 + 1e-5
    apart = [not marked[np.abs(x - place) <= room].any() for place in x]
    lies_between = [np.any(marked & (x < place)) and np.any(marked & (x > place)) for place in x]
    edge = np.array(apart) & ~np.array(lies_between)
    assert not inside[edge].any()


@given(
    st.lists(st.tuples(st.floats(0, 1e9), st.floats(-1e6, 1e6)), min_size=1, max_size=300),
    st.integers(1, 50),
)
def test_thinning_keeps_the_extremes_of_every_part(rows, buckets):
    x, scores = (np.array(column) for column in zip(*rows, strict=True))
    found = thin(x, scores, buckets)
    assert len(found.x) <= max(buckets, 1) and found.rows == len(rows)
    assert found.low.min() == scores.min() and found.high.max() == scores.max()
    assert (found.low <= found.high).all() and (np.diff(found.x) >= 0).all()
    width = np.ptp(x) / buckets
    for place, score in rows:
        near = np.abs(found.x - place) <= width * (0.5 + 1e-6) + 1e-6
        assert np.any(near & (found.low <= score) & (score <= found.high))


def test_a_long_file_is_thinned_with_every_anomaly_and_says_so(tmp_path):
    draw = np.random.default_rng(1)
    scores = draw.lognormal(0, 0.5, 20_000)
    odd = draw.choice(20_000, 300, replace=False)
    scores[odd] = draw.uniform(20, 90, 300)
    scores = scores.astype(np.float32)
    figure = draw_skyscraper(read_labelled_scores(write_scores(tmp_path / "s", scores.tolist())))
    (axes,) = figure.axes
    high, low = towers(axes, "up to the largest"), towers(axes, "up to the smallest")
    assert len(high) == len(low) == BUCKETS
    assert max(high.values()) == scores.max() and min(low.values()) == scores.min()
    assert plotted(axes, "anomaly").get_xydata().tolist() == [[row + 1, scores[row]] for row in sorted(odd)]
    assert "20,000 lines, 300 anomalies" in notes(figure)
    assert f"thinned to {BUCKETS:,} places" in notes(figure)


def test_of_very_many_anomalies_the_largest_of_each_place_are_drawn(tmp_path):
    scores = np.random.default_rng(1).uniform(20, 90, 3 * MOST).astype(np.float32)
    figure = draw_skyscraper(read_labelled_scores(write_scores(tmp_path / "s", scores.tolist())))
    tops = plotted(figure.axes[0], "anomaly").get_ydata()
    assert tops.tolist() == scores.reshape(MOST, 3).max(axis=1).tolist()
    assert f"of {3 * MOST:,} anomalies the largest at each of {MOST:,} places" in notes(figure)


def test_a_moving_threshold_is_drawn_where_it_was(tmp_path):
    rows = [record(line, 5.0, limit=float(limit)) for line, limit in enumerate([6, 6, 7, 4], 1)]
    (axes,) = draw_skyscraper(read_labelled_scores(write_lines(tmp_path / "s", rows))).axes
    assert plotted(axes, "threshold, moving").get_ydata().tolist() == [6, 6, 7, 4]
    assert axes.collections[-1].get_segments()[0].tolist() == [[4, 4], [4, 5]], "an anomaly begins at its threshold"


# scales


def test_scores_of_zero_are_drawn_at_the_least_positive_one_and_told(tmp_path):
    figure = draw_skyscraper(read_labelled_scores(write_scores(tmp_path / "s", [0.0, 0.5, 20.0, 0.0])))
    assert towers(figure.axes[0], "score") == {1: 0.5, 2: 0.5, 3: 20, 4: 0.5}
    assert "2 scores below 0.5" in notes(figure)


def test_negative_scores_are_drawn_on_an_axis_with_a_linear_middle(tmp_path):
    figure = draw_skyscraper(read_labelled_scores(write_scores(tmp_path / "s", [-3.0, 0.5, 900.0])))
    (axes,) = figure.axes
    assert axes.get_yscale() == "symlog" and axes.get_ylim()[0] < -3 and axes.get_ylim()[1] > 900
    assert "linear from -1 to 1" in notes(figure)
    lowest = plotted(axes, "score").get_segments()[0]
    assert lowest[:, 1].tolist() == [0, -3]


def test_scores_that_are_all_zero_or_all_alike_are_drawn(tmp_path):
    for scores in ([0.0] * 3, [7.0] * 3, [-2.0] * 3, [1e-40, 1e38, 3.4e38], [5.0]):
        scored = read_labelled_scores(write_scores(tmp_path / "s", scores))
        for draw in (draw_skyscraper, draw_histogram):
            (axes,) = draw(scored).axes
            assert np.isfinite([*axes.get_xlim(), *axes.get_ylim()]).all()


@given(st.lists(st.floats(-3e38, 3e38).map(np.float32), min_size=1, max_size=50))
def test_every_scale_holds_its_scores(scores):
    scale = choose_scale(np.array(scores))
    values = scale.values(np.array(scores))
    assert np.isfinite(values).all() and (scale.kind != "log" or values.min() > 0)
    assert scale.kind != "log" or values.max() <= 1.0001e9 * values.min()
    edges = scale.edges(values.min(), values.max() + abs(values.max()) + 1, 60)
    assert len(edges) == 61 and (np.diff(edges) > 0).all()


def test_numbers_at_an_axis_are_plain():
    shown = [plain(value) for value in (0, 0.001, 0.25, 20, 10_000, 1e7, -3, 1e-6)]
    assert shown == ["0", "0.001", "0.25", "20", "10,000", "1e+07", "-3", "1e-06"]


# curves


def test_curves_are_those_of_the_scores(tmp_path):
    draw = np.random.default_rng(4)
    truth = draw.random(600) < 0.2
    scores = np.where(truth, draw.normal(9, 3, 600), draw.normal(5, 3, 600)).clip(0.1).astype(np.float32)
    labels = write_labels(tmp_path / "l", "".join("01"[int(one)] for one in truth))
    scored = read_labelled_scores(write_scores(tmp_path / "s.jsonl", scores.tolist()), labels)
    found = curves(scored, "s")
    assert found.metrics.auc == pytest.approx(roc_auc_score(truth, scores))
    assert found.metrics.average_precision == pytest.approx(average_precision_score(truth, scores))
    assert np.trapezoid(found.true_positives, found.false_positives) == pytest.approx(found.metrics.auc, abs=1e-3)
    assert found.share == pytest.approx(truth.mean())
    figure = draw_curves([found], scored)
    roc, pr = figure.axes
    above = scores > 10
    recall, precision = (above & truth).sum() / truth.sum(), truth[above].mean()
    dots = [line.get_xydata().tolist() for axes in (roc, pr) for line in axes.lines if line.get_marker() == "o"]
    assert dots == [
        [pytest.approx([(above & ~truth).sum() / (~truth).sum(), recall])],
        [pytest.approx([recall, precision])],
    ]
    assert set(pr.lines[0].get_ydata()) == {found.share}, "the dotted line"
    (label,) = (text.get_text() for text in figure.legends[0].get_texts())
    assert label == f"s: AUC {found.metrics.auc:.4f}, average precision {found.metrics.average_precision:.4f}"


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=200))
def test_a_thinned_curve_has_its_ends_and_passes_by_all_points(points):
    x, y = (np.array(column) for column in zip(*points, strict=True))
    kept = _thin(x, y)
    assert kept[0] == 0 and kept[-1] == len(x) - 1
    for left, right in pairwise(kept):
        assert np.abs(x[left:right] - x[left]).max() <= 0.001 and np.abs(y[left:right] - y[left]).max() <= 0.001


def test_lines_that_are_left_out_or_without_a_score_count_as_in_an_evaluation(tmp_path):
    scores = write_scores(tmp_path / "s", [None, 3.0, 4.0, 50.0, 5.0])
    scored = read_labelled_scores(scores, write_labels(tmp_path / "l", "101-0"))
    found = curves(scored, "s")
    assert found.share == 0.5 and found.metrics.auc == 0.25
    assert "1 without a score count as the least odd" in notes(draw_curves([found], scored))
    assert "nothing labelled is above the threshold" in notes(draw_curves([found], scored))


def test_several_models_are_compared_in_one_picture(tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("stream,label\nb,1\na,0\nc,0\n")
    for name, score in (("x", 20.0), ("y", 0.5)):
        (tmp_path / name).mkdir()
        sessions(tmp_path / name / "s.jsonl", {"a": 1.0, "b": score, "c": 2.0})
    out = tmp_path / "c.svg"
    said = plot_curves([tmp_path / "x" / "s.jsonl", tmp_path / "y" / "s.jsonl"], labels, out)
    assert said == "x/s: AUC 1.0000, average precision 1.0000; y/s: AUC 0.0000, average precision 0.3333"
    text = out.read_text()
    assert "x/s: AUC 1.0000" in text and "y/s: AUC 0.0000" in text
    assert "3 sessions, 1 of them (33.33%) labelled anomalous" in text
    assert "y/s: nothing labelled is above the threshold" in text
    assert names([Path("a.jsonl.gz"), Path("b.jsonl")]) == ["a", "b"]


def test_models_that_scored_something_else_are_not_compared(tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("stream,label\nb,1\na,0\n")
    few, many = sessions(tmp_path / "f", {"a": 1.0, "b": 2.0}), tmp_path / "m"
    write_lines(many, [record(line, 1.0 * line, stream="ab"[line % 2]) for line in range(1, 5)])
    with pytest.raises(ConfigError, match=r"f scores sessions, .*m lines; compare alike"):
        plot_curves([few, many], labels, tmp_path / "c.png")
    other = write_lines(tmp_path / "o", [record(line, 1.0 * line, stream="ab"[line % 2]) for line in range(1, 4)])
    with pytest.raises(ConfigError, match="differ in what they score: 2 anomalous of 4 and 2 anomalous of 3"):
        plot_curves([many, other], labels, tmp_path / "c.png")


# the histogram


def test_the_histogram_counts_both_kinds_and_the_threshold_cuts_no_bin(tmp_path):
    draw = np.random.default_rng(2)
    scores = draw.lognormal(1, 1.2, 5000).astype(np.float32)
    scored = read_labelled_scores(write_scores(tmp_path / "s", scores.tolist()))
    (axes,) = draw_histogram(scored).axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    odd = scores > 10
    for label, rows in (("not anomalous", ~odd), ("anomalies", odd)):
        counts, edges, _ = plotted(axes, label).get_data()
        assert counts.sum() == rows.sum() and f"({rows.sum():,})" in plotted(axes, label).get_label()
        assert counts.tolist() == np.histogram(scores[rows], edges)[0].tolist()
        assert np.abs(edges - 10).min() < 1e-5
    both = [plotted(axes, label).get_data().values > 0 for label in ("not anomalous", "anomalies")]
    assert not (both[0] & both[1]).any()
    assert set(plotted(axes, "threshold 10").get_xdata()) == {10}


def test_the_histogram_shows_labels_apart_and_leaves_out_what_they_leave_out(tmp_path):
    scores = write_scores(tmp_path / "s", [1.0, 2.0, 30.0, 1e6, None])
    (axes,) = draw_histogram(read_labelled_scores(scores, write_labels(tmp_path / "l", "001-0"))).axes
    assert plotted(axes, "labelled normal (2)").get_data().values.sum() == 2
    assert plotted(axes, "labelled anomalous (1)").get_data().values.sum() == 1
    assert axes.get_xlim()[1] < 31


# losses


EPOCHS = [
    {"stage": stage, "epoch": epoch, "loss": 2.0 / epoch, "validation": validation, "seconds": 1.0, "examples": 3}
    for stage, losses in (("encoder", [0.5, 0.25, 0.4]), ("detector", [0.9, 0.9]))
    for epoch, validation in enumerate(losses, 1)
]


def test_losses_are_drawn_by_stage_with_the_best_epoch(tmp_path):
    (tmp_path / METRICS).write_bytes(msgspec.json.encode({"epochs": EPOCHS}))
    epochs, rest = read_epochs(tmp_path)
    figure = draw_losses(epochs, "r" + rest)
    assert rest == "" and len(figure.axes) == 2
    first, second = figure.axes
    assert plotted(first, "training").get_xydata().tolist() == [[1, 2], [2, 1], [3, pytest.approx(2 / 3)]]
    assert plotted(first, "validation").get_ydata().tolist() == [0.5, 0.25, 0.4]
    assert plotted(first, "best").get_xydata().tolist() == [[2, 0.25]]
    assert plotted(second, "best").get_xydata().tolist() == [[1, 0.9]]
    out = tmp_path / "l.svg"
    said = plot_losses(tmp_path, out)
    assert said == "encoder: best epoch 2, validation loss 0.25; detector: best epoch 1, validation loss 0.9"
    assert "encoder: best epoch 2, validation loss 0.25" in out.read_text()


def test_losses_of_an_unfinished_run_come_from_its_checkpoint(tmp_path):
    write_checkpoint(tmp_path, {}, {"stage": 0, "epoch": 2, "epochs": EPOCHS[:2]})
    assert (tmp_path / CHECKPOINT).is_file()
    epochs, rest = read_epochs(tmp_path)
    assert [epoch.validation for epoch in epochs] == [0.5, 0.25] and rest == ", not finished"


def test_a_run_without_losses_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"has no metrics \(metrics\.json\) and no checkpoint"):
        plot_losses(tmp_path, tmp_path / "a.png")
    for content in (b"{", b"{}", b'{"epochs": [{"stage": 1}]}'):
        (tmp_path / METRICS).write_bytes(content)
        with pytest.raises(BundleError, match=r"metrics\.json is damaged"):
            plot_losses(tmp_path, tmp_path / "a.png")
    (tmp_path / METRICS).write_bytes(b'{"epochs": []}')
    with pytest.raises(ConfigError, match="tells of no epoch"):
        plot_losses(tmp_path, tmp_path / "a.png")


# labels


def test_labels_by_line_are_those_of_the_sources_one_after_the_other(tmp_path):
    rows = [
        record(1, 1.0, source="b"),
        record(2, 2.0, source="a"),
        record(2, 3.0, source="b"),
        record(1, 4.0, source="a"),
    ]
    scored = read_labelled_scores(write_lines(tmp_path / "s", rows), write_labels(tmp_path / "l", "01-1"))
    assert scored.labels.tolist() == [0, 1, 1, -1]


def test_labels_by_stream_are_those_of_the_streams(tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("stream,label\nb,1\na,0\n")
    assert read_labelled_scores(sessions(tmp_path / "s", {"a": 1.0, "b": 2.0}), labels).labels.tolist() == [0, 1]
    rows = [record(line, 1.0, stream="ab"[line % 2]) for line in (1, 2, 3)]
    assert read_labelled_scores(write_lines(tmp_path / "s", rows), labels).labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("0\n1\n", "2 labels for 3 lines"),
        ("0\n1\nx\n", "line 3 is 'x'"),
        ("", "the file is empty"),
        ("stream,label\na,0\n", "labels by stream need a stream pattern"),
        ("0\n0\n-\n", "all 2 lines with a label are normal; a curve needs both classes"),
        ("1\n1\n1\n", "all 3 lines with a label are anomalous"),
        ("-\n-\n-\n", "all 0 lines with a label"),
    ],
)
def test_labels_of_no_use_are_refused_in_one_line(tmp_path, labels, message):
    (tmp_path / "l").write_text(labels)
    with pytest.raises(ConfigError, match=message) as caught:
        plot_curves([write_scores(tmp_path / "s", [1.0, 2.0, 3.0])], tmp_path / "l", tmp_path / "a.png")
    assert "\n" not in str(caught.value) and not (tmp_path / "a.png").exists()


def test_labels_by_line_do_not_fit_sessions(tmp_path):
    scores = sessions(tmp_path / "s", {"a": 1.0, "b": 2.0})
    with pytest.raises(ConfigError, match="scores of sessions need labels by stream"):
        read_labelled_scores(scores, write_labels(tmp_path / "l", "01"))


# what is refused, and the command line


@pytest.mark.parametrize("kind", ["skyscraper", "histogram"])
def test_files_without_scores_are_refused(tmp_path, kind):
    out = ["--out", str(tmp_path / "a.png")]
    for name, content, error, message in (
        ("empty", b"", SourceError, "empty is empty"),
        ("text", b"no json\n" * 9, SourceError, "is no score file"),
        ("null", b"", ConfigError, "no score to draw, all 2 are null"),
    ):
        (tmp_path / name).write_bytes(content)
        if name == "null":
            write_scores(tmp_path / name, [None, None])
        done = CliRunner().invoke(app, ["plot", kind, str(tmp_path / name), *out])
        assert isinstance(done.exception, error) and message in str(done.exception)
    scores = str(write_scores(tmp_path / "s", [1.0]))
    done = CliRunner().invoke(app, ["plot", kind, scores, "--out", str(tmp_path / "a.gif")])
    assert isinstance(done.exception, ConfigError) and "ends in .png, .svg, .pdf" in str(done.exception)
    assert not list(tmp_path.glob("a.*"))


def test_damage_is_told_and_the_rest_drawn(tmp_path, said):
    path = write_scores(tmp_path / "s", [1.0, 2.0])
    path.write_bytes(path.read_bytes() + b'{"source": "a", "li\n')
    plot_skyscraper(path, tmp_path / "a.png")
    assert "1 line of the file is damaged and left out" in "\n".join(said)


def test_pictures_from_the_command_line(tmp_path):
    source = "/var/log/\x1b[31m\u6f22$x_1$\\frac<b>&.log"
    scores = write_scores(tmp_path / "s.jsonl", [1.0, 2.0, 30.0] * 9, source=source)
    labels = write_labels(tmp_path / "l", "001" * 9)
    shutil.copy(scores, tmp_path / "other.jsonl")
    (tmp_path / METRICS).write_bytes(msgspec.json.encode({"epochs": EPOCHS}))
    commands = {
        "skyscraper": [scores, "--labels", labels],
        "histogram": [scores, "--labels", labels],
        "curves": [scores, tmp_path / "other.jsonl", "--labels", labels],
        "losses": [tmp_path],
    }
    for command, arguments in commands.items():
        for suffix, start in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
            written = []
            for name in "ab" if suffix == ".svg" or command == "skyscraper" else "a":
                out = tmp_path / f"{name}{suffix}"
                done = CliRunner().invoke(app, ["plot", command, *map(str, arguments), "--out", str(out)])
                assert done.exit_code == 0 and done.output.startswith(f"wrote {out}: ") and "\x1b" not in done.output
                written.append(out.read_bytes())
            assert set(written) == {written[0]} and written[0].startswith(start)
        if command != "losses":
            assert "\ufffd[31m\ufffd$x_1$\\frac&lt;b&gt;&amp;.log" in (tmp_path / "a.svg").read_text()
