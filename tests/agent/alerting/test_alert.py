"""The id of an alert."""

from agent.alerting.alert import alert_id


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
