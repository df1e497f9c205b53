"""Who listens where a program exports to and is no collector, or only the way to one."""

from __future__ import annotations

import socket
import socketserver
from contextlib import contextmanager, suppress
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class MailServer(socketserver.StreamRequestHandler):
    """Greets, and understands nothing of what it is told."""

    def handle(self) -> None:
        with suppress(OSError):
            self.wfile.write(b"220 mail.example.com ESMTP\r\n")
            while self.rfile.readline():
                self.wfile.write(b"500 5.5.2 Syntax error\r\n")


class Silent(socketserver.StreamRequestHandler):
    """Takes everything and says nothing."""

    def handle(self) -> None:
        with suppress(OSError):
            while self.rfile.read(1):
                pass


def way_to(port: int) -> type[socketserver.BaseRequestHandler]:
    """Hands on all that it is told to who listens on a port of loopback, and all answers."""

    class Way(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", port)) as there:
                back = Thread(target=hand_on, args=(there, self.request))
                back.start()
                hand_on(self.request, there)
                back.join()

    def hand_on(one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while said := one.recv(65_536):
                other.sendall(said)
            other.shutdown(socket.SHUT_WR)

    return Way


@contextmanager
def listening(handler: type[socketserver.BaseRequestHandler], *, port: int = 0) -> Iterator[int]:
    """Listens on a port of loopback, or else on any free one, until the end of the block."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", port), handler) as server:
        # A connection that nobody closes is no reason to wait.
        server.daemon_threads, server.block_on_close = True, False
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
