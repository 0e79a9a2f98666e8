"""`agent report`: what the page holds, what it refuses, and what a browser makes of it."""

import base64
import gzip
import hashlib
import html
import http.server
import json
import re
import threading
from datetime import datetime, timedelta, timezone
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from helpers.browser import Browser, open_browser
from helpers.made_up import made_up_lines
from helpers.processes import run_agent
from helpers.waiting import until
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.commands.report.data import page_data
from agent.commands.report.loading import load_report
from agent.commands.report.page import embed
from agent.commands.report.thin import thin
from agent.text.times import iso_time

ROOT = Path(__file__).parents[3]
HOSTILE = (
    "<script>window.hacked = 1</script>",
    "</script><script>window.hacked = 2</script>",
    "<!--<script>",
    "<img src=x onerror='window.hacked = 3'>",
    "javascript:window.hacked=4",
    "\"'><svg onload=window.hacked=5>",
    "]]>{{constructor.constructor('window.hacked=6')()}}",
    "&lt;script&gt;\u2028window.hacked=7\u2029",
    "__proto__",
)
START = 1773022365  # 2026-03-09 02:12:45 UTC
ODD_PLACES = (100, 250, 400)


def record(number: int, **change: object) -> dict[str, Any]:
    values = {"source": "app.log", "line": number + 1, "offset": 90 * number, "stream": ""}
    values |= {"time": f"2026-03-09T{2 + number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}+00:00"}
    return values | {"score": 0.25 + number % 7 / 50, "threshold": 1.5, "anomaly": False} | change


def odd(number: int, **change: object) -> dict[str, Any]:
    told = {"score": 2.0 + number / 1000, "anomaly": True, "severity": "high", "program": "shopd"}
    told |= {"message": f"the vault {number} melts", "reason": {"kind": "distance", "new_text": True}}
    return record(number, **{**told, "context": [f"before {number}"], **change})


def some_scores(count: int = 500) -> list[dict[str, Any]]:
    """A line a second, three of them odd; of the last the severity, source and program differ."""
    records = [odd(number) if number in ODD_PLACES else record(number) for number in range(count)]
    records[0]["score"] = None
    records[400] |= {"severity": "low", "source": "other.log", "program": "cupsd", "message": "paper is on fire"}
    return records


def write(path: Path, records: list[dict[str, Any]] | list[Any]) -> Path:
    path.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in records))
    return path


