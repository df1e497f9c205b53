"""Answers where an agent of Datadog would, so that its library is not busy with nobody being there."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ABOUT = {"endpoints": ["/v0.4/traces", "/evp_proxy/v2/", "/evp_proxy/v4/"], "version": "7.60.0"}
_PATIENCE = 5.0


@contextmanager
def answering() -> Iterator[str]:
    """Answer on loopback for as long as the `with` block lasts; yield the URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Agent)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(_PATIENCE)


class _Agent(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer(_ABOUT)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer({})

    do_PUT = do_POST  # noqa: N815 - the base class wants these names

    def _answer(self, said: Mapping[str, object]) -> None:
        text = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_arguments: object) -> None:
        """Nobody wants to read it."""
