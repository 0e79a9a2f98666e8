"""Alerts by HTTP: a POST of one JSON object each."""

import hashlib
import hmac
import http.client
import re
from pathlib import Path

import msgspec

import agent
from agent.alerting.alert import Alert
from agent.delivery.sinks.redaction import shown
from agent.delivery.sinks.tls import FILES, client_context, explain, parse_options
from agent.errors import AlertRefused, ConfigError, SinkError

_TIMEOUT = 10.0  # seconds, of each step
_LATER = (408, 425, 429)  # of the 4xx those that say when, and not what, was wrong
_URL = re.compile(
    r"(?P<scheme>https?)://(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<target>[/?][!-\"$-~]*)?(?:#(?P<options>[!-~]*))?"
)


class WebhookSink:
    """Posts each alert to http(s)://HOST[:PORT][/PATH][?QUERY][#OPTIONS]; any 2xx is taken.

    The options stand behind `#`, which never travels, so that they cannot clash with the receiver's query:
    secret=PATH (a file whose content, without the line end, keys the signature) and ca=, cert=, key= for https.
    Redirects are not followed. An answer of 4xx is an AlertRefused, but for 408, 425 and 429, which pass.
    """

    def __init__(self, name: str) -> None:
        match = _URL.fullmatch(name)
        if match is None or not 0 < int(match["port"] or 1) < 65536:
            raise ConfigError(f"sink {name!r} is not understood; write https://HOST[:PORT]/PATH[?QUERY][#secret=PATH]")
        self.name = name
        self._secure = match["scheme"] == "https"
        self._host, self._port = match["six"] or match["host"], int(match["port"] or 0) or None
        target = match["target"] or "/"
        self._target = target if target.startswith("/") else f"/{target}"
        options = parse_options(name, match["options"] or "", ("secret", *(FILES if self._secure else ())))
        self._secret = options.pop("secret", None)
        self._files = options
        self._key()
        self._connection().close()

    def _key(self) -> bytes | None:
        """The secret, read anew each time, so that a changed one needs no restart."""
        if self._secret is None:
            return None
        try:
            key = Path(self._secret).read_bytes().rstrip(b"\r\n")
        except OSError as error:
            raise ConfigError(
                f"sink {shown(self.name)!r}: secret {self._secret} cannot be read: {error.strerror}"
            ) from None
        if not key:
            raise ConfigError(f"sink {shown(self.name)!r}: secret {self._secret} is empty; write one into it")
        return key

    def _connection(self) -> http.client.HTTPConnection:
        if not self._secure:
            return http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT)
        context = client_context(shown(self.name), self._files)
        return http.client.HTTPSConnection(self._host, self._port, timeout=_TIMEOUT, context=context)

    def send(self, alert: Alert) -> None:
        """Posts an alert; an AlertRefused, a SinkError or an OSError where it was not taken."""
        body = msgspec.json.encode(alert)
        headers = _headers(alert, body, self._key())
        connection = self._connection()
        try:
            connection.request("POST", self._target, body, headers)
            status = connection.getresponse().status
        except OSError as error:
            words = explain(error) if self._secure else None
            if words is None:
                raise
            raise SinkError(words) from None
        except http.client.HTTPException as error:
            raise SinkError(f"the answer is no HTTP ({type(error).__name__})") from None
        finally:
            connection.close()
        _judge(status)

    def close(self) -> None:
        """Nothing is held between alerts."""


def _headers(alert: Alert, body: bytes, key: bytes | None) -> dict[str, str]:
    """X-Oddline-Id is the same when an alert is sent again, so that a receiver can leave out what it has."""
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"oddline/{agent.__version__}",
        "X-Oddline-Id": alert.id,
        "Connection": "close",
    }
    if key is not None:
        headers["X-Oddline-Signature"] = f"sha256={hmac.new(key, body, hashlib.sha256).hexdigest()}"
    return headers


def _judge(status: int) -> None:
    """Raises where an answer is not that the alert was taken."""
    answer = f"the receiver answers {status} {http.client.responses.get(status, '')}".rstrip()
    if 400 <= status < 500 and status not in _LATER:
        raise AlertRefused(answer)
    if 300 <= status < 400:
        raise SinkError(f"{answer}; redirects are not followed, name where it leads to")
    if not 200 <= status < 300:
        raise SinkError(answer)
