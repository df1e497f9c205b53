"""A service on loopback that answers as it is told and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from tests.http_server import Request, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


@dataclass(frozen=True)
class Asked:
    """One request: its method, path and query, headers and body."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True)
class Reply:
    """What to answer; `cut` promises the whole body and breaks off in the middle of it."""

    body: Any = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False

    @property
    def data(self) -> bytes:
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


@dataclass
class Service:
    """Where it listens, and what it was asked so far."""

    url: str
    asked: list[Asked] = field(default_factory=list)


@contextmanager
def answering(answer: Callable[[Asked], Reply] | list[Reply]) -> Iterator[Service]:
    """Serve while the block runs: replies in order, the last one for ever, or what `answer` makes of each request."""
    service = Service("")
    lock = threading.Lock()

    def reply_to(asked: Asked) -> Reply:
        with lock:
            service.asked.append(asked)
            return answer[min(len(service.asked), len(answer)) - 1] if isinstance(answer, list) else answer(asked)

    def take(request: Request) -> None:
        body = request.body()
        parts = urlsplit(request.path)
        headers = {name.lower(): value for name, value in request.headers.items()}
        reply = reply_to(
            Asked(request.command, parts.path, parse_qs(parts.query), headers, json.loads(body) if body else None)
        )
        data = reply.data
        request.send_response(reply.status)
        request.send_header("content-length", str(len(data)))
        for name, value in {"content-type": "application/json", **reply.headers}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(data[: len(data) // 2] if reply.cut else data)
        request.close_connection = True

    with serving(take) as port:
        service.url = f"http://127.0.0.1:{port}"
        yield service
