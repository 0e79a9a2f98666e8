"""The one line that tells a person of an alert."""

from typing import Any

from agent.alerting.alert import Alert
from agent.text.escape import escape

# Bytes of each part, so that the whole has at most MAX_TEXT.
MAX_TEXT = 1000
_MAX_MESSAGE, _MAX_QUOTED, _MAX_WORD, _MAX_PATH = 300, 100, 28, 120
_MAX_WORDS = 4
_MAX_SURPRISING, _MAX_EXPECTED, _MAX_FIELD, _MAX_SURPRISE = 3, 2, 20, 330  # words, words, bytes, bytes
_MOSTLY = 0.5  # share of an error
_LEAST_EXPECTED = 0.02  # what is less probable is not told as expected


def alert_text(alert: Alert) -> str:
    """What program said what, why that is odd, how odd, and where; at most MAX_TEXT bytes on one line."""
    reasons = "; ".join([why(alert), *quotes(alert)])
    return f"{alert.severity} anomaly: {said(alert, _MAX_MESSAGE)} | why: {reasons} | {figures(alert)}, {place(alert)}"


def said(alert: Alert, most: int) -> str:
    """The message, after the program where it does not begin with it."""
    message = escape(alert.message, most) or "(empty line)"
    return message if message.startswith(alert.program) else f"{escape(alert.program, _MAX_WORD)}: {message}"


def why(alert: Alert) -> str:
    """What is odd, in a few words."""
    reason = alert.reason
    if reason.get("kind") == "surprise":
        return "; ".join([_novelty(reason), *_surprising(reason)])
    if reason.get("kind") == "slow walk":
        return f"{reason.get('odd')} of the last {reason.get('lines')} lines are odd; this is one of them"
    parts = [_misplaced(reason)]
    words = reason.get("unknown_words") or []
    if words:
        shown = ", ".join(f'"{escape(word, _MAX_WORD)}"' for word in words[:_MAX_WORDS])
        more = f" and {len(words) - _MAX_WORDS} more" if len(words) > _MAX_WORDS else ""
        parts.append(f"unknown words: {shown}{more}")
    return "; ".join(parts)


def _misplaced(reason: dict[str, Any]) -> str:
    """What is odd where order and time count."""
    if (reason.get("event") or {}).get("unseen"):
        return "an event never seen"
    if reason.get("time", 0) > _MOSTLY:
        return "a known event, but not at this time"
    return "never seen" if reason.get("new_text") else "a known line, but not in this place"


def _novelty(reason: dict[str, Any]) -> str:
    if reason.get("relative"):
        return f"{'never seen' if reason.get('new_text') else 'a known line'}, odd for its stream"
    if reason.get("new_text"):
        return "never seen"
    return "a known line, but rare here" if reason.get("carried") else "a known line, but a rare one"


def _surprising(reason: dict[str, Any]) -> list[str]:
    """The most surprising words, as many as fit, at least one where there is one."""
    told = ""
    for word in (reason.get("words") or [])[:_MAX_SURPRISING]:
        longer = f"{told}, {_word(word)}" if told else _word(word)
        if told and len(longer.encode()) > _MAX_SURPRISE:
            break
        told = longer
    return [f"surprising: {told}"] if told else []


def _word(word: dict[str, Any]) -> str:
    """A word with its field, its bits and what was expected instead."""
    parts = ["unknown"] if word.get("unknown") else []
    if "field" in word:
        parts.append(escape(word["field"], _MAX_FIELD))
    parts += [_named(word), f"{word.get('bits', 0):.1f} bits"]
    likely = [other for other in word.get("expected") or [] if other.get("p", 0) >= _LEAST_EXPECTED]
    if likely:
        parts.append(f"(expected {', '.join(dict.fromkeys(map(_named, likely[:_MAX_EXPECTED])))})")
    return " ".join(parts)


def _named(word: dict[str, Any]) -> str:
    """A word in quotes, or what it is that has no text of its own."""
    if word.get("end"):
        return "the line's end"
    if "p" in word and word.get("unknown"):
        return "an unknown one"
    text = escape(str(word.get("text", "")), _MAX_WORD)
    return f'"{text}"' if text or "field" in word else "an empty line"


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
