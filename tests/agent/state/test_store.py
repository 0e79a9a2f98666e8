"""The durable state: what is committed is there after a restart, all or nothing, and faults are one clear line."""

import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

import agent.state.outbox
import agent.state.store
from agent.errors import ConfigError, SinkError, StateUnavailable
from agent.state.store import FILE, State

pytestmark = pytest.mark.usefixtures("no_thread_left")
HERE = msgspec.msgpack.encode({"where": b"\x00 \xff"})
BLOB = msgspec.msgpack.encode("blob")


@pytest.fixture
def state():
    state = State(None)
    yield state
    state.close()


def test_all_that_is_committed_is_there_after_a_restart(tmp_path, make_alert):
    state = State(tmp_path)
    state.register_sinks(["a"])
    state.commit([("f", HERE)], [("f", b"k\0", BLOB)], [], [("fold:f", b"\xff")], [make_alert(1)])
    state.close()
    state = State(tmp_path)
    assert state.checkpoint("f") == HERE and state.checkpoint("g") is None
    assert list(state.streams("f")) == [(b"k\0", BLOB)] and list(state.streams("g")) == []
    assert state.blob("fold:f") == b"\xff" and state.blob("other") is None
    assert state.pending("a", 10) == [(1, make_alert(1))]
    state.close()


def test_a_file_name_that_is_no_utf8_is_kept(state):
    name = os.fsdecode(b"/var/log/\xff.log")
    state.register_sinks([f"jsonl:{name}"])
    state.commit([(name, HERE)], [(name, b"k", b"v")], [], [(f"fold:{name}", b"m")])
    assert state.checkpoint(name) == HERE
    assert list(state.streams(name)) == [(b"k", b"v")]
    assert state.blob(f"fold:{name}") == b"m"
    assert state.backlog(f"jsonl:{name}") == 0


def test_streams_come_in_the_order_of_their_last_write(state, monkeypatch):
    monkeypatch.setattr(agent.state.store, "_READ_AT_ONCE", 3)
    expected: dict[bytes, bytes] = {}
    draw = random.Random(5)
    for step in range(200):
        key, blob = b"%d" % draw.randrange(20), b"%d" % step
        expected.pop(key, None)
        if draw.random() < 0.2:
            state.commit(ended=[("f", key)])
            continue
        expected[key] = blob
        state.commit(streams=[("f", key, blob), ("other", key, b"no")])
    assert list(state.streams("f")) == list(expected.items())


def test_a_stream_that_ended_and_came_anew_is_kept(state):
    state.commit(streams=[("f", b"k", b"old")])
    state.commit(streams=[("f", b"k", b"new")], ended=[("f", b"k")])
    assert list(state.streams("f")) == [(b"k", b"new")]


def test_an_alert_is_queued_once(state, make_alert):
    state.register_sinks(["a"])
    state.commit(alerts=[make_alert(1), make_alert(1), make_alert(2)])
    state.commit(alerts=[make_alert(2), make_alert(3)])
    assert [alert.id for _, alert in state.pending("a", 10)] == [make_alert(n).id for n in (1, 2, 3)]
    state.delivered("a", 3)
    state.commit(alerts=[make_alert(1), make_alert(3)])
    assert state.pending("a", 10) == [] and state.backlog("a") == 0


def test_the_ids_that_are_remembered_are_bounded(state, make_alert, monkeypatch):
    monkeypatch.setattr(agent.state.outbox, "MAX_RECENT", 5)
    state.register_sinks(["a"])
    state.commit(alerts=[make_alert(n) for n in range(20)])
    assert state.backlog("a") == 20
    state.commit(alerts=[make_alert(0)])
    assert state.backlog("a") == 20, "an id is not forgotten while its alert waits"
    state.delivered("a", state.pending("a", 20)[-1][0])
    state.commit(alerts=[make_alert(n) for n in range(14, 20)])
    assert [alert.id for _, alert in state.pending("a", 20)] == [make_alert(14).id]


