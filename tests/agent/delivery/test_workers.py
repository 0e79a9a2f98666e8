"""Delivery: every alert reaches every sink, in order, whatever the sinks do."""

import threading

import pytest
from helpers.waiting import until

import agent.delivery.workers
from agent.delivery.workers import Delivery
from agent.errors import AlertRefused, ConfigError, SinkError
from agent.state.store import State

pytestmark = pytest.mark.usefixtures("no_thread_left")


class FakeSink:
    """Takes alerts while `faults` is empty, else raises (and removes) the first fault; waits while `gate` is closed."""

    def __init__(self, name):
        self.name, self.taken, self.faults, self.closed, self.tries = name, [], [], 0, 0
        self.down = False
        self.gate = threading.Event()
        self.gate.set()

    def send(self, alert):
        self.tries += 1
        self.gate.wait()
        if self.faults:
            raise self.faults.pop(0)
        if self.down:
            raise ConnectionRefusedError(111, "Connection refused")
        self.taken.append(alert.line)

    def close(self):
        self.closed += 1


@pytest.fixture
def state():
    state = State(None)
    yield state
    state.close()


@pytest.fixture
def deliver(state, said):
    """Starts a delivery to fake sinks of these names; it is stopped at the end."""
    running = []

    def start(*names):
        sinks = [FakeSink(name) for name in names]
        delivery = Delivery(state, sinks)
        delivery.start()
        running.append((delivery, sinks))
        return delivery, sinks, said

    yield start
    for delivery, sinks in running:
        for sink in sinks:
            sink.gate.set()
        delivery.stop()


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(agent.delivery.workers, "FIRST_DELAY", 0.001)
    monkeypatch.setattr(agent.delivery.workers, "LONGEST_DELAY", 0.01)


@pytest.fixture
def slow(monkeypatch):
    monkeypatch.setattr(agent.delivery.workers, "FIRST_DELAY", 1000.0)
    monkeypatch.setattr(agent.delivery.workers, "LONGEST_DELAY", 1000.0)


def test_every_sink_gets_every_alert_in_order(state, deliver, make_alert):
    delivery, (a, b), said = deliver("a", "b")
    for number in range(300):
        state.commit(alerts=[make_alert(number)])
    assert delivery.drain(30) == {}
    assert a.taken == b.taken == list(range(300))
    assert said == []


def test_what_is_queued_before_the_start_is_delivered(state, deliver, make_alert):
    state.register_sinks(["a"])
    state.commit(alerts=[make_alert(n) for n in range(200)])
    delivery, (a,), _ = deliver("a")
    assert delivery.drain(30) == {}
    assert a.taken == list(range(200))


def test_a_failing_sink_is_tried_again_without_loss_or_repeat(state, deliver, make_alert, fast):
    _, (a,), said = deliver("a")
    a.faults = [SinkError("not now"), OSError(28, "No space left on device"), ValueError("a fault of the sink")]
    state.commit(alerts=[make_alert(n) for n in range(5)])
    until(lambda: state.backlog("a") == 0)
    assert a.taken == list(range(5))
    until(lambda: len(said) == 2)
    assert said == ["sink a fails: not now; its alerts are kept and tried again", "sink a works again"]
    state.commit(alerts=[make_alert(5)])
    until(lambda: state.backlog("a") == 0)
    a.faults = [SinkError("again")]
    state.commit(alerts=[make_alert(6)])
    until(lambda: len(said) == 4)
    assert said[2:] == ["sink a fails: again; its alerts are kept and tried again", "sink a works again"]


def test_a_sink_that_fails_in_the_middle_keeps_what_it_took(state, deliver, make_alert, slow):
    _, (a,), said = deliver("a")
    taken = a.taken

    def take(alert):
        if alert.line == 3 and not said:
            raise SinkError("full")
        taken.append(alert.line)

    a.send = take
    state.commit(alerts=[make_alert(n) for n in range(6)])
    until(lambda: said)
    until(lambda: state.backlog("a") == 3)
    assert taken == [0, 1, 2]


def test_a_sink_that_is_down_or_blocked_holds_up_no_other(state, deliver, make_alert, slow):
    delivery, (down, blocked, fine), said = deliver("down", "blocked", "fine")
    down.down = True
    blocked.gate.clear()
    for number in range(20):
        state.commit(alerts=[make_alert(number)])
    until(lambda: len(fine.taken) == 20)
    assert (down.taken, blocked.taken) == ([], [])
    assert delivery.drain(0.01) == {"down": 20, "blocked": 20}
    assert said == ["sink down fails: Connection refused; its alerts are kept and tried again"]
    blocked.gate.set()
    down.down = False
    assert delivery.drain(30) == {}
    assert down.taken == blocked.taken == list(range(20))
    until(lambda: len(said) == 2)
    assert said[1:] == ["sink down works again"]


