"""The one line that tells a person of an alert."""

from typing import Any

from agent.alerts import Alert, escape

# Bytes of each part, so that the whole has at most MAX_TEXT.
MAX_TEXT = 1000
_MAX_MESSAGE, _MAX_QUOTED, _MAX_WORD, _MAX_PATH = 300, 100, 28, 120
_MAX_WORDS = 4


def alert_text(alert: Alert) -> str:
    """What program said what, why that is odd, how odd, and where; at most MAX_TEXT bytes on one line."""
    reasons = "; ".join([why(alert), *quotes(alert)])
    return f"{alert.severity} anomaly: {said(alert, _MAX_MESSAGE)} | why: {reasons} | {figures(alert)}, {place(alert)}"


def said(alert: Alert, most: int) -> str:
    """The message, after the program where it does not begin with it."""
    message = escape(alert.message, most)
    return message if message.startswith(alert.program) else f"{escape(alert.program, _MAX_WORD)}: {message}"


def why(alert: Alert) -> str:
    """What is odd, in a few words."""
    reason = alert.reason
    parts = ["never seen" if reason.get("new_text") else "a known line, but not in this place"]
    words = reason.get("unknown_words") or []
    if words:
        shown = ", ".join(f'"{escape(word, _MAX_WORD)}"' for word in words[:_MAX_WORDS])
        more = f" and {len(words) - _MAX_WORDS} more" if len(words) > _MAX_WORDS else ""
        parts.append(f"unknown words: {shown}{more}")
    return "; ".join(parts)


def quotes(alert: Alert, most: int = _MAX_QUOTED) -> list[str]:
    """The nearest known line and the line that was expected, where the reason has them, cut to `most` bytes."""
    named = (("nearest known", "nearest"), ("expected", "expected"))
    return [f'{name}: "{escape(_text(alert.reason[key]), most)}"' for name, key in named if alert.reason.get(key)]


def _text(known: dict[str, Any]) -> str:
    return str(known.get("text", ""))


def figures(alert: Alert) -> str:
    """The score beside its threshold, and how rare such a score is among normal lines."""
    rarity = "p<0.0001" if alert.p_value < 0.0001 else f"p={alert.p_value:.2g}"
    return f"score {alert.score:.4g} over {alert.threshold:.4g} ({rarity})"


def place(alert: Alert) -> str:
    """The file and the line, and how often it was so."""
    times = f", seen {alert.count} times" if alert.count > 1 else ""
    return f"{escape(alert.source, _MAX_PATH)} line {alert.line}{times}"