def test_every_sink_gets_all_and_what_all_have_is_deleted(state, make_alert):
    assert state.register_sinks(["a", "b"]) == {}
    state.commit(alerts=[make_alert(n) for n in range(5)])
    first = state.pending("a", 3)
    assert [alert.line for _, alert in first] == [0, 1, 2]
    state.delivered("a", first[-1][0])
    assert (state.backlog("a"), state.backlog("b")) == (2, 5)
    state.delivered("b", 2)
    assert [alert.line for _, alert in state.pending("b", 9)] == [2, 3, 4]
    assert state.database.connection.execute("SELECT COUNT(*) FROM outbox").fetchone() == (3,)
    state.delivered("a", 2)
    assert state.backlog("a") == 2, "a sink does not go back"


def test_sinks_come_and_go(tmp_path, make_alert):
    state = State(tmp_path)
    state.register_sinks(["a", "b"])
    state.commit(alerts=[make_alert(1), make_alert(2)])
    state.close()
    state = State(tmp_path)
    assert state.register_sinks(["b", "c"]) == {"a": 2}
    assert (state.backlog("b"), state.backlog("c")) == (2, 0)
    state.commit(alerts=[make_alert(3)])
    assert [alert.line for _, alert in state.pending("c", 9)] == [3]
    with pytest.raises(KeyError, match="a is not registered"):
        state.pending("a", 1)
    state.close()


def test_a_sink_that_comes_after_all_was_delivered_gets_the_next_alert(state, make_alert):
    state.register_sinks(["a"])
    state.commit(alerts=[make_alert(1)])
    state.delivered("a", 1)
    state.register_sinks(["a", "late"])
    state.commit(alerts=[make_alert(2)])
    assert [alert.line for _, alert in state.pending("late", 9)] == [2]
    assert [alert.line for _, alert in state.pending("a", 9)] == [2]


def test_scores_without_end_survive_the_outbox(state, make_alert):
    state.register_sinks(["a"])
    state.commit(alerts=[make_alert(1, score=float("inf"))])
    assert state.pending("a", 1)[0][1].score == float("inf")


def test_a_failing_commit_changes_nothing_and_can_be_tried_again(tmp_path, make_alert):
    state = State(tmp_path)
    state.register_sinks(["a"])
    pages = state.database.connection.execute("PRAGMA page_count").fetchone()[0]
    state.database.connection.execute(f"PRAGMA max_page_count = {pages}")
    changes = ([("f", HERE)], [("f", b"k", msgspec.msgpack.encode(bytes(100_000)))], [], [("m", b"1")], [make_alert(1)])
    with pytest.raises(
        StateUnavailable, match=rf"{FILE} cannot be used: database or disk is full; free space"
    ) as caught:
        state.commit(*changes)
    assert "\n" not in str(caught.value)
    assert state.checkpoint("f") is None and state.backlog("a") == 0
    state.database.connection.execute("PRAGMA max_page_count = 100000")
    state.commit(*changes)
    state.close()
    state = State(tmp_path)
    assert state.checkpoint("f") == HERE and state.backlog("a") == 1 and state.blob("m") == b"1"
    state.close()


def test_a_commit_that_breaks_off_in_the_middle_changes_nothing(state, make_alert):
    state.register_sinks(["a"])
    with pytest.raises(AttributeError):
        state.commit([("f", HERE)], alerts=[make_alert(1), None])
    assert state.checkpoint("f") is None and state.backlog("a") == 0
    state.commit(alerts=[make_alert(1)])
    assert state.backlog("a") == 1


def test_the_folder_and_its_files_are_private(tmp_path):
    before = os.umask(0)
    try:
        state = State(tmp_path / "deep" / "state")
        state.commit([("f", HERE)])
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "deep" / "state").stat().st_mode) == 0o700
    for file in (tmp_path / "deep" / "state").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    state.close()


def test_every_commit_is_synced(tmp_path):
    state = State(tmp_path)
    assert state.database.connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert state.database.connection.execute("PRAGMA synchronous").fetchone() == (2,)
    state.close()


