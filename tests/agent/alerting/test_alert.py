"""What an alert holds whoever made it, and its id."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from agent.alerting.alert import MOST_FIELDS, Alert, alert_id, decode_alert
from agent.scoring.reasons import OtherReason


def alert_of(host: str, program: str, peer: str, fields: dict[str, str]) -> Alert:
    origin = ("id", "t", host, "/var/log/app", 1, 1, "", program, "m")
    return Alert(*origin, 3.2, 1.2, 0.5, "low", "b", OtherReason(kind="x"), [], 1, "t", "t", fields=fields, peer=peer)


@given(
    *[st.text(max_size=400)] * 3,
    st.dictionaries(st.text(max_size=99), st.text(max_size=2000), max_size=MOST_FIELDS + 5),
)
def test_names_and_fields_are_printable_and_short_whoever_gives_them(host, program, peer, fields):
    alert = alert_of(host, program, peer, fields)
    names = (alert.host, alert.program, alert.peer)
    assert all(name.isprintable() and len(name.encode()) <= 255 for name in names)
    assert len(alert.fields) <= MOST_FIELDS
    for name, value in alert.fields.items():
        assert (name + value).isprintable() and len(name.encode()) <= 64 and len(value.encode()) <= 1024
    assert decode_alert(msgspec.msgpack.encode(alert)) == alert


def test_marks_that_turn_text_around_are_shown_and_long_names_cut():
    alert = alert_of("bank\u202e01", "p" * 60_000, "", {"A\u202e": "\x1b[31m"})
    assert alert.host == "bank\\u202e01" and len(alert.program) == 255
    assert alert.fields == {"A\\u202e": "\\x1b[31m"}


def test_what_writers_can_put_into_an_alert_is_bounded():
    wide = "\U0001f525" * 60_000
    alert = alert_of(wide, wide, wide, {f"{number}{wide}": wide for number in range(1000)})
    assert len(msgspec.json.encode(alert)) < 48 << 10


def test_ids_tell_lines_apart():
    same = alert_id("b", "1:2", 10, b"x")
    assert same == alert_id("b", "1:2", 10, b"x")
    others = {
        alert_id("c", "1:2", 10, b"x"),
        alert_id("b", "1:3", 10, b"x"),
        alert_id("b", "1:2", 11, b"x"),
        alert_id("b", "1:2", 10, b"y"),
    }
    assert len(others | {same}) == 5
    assert len(same) == 16
