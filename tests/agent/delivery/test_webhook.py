"""The webhook: what it posts, how it signs, and what each answer means for the alert."""

import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Iterator

import msgspec
import pytest
from helpers.webhook_receiver import Receiver

import agent
import agent.delivery.sinks.webhook
from agent.delivery.sinks import open_sink
from agent.delivery.workers import Delivery
from agent.errors import AlertRefused, ConfigError, SinkError
from agent.state.store import State

pytestmark = pytest.mark.usefixtures("no_thread_left")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    thread = threading.Thread(target=receiver.serve_forever, args=(0.01,))
    thread.start()
    yield receiver
    receiver.slow.set()
    receiver.shutdown()
    thread.join(30)
    receiver.server_close()


def test_an_alert_is_posted_signed_and_the_options_stay_here(receiver, tmp_path, make_alert):
    secret = tmp_path / "key"
    secret.write_bytes(b"s3cret \n")
    sink = open_sink(f"{receiver.url}/hook?secret=theirs&a=%20b#secret={secret}", "h", str)
    alert = make_alert(7, message="ö")
    sink.send(alert)
    ((path, headers, body),) = receiver.posted
    assert path == "/hook?secret=theirs&a=%20b"
    assert json.loads(body) == msgspec.to_builtins(alert)
    assert headers["X-Oddline-Signature"] == "sha256=" + hmac.new(b"s3cret ", body, hashlib.sha256).hexdigest()
    assert headers["X-Oddline-Id"] == alert.id and headers["Content-Type"] == "application/json"
    assert headers["User-Agent"] == f"oddline/{agent.__version__}"
    secret.write_bytes(b"other")
    sink.send(alert)
    assert receiver.posted[1][1]["X-Oddline-Signature"].endswith(hmac.new(b"other", body, hashlib.sha256).hexdigest())


def test_without_a_secret_nothing_is_signed(receiver, make_alert):
    open_sink(f"{receiver.url}?q=1", "h", str).send(make_alert(1))
    ((path, headers, _),) = receiver.posted
    assert path == "/?q=1" and "X-Oddline-Signature" not in headers


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_taken(receiver, make_alert, status):
    receiver.answers = [status]
    open_sink(receiver.url, "h", str).send(make_alert(1))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413, 422])
def test_other_4xx_are_refusals(receiver, make_alert, status):
    receiver.answers = [status]
    with pytest.raises(AlertRefused, match=f"the receiver answers {status} [A-Z]"):
        open_sink(receiver.url, "h", str).send(make_alert(1))


@pytest.mark.parametrize("status", [301, 302, 307, 308, 408, 425, 429, 500, 502, 503, 599])
def test_what_may_pass_is_no_refusal_and_redirects_are_not_followed(receiver, make_alert, status):
    receiver.answers = [status]
    with pytest.raises(SinkError, match=f"the receiver answers {status}") as caught:
        open_sink(receiver.url, "h", str).send(make_alert(1))
    assert not isinstance(caught.value, AlertRefused) and len(receiver.posted) == 1
    assert ("redirects are not followed" in str(caught.value)) == (status < 400)


def test_a_fault_passes_and_a_refused_alert_holds_up_no_other(receiver, make_alert, monkeypatch, said):
    monkeypatch.setattr("agent.delivery.workers.FIRST_DELAY", 0.001)
    receiver.answers = [500, 204, 413, 503, 413, 204, 204]
    state = State(None)
    delivery = Delivery(state, [open_sink(receiver.url, "h", str)])
    state.commit(alerts=[make_alert(n) for n in range(4)])
    delivery.start()
    assert delivery.drain(30) == {}
    delivery.stop()
    assert [json.loads(body)["line"] for _, _, body in receiver.posted] == [0, 0, 1, 2, 1, 2, 3]
    assert state.lost(receiver.url) == {"refused": 1} and state.delivered_count(receiver.url) == 3
    assert any("refuses an alert: the receiver answers 413" in word for word in said)
    state.close()


def test_a_receiver_that_is_slow_or_away_or_no_receiver_is_a_fault(receiver, make_alert, monkeypatch):
    monkeypatch.setattr(agent.delivery.sinks.webhook, "_TIMEOUT", 0.2)
    receiver.slow.clear()
    with pytest.raises(TimeoutError):
        open_sink(receiver.url, "h", str).send(make_alert(1))
    with socket.create_server(("127.0.0.1", 0)) as other:
        url = f"http://127.0.0.1:{other.getsockname()[1]}"

        def answer() -> None:
            connection, _ = other.accept()
            connection.recv(65536)
            connection.sendall(b"SSH-2.0-made-up\r\n")
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(SinkError, match=r"the answer is no HTTP \(BadStatusLine\)"):
            open_sink(url, "h", str).send(make_alert(1))
        thread.join(30)
    with pytest.raises(ConnectionRefusedError):
        open_sink(url, "h", str).send(make_alert(1))


def test_https_to_a_receiver_without_it_is_told_as_such(receiver, make_alert):
    sink = open_sink(receiver.url.replace("http:", "https:"), "h", str)
    with pytest.raises(SinkError, match=r"^TLS fails: "):
        sink.send(make_alert(1))
    assert receiver.posted == []


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://", "is not understood; write https://HOST"),
        ("https://user:pass@h/", "is not understood"),
        ("http://h:0/", "is not understood"),
        ("http://h:65536/", "is not understood"),
        ("http://h/a b", "is not understood"),
        ("http://h/é", "is not understood"),
        ("http://h/\r\nX: y", "is not understood"),
        ("http://h/#token=x", "option 'token=x' is not understood; use secret=PATH"),
        ("http://h/#ca=x", "option 'ca=x' is not understood"),
        ("https://h/#secret=/nonexistent", "secret /nonexistent cannot be read: No such file"),
        ("https://h/#secret=/dev/null", "secret /dev/null is empty"),
        ("https://h/#ca=/nonexistent", "ca /nonexistent cannot be read: No such file"),
    ],
)
def test_what_cannot_work_is_refused_at_the_start_in_one_line(url, words):
    with pytest.raises(ConfigError, match=words) as caught:
        open_sink(url, "h", str)
    assert "\n" not in str(caught.value)
