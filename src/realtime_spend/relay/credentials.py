"""Where clients of the Realtime API put their keys, and how the relay's own key takes the place of a client's token.

A browser cannot set headers, so it sends its key as a subprotocol, or to Azure in the query.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from realtime_spend.core.line_items import Provider
from realtime_spend.relay.handshake import exchanged

if TYPE_CHECKING:
    from realtime_spend.relay.handshake import Field, Request

_PROTOCOLS = b"sec-websocket-protocol"
_KEY_PROTOCOL = b"openai-insecure-api-key."
# They choose who pays, which is the relay's to choose where the key is.
_PAYING_PROTOCOLS = (_KEY_PROTOCOL, b"openai-organization.", b"openai-project.")
# Cookies are the relay's own site's: a browser adds them by itself, and the provider has no business with them.
_CREDENTIAL_FIELDS = (b"authorization", b"api-key", b"openai-organization", b"openai-project", b"cookie")
# What a provider says of whoever pays, and what a browser would keep for it under our name.
ABOUT_WHO_PAYS = frozenset((b"openai-organization", b"openai-project", b"set-cookie"))
_KEY_PARAMETER = re.compile(rb"(?i)(^|&)api-key=([^&]*)")


def offered_key(request: Request) -> str | None:
    """Return the key or the token that a client offers, None if it offers none."""
    for value in request.all(b"authorization"):
        scheme, _, key = value.partition(b" ")
        if scheme.lower() == b"bearer" and key.strip():
            return key.strip().decode("latin-1")
    keys = request.all(b"api-key")
    keys += [name[len(_KEY_PROTOCOL) :] for name in request.listed(_PROTOCOLS) if name.startswith(_KEY_PROTOCOL)]
    query = _KEY_PARAMETER.search(request.target.partition(b"?")[2])
    keys += [query[2]] if query else []
    return next((key.decode("latin-1") for key in keys if key), None)


def without_credentials(request: Request) -> Request:
    """Return the request without anything that says who pays, or whose browser it is."""

    def change(name: bytes, value: bytes) -> bytes | None:
        if name in _CREDENTIAL_FIELDS:
            return None
        if name != _PROTOCOLS:
            return value
        offered = [part.strip(b" \t") for part in value.split(b",")]
        return b", ".join(part for part in offered if part and not part.startswith(_PAYING_PROTOCOLS)) or None

    path, mark, query = request.target.partition(b"?")
    kept = b"&".join(part for part in query.split(b"&") if not _KEY_PARAMETER.match(part))
    return replace(exchanged(request, change), target=path + (mark + kept if kept else b""))


def credentials(provider: Provider, key: str) -> Field:
    """Return the field that shows a key to its provider."""
    if provider is Provider.AZURE:
        return b"api-key", key.encode("ascii")
    return b"Authorization", b"Bearer " + key.encode("ascii")
