"""Alerts that an earlier version left in the outbox: one of each kind of reason, as it was stored and as it was sent.

Version 0.1.0 wrote them (schema 2) at commit ffd4fba, of made-up logs (`training synth`), before reasons were types.
"""

import base64
import json
from pathlib import Path

import msgspec
import pytest

from agent.alerting.alert import decode_alert
from agent.alerting.message import alert_text
from agent.scoring.reasons import OtherReason

EARLIER = [json.loads(row) for row in (Path(__file__).parent / "alerts_of_schema_2.jsonl").read_text().splitlines()]
NEW = ',"kind":"alert","read":"","peer":""'  # what alerts have had since then
KINDS = [json.loads(row["sent"])["reason"]["kind"] for row in EARLIER]


def test_there_is_one_of_each_kind():
    assert set(KINDS) == {"distance", "surprise", "reconstruction", "slow walk"}


@pytest.mark.parametrize("row", EARLIER, ids=KINDS)
def test_an_earlier_alert_is_sent_as_it_was_with_what_came_since(row):
    stored = base64.b64decode(row["stored"])
    alert = decode_alert(stored)
    assert not isinstance(alert.reason, OtherReason)
    assert msgspec.json.encode(alert).decode() == row["sent"].removesuffix("}") + NEW + "}"
    assert decode_alert(msgspec.msgpack.encode(alert)) == alert


@pytest.mark.parametrize("row", EARLIER, ids=KINDS)
def test_an_earlier_alert_can_be_told_to_a_person(row):
    alert = decode_alert(base64.b64decode(row["stored"]))
    assert alert.message.split()[0] in alert_text(alert)
