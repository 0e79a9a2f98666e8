"""The page: one HTML file in which nothing of a log can run and which asks no network for anything."""

import base64
import hashlib
import html
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

import agent
from agent.commands.report.data import page_data
from agent.commands.report.loading import load_report
from agent.errors import SinkError
from agent.host.atomic_file import replace_file
from agent.host.progress import progress, size_of
from agent.scorefile.writer import writing
from agent.text.escape import escape

_PLACE = re.compile("@([A-Z_]+)@")
_MARKUP = re.compile("[<>&\u2028\u2029]")
_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def write_report(file: str, output: Path) -> str:
    """Writes the report of a file of scores or alerts, and says what it wrote; an existing one is replaced whole.

    A SourceError where the file is neither, a SinkError where the report cannot be written.
    """
    if output.is_dir():
        raise SinkError(f"{output} is a directory; name a file, as in -o report.html")
    with progress("reading", size_of([file])) as advance:
        report = load_report(Path(file), advance)
    name = "standard input" if file == "-" else Path(file).name
    page = render(page_data(report, name))
    with writing(str(output)):
        replace_file(output, page)
    rows, alerts = len(report.table.line), int(report.table.anomaly.sum())
    noun = {"line": "line", "session": "stream"}.get(report.table.scope)
    counted = f"{_counted(rows, noun)}, " if noun else ""
    return f"wrote {escape(str(output))}: {counted}{_counted(alerts, 'alert')}, {len(page) / 1e6:.1f} MB"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def render(data: dict[str, Any]) -> bytes:
    """The page that shows `data`."""
    chart_style, style = _asset("uPlot.min.css"), _asset("report.css")
    chart_script, script = _asset("uPlot.iife.min.js"), _asset("report.js")
    title = f"{data['name']} – oddline report"
    parts = {
        "POLICY": policy([chart_script, script], [chart_style, style]),
        "TITLE": html.escape(title),
        "HEADING": html.escape(data["name"]),
        "CHART_STYLE": chart_style,
        "STYLE": style,
        "FOOTER": f"oddline {agent.__version__} · the timeline is drawn by uPlot (MIT)",
        "LICENCE": _asset("uPlot.LICENSE"),
        "DATA": embed(data),
        "CHART_SCRIPT": chart_script,
        "SCRIPT": script,
    }
    return _PLACE.sub(lambda found: parts[found[1]], _asset("template.html")).encode()


def policy(scripts: list[str], styles: list[str]) -> str:
    """A Content Security Policy (W3C, level 3) under which these alone run and nothing is fetched or sent."""
    allowed = {"script-src": scripts, "style-src": styles}
    hashed = "; ".join(f"{name} {' '.join(map(_hashed, texts))}" for name, texts in allowed.items())
    return f"default-src 'none'; {hashed}; base-uri 'none'; form-action 'none'"


def _hashed(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def embed(data: dict[str, Any]) -> str:
    """JSON that can end no script element and is no comment of HTML in one."""
    text = msgspec.json.encode(data).decode()
    return _MARKUP.sub(lambda found: _UNSAFE[found[0]], text)


def _asset(name: str) -> str:
    return files(__package__).joinpath("assets", name).read_bytes().decode()
