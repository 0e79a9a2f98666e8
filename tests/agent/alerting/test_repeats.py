"""Repeats are folded, by the lines of a source and not by the clock."""

import msgspec

from agent.alerting.echo_guard import EchoGuard, new_key
from agent.alerting.repeats import RepeatFolder


def test_repeats_are_told_at_powers_of_ten():
    folder = RepeatFolder(gap=1000)
    told = [folder.count("log", "text", line, f"t{line}") for line in range(1, 1101)]
    assert [row for row in told if row] == [(1, "t1"), (10, "t1"), (100, "t1"), (1000, "t1")]
    assert folder.folded == 1096


def test_a_row_ends_after_a_gap_and_is_kept_by_source_and_text():
    folder = RepeatFolder(gap=100)
    assert folder.count("log", "text", 1, "t1") == (1, "t1")
    assert folder.count("log", "text", 101, "t2") is None
    assert folder.count("log", "text", 202, "t3") == (1, "t3")
    assert folder.count("other", "text", 202, "t3") == (1, "t3")
    assert folder.count("log", "another", 202, "t3") == (1, "t3")


def test_folding_can_be_turned_off():
    folder = RepeatFolder(gap=0)
    assert [folder.count("log", "text", line, "t") for line in range(1, 5)] == [(1, "t")] * 4


def test_a_restarted_folder_goes_on():
    one, other = RepeatFolder(gap=100), RepeatFolder(gap=100)
    for line in range(1, 9):
        one.count("log", "text", line, "t1")
    other.restore("log", one.blob("log"))
    assert [other.count("log", "text", line, "t2") for line in (9, 10)] == [None, (10, "t1")]


def test_folding_is_bounded():
    folder = RepeatFolder(gap=10_000)
    for number in range(3000):
        folder.count("log", f"text {number}", number, "t")
    assert len(msgspec.msgpack.decode(folder.blob("log"))["rows"]) == 1024


def test_rows_that_ended_are_forgotten():
    folder = RepeatFolder(gap=100)
    for number in range(0, 3000, 10):
        folder.count("log", f"text {number}", number, "t")
    assert len(msgspec.msgpack.decode(folder.blob("log"))["rows"]) == 11
    folder.forget("log")
    assert folder.count("log", "text 2990", 2991, "later") == (1, "later")


def test_lines_are_counted_over_the_files_of_a_source():
    """After a rotation the numbers begin again, which neither ends a row nor keeps it for ever."""
    folder = RepeatFolder(gap=100)
    assert folder.count("log", "text", 5000, "t1") == (1, "t1")
    assert folder.count("log", "text", 3, "t2") is None
    assert folder.count("log", "text", 110, "t3") == (1, "t3")


def test_what_an_older_agent_kept_is_forgotten():
    folder = RepeatFolder(gap=100)
    folder.restore("log", msgspec.msgpack.encode({"text": (3, "t0", 7)}))
    assert folder.count("log", "text", 8, "t1") == (1, "t1")


def test_nobody_without_the_key_knows_which_texts_are_taken_for_one():
    def hashes(key: bytes) -> set[bytes]:
        folder = RepeatFolder(100, key)
        folder.count("log", "text", 1, "t1")
        return set(msgspec.msgpack.decode(folder.blob("log"))["rows"])

    assert hashes(b"one") == hashes(b"one") and hashes(b"one") != hashes(b"another")
    assert all(len(key) == 16 for key in hashes(b"one"))
    first, second = EchoGuard(new_key()), EchoGuard(new_key())
    assert first.fold_key != second.fold_key
