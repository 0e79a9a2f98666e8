"""The text of an alert: the one line that a person reads."""

from msgspec import UNSET

from agent.alerting.alert import Alert
from agent.scoring.reasons import (
    DistanceReason,
    ModelReason,
    NoticeReason,
    Reason,
    ReconstructionReason,
    SlowWalkReason,
    SurpriseReason,
)
from agent.scoring.words import LikelyToken, Word, words
from agent.text.escape import escape

# Bytes of each part, so that the whole has at most MAX_TEXT.
MAX_TEXT = 1000
_MAX_NOTICE = 900
_MAX_MESSAGE, _MAX_QUOTED, _MAX_WORD, _MAX_PATH, _MAX_PEER = 300, 100, 28, 120, 48
_MAX_WORDS = 4
_MAX_SURPRISING, _MAX_EXPECTED, _MAX_FIELD, _MAX_SURPRISE = 3, 2, 20, 330  # words, words, bytes, bytes
_MOSTLY = 0.5  # share of an error
_LEAST_EXPECTED = 0.02  # what is less probable is not named as expected
_NEW, _MISPLACED = "never seen", "a known line, but not in this place"


def alert_text(alert: Alert) -> str:
    """What program said what, why that is odd, how odd, and where; at most MAX_TEXT bytes on one line.

    Of a notice: what it is about and what there is to say.
    """
    if alert.is_notice:
        return f"notice: {escape(alert.message, _MAX_NOTICE)}{_times(alert)}"
    reasons = "; ".join([why(alert), *quotes(alert)])
    message = program_message(alert, _MAX_MESSAGE - len(sender(alert)))
    return f"{alert.severity} anomaly: {message} | why: {reasons} | {figures(alert)}, {location(alert)}"


def program_message(alert: Alert, most: int) -> str:
    """The message, after the program where it does not begin with it."""
    message = escape(alert.message, most) or "(empty line)"
    return message if message.startswith(alert.program) else f"{escape(alert.program, _MAX_WORD)}: {message}"


def why(alert: Alert) -> str:
    """What is odd, in a few words."""
    match alert.reason:
        case SurpriseReason() as reason:
            return "; ".join([_novelty(reason), *_surprising(reason)])
        case NoticeReason() as reason:
            return f"a notice of the agent: {reason.name}"
        case SlowWalkReason() as reason:
            return f"{reason.odd} of the last {reason.lines} lines are odd; this is one of them"
        case ReconstructionReason() as reason:
            return "; ".join([_misplaced(reason), *_unknown_words(reason)])
        case DistanceReason() as reason:
            return "; ".join([_NEW if reason.new_text else _MISPLACED, *_unknown_words(reason)])
        case _:
            return "its reason is not one that this version knows"


def _unknown_words(reason: DistanceReason | ReconstructionReason) -> list[str]:
    """The first of the words that the model does not know, where there are any."""
    unknown = reason.unknown_words
    if not unknown:
        return []
    shown = ", ".join(f'"{escape(word, _MAX_WORD)}"' for word in unknown[:_MAX_WORDS])
    more = f" and {len(unknown) - _MAX_WORDS} more" if len(unknown) > _MAX_WORDS else ""
    return [f"unknown words: {shown}{more}"]


def _misplaced(reason: ReconstructionReason) -> str:
    """What is odd where order and time count."""
    if reason.event is not None and reason.event.unseen:
        return "an event never seen"
    if reason.time > _MOSTLY:
        return "a known event, but not at this time"
    return _NEW if reason.new_text else _MISPLACED


def _novelty(reason: SurpriseReason) -> str:
    if reason.relative:
        return f"{_NEW if reason.new_text else 'a known line'}, odd for its stream"
    if reason.new_text:
        return _NEW
    return "a known line, but rare here" if reason.carried else "a known line, but a rare one"


def _surprising(reason: SurpriseReason) -> list[str]:
    """The most surprising words, as many as fit, at least one where there is one."""
    shown = ""
    for word in reason.words[:_MAX_SURPRISING]:
        longer = f"{shown}, {_word(word)}" if shown else _word(word)
        if shown and len(longer.encode()) > _MAX_SURPRISE:
            break
        shown = longer
    return [f"surprising: {shown}"] if shown else []


def _word(word: Word) -> str:
    """A word with its field, its bits and what was expected instead."""
    parts = ["unknown"] if word.unknown else []
    if word.field is not UNSET:
        parts.append(escape(word.field, _MAX_FIELD))
    named = "the line's end" if word.end else _quoted(word.text, may_be_empty=word.field is not UNSET)
    parts += [named, f"{word.bits:.1f} bits"]
    likely = [other for other in word.expected or [] if other.p >= _LEAST_EXPECTED]
    if likely:
        parts.append(f"(expected {', '.join(dict.fromkeys(map(_likely, likely[:_MAX_EXPECTED])))})")
    return " ".join(parts)


def _likely(token: LikelyToken) -> str:
    """A token in quotes, or what it is that has no text of its own."""
    if token.end:
        return "the line's end"
    return "an unknown one" if token.unknown else _quoted(token.text, may_be_empty=False)


def _quoted(text: str, may_be_empty: bool) -> str:
    shown = escape(text, _MAX_WORD)
    return f'"{shown}"' if shown or may_be_empty else "an empty line"


def quotes(alert: Alert, most: int = _MAX_QUOTED) -> list[str]:
    """The nearest known line and the line that was expected, where the reason has them, cut to `most` bytes."""
    return [f'{name}: "{escape(text, most)}"' for name, text in named_texts(alert.reason).items()]


def is_new(alert: Alert) -> bool:
    """Whether training never saw the text of the line."""
    return isinstance(alert.reason, ModelReason) and alert.reason.new_text


def surprised_words(alert: Alert) -> list[Word]:
    """All words of the line with the surprise at each, where the reason has them."""
    reason = alert.reason
    return words(reason.tokens, reason.tokenizer) if isinstance(reason, SurpriseReason) else []


def named_texts(reason: Reason) -> dict[str, str]:
    """The texts of the nearest known line and of the line that was expected, where the reason has them."""
    match reason:
        case DistanceReason():
            texts = {"nearest known": reason.nearest, "expected": reason.expected}
            return {name: known.text for name, known in texts.items() if known is not None}
        case ReconstructionReason() if reason.expected is not None:
            return {"expected": reason.expected.text}
        case _:
            return {}


def figures(alert: Alert) -> str:
    """The score beside its threshold, and how rare such a score is among normal lines; empty where there is none."""
    if alert.score is None or alert.threshold is None or alert.p_value is None:
        return ""
    rarity = "p<0.0001" if alert.p_value < 0.0001 else f"p={alert.p_value:.2g}"
    return f"score {alert.score:.4g} over {alert.threshold:.4g} ({rarity})"


def location(alert: Alert) -> str:
    """The file and the line, who sent it, and how often it was so."""
    return f"{escape(alert.source, _MAX_PATH)} line {alert.line}{sender(alert)}{_times(alert)}"


def sender(alert: Alert) -> str:
    """Where the line came from over a network, or nothing."""
    return f" from {escape(alert.peer, _MAX_PEER)}" if alert.peer else ""


def _times(alert: Alert) -> str:
    return f", seen {alert.count} times" if alert.count > 1 else ""
