"""An HTTP server of a test's own, on loopback."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PATIENCE_SECONDS = 10


class Request(BaseHTTPRequestHandler):
    """A request, which `take` reads and answers."""

    def __init__(self, take: Callable[[Request], None], *of_server: Any) -> None:
        self._take = take
        super().__init__(*of_server)

    def do_GET(self) -> None:
        self._take(self)

    def do_POST(self) -> None:
        self._take(self)

    def body(self) -> bytes:
        """Read what was sent."""
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def log_message(self, *_arguments: object) -> None:
        pass


@contextmanager
def serving(take: Callable[[Request], None]) -> Iterator[int]:
    """Serve on a free port until the end of the block, and give the port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Request, take))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join(_PATIENCE_SECONDS)
        server.server_close()
