"""Asks a server that speaks PromQL (Prometheus, Mimir, Thanos, VictoriaMetrics) one question at a time over HTTP.

The standard library does: one small request after the other, no session to keep. What comes back is taken only if it is
whole, because a total that lacks something looks like any other total.
"""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from realtime_spend.core import money

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from decimal import Decimal

_PATH = "/api/v1/query"
# What 35 days of a hundred thousand series come to is far below it.
_MOST_BYTES = 256 * 1024 * 1024
_SHOWN = 300


class PromqlError(ValueError):
    """The server could not be asked or did not answer; the sentence says what to do."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The value of one series at the instant that was asked for. A label that is absent is not in `labels`."""

    labels: Mapping[str, str]
    value: Decimal


class _NoRedirect(HTTPRedirectHandler):
    """A token must not follow a redirect to another host, and a POST that becomes a GET asks nothing."""

    def redirect_request(self, *_arguments: object) -> None:
        """Leave it at the answer that redirects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromqlServer:
    """A server at its base address: `http://127.0.0.1:9090`, `https://mimir.example.com/prometheus`.

    `token` is sent as a bearer token; `headers` are sent as they are (`X-Scope-OrgID` for a tenant of Mimir).
    """

    url: str
    token: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout_seconds: float = 60.0

    def ask(self, query: str, at: datetime) -> list[Sample]:
        """Return the value of each series that `query` gives at the aware instant `at`.

        Raises:
            PromqlError: there is no whole answer; the sentence says why, and what to do.
        """
        body = self._answer(Request(self._address(), data=self._form(query, at), headers=self._headers()))  # noqa: S310 - checked
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            raise self._error("answered with something other than JSON; is it a PromQL server?") from None
        return self._samples(answer)

    def _address(self) -> str:
        try:
            parts = urlsplit(self.url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            host = None
        if not host or parts.scheme not in ("http", "https") or parts.query or parts.fragment:
            raise PromqlError(f"{self._name()} is no address of a server; give one like http://127.0.0.1:9090")
        if parts.username is not None:
            raise PromqlError(f"{self._name()} holds a user name; give user and password as an Authorization header")
        return self.url.rstrip("/") + _PATH

    def _name(self) -> str:
        """Return the address as it may be shown: without a password."""
        return self.url.rpartition("@")[2] if "@" in self.url else self.url

    def _form(self, query: str, at: datetime) -> bytes:
        # Unless told otherwise, Thanos and VictoriaMetrics answer with what they could reach. Others ignore it.
        whole = {"partial_response": "false", "deny_partial_response": "1"}
        return urlencode({"query": query, "time": f"{at.timestamp():.3f}", **whole}).encode()

    def _headers(self) -> dict[str, str]:
        # A variable that nobody set makes an empty one, which is none.
        bearer = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        found = {"Accept": "application/json", **bearer, **self.headers}
        if any(not f"{name}{value}".isprintable() for name, value in found.items()):
            raise self._error("cannot be sent a header or a token with line breaks in it; look at the end of it")
        return found

    def _answer(self, request: Request) -> bytes:
        opener = build_opener(_NoRedirect(), *([ProxyHandler({})] if _is_loopback(request.host) else []))
        try:
            with opener.open(request, timeout=self.timeout_seconds) as response:
                body: bytes = response.read(_MOST_BYTES + 1)
                # A bounded read ends in silence where the connection does.
                is_cut_off = bool(response.length) and len(body) <= _MOST_BYTES
        except HTTPError as error:
            with error:
                raise self._refused(error.code, _said(error)) from None
        except TimeoutError:
            raise self._late() from None
        except URLError as error:
            if isinstance(error.reason, TimeoutError):
                raise self._late() from None
            raise self._error(f"cannot be reached ({error.reason}); is the address right, and is it running?") from None
        except (HTTPException, OSError, UnicodeError) as error:
            raise self._error(f"broke off its answer ({type(error).__name__}); ask again") from None
        if is_cut_off:
            raise self._error("broke off its answer; ask again")
        if len(body) > _MOST_BYTES:
            raise self._error("answers with more than can be read; ask for fewer days at a time")
        return body

    def _refused(self, status: int, said: str) -> PromqlError:
        because = f": {said}" if said else ""
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            if any(name.lower() == "authorization" for name in self._headers()):
                return self._error(f"refuses us (HTTP {status}); give the right token, or tenant, for it{because}")
            return self._error(f"refuses us (HTTP {status}) without a token; give one, or a tenant, for it{because}")
        if status == HTTPStatus.NOT_FOUND:
            return self._error(f"has no {_PATH}; give the address below which it is, as in https://host/prometheus")
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            return self._error(f"leads elsewhere (HTTP {status}); give the address that it leads to")
        return self._error(f"did not answer the query (HTTP {status}){because}")

    def _samples(self, answer: Any) -> list[Sample]:
        if not isinstance(answer, dict) or answer.get("status") not in ("success", "error"):
            raise self._error("answered JSON that is not a PromQL server's; is the address right?")
        if answer["status"] == "error":
            raise self._error(f"did not answer the query: {str(answer.get('error'))[:_SHOWN]}")
        if answer.get("warnings") or answer.get("isPartial"):
            warned = "; ".join(map(str, answer.get("warnings") or ["some of its parts did not answer"]))
            raise self._error(f"gave an answer that may lack something: {warned[:_SHOWN]}")
        try:
            result = answer["data"]["result"]
            return [Sample(dict(one["metric"]), money.exact(one["value"][1])) for one in result]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise self._error(f"gave a result that cannot be read ({error})") from None

    def _late(self) -> PromqlError:
        return self._error(f"did not answer within {self.timeout_seconds:g} s; ask for fewer days, or allow more time")

    def _error(self, sentence: str) -> PromqlError:
        return PromqlError(f"{self._name()} {sentence}")


def _is_loopback(host: str) -> bool:
    """Whether a proxy has no business between us and this host."""
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _said(error: HTTPError) -> str:
    """Return what the server says went wrong, where it says so as its kind does."""
    try:
        return str(json.loads(error.read(_MOST_BYTES))["error"])[:_SHOWN]
    except (ValueError, KeyError, TypeError, OSError, HTTPException, RecursionError):
        return ""