def test_a_second_agent_is_refused_and_told_who_has_the_folder(tmp_path):
    state = State(tmp_path)
    with pytest.raises(ConfigError, match=rf"{tmp_path} is in use by another agent \(process {os.getpid()}\)"):
        State(tmp_path)
    state.close()
    state.close()
    State(tmp_path).close()


@pytest.mark.parametrize("folder", ["/proc/oddline", "/dev/null", "/dev/null/below"])
def test_an_impossible_folder_is_one_line(folder):
    with pytest.raises(ConfigError, match=rf"state {folder} cannot be used: .*; choose one") as caught:
        State(Path(folder))
    assert "\n" not in str(caught.value)


def test_a_newer_state_is_refused_and_the_folder_let_go(tmp_path):
    state = State(tmp_path)
    state.database.connection.execute("PRAGMA user_version = 99")
    state.close()
    content = (tmp_path / FILE).read_bytes()
    for _ in range(2):
        with pytest.raises(ConfigError, match="has version 99, this agent knows up to 2; update oddline"):
            State(tmp_path)
    assert (tmp_path / FILE).read_bytes() == content


def test_a_database_of_another_program_is_refused_and_left_alone(tmp_path):
    other = sqlite3.connect(tmp_path / FILE)
    other.execute("CREATE TABLE notes (text)")
    other.commit()
    other.close()
    content = (tmp_path / FILE).read_bytes()
    with pytest.raises(ConfigError, match="is a database of another program"):
        State(tmp_path)
    assert (tmp_path / FILE).read_bytes() == content


def test_use_after_close_is_an_error_and_no_crash(tmp_path):
    state = State(tmp_path)
    state.close()
    with pytest.raises(SinkError, match="closed database"):
        state.checkpoint("f")


def test_waiting_ends_when_alerts_come_and_when_woken(state, make_alert):
    state.register_sinks(["a"])
    assert not state.wait(lambda: state.backlog("a") > 0, timeout=0.01)
    stopped = threading.Event()
    found: list[bool] = []
    threads = [
        threading.Thread(target=lambda: found.append(state.wait(lambda: state.backlog("a") > 0, 60))),
        threading.Thread(target=lambda: found.append(state.wait(stopped.is_set, 60))),
    ]
    for thread in threads:
        thread.start()
    state.commit(alerts=[make_alert(1)])
    threads[0].join(30)
    assert found == [True]
    stopped.set()
    state.wake()
    threads[1].join(30)
    assert found == [True, True]