def test_draining_does_not_wait_for_the_next_planned_try(state, deliver, make_alert, slow):
    delivery, (a,), said = deliver("a")
    a.faults = [SinkError("x"), SinkError("y"), SinkError("z")]
    state.commit(alerts=[make_alert(1)])
    until(lambda: said)
    assert delivery.drain(60) == {}
    assert a.taken == [1] and a.tries == 4


def test_draining_does_not_hammer_a_sink_that_is_down(state, deliver, make_alert, slow):
    delivery, (a,), _ = deliver("a")
    a.down = True
    state.commit(alerts=[make_alert(1)])
    assert delivery.drain(0.5) == {"a": 1}
    assert 1 < a.tries < 10


def test_stopping_ends_threads_that_wait_that_back_off_and_that_send(state, make_alert, slow):
    sinks = [FakeSink("idle"), FakeSink("down"), FakeSink("busy")]
    sinks[1].down = True
    sinks[2].gate.clear()
    delivery, before = Delivery(state, sinks), set(threading.enumerate())
    delivery.start()
    state.commit(alerts=[make_alert(1), make_alert(2)])
    until(lambda: sinks[0].taken == [1, 2] and sinks[1].tries and sinks[2].tries)
    threads = [thread for thread in threading.enumerate() if thread not in before]
    assert len(threads) == 3
    release = threading.Timer(0.05, sinks[2].gate.set)
    release.start()
    delivery.stop(30)
    release.join()
    assert not any(thread.is_alive() for thread in threads)
    assert [sink.closed for sink in sinks] == [1, 1, 1]
    assert sinks[2].taken == [1], "a stopped thread begins no other alert"
    assert (state.backlog("down"), state.backlog("busy")) == (2, 1)


def test_a_sink_that_never_returns_is_told_and_left(state, deliver, make_alert):
    delivery, (a,), said = deliver("a")
    a.gate.clear()
    state.commit(alerts=[make_alert(1)])
    until(lambda: a.tries)
    delivery.stop(0.01)
    assert said == ["sink a is still busy with an alert and is left alone"]
    assert state.backlog("a") == 1


@pytest.mark.parametrize("times", [1, 2])
def test_an_alert_in_hand_while_the_sinks_are_made_anew_is_told_once(state, deliver, make_alert, monkeypatch, times):
    delivery, (busy, other), _ = deliver("busy", "other")
    stop = delivery.stop
    monkeypatch.setattr(delivery, "stop", lambda timeout=0.0: stop(timeout))
    busy.gate.clear()
    state.commit(alerts=[make_alert(1)])
    until(lambda: busy.tries and other.taken == [1])
    for _ in range(times):
        anew = [FakeSink("busy"), FakeSink("other")]
        delivery.replace(anew)
    state.commit(alerts=[make_alert(2)])
    until(lambda: anew[1].taken == [2])
    assert not anew[0].tries
    busy.gate.set()
    until(lambda: not delivery.drain(1.0))
    assert busy.taken == [1] and anew[0].taken == [2]
    stop()


@pytest.mark.parametrize("times", [1, 2])
def test_what_a_sink_took_is_not_sent_again_by_sinks_made_anew_while_it_cannot_be_noted(
    state, deliver, make_alert, fast, monkeypatch, times
):
    noted, full = State.delivered, threading.Event()
    full.set()

    def note(self, sink, number, refused):
        if full.is_set():
            raise SinkError("disk full")
        noted(self, sink, number, refused)

    monkeypatch.setattr(State, "delivered", note)
    delivery, (a,), _ = deliver("a")
    state.commit(alerts=[make_alert(1), make_alert(2)])
    until(lambda: a.taken == [1, 2])
    for _ in range(times):
        anew = FakeSink("a")
        delivery.replace([anew])
    full.clear()
    state.commit(alerts=[make_alert(3)])
    until(lambda: not delivery.drain(1.0))
    assert a.taken == [1, 2] and anew.taken == [3]
    delivery.stop()


def test_stopping_before_the_start_closes_the_sinks(state):
    sink = FakeSink("a")
    Delivery(state, [sink]).stop()
    assert sink.closed == 1


def test_alerts_wait_for_the_next_start(tmp_path, make_alert):
    state = State(tmp_path)
    first = FakeSink("a")
    first.down = True
    delivery = Delivery(state, [first])
    delivery.start()
    state.commit(alerts=[make_alert(1), make_alert(2)])
    assert delivery.drain(0.01) == {"a": 2}
    delivery.stop()
    state.close()
    state = State(tmp_path)
    second = FakeSink("a")
    delivery = Delivery(state, [second])
    delivery.start()
    assert delivery.drain(30) == {}
    delivery.stop()
    state.close()
    assert second.taken == [1, 2]


def test_what_a_sink_took_is_not_sent_twice_where_it_cannot_be_noted(state, deliver, make_alert, fast, monkeypatch):
    noted, faults = State.delivered, [SinkError("disk full")] * 3

    def note(self, sink, number, refused):
        if faults:
            raise faults.pop()
        noted(self, sink, number, refused)

    monkeypatch.setattr(State, "delivered", note)
    _, (a,), said = deliver("a")
    state.commit(alerts=[make_alert(1), make_alert(2)])
    until(lambda: state.backlog("a") == 0)
    assert a.taken == [1, 2] and not faults
    assert said[0] == "sink a fails: disk full; its alerts are kept and tried again"


