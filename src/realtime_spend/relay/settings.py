"""What an operator sets for a relay: where it listens, where it goes, whom it lets in, and how much of anything."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from realtime_spend.core.endpoints import port_of
from realtime_spend.core.line_items import Provider

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

# What base URLs of clients end with, which is not to be there twice.
_BROUGHT_BY_CLIENTS = {
    Provider.OPENAI: re.compile(r"/v1$"),
    Provider.AZURE: re.compile(r"/(?:openai(?:/v1)?|voice-live)$"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A provider's service, as its base URL says, and the key that the relay holds for it, if any."""

    provider: Provider
    host: str
    port: int
    is_tls: bool
    prefix: str
    key: str | None = field(default=None, repr=False)

    @property
    def host_field(self) -> str:
        """What a request names as its host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_tls else 80) else f"{host}:{self.port}"


def upstream_of(provider: Provider, url: str, key: str | None = None) -> Upstream:
    """Return the upstream at a base URL; ValueError in one sentence."""
    try:
        parts = urlsplit(url)
        port = port_of(parts.scheme, parts.port)
        host = (parts.hostname or "").encode("idna").decode("ascii")
        path = parts.path.encode("ascii").decode().rstrip("/")
    except ValueError:
        raise ValueError(f"{url!r} is no URL") from None
    if parts.scheme not in ("https", "wss", "http", "ws") or not host or port is None:
        raise ValueError(f"{url!r} must be like https://api.openai.com")
    if parts.query or parts.fragment or parts.username is not None:
        raise ValueError("an upstream is a host and a path at most, without user, query or fragment")
    if not (host + path).isprintable() or {" ", "\\"} & set(host + path):
        raise ValueError(f"{url!r} is no URL")
    if version := _BROUGHT_BY_CLIENTS[provider].search(path):
        raise ValueError(f"clients bring {version[0]} in their paths; give {url.rstrip('/').removesuffix(version[0])}")
    return Upstream(
        provider=provider,
        host=host,
        port=port,
        is_tls=parts.scheme in ("https", "wss"),
        prefix=path,
        key=key,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is let through. Times are in seconds; None is no limit."""

    frame_bytes: int = 16 * 1024 * 1024
    sessions: int = 1_000
    sessions_of_subject: int | None = None
    idle: float | None = 900.0
    total: float | None = 7_200.0
    spend: Decimal | None = None
    # Until the client has said its request, and until the upstream has answered it.
    handshake: float = 10.0
    # How long one side may leave what is for it unread.
    unread: float | None = 60.0
    # Connections that have yet to say what they want, beside the sessions.
    at_the_door: int = 1_000
    # From the request to end until what is still open is cut.
    ending: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySettings:
    """All settings of a relay."""

    upstreams: Mapping[Provider, Upstream]
    host: str = "127.0.0.1"
    port: int = 8090
    limits: Limits = field(default_factory=Limits)
    drain_seconds: float = 30.0
    tls: ssl.SSLContext | None = None
    upstream_tls: ssl.SSLContext = field(default_factory=ssl.create_default_context)
