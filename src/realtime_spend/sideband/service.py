"""Where a call is, and by which key one may listen to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from realtime_spend.core.endpoints import port_of, recognise
from realtime_spend.core.line_items import Provider

if TYPE_CHECKING:
    from collections.abc import Mapping

_OPENAI = "https://api.openai.com/v1"
_AZURE_PATH = "/openai/v1"
_SOCKETS = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
# What the ids of GPT-Live's sessions begin with, of telephones and of browsers; of other calls it is `rtc_`.
_LIVE = ("live_", "sess_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The address below which a service has its calls, as SDKs take it, and the headers that open it."""

    base_url: str
    headers: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(cls, environment: Mapping[str, str], base_url: str | None = None) -> Service:
        """Return the service that the variables of the OpenAI SDK name; `base_url` goes before them.

        Raises:
            ValueError: there is no key, or the address is none; the sentence says what to do.
        """
        azure = environment.get("AZURE_OPENAI_ENDPOINT", "").strip()
        said = base_url or environment.get("OPENAI_BASE_URL", "").strip() or _of_azure(azure) or _OPENAI
        parts = urlsplit(said)
        if parts.scheme not in _SOCKETS or not parts.hostname:
            raise ValueError(f"{said!r} is no address of a service; write one such as {_OPENAI}")
        endpoint = recognise(parts.hostname, port_of(parts.scheme, parts.port), parts.path, "", any_path=True)
        is_azure = endpoint is not None and endpoint.provider is Provider.AZURE
        return cls(base_url=said, headers=_credentials(environment, is_azure=is_azure))

    def url(self, call: str, *, is_live: bool | None = None) -> str:
        """Return where to listen to a call, or to a session of GPT-Live; None: as its id begins."""
        parts = urlsplit(self.base_url)
        path = parts.path.rstrip("/")
        if begins_live(call) if is_live is None else is_live:
            path, query = f"{path}/live/sessions/{quote(call, safe='')}/attach", parts.query
        else:
            path, query = f"{path}/realtime", "&".join(filter(None, (urlencode({"call_id": call}), parts.query)))
        return urlunsplit((_SOCKETS[parts.scheme], parts.netloc, path, query, ""))


def begins_live(call: str) -> bool:
    """Whether an id begins as those of sessions of GPT-Live."""
    return call.startswith(_LIVE)


def _of_azure(endpoint: str) -> str:
    """Return the address that an Azure resource has for what began with its version 1."""
    return f"{endpoint.rstrip('/')}{_AZURE_PATH}" if endpoint else ""


def _credentials(environment: Mapping[str, str], *, is_azure: bool) -> dict[str, str]:
    if not is_azure:
        return {"Authorization": f"Bearer {_key(environment, 'OPENAI_API_KEY')}"}
    if environment.get("AZURE_OPENAI_AD_TOKEN", "").strip():
        return {"Authorization": f"Bearer {_key(environment, 'AZURE_OPENAI_AD_TOKEN')}"}
    return {"api-key": _key(environment, "AZURE_OPENAI_API_KEY")}


def _key(environment: Mapping[str, str], name: str) -> str:
    key = environment.get(name, "").strip()
    if not key:
        raise ValueError(f"{name} is not set; set it to a key of the project that the call is in")
    if not key.isascii() or not key.isprintable() or " " in key:
        # It could be sent in no header.
        raise ValueError(f"{name} holds no key; set it to a key of the project that the call is in")
    return key
