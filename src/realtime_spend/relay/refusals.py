"""Why a handshake is refused, in the form of the provider's own errors; nothing of the request is quoted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from http import HTTPStatus


class RefusedError(Exception):
    """A handshake that is refused. `code` is for programs, `sentence` for people.

    `cause` is for the log of whoever runs the relay: what of it is none of the client's business.
    """

    cause = ""

    def __init__(self, status: HTTPStatus, code: str, sentence: str, *fields: str) -> None:
        super().__init__(sentence)
        self.status, self.code, self.sentence, self.fields = status, code, sentence, fields


def answer(status: HTTPStatus, body: dict[str, object], *fields: str) -> bytes:
    """Return an HTTP answer after which the connection is closed."""
    content = json.dumps(body, separators=(",", ":")).encode()
    head = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        "Cache-Control: no-store",
        "Connection: close",
        *fields,
    ]
    return "\r\n".join([*head, "", ""]).encode("ascii") + content


def refusal(refused: RefusedError) -> bytes:
    """Return the answer that says why."""
    error = {"type": "realtime_spend_relay", "code": refused.code, "message": refused.sentence, "param": None}
    return answer(refused.status, {"error": error}, *refused.fields)
