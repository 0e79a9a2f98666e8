"""A small HTTP server that answers GET and nothing else, and that never holds up the process that it reports on."""

import io
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from agent.errors import ConfigError
from agent.host.addresses import is_port, split_host_port

Answer = Callable[[str], tuple[int, str, str]]
_TIMEOUT = 5.0  # seconds for a client to send its whole request, and to take its answer
_MOST_CLIENTS = 4  # at once; a service has few threads to spare
_MOST_REQUEST = 1 << 13  # bytes
_LEAVE = 1.0  # seconds for a client's thread to end


def parse_metrics_address(address: str) -> tuple[str, int]:
    """The host and port of HOST:PORT, where an IPv6 address stands in brackets; a ConfigError where it is none."""
    parts = split_host_port(address)
    if parts is None or not parts.host or not is_port(parts.port or 0):
        raise ConfigError(
            f"metrics: {address!r} is not understood; write HOST:PORT, such as 127.0.0.1:9464 or [::1]:9464"
        )
    try:
        parts.check_ipv6()
    except ValueError as error:
        raise ConfigError(f"metrics: {address!r}: {error}") from None
    return parts.host, parts.port or 0


class _Handler(BaseHTTPRequestHandler):
    server: "Endpoint"

    def handle(self) -> None:
        """Answers the one request of a client, once all of it has come."""
        with suppress(OSError):  # a client that left, or is too slow
            self.rfile = io.BytesIO(_request(self.connection))
            self.connection.settimeout(_TIMEOUT)  # of a whole answer
            super().handle()

    def do_GET(self) -> None:
        self._reply(*self.server.answer(self.path.partition("?")[0]))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Called by the base class for what it does not understand: other methods, and what is no HTTP."""
        word = "only GET is answered" if code == 501 else message or "no"
        self._reply(405 if code == 501 else code, "text/plain; charset=utf-8", f"{word}\n")

    def log_message(self, *_: object) -> None:
        """Nothing is said of requests."""

    def version_string(self) -> str:
        return "oddline"

    def _reply(self, code: int, kind: str, text: str) -> None:
        content = text.encode("utf-8", "replace")
        with suppress(OSError):  # a client that left
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            if code == 405:
                self.send_header("Allow", "GET")
            self.end_headers()
            self.wfile.write(content)
        self.close_connection = True


def _request(client: socket.socket) -> bytes:
    """A request up to its blank line; an OSError where it does not come in time or is too long."""
    request, deadline = b"", time.monotonic() + _TIMEOUT
    while b"\r\n\r\n" not in request and b"\n\n" not in request:
        if (left := deadline - time.monotonic()) <= 0:
            raise TimeoutError("the request did not come in time")
        client.settimeout(left)
        piece = client.recv(_MOST_REQUEST)
        request += piece
        if not piece or len(request) > _MOST_REQUEST:
            raise ConnectionAbortedError("no request, or one that is too long")
    return request


class Endpoint(ThreadingHTTPServer):
    """Answers a few clients at once, each in a thread; of more the one goes that came first, so that none can hold up
    the agent or another.
    """

    daemon_threads = True

    def __init__(self, family: int, address: Any, answer: Answer) -> None:
        self.address_family = family
        self.answer = answer
        self._clients: dict[Any, threading.Thread] = {}
        super().__init__(address, _Handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.5,), name="oddline metrics", daemon=True)
        self._thread.start()

    def server_bind(self) -> None:
        """Binds without asking the name service who we are."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "", self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        clients = list(self._clients.items())
        if len(clients) >= _MOST_CLIENTS:
            self._break_off(*clients[0])
        if len(self._clients) >= _MOST_CLIENTS:
            self.shutdown_request(request)
            return
        thread = threading.Thread(target=self._serve_client, args=(request, client_address), daemon=True)
        self._clients[request] = thread
        thread.start()

    def _serve_client(self, request: Any, client_address: Any) -> None:
        try:
            self.process_request_thread(request, client_address)
        finally:
            self._clients.pop(request, None)

    def _break_off(self, request: Any, thread: threading.Thread) -> None:
        with suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)
        thread.join(_LEAVE)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that breaks off is nobody's concern."""

    def end(self) -> None:
        """Stops listening and breaks off the requests in hand."""
        self.shutdown()
        self._thread.join()
        for request, thread in list(self._clients.items()):
            self._break_off(request, thread)
        self.server_close()


def serve(address: str, answer: Answer) -> Endpoint:
    """Serves at HOST:PORT what `answer` gives for a path: status, content type, text. A ConfigError where it cannot."""
    try:
        found = socket.getaddrinfo(*parse_metrics_address(address), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return Endpoint(found[0][0], found[0][4], answer)
    except OSError as error:
        raise ConfigError(
            f"metrics: {address} cannot be listened at: {error.strerror or error}; choose another address or port"
        ) from None
