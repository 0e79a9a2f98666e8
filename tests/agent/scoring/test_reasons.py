"""Reasons as JSON: those of this version stay as they are, and those of any other are read and passed on."""

import msgspec
import pytest

from agent.alerting.alert import decode_alert
from agent.alerting.message import is_new, named_texts, surprised_words, why
from agent.scoring.reasons import (
    DistanceReason,
    KnownEvent,
    KnownText,
    OtherReason,
    Reason,
    ReconstructionReason,
    SlowWalkReason,
    SurpriseReason,
    decode_reason,
)
from agent.scoring.words import LikelyToken, LookedAt, Token, Word

TOKENS = [
    Token(
        text="ws9", field="pc", unknown=True, bits=3.25, expected=[LikelyToken("ws1", 0.5)], looked_at=[], kept=0.125
    ),
    Token(text="", end=True, bits=1.5, expected=[LikelyToken("</s>", 0.25, end=True)], looked_at=[LookedAt(0, 0.75)]),
]
WRITTEN = [
    (
        DistanceReason(3.5, 1.25, True, ["fire"], KnownText("a <num>", 2.5), None),
        (
            b'{"kind":"distance","distance":3.5,"threshold":1.25,"new_text":true,"unknown_words":["fire"],'
            b'"nearest":{"text":"a <num>","distance":2.5},"expected":null}'
        ),
    ),
    (
        SurpriseReason(
            3.5, 1.25, False, [], 4.75, True, [Word(text="ws9", bits=3.25)], "fields", TOKENS, 2, "mean", 5.0
        ),
        (
            b'{"kind":"surprise","surprise":3.5,"threshold":1.25,"new_text":false,"unknown_words":[],"bits":4.75,'
            b'"carried":true,"words":[{"text":"ws9","bits":3.25}],"tokenizer":"fields","tokens":[{"text":"ws9",'
            b'"field":"pc","unknown":true,"bits":3.25,"expected":[{"text":"ws1","p":0.5}],"looked_at":[],"kept":0.125},'
            b'{"text":"","end":true,"bits":1.5,"expected":[{"text":"</s>","p":0.25,"end":true}],'
            b'"looked_at":[{"position":0,"weight":0.75}]}],"tokens_left_out":2,"relative":"mean","raw":5.0}'
        ),
    ),
    (
        ReconstructionReason(3.5, 1.25, True, [], KnownEvent("", True), KnownEvent("E3"), 0.5, [0.25, 3.5]),
        (
            b'{"kind":"reconstruction","error":3.5,"threshold":1.25,"new_text":true,"unknown_words":[],'
            b'"event":{"text":"","unseen":true},"expected":{"text":"E3","unseen":false},"time":0.5,"errors":[0.25,3.5]}'
        ),
    ),
    (SlowWalkReason(26, 1000), b'{"kind":"slow walk","odd":26,"lines":1000}'),
    (OtherReason(kind="moon", phase=[1]), b'{"kind":"moon","phase":[1]}'),
]


@pytest.mark.parametrize(("reason", "text"), WRITTEN)
def test_a_reason_is_written_and_read_as_it_always_was(make_alert, reason, text):
    assert msgspec.json.encode(reason) == text
    assert decode_reason(Reason, msgspec.json.decode(text)) == reason
    alert = make_alert()
    alert.reason = reason
    stored = msgspec.msgpack.encode(alert)
    assert decode_alert(stored) == alert
    assert b'"reason":' + text in msgspec.json.encode(decode_alert(stored))


@pytest.mark.parametrize(
    "content",
    [{}, {"new_text": True}, {"kind": 5}, {"kind": "distance", "nearest": "x"}, {"kind": "surprise", "words": 5}],
)
def test_what_is_no_reason_of_ours_is_passed_on_as_it_is(make_alert, content):
    reason = decode_reason(Reason, content)
    assert reason == OtherReason(content) and msgspec.json.encode(reason) == msgspec.json.encode(content)
    alert = make_alert(reason=content)
    assert why(alert) == "its reason is not one that this version knows"
    assert not named_texts(reason) and not is_new(alert) and not surprised_words(alert)


def test_what_a_reason_of_before_lacks_has_its_default():
    assert decode_reason(Reason, {"kind": "distance", "new_text": True}) == DistanceReason(new_text=True)
    assert decode_reason(Reason, {"kind": "slow walk", "odd": 3, "later": 1}) == SlowWalkReason(odd=3)


@pytest.mark.parametrize(("content", "kind"), [(b"5", "int"), (b"null", "null"), (b'"x"', "str"), (b"[]", "array")])
def test_what_is_no_object_is_refused(content, kind):
    class Holder(msgspec.Struct):
        reason: Reason

    with pytest.raises(msgspec.ValidationError, match=rf"Expected `object`, got `{kind}` - at `\$.reason`"):
        msgspec.json.decode(b'{"reason":' + content + b"}", type=Holder, dec_hook=decode_reason)