def data_of(page: Path) -> dict[str, Any]:
    """What a page embeds."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text())[1])


@pytest.fixture
def report(tmp_path, call_agent):
    """Makes a page of records and gives its path; what was said is `report.said`."""

    def run(records: list[Any]) -> Path:
        page = tmp_path / "report.html"
        done = call_agent("report", write(tmp_path / "scores.jsonl", records), "-o", page)
        assert (done.returncode, done.stderr) == (0, "")
        run.said = done.stdout
        return page

    return run


@pytest.fixture
def refuse(tmp_path, call_agent):
    """What a refused report says."""

    def run(data: bytes) -> str:
        (tmp_path / "input").write_bytes(data)
        done = call_agent("report", tmp_path / "input", "-o", tmp_path / "report.html")
        assert done.returncode == 4 and not (tmp_path / "report.html").exists()
        assert len(done.stderr.splitlines()) == 1
        return done.stderr

    return run


def test_the_figures_of_a_file(report, tmp_path):
    page = report(some_scores())
    data = data_of(page)
    assert report.said == f"wrote {page}: 500 lines, 3 alerts, 0.1 MB\n"
    assert data["facts"] == {
        "rows": 500,
        "scored": 499,
        "warming": 1,
        "odd": 3,
        "sources": 2,
        "streams": 2,
        "first": START - 765.0,
        "last": START - 765.0 + 499,
        "untimed": 0,
        "highest": 2.4,
    }
    assert data["notes"] == [] and data["timed"] and len(data["chart"]["x"]) == 499
    assert [data["chart"]["line"][index] for index in data["chart"]["odd"]] == [101, 251, 401]
    assert [alert["message"] for alert in data["alerts"]] == [
        "the vault 100 melts",
        "the vault 250 melts",
        "paper is on fire",
    ]
    assert data["alerts"][0]["why"] == "never seen" and data["alerts"][0]["context"] == ["before 100"]
    rows = {row["source"]: (row["lines"], row["odd"], row["warming"], row["highest"]) for row in data["streams"]}
    assert rows == {"app.log": (499, 2, 1, 2.25), "other.log": (1, 1, 0, 2.4)}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "scores.jsonl"]


LAST = "9999-12-31T23:59:59+00:00"
ENDS = ("0001-01-01T00:00:00+00:00", "0001-01-01T00:00:00+14:00", "2016-12-31T23:59:60Z", "9999-12-31T23:59:59-14:00")
STAMPS = st.builds(
    lambda time, minutes: time.replace(tzinfo=timezone(timedelta(minutes=minutes))).isoformat(),
    st.datetimes(max_value=datetime(1, 1, 2)) | st.datetimes(min_value=datetime(9999, 12, 30)) | st.datetimes(),
    st.integers(-14 * 60, 14 * 60),
)


@given(st.lists(STAMPS | st.sampled_from(ENDS), min_size=1, max_size=6))
@settings(max_examples=50, deadline=None)
def test_whatever_times_a_file_shows_a_page_is_made_of_it(tmp_path_factory, stamps):
    folder = tmp_path_factory.mktemp("times")
    write(folder / "scores", [odd(number, time=stamp) for number, stamp in enumerate(stamps)])
    data = page_data(load_report(folder / "scores"), "scores")
    known = [one for stamp in stamps if (one := iso_time(stamp)) is not None]
    assert data["facts"]["untimed"] == len(stamps) - len(known) and len(data["alerts"]) == len(stamps)
    assert data["facts"]["first"] == (min(one.timestamp() for one in known) if known else None)


def test_times_at_the_ends_are_told_scored_and_reported(bundle, tmp_path, call_agent):
    lines = [*made_up_lines(40), *(f"{time} web1 kernel: the vault melts\n".encode() for time in (*ENDS, LAST))]
    (tmp_path / "log").write_bytes(b"".join(lines))
    scores, alerts = tmp_path / "scores", tmp_path / "alerts"
    done = [
        call_agent("score", tmp_path / "log", "-b", bundle, "--explain", "-o", scores),
        call_agent("report", scores, "-o", tmp_path / "scores.html"),
        call_agent("tail", tmp_path / "log", "--once", "--from", "start", "-b", bundle, "--sink", f"jsonl:{alerts}"),
        call_agent("report", alerts, "-o", tmp_path / "alerts.html"),
    ]
    assert [one.returncode for one in done] == [0] * 4
    times = [json.loads(line)["time"] for line in scores.read_text().splitlines()[-5:]]
    assert times == [ENDS[0], None, "2016-12-31T23:59:59+00:00", None, LAST]


def test_what_is_missing_is_said(report, tmp_path, call_agent):
    records = some_scores()
    records[7]["time"] = None
    data = data_of(report(records))
    assert data["notes"] == ["1 lines show no time and are not in the timeline"] and data["facts"]["untimed"] == 1
    for one in records:
        one["time"] = None
    data = data_of(report(records))
    assert not data["timed"] and data["chart"]["x"][:2] == [2, 3] and "place in the file" in data["notes"][0]
    whole = (tmp_path / "scores.jsonl").read_bytes()
    (tmp_path / "scores.jsonl").write_bytes(whole[:-30])
    assert call_agent("report", tmp_path / "scores.jsonl", "-o", tmp_path / "report.html").returncode == 0
    assert "1 line of the file is damaged and left out" in data_of(tmp_path / "report.html")["notes"]


def test_many_lines_are_thinned_and_that_is_said(report, monkeypatch):
    monkeypatch.setattr("agent.commands.report.data.MAX_ALERTS", 40)
    monkeypatch.setattr("agent.commands.report.data._MAX_SHOWN", 1000)
    odd_rows = set(range(0, 60000, 1000))
    records = [odd(n, message="m" * 300, score=2 + n / 1e4) if n in odd_rows else record(n) for n in range(60000)]
    for number, one in enumerate(records):
        one["time"] = (
            f"2026-03-{1 + number // 86400:02}T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}Z"
        )
    page = report(records)
    data = data_of(page)
    assert len(data["chart"]["x"]) <= 20000 + 40 and len(data["alerts"]) == 40
    assert {alert["line"] - 1 for alert in data["alerts"]} == set(sorted(odd_rows)[-40:])
    assert {data["chart"]["line"][index] - 1 for index in data["chart"]["odd"]} >= set(sorted(odd_rows)[-40:])
    full = [alert for alert in data["alerts"] if alert["context"]]
    assert 0 < len(full) < 5 and min(a["score"] for a in full) > max(
        a["score"] for a in data["alerts"] if not a["context"]
    )
    said = " / ".join(data["notes"])
    assert "of 60,000 lines" in said and "the 40 alerts with the highest scores of 60 are listed" in said
    assert f"{40 - len(full)} alerts with lower scores are told in short" in said
    assert data["facts"]["odd"] == 60 and data["facts"]["rows"] == 60000


@given(st.integers(1, 400), st.integers(4, 40), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_thinning_keeps_the_extremes(count, most, seed):
    draw = np.random.default_rng(seed)
    x = draw.integers(0, 50, count).astype(float)
    x[draw.random(count) < 0.1] = np.nan
    score = draw.random(count).astype(np.float32)
    score[draw.random(count) < 0.1] = np.nan
    keep = np.flatnonzero(draw.random(count) < 0.05)
    rows, good = thin(x, score, keep, most), np.flatnonzero(~np.isnan(x) & ~np.isnan(score))
    assert set(rows) <= set(good) and len(set(rows)) == len(rows)
    assert set(keep) & set(good) <= set(rows)
    assert (np.diff(x[rows]) >= 0).all()
    assert len(rows) == len(good) or len(rows) <= 4 * (most // 4 + 1) + len(keep)
    if len(good):
        ends = x[good].min(), x[good].max(), score[good].min(), score[good].max()
        assert (score[rows].min(), score[rows].max()) == ends[2:]
        assert len(good) > most or (x[rows].min(), x[rows].max()) == ends[:2]


def test_sessions(report):
    session = {"source": "app.log", "lines": 3, "first_line": 2, "last_line": 9, "score": 1.0, "threshold": 1.5}
    rows = [session | {"stream": f"req-{number}", "anomaly": number == 2, "first_line": number} for number in range(5)]
    data = data_of(report(rows))
    assert report.said.endswith(": 5 streams, 1 alert, 0.1 MB\n")
    assert data["alerts"][0]["message"] == "3 lines, from line 2 to line 9"
    assert data["streams"] == [
        {
            "source": "app.log",
            "stream": "",
            "lines": 5,
            "warming": 0,
            "odd": 1,
            "highest": 1.0,
            "first": None,
            "last": None,
        }
    ]


def test_alerts(report, make_alert, bundle, tmp_path, call_agent):
    data = data_of(report([make_alert(number, score=2.0 + number, fields={"unit": "cups"}) for number in range(5)]))
    assert report.said.endswith(": 5 alerts, 0.1 MB\n") and data["scope"] == "alert"
    assert data["alerts"][4]["quotes"] == {
        "nearest known": "paper tray <num> is empty",
        "expected": "job <num> is done",
    }
    assert data["alerts"][4]["fields"] == {"unit": "cups"} and data["chart"]["score"][4] == 6.0
    (tmp_path / "app.log").write_bytes(b"".join(made_up_lines(60, seed=2, odd=(30,))))
    sink = f"jsonl:{tmp_path / 'alerts'}"
    tail = call_agent("tail", tmp_path / "app.log", "--bundle", bundle, "--once", "--from", "start", "--sink", sink)
    assert tail.returncode == 0, tail.stderr
    done = call_agent("report", tmp_path / "alerts", "-o", tmp_path / "report.html")
    assert done.returncode == 0 and data_of(tmp_path / "report.html")["alerts"], done.stderr


def test_what_score_writes_is_shown(bundle, tmp_path, call_agent):
    (tmp_path / "app.log").write_bytes(b"".join(made_up_lines(60, seed=2, odd=(30,))))
    for scope in "line", "session":
        scores = tmp_path / "scores.jsonl.gz"
        call_agent("score", tmp_path / "app.log", "--bundle", bundle, "--explain", "--scope", scope, "-o", scores)
        assert call_agent("report", scores, "-o", tmp_path / "report.html").returncode == 0
        data = data_of(tmp_path / "report.html")
        assert data["scope"] == scope and data["alerts"] and (scope == "session" or data["alerts"][0]["context"])


def test_standard_input_and_a_default_name(tmp_path):
    data = gzip.compress(write(tmp_path / "scores.jsonl", some_scores()).read_bytes())
    done = run_agent("report", "-", input=data, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"") and done.stdout.startswith(
        b"wrote report.html: 500 lines, 3 alerts"
    )
    assert data_of(tmp_path / "report.html")["name"] == "standard input"


def test_what_is_neither_is_refused(refuse, make_alert):
    alert, score = msgspec.json.encode(make_alert()), msgspec.json.encode(odd(1))
    assert "input is empty" in refuse(b"")
    assert "is no score file" in refuse(b"".join(made_up_lines(200)))
    assert "is no score file" in refuse(b'{"a": 1}\n')
    assert "line 2: object missing required field 'line'" not in refuse(alert + b"\n" + score + b"\n")
    assert "input is not of this version: line 2" in refuse(alert + b"\n" + score + b"\n")
    assert "input is not of this version: line 1: object contains unknown field 'more'" in refuse(
        msgspec.json.encode(msgspec.to_builtins(make_alert()) | {"more": 1}) + b"\n"
    )


def test_a_reason_of_another_kind_is_no_fault(report):
    reasons = [
        {"kind": "surprise", "words": 5},
        {"unknown_words": {"a": 1}},
        {"nearest": "x", "expected": []},
        {"time": "x"},
    ]
    data = data_of(report([odd(number, reason=reason) for number, reason in enumerate(reasons)]))
    assert [alert["why"] for alert in data["alerts"]].count("its reason is not one that this version knows") >= 2


def test_an_output_that_cannot_be_written(tmp_path, call_agent):
    scores = write(tmp_path / "scores.jsonl", some_scores())
    for output in tmp_path, tmp_path / "missing" / "report.html":
        done = call_agent("report", scores, "-o", output)
        assert done.returncode == 5 and len(done.stderr.splitlines()) == 1, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["scores.jsonl"]


def test_scores_that_are_no_numbers_of_json(report):
    data = data_of(report([record(0, score=1e300), record(1), odd(2, score=1e300)]))
    assert data["facts"]["highest"] is None and len(data["chart"]["score"]) == 3


# ---- what a hostile log can do


def hostile_records() -> list[dict[str, Any]]:
    """Odd lines with a hostile text in every field."""
    return [
        odd(
            number,
            source=text,
            stream=text,
            severity=text,
            program=text,
            message=text,
            context=[text, text],
            reason={"kind": text, "unknown_words": [text], "nearest": {"text": text}, "expected": {"text": text}},
        )
        for number, text in enumerate(HOSTILE)
    ]


@given(st.text() | st.sampled_from(HOSTILE))
@settings(deadline=None)
def test_embedded_data_is_the_same_and_ends_no_element(text):
    embedded = embed({"a": [text]})
    assert json.loads(embedded) == {"a": [text]} and not re.search("[<>&\u2028\u2029]", embedded)


def test_a_page_of_hostile_text_has_the_elements_of_any_other(report, tmp_path, call_agent):
    def skeleton(page: Path) -> list[str]:
        return re.findall(r"<[/!a-zA-Z][^\s>]*", re.sub(r"(?s)(<script>).*?(</script>)", r"\1\2", page.read_text()))

    plain = skeleton(report(some_scores()))
    assert skeleton(report(hostile_records())) == plain
    name = write(tmp_path / "<img src=x onerror=alert(1)>", hostile_records())
    assert call_agent("report", name, "-o", tmp_path / "named.html").returncode == 0
    assert skeleton(tmp_path / "named.html") == plain


def test_the_policy_allows_the_scripts_and_styles_of_the_page_and_nothing_else(report):
    text = report(some_scores()).read_text()
    policy = html.unescape(re.search('Content-Security-Policy" content="([^"]*)"', text)[1])
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules.keys() == {"default-src", "script-src", "style-src", "base-uri", "form-action"}
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    for name, rule in ("script", "script-src"), ("style", "style-src"):
        bodies = re.findall(rf"(?s)<{name}>(.*?)</{name}>", text)
        hashes = [base64.b64encode(hashlib.sha256(body.encode()).digest()).decode() for body in bodies]
        assert rules[rule].split() == [f"'sha256-{value}'" for value in hashes] and len(bodies) == 2


def test_the_library_is_the_pinned_one():
    text = (ROOT / "docs" / "dependencies.md").read_text()
    assets = files("agent.commands.report").joinpath("assets")
    for name in "uPlot.iife.min.js", "uPlot.min.css":
        assert hashlib.sha256(assets.joinpath(name).read_bytes()).hexdigest() in text
    version = re.search(rb"\(v([\d.]+)\)", assets.joinpath("uPlot.iife.min.js").read_bytes())[1].decode()
    assert f"uPlot {version}" in text and "Permission is hereby granted" in assets.joinpath("uPlot.LICENSE").read_text()


def test_the_page_holds_the_licence_of_the_library(report):
    assert "Copyright (c) 2022 Leon Sorokin" in report(some_scores()).read_text()


# ---- in a browser


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with open_browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def browser(chromium: Browser):
    """A browser of the usual size; nothing may be told to its console."""
    chromium.resize(1280, 900)
    chromium.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])
    yield chromium
    assert chromium.logs() == []


def rows(browser: Browser) -> list[list[str]]:
    """The cells of the listed alerts."""
    return browser.run(
        "return [...document.querySelectorAll('tr.alert')].map(r => [...r.cells].map(c => c.textContent))"
    )


def messages(browser: Browser) -> list[str]:
    return browser.run("return [...document.querySelectorAll('tr.alert .message')].map(cell => cell.textContent)")


def colours(browser: Browser) -> int:
    """How many colours the timeline has."""
    return browser.run(
        "const c = document.querySelector('canvas');"
        "const d = new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer);"
        "return new Set(d).size"
    )


def test_the_page_is_drawn_and_asks_for_nothing(browser, report):
    page = report(some_scores())
    browser.open(page)
    assert colours(browser) > 20
    assert browser.requests() == [page.as_uri()]
    assert messages(browser) == ["paper is on fire", "the vault 250 melts", "the vault 100 melts"]
    facts = browser.run("return document.getElementById('facts').innerText")
    assert "500" in facts and "3 (0.60%)" in facts and "2026-03-09 02:00:00" in facts
    assert "Everything in the file was read" in browser.run("return document.getElementById('notes').innerText")


@pytest.mark.parametrize("times", [(ENDS[0], LAST), (ENDS[0], "0001-01-01T00:00:09Z"), ("9999-12-31T23:59:50Z", LAST)])
def test_times_at_the_ends_are_drawn(browser, report, times):
    browser.open(report([odd(number, time=time) for number, time in enumerate(times)]))
    assert colours(browser) > 10
    assert len(messages(browser)) == 2


def test_nothing_can_be_fetched_or_sent(chromium, report):
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        do_POST = do_GET

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        chromium.open(report(some_scores()))
        chromium.run(
            "const url = arguments[0]; fetch(url + 'fetch').catch(() => {}); new Image().src = url + 'image';"
            "const add = name => document.body.appendChild(document.createElement(name));"
            "add('script').src = url + 'script'; add('iframe').src = url + 'frame';"
            "Object.assign(add('link'), {rel: 'stylesheet', href: url + 'style'});"
            "navigator.sendBeacon(url + 'beacon', 'x');"
            "add('script').textContent = 'window.ran = 1'; const box = add('div');"
            "box.innerHTML = `<b onclick='window.ran = 1'>`; box.firstChild.click();",
            url,
        )
        refused: list[str] = []
        until(lambda: refused.extend(chromium.logs()) or len(refused) >= 6)
        assert chromium.run("return window.ran") is None
        server.shutdown()
    assert asked == [] and all("Content Security Policy" in line for line in refused), refused


def test_hostile_text_is_text(browser, report):
    browser.open(report(hostile_records()))
    browser.run("document.querySelectorAll('tr.alert').forEach(row => row.click())")
    over = browser.find("#chart .u-over")
    for x in range(-300, 300, 40):
        browser.point({"type": "pointerMove", "origin": over, "x": x, "y": 0, "duration": 0})
    assert browser.run("return window.hacked") is None
    shown = [text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029") for text in HOSTILE]
    assert sorted(messages(browser)) == sorted(shown)
    assert browser.run("return document.querySelectorAll('main img, main svg, main script, main a').length") == 0
    assert browser.run("return document.querySelectorAll('tr.detail').length") == len(HOSTILE)


def test_hovering_tells_of_the_line(browser, report):
    browser.open(report(some_scores()))
    over, left = browser.find("#chart .u-over"), browser.run("return document.querySelector('.u-over').clientWidth") / 2
    place = int((ODD_PLACES[1] - 250) / 500 * 2 * left)  # the odd line in the middle
    browser.point({"type": "pointerMove", "origin": over, "x": place + 4, "y": 0, "duration": 0})
    tip = browser.run("const tip = document.getElementById('tip'); return tip.hidden ? '' : tip.innerText")
    assert "app.log, line 251" in tip and "score 2.25, threshold 1.5" in tip and "the vault 250 melts" in tip
    assert "2026-03-09 02:04:10 UTC" in tip


def drag(browser: Browser, start: float, end: float) -> None:
    """Drags over the timeline; places are shares of its width."""
    over, width = browser.find("#chart .u-over"), browser.run("return document.querySelector('.u-over').clientWidth")
    first, last = (int((share - 0.5) * width) for share in (start, end))
    move = {"type": "pointerMove", "origin": over, "y": 0, "duration": 0}
    down, up = ({"type": kind, "button": 0} for kind in ("pointerDown", "pointerUp"))
    browser.point(move | {"x": first}, down, move | {"x": (first + last) // 2}, move | {"x": last}, up)


def test_zooming_narrows_the_alerts(browser, report):
    browser.open(report(some_scores()))
    assert browser.run("return document.getElementById('whole').disabled")
    drag(browser, 0.4, 0.6)
    assert messages(browser) == ["the vault 250 melts"]
    assert "in the part of the timeline" in browser.run("return document.getElementById('count').textContent")
    browser.click("#whole")
    assert len(messages(browser)) == 3
    browser.click("#closer")
    assert messages(browser) == ["the vault 250 melts"]
    for button in "closer", "later", "later":
        browser.click(f"#{button}")
    assert messages(browser) == ["paper is on fire"]
    browser.click("#wider")
    browser.click("#wider")
    assert len(messages(browser)) == 3 and browser.run("return document.getElementById('whole').disabled")


def choose(browser: Browser, selector: str, value: str) -> None:
    browser.run(
        "const s = document.querySelector(arguments[0]); s.value = arguments[1]; s.dispatchEvent(new Event('change'))",
        selector,
        value,
    )


def test_sorting_filtering_and_searching(browser, report):
    browser.open(report(some_scores()))
    times = [row[0] for row in rows(browser)]
    browser.click("#alerts th:first-child button")
    assert [row[0] for row in rows(browser)] == sorted(times) != times
    browser.click("#alerts th:first-child button")
    assert [row[0] for row in rows(browser)] == sorted(times, reverse=True)
    browser.click("#alerts th:nth-child(2) button")
    assert [row[1] for row in rows(browser)] == ["high", "high", "low"]
    for select, value in ("severity", "low"), ("source", "other.log"), ("program", "cupsd"):
        choose(browser, f"#only-{select}", f"={value}")
        assert messages(browser) == ["paper is on fire"]
        choose(browser, f"#only-{select}", "*")
        assert len(messages(browser)) == 3
    browser.type("#search", "MELTS before 250")
    assert messages(browser) == ["the vault 250 melts"]
    assert browser.run("return document.getElementById('count').textContent") == "1 of 3 alerts"
    browser.type("#search", " nowhere")
    assert messages(browser) == [] and "No alert fits" in browser.run(
        "return document.getElementById('alerts').innerText"
    )


def test_an_alert_opens_and_leads_to_the_timeline(browser, report):
    browser.open(report(some_scores()))
    browser.click("tr.alert")
    told = browser.run("return document.querySelector('tr.detail').innerText")
    assert "never seen" in told and "before 400" in told and "other.log, line 401" in told
    browser.click("tr.detail button")
    assert messages(browser) == ["paper is on fire"] and not browser.run(
        "return document.getElementById('whole').disabled"
    )
    browser.click("tr.alert")
    browser.click("tr.alert")
    assert browser.run("return document.querySelectorAll('tr.detail').length") == 0


def test_light_and_dark(browser, report):
    def ground() -> str:
        return browser.run("return getComputedStyle(document.body).backgroundColor")

    browser.open(report(some_scores()))
    light = ground()
    browser.click("#theme")
    dark = ground()
    assert dark != light and colours(browser) > 20
    browser.click("#theme")
    assert ground() == light
    browser.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    browser.open(report(some_scores()))
    assert ground() == dark


def test_a_phone(browser, report):
    browser.resize(390, 844, mobile=True)
    browser.open(report([odd(n, source="/var/log/" + "x" * 200, message="m" * 2000) for n in range(9)]))
    browser.run("document.querySelectorAll('tr.alert').forEach(row => row.click())")
    assert browser.run("return document.documentElement.scrollWidth") <= 390
    choose(browser, "#order", "x")
    assert [row[0] for row in rows(browser)] == sorted(row[0] for row in rows(browser))


@pytest.mark.parametrize("kind", ["sessions", "alerts", "no time", "nothing scored", "one line", "nothing odd"])
def test_every_kind_of_file_is_drawn(browser, report, make_alert, kind):
    session = {"source": "a", "lines": 3, "first_line": 2, "last_line": 9, "score": 2.0, "threshold": 1.5}
    records = {
        "sessions": [session | {"stream": f"req-{number}", "anomaly": number == 2} for number in range(5)],
        "alerts": [make_alert(number, line=number) for number in range(5)],
        "no time": [one | {"time": None} for one in some_scores()],
        "nothing scored": [record(number, score=None, threshold=None) for number in range(5)],
        "one line": [odd(1)],
        "nothing odd": [record(number) for number in range(50)],
    }[kind]
    browser.open(report(records))
    drawn = browser.run("return !document.getElementById('timeline').hidden")
    assert drawn == (kind != "nothing scored") and (not drawn or colours(browser) > 5)
    assert len(messages(browser)) == sum(bool(one["anomaly"]) if isinstance(one, dict) else 1 for one in records)
    assert browser.run("return document.querySelectorAll('#streams tbody tr').length") >= 1
