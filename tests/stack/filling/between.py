"""A hop between the collector and Prometheus that hands on every request, and spoils the answers that it is told to."""

from __future__ import annotations

import http.client
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PATIENCE_SECONDS = 30


class Between:
    """What was handed on, in its order, and what the sender was told of it."""

    def __init__(self, prometheus_port: int) -> None:
        self._port = prometheus_port
        self._lock = Lock()
        # Of each request its body, and the status with which Prometheus answered.
        self.handed_on: list[tuple[bytes, int]] = []
        # Requests whose answer is kept back wait for it.
        self.answers = Event()
        self.answers.set()
        # Answer the first attempt of every request with a status of our own, whatever Prometheus said.
        self.first_told: int | None = None

    def handed(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """Hand a request on; return what its sender is to be told, once that is to be known."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_PATIENCE_SECONDS)
        try:
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            status, said = answer.status, answer.read()
        finally:
            connection.close()
        with self._lock:
            is_first = body not in (before for before, _ in self.handed_on)
            self.handed_on.append((body, status))
        self.answers.wait(_PATIENCE_SECONDS)
        return (self.first_told, b"") if is_first and self.first_told else (status, said)

    def taken(self) -> list[bytes]:
        """The bodies that Prometheus has taken."""
        with self._lock:
            return [body for body, status in self.handed_on if status == http.HTTPStatus.OK]


@contextmanager
def between(prometheus_port: int) -> Iterator[tuple[Between, int]]:
    """Listens on a free port of loopback until the end of the block; gives the port as well."""
    hop = Between(prometheus_port)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept = {name: self.headers[name] for name in ("Content-Type", "Content-Encoding") if self.headers[name]}
            status, said = hop.handed(self.path, kept, body)
            try:
                self.send_response(status)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)
            except OSError:
                # Who asked was killed, and hears nothing.
                self.close_connection = True

        def log_message(self, *_arguments: object) -> None:
            """Say nothing: what was asked is in `handed_on`."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield hop, server.server_address[1]
    finally:
        hop.answers.set()
        server.shutdown()
        thread.join(_PATIENCE_SECONDS)
        server.server_close()
