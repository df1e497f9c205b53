"""Which URLs speak the Realtime protocol, who bills them, and what the URL already tells about the session."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

from realtime_spend.core.line_items import Provider, Scope, Word

if TYPE_CHECKING:
    from collections.abc import Sequence

_PROTOCOL_PATH = re.compile(r"/(?:realtime|voice-live|voice-agent|live/sessions)(?:/|$)")
_AZURE_PATH = re.compile(r"^/(?:openai|voice-live|voice-agent)(?:/|$)")
_TRANSLATION_PATH = re.compile(r"/realtime/translations(?:/|$)")
# A fork goes on from the session in its path, and is another one.
_LIVE_PATH = re.compile(r"/live/sessions(?:/(?!.+/fork/?$)(?P<session>[^/]+))?(?:/|$)")
_VOICE_LIVE_PATH = re.compile(r"^/voice-(?:live|agent)(?:/|$)")
# Public, US Government and China clouds (facts of the Azure documentation, 2026-11).
_AZURE_DOMAINS = (
    ".openai.azure.com",
    ".cognitiveservices.azure.com",
    ".services.ai.azure.com",
    ".openai.azure.us",
    ".cognitiveservices.azure.us",
    ".openai.azure.cn",
    ".cognitiveservices.azure.cn",
)
# What stands for the host of a WebRTC data channel, which has no address: its name.
DATA_CHANNEL = "oai-events"
_PORTS = {"ws": 80, "http": 80, "wss": 443, "https": 443}
# OpenAI's data-residency hosts: a region before the usual name.
_RESIDENCY_HOST = re.compile(r"^[a-z]{2}\.api\.openai\.com$")


class Service(Word):
    """What kind of session it is, where that sets how it is billed.

    Azure Voice Live bills on tiers of its own, not on the model's meters. Translations report no usage. GPT-Live is
    billed by the second.
    """

    REALTIME = "realtime"
    TRANSLATION = "translation"
    VOICE_LIVE = "voice_live"
    LIVE = "live"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """What the URL of a session says. `requested_model` is a deployment's name on Azure.

    `session` is the id of a GPT-Live session that is joined. `is_webrtc`: the way of browsers, which such a session is
    charged for at once.
    """

    provider: Provider
    server: str
    port: int | None
    service: Service = Service.REALTIME
    requested_model: str | None = None
    account: str | None = None
    scope: Scope | None = None
    call_id: str | None = None
    session: str | None = None
    is_webrtc: bool = False
    # Ids are unique on one service; two of them on one machine, as in tests, differ in their ports.
    place: tuple[Provider, str, int | None] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "place", (self.provider, self.server, self.port))

    @property
    def model_is_deployment(self) -> bool:
        """Whether the URL names a deployment, which can be called anything, rather than a model."""
        return self.provider is Provider.AZURE


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraEndpoint:
    """A host or a path that the user says speaks the protocol: `voice.example.com/live=azure.ai.openai`."""

    host: str | None
    path: str
    provider: Provider | None

    def matches(self, host: str, path: str) -> bool:
        """Whether a URL with this host and path is meant. A path means itself and what is below it."""
        below = self.path if self.path.endswith("/") else f"{self.path}/"
        return self.host in (None, host) and f"{path}/".startswith(below)


def parse_extra_endpoint(text: str) -> ExtraEndpoint:
    """Parse `host`, `/path` or `host/path`, each with an optional `=provider`; ValueError in one sentence."""
    where, _, provider = (piece.strip() for piece in text.partition("="))
    try:
        url = urlsplit(where if "://" in where or where.startswith("/") else f"//{where}")
    except ValueError:
        raise ValueError(f"{text!r} is no host or path") from None
    if not url.hostname and not url.path.strip("/"):
        raise ValueError(f"{text!r} names neither a host nor a path")
    if provider and provider not in tuple(Provider):
        raise ValueError(f"{provider!r} is not a provider; write {' or '.join(Provider)}")
    return ExtraEndpoint(
        host=url.hostname,
        path=url.path,
        provider=Provider(provider) if provider else None,
    )


def port_of(scheme: str, port: int | None) -> int | None:
    """Return the port that a URL means: its own, else that of its scheme."""
    return port or _PORTS.get(scheme)


def recognise(
    host: str, port: int | None, path: str, query: str, extra: Sequence[ExtraEndpoint] = (), *, any_path: bool = False
) -> Endpoint | None:
    """Return the endpoint that a WebSocket URL stands for, or None where it does not speak the protocol.

    `any_path`: take it that it does, because the messages or whoever forwards them say so.
    """
    host = host.lower()
    told = next((candidate for candidate in extra if candidate.matches(host, path)), None)
    if told is None and not any_path and not _PROTOCOL_PATH.search(path):
        return None
    on_azure_host = host.endswith(_AZURE_DOMAINS)
    if told is not None and told.provider is not None:
        provider = told.provider
    else:
        provider = Provider.AZURE if on_azure_host or _AZURE_PATH.match(path) else Provider.OPENAI
    parameters = parse_qs(query)
    live = _LIVE_PATH.search(path)

    def parameter(name: str) -> str | None:
        return next(iter(parameters.get(name, ())), None)

    return Endpoint(
        provider=provider,
        # Remembered with each usage that was counted: one text a server is enough.
        server=sys.intern(host),
        port=port,
        service=_service(path),
        requested_model=parameter("deployment") or parameter("model"),
        account=host.partition(".")[0] if on_azure_host else None,
        scope=_openai_scope(host) if provider is Provider.OPENAI else None,
        call_id=parameter("call_id"),
        session=unquote(live["session"]) if live and live["session"] else None,
        is_webrtc=host == DATA_CHANNEL,
    )


def _service(path: str) -> Service:
    if _VOICE_LIVE_PATH.match(path):
        return Service.VOICE_LIVE
    if _LIVE_PATH.search(path):
        return Service.LIVE
    return Service.TRANSLATION if _TRANSLATION_PATH.search(path) else Service.REALTIME


def _openai_scope(host: str) -> Scope:
    return Scope.RESIDENCY if _RESIDENCY_HOST.match(host) else Scope.GLOBAL
