"""The heads of the two handshakes: read strictly, and written to the upstream with as little changed as can be.

Whatever two programs could read in two ways is refused: a relay that holds a key must not be talked into sending
something else than what it has checked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import unquote

from realtime_spend.relay.refusals import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LARGEST_HEAD = 32 * 1024
END_OF_HEAD = b"\r\n\r\n"
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*")
_REQUEST = re.compile(rb"([A-Z]{1,20}) ([\x21-\x7e]{1,16384}) HTTP/1\.1")
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?")
# About one connection and not about what is relayed over it. Compression is between neighbours too: without the offer
# nobody compresses, and the frames stay readable.
_BETWEEN_NEIGHBOURS = frozenset(
    (b"keep-alive", b"proxy-connection", b"proxy-authorization", b"te", b"trailer", b"sec-websocket-extensions")
)
Field = tuple[bytes, bytes]


def _bad(sentence: str) -> RefusedError:
    return RefusedError(HTTPStatus.BAD_REQUEST, "bad_handshake", sentence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The head of a request. Fields are as they were sent, in their order."""

    method: bytes
    target: bytes
    fields: tuple[Field, ...]

    def all(self, name: bytes) -> list[bytes]:
        """Return every value of a field; `name` is in lower case."""
        return [value for field, value in self.fields if field.lower() == name]

    def listed(self, name: bytes) -> list[bytes]:
        """Return the elements of a field that is a list with commas, over all its lines."""
        return [piece for value in self.all(name) for part in value.split(b",") if (piece := part.strip(b" \t"))]

    @property
    def path(self) -> str:
        """The path, as it was sent."""
        return self.target.partition(b"?")[0].decode("ascii")

    @property
    def query(self) -> str:
        """The query, as it was sent."""
        return self.target.partition(b"?")[2].decode("ascii")


def read_request(head: bytes) -> Request:
    """Read the head of a request, without its empty line; RefusedError where it is not what HTTP/1.1 has."""
    first, *lines = head.split(b"\r\n")
    found = _REQUEST.fullmatch(first)
    if found is None:
        raise _bad("this is no HTTP/1.1 request")
    fields = []
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise _bad("a header line is malformed")
        fields.append((field[1], field[2]))
    request = Request(method=found[1], target=found[2], fields=tuple(fields))
    if len(request.all(b"host")) != 1:
        raise _bad("there must be one Host header")
    if request.all(b"transfer-encoding") or any(length != b"0" for length in request.all(b"content-length")):
        raise _bad("a handshake has no body")
    _check_target(request)
    return request


def _check_target(request: Request) -> None:
    if not request.target.startswith(b"/") or b"#" in request.target:
        raise _bad("the target must be a path")
    # Some decode twice, and some take what is behind a semicolon for no part of the name.
    path = unquote(unquote(request.path))
    if "\\" in path or "//" in path or {".", ".."} & {part.partition(";")[0] for part in path.split("/")}:
        raise _bad("the path must be plain")


def check_upgrade(request: Request) -> None:
    """RefusedError unless a request asks for a WebSocket; what else it must have is for the upstream to judge."""
    asked = {name.lower() for name in request.listed(b"connection")}
    upgrades = {name.lower() for name in request.listed(b"upgrade")}
    if request.method != b"GET" or b"upgrade" not in asked or b"websocket" not in upgrades:
        raise RefusedError(
            HTTPStatus.UPGRADE_REQUIRED,
            "websocket_only",
            "this relay carries WebSockets only; send any other request to the provider itself",
            "Upgrade: websocket",
        )
    if len(request.all(b"sec-websocket-key")) != 1 or len(request.all(b"sec-websocket-version")) != 1:
        raise _bad("there must be one Sec-WebSocket-Key and one Sec-WebSocket-Version header")


def written_request(request: Request, *, prefix: str, host: str, added: Iterable[Field] = ()) -> bytes:
    """Return the head as the upstream gets it: for its host, without what was between the client and us."""
    ours = {b"host": host.encode("ascii"), b"connection": b"Upgrade", b"upgrade": b"websocket"}
    dropped = (_BETWEEN_NEIGHBOURS | {name.lower() for name in request.listed(b"connection")}) - ours.keys()
    lines = [b"GET %s%s HTTP/1.1" % (prefix.encode("ascii"), request.target)]
    written = set()
    for name, value in request.fields:
        lower = name.lower()
        if lower in dropped or lower in written:
            continue
        if lower in ours:
            written.add(lower)
        lines.append(b"%s: %s" % (name, ours.get(lower, value)))
    lines += [b"%s: %s" % field for field in added]
    return b"\r\n".join(lines) + END_OF_HEAD


def exchanged(request: Request, change: Callable[[bytes, bytes], bytes | None]) -> Request:
    """Return the request with each field's value as `change` says; None takes the field out."""
    changed = ((name, change(name.lower(), value)) for name, value in request.fields)
    kept = tuple((name, value) for name, value in changed if value is not None)
    return Request(method=request.method, target=request.target, fields=kept)


def without_fields(head: bytes, names: frozenset[bytes]) -> bytes:
    """Return the head of an answer without these fields; `names` are in lower case."""
    first, *lines = head.split(b"\r\n")
    return b"\r\n".join([first, *(line for line in lines if line.partition(b":")[0].strip().lower() not in names)])


def status_of(head: bytes) -> int:
    """Return the status of an answer; ValueError if it is none."""
    found = _STATUS.fullmatch(head.partition(b"\r\n")[0])
    if found is None:
        raise ValueError("the upstream does not speak HTTP")
    return int(found[1])


def length_of(head: bytes) -> int | None:
    """Return how long an answer says it is, None if it ends with its connection."""
    found = re.search(rb"(?im)^content-length:[ \t]*([0-9]{1,15})[ \t]*\r?$", head)
    return None if found is None else int(found[1])