def test_threads_may_write_and_deliver_at_the_same_time(state, make_alert):
    state.register_sinks(["a"])
    taken: list[int] = []

    def deliver():
        while len(taken) < 400:
            state.wait(lambda: state.backlog("a") > 0, 60)
            for number, alert in state.pending("a", 7):
                taken.append(alert.line)
                state.delivered("a", number)

    def write(first):
        for number in range(first, first + 100):
            state.commit([("f", HERE)], [("f", b"k", b"v")], [], [], [make_alert(number)])

    threads = [threading.Thread(target=write, args=(1000 * n,)) for n in range(4)] + [threading.Thread(target=deliver)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(taken) == [1000 * n + number for n in range(4) for number in range(100)]
    assert all([n for n in taken if n // 1000 == w] == list(range(1000 * w, 1000 * w + 100)) for w in range(4))


KILLED = """
import sys
from contextlib import closing
from pathlib import Path
import msgspec
from agent.state.store import State
state = State(Path(sys.argv[1]))
number = 0
while True:
    number += 1
    blob = msgspec.msgpack.encode(number)
    state.commit([("f", blob)], [("f", b"k", blob)], [], [("m", blob)], [])
    print(number, flush=True)
"""


def test_a_killed_agent_leaves_one_whole_commit_and_no_lock(tmp_path):
    with subprocess.Popen([sys.executable, "-c", KILLED, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        told = [int(process.stdout.readline()) for _ in range(50)][-1]
        process.send_signal(signal.SIGKILL)
        told = int((process.stdout.read().split() or [told])[-1])
    state = State(tmp_path)
    number = msgspec.msgpack.decode(state.checkpoint("f"))
    assert number in (told, told + 1)
    assert list(state.streams("f")) == [(b"k", state.checkpoint("f"))] and state.blob("m") == state.checkpoint("f")
    state.close()


def test_a_full_outbox_drops_its_oldest_and_counts_them_for_each_sink(make_alert):
    state, told = State(None, max_outbox=10), []
    state.on_drop = told.append
    state.register_sinks(["slow", "quick"])
    state.commit(alerts=[make_alert(n) for n in range(1, 9)])
    state.delivered("quick", 8)
    state.commit(alerts=[make_alert(n) for n in range(9, 11)])
    assert told == [] and state.backlog("slow") == 10
    state.commit(alerts=[make_alert(n) for n in range(11, 21)])
    assert told == [{"slow": 10, "quick": 2}]
    assert (state.lost("slow"), state.lost("quick")) == ({"full": 10}, {"full": 2})
    assert [number for number, _ in state.pending("slow", 99)] == list(range(11, 21))
    assert (state.backlog("slow"), state.backlog("quick")) == (10, 10)
    assert not state.lacks("slow", 10) and state.lacks("slow", 11)
    state.delivered("slow", 20)
    state.delivered("quick", 20)
    assert state.backlog("slow") == state.backlog("quick") == 0
    state.commit(alerts=[make_alert(n) for n in range(21, 32)])
    assert told[1:] == [{"slow": 1, "quick": 1}] and state.lost("slow") == {"full": 11}
    state.close()


def test_what_was_lost_is_known_after_a_restart_and_forgotten_with_its_sink(tmp_path, make_alert):
    state = State(tmp_path, max_outbox=2)
    state.register_sinks(["a"])
    state.commit(alerts=[make_alert(n) for n in range(5)])
    state.delivered("a", 5, refused=1)
    state.close()
    state = State(tmp_path)
    assert state.lost("a") == {"full": 3, "refused": 1} and state.delivered_count("a") == 1
    state.register_sinks(["b"])
    assert state.lost("a") == {}
    state.close()


def test_a_state_of_before_losses_were_counted_is_taken(tmp_path, make_alert):
    state = State(tmp_path)
    state.register_sinks(["a"])
    state.commit(alerts=[make_alert(1)])
    state.close()
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute("DROP TABLE lost")
        db.execute("PRAGMA user_version = 1")
    db.close()
    state = State(tmp_path, max_outbox=1)
    state.commit(alerts=[make_alert(2)])
    assert state.lost("a") == {"full": 1} and state.backlog("a") == 1
    state.close()


def test_the_backlog_of_a_sink_is_what_is_pending(state, make_alert):
    state.max_outbox = 7
    state.register_sinks(["a", "b"])
    draw, number = random.Random(3), 0
    for _ in range(300):
        state.commit(alerts=[make_alert(number := number + 1) for _ in range(draw.randrange(4))])
        sink = draw.choice("ab")
        for taken, _ in state.pending(sink, draw.randrange(1, 6))[-1:]:
            state.delivered(sink, taken)
        assert all(state.backlog(name) == len(state.pending(name, 99)) <= 7 for name in "ab")


def test_the_outbox_is_bounded_in_bytes_too(tmp_path, make_alert):
    state, told = State(tmp_path), []
    state.on_drop = told.append
    state.register_sinks(["slow"])
    state.commit(alerts=[make_alert(n) for n in range(1, 21)])
    (one,) = {len(msgspec.msgpack.encode(make_alert(n))) for n in range(10, 20)}
    state.max_outbox_bytes = 20 * one
    state.commit(alerts=[make_alert(21)])
    ((lost,),) = (one.values() for one in told)
    assert 2 <= lost <= 5 and state.lost("slow") == {"full": lost}
    assert state.pending("slow", 99)[0][0] == lost + 1 and state.backlog("slow") == 21 - lost
    state.delivered("slow", 21)
    state.close()
    with closing(State(tmp_path)) as again:
        assert int(again.blob("outbox:bytes")) == 0
