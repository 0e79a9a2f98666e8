"""Alerts for a person at a terminal."""

import sys

from rich.console import Console
from rich.text import Text

from agent.alerting.alert import Alert
from agent.alerting.message import alert_text, figures, program_message, quotes, sender, surprised_words, why
from agent.delivery.sinks.stdout import ending_with_reader
from agent.text.escape import MAX_MESSAGE, escape

_MAX_WORD = 40  # bytes
_BOLD = 3  # words
_STYLES = {"critical": "bold white on red", "high": "bold red", "medium": "bold yellow", "low": "bold cyan"}


class ConsoleSink:
    """Prints alerts to standard output, in colours where it is a terminal and NO_COLOR is not set."""

    def __init__(self, name: str) -> None:
        self.name = name

    def send(self, alert: Alert) -> None:
        """Prints an alert; an OSError where it was not taken."""
        console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
        with console.capture() as captured:  # rich ends the thread when it meets a broken pipe
            console.print(render(alert))
        text = captured.get().encode(console.encoding, "backslashreplace").decode(console.encoding)
        with ending_with_reader():
            sys.stdout.write(text)
            sys.stdout.flush()

    def close(self) -> None:
        """Standard output stays open."""


def render(alert: Alert) -> Text:
    """An alert as several lines: head, message, why, what is near it, what came before it; a notice as one."""
    if alert.is_notice:
        return Text.assemble(
            ("NOTICE", "bold magenta"), (f" {alert.time}", "bold"), f" {alert_text(alert).removeprefix('notice: ')}\n"
        )
    times = f"  seen {alert.count} times" if alert.count > 1 else ""
    head = f" {alert.time} {escape(alert.host)} {escape(alert.source)}:{alert.line}{sender(alert)}{times}\n"
    text = Text.assemble((alert.severity.upper(), _STYLES[alert.severity]), (head, "bold"))
    text.append(f"  {program_message(alert, MAX_MESSAGE)}\n")
    text.append(f"  why: {why(alert)}; {figures(alert)}\n")
    for quote in quotes(alert, MAX_MESSAGE):
        text.append(f"  {quote}\n")
    text.append(_tokens(alert))
    for line in alert.context:
        text.append(f"  before: {escape(line)}\n", "dim")
    return text


def _tokens(alert: Alert) -> Text:
    """The words of the line with the bits of each, those of the reason's most surprising ones in bold."""
    found = surprised_words(alert)
    if len(found) < 2:
        return Text()
    line, least = Text("  bits:"), min(sorted(word.bits for word in found)[-_BOLD:])
    for number, word in enumerate(found):
        shown = escape(word.text, _MAX_WORD) or ("(end)" if word.end else '""')
        if len(line.plain.encode()) + len(shown.encode()) > MAX_MESSAGE:
            line.append(f" and {len(found) - number} more")
            break
        line.append(f" {shown}[{word.bits:.0f}]", "bold" if word.bits >= least else "")
    return line.append("\n")