def test_tries_grow_apart_up_to_a_minute(state, make_alert, monkeypatch):
    pauses: list[float] = []
    sink = FakeSink("a")
    sink.down = True
    delivery = Delivery(state, [sink])
    state.commit(alerts=[make_alert(1)])
    wait = state.wait

    def note(ready, timeout=None):
        if timeout is None:
            return wait(ready)
        pauses.append(timeout)
        if len(pauses) == 12:
            threading.Thread(target=delivery.stop).start()
        return wait(ready, 30 if len(pauses) == 12 else 0)

    monkeypatch.setattr(state, "wait", note)
    delivery.start()
    until(lambda: sink.closed)
    longest = [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60]
    assert all(most / 2 <= pause <= most for pause, most in zip(pauses, longest, strict=True))
    assert len(set(pauses[7:])) > 1, "without jitter all agents come back at the same moment"


def test_a_dropped_sink_and_a_doubled_one_are_told(state, make_alert, said):
    state.register_sinks(["old"])
    state.commit(alerts=[make_alert(1)])
    assert Delivery(state, [FakeSink("new")]).names == ["new"]
    assert said == ["sink old is configured no more; the alerts that it lacks (1) are given up"]
    with pytest.raises(ConfigError, match="sink a is named twice"):
        Delivery(state, [FakeSink("a"), FakeSink("a")])


def test_a_full_outbox_is_told_once_and_what_was_dropped_when_the_sink_is_up_to_date(state, deliver, make_alert, slow):
    state.max_outbox = 5
    delivery, (a, fine), said = deliver("a", "fine")
    a.down = True
    for number in range(20):
        state.commit(alerts=[make_alert(number)])
        until(lambda: state.backlog("fine") == 0)
    until(lambda: len(said) == 2)
    full = "sink a lacks more than 5 alerts (max_outbox); the oldest are dropped and counted until it takes them again"
    assert sorted(said) == ["sink a fails: Connection refused; its alerts are kept and tried again", full]
    a.down = False
    assert delivery.drain(30) == {}
    assert a.taken == [15, 16, 17, 18, 19] and fine.taken == list(range(20))
    until(lambda: len(said) == 4)
    assert said[2:] == ["sink a works again", "sink a is up to date again; 15 alerts were dropped"]
    assert (state.lost("a"), state.lost("fine")) == ({"full": 15}, {})


def test_alerts_that_are_dropped_while_one_before_them_is_sent_are_not_sent(state, deliver, make_alert):
    state.max_outbox = 5
    state.register_sinks(["a"])
    state.commit(alerts=[make_alert(n) for n in range(5)])
    sink = FakeSink("a")
    sink.gate.clear()
    delivery = Delivery(state, [sink])
    delivery.start()
    until(lambda: sink.tries)
    state.commit(alerts=[make_alert(n) for n in range(5, 8)])
    sink.gate.set()
    assert delivery.drain(30) == {}
    delivery.stop()
    assert sink.taken == [0, 3, 4, 5, 6, 7], "the one in hand is counted as dropped, since it may not arrive"
    assert state.lost("a") == {"full": 3}


def refuse(sink, lines):
    """Has a sink refuse the alerts of these lines."""
    send = sink.send

    def judge(alert):
        if alert.line in lines:
            raise AlertRefused("the receiver answers 413 Too Large")
        send(alert)

    sink.send = judge


def test_a_refused_alert_is_skipped_counted_and_told_once_when_a_later_one_is_taken(state, make_alert, fast, said):
    sink = FakeSink("a")
    refuse(sink, {1, 2, 5})
    state.register_sinks(["a"])
    state.commit(alerts=[make_alert(n) for n in range(8)])
    delivery = Delivery(state, [sink])
    delivery.start()
    assert delivery.drain(30) == {}
    delivery.stop()
    assert sink.taken == [0, 3, 4, 6, 7]
    assert state.lost("a") == {"refused": 3} and state.delivered_count("a") == 5
    assert said == ["sink a refuses an alert: the receiver answers 413 Too Large; such alerts are skipped and counted"]


def test_a_sink_that_refuses_all_loses_none(state, make_alert, fast, said):
    sink, bad = FakeSink("a"), set(range(100))
    refuse(sink, bad)
    state.register_sinks(["a"])
    state.commit(alerts=[make_alert(n) for n in range(3)])
    delivery = Delivery(state, [sink])
    delivery.start()
    until(lambda: said)
    assert delivery.drain(0.01) == {"a": 3} and state.lost("a") == {}
    assert said == ["sink a fails: the receiver answers 413 Too Large; its alerts are kept and tried again"]
    bad.clear()
    assert delivery.drain(30) == {}
    delivery.stop()
    assert sink.taken == [0, 1, 2] and state.lost("a") == {}
