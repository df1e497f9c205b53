"""Questions to Azure's Cost Management, through Azure's own library, no faster than it allows.

It answers a query in pages and limits how much is asked per tenant, and says in headers of its own how long to wait.
The library follows neither, so both are done here; its part is signing in, proxies and the pipeline.
"""

from __future__ import annotations

import json
import re
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from realtime_spend.billing.source_text import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from azure.core.credentials import TokenCredential
    from azure.core.rest import HttpResponse
    from azure.mgmt.costmanagement import CostManagementClient

_TRIES = 6
_FIRST_WAIT_SECONDS = 5.0
_LONGEST_WAIT_SECONDS = 300.0
_MOST_PAGES = 1_000
_API_VERSION = "2025-03-01"
_OK, _EMPTY = 200, 204
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _TOO_MANY, _SERVER_ERRORS = 401, 403, 404, 429, 500
_SCOPE = re.compile(r"/[\w\-./() ]+").fullmatch
_WAIT_HEADER = re.compile(r"(?:retry-after|x-ms-ratelimit-microsoft\.costmanagement-\w+-retry-after)").fullmatch
# How each of Azure's own refusals begins, and what its library says where none of the ways to sign in was set up.
_REFUSED, _NONE_OF_ALL = "AADSTS", "failed to retrieve a token from the included credentials"
_SIGN_IN = "AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET"
_ROLE = "sign in as somebody who has the role Cost Management Reader on"


class CostQueries:
    """Asks one scope. `sleep` is how it waits."""

    def __init__(
        self,
        scope: str,
        *,
        credential: TokenCredential,
        endpoint: str,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not _SCOPE(scope):
            raise SourceError(
                f"{scope!r} is no scope of Azure's; write /subscriptions/ID, or another that begins with /"
            )
        self._scope = scope.strip("/")
        self._host = urlsplit(endpoint).netloc
        # A token goes over TLS, except to this very machine, where a proxy or a test may be.
        self._is_local = urlsplit(endpoint).hostname in ("127.0.0.1", "localhost", "::1")
        if urlsplit(endpoint).scheme != "https" and not self._is_local:
            raise SourceError(f"{endpoint} has no TLS, and a token is not sent without; write https://")
        self._sleep = sleep
        self._client = _client(credential, endpoint)

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def pages(self, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the properties of each page: its columns and its rows.

        Raises:
            SourceError: a page cannot be had; the sentence says what to do.
        """
        url = f"/{self._scope}/providers/Microsoft.CostManagement/query?api-version={_API_VERSION}"
        seen: set[str] = set()
        while url:
            page = self._page(url, body)
            yield page
            url = page.get("nextLink") or ""
            if url and (url in seen or len(seen) > _MOST_PAGES or urlsplit(url).netloc != self._host):
                raise SourceError("Azure says that more pages follow, and not where on the same host; try again later")
            seen.add(url)

    def _page(self, url: str, body: Mapping[str, Any]) -> dict[str, Any]:
        from azure.core.exceptions import AzureError, ClientAuthenticationError  # noqa: PLC0415 - of the extra
        from azure.core.rest import HttpRequest  # noqa: PLC0415 - as above

        why, wait = "", 0.0
        for attempt in range(_TRIES):
            if attempt:
                self._sleep(wait)
            wait = min(_FIRST_WAIT_SECONDS * 2**attempt, _LONGEST_WAIT_SECONDS)
            try:
                request = HttpRequest("POST", url, json=dict(body))
                response = self._client.send_request(request, enforce_https=not self._is_local)
            except ClientAuthenticationError as error:
                raise SourceError(_not_let_in(error)) from None
            except AzureError as error:
                why = f"it cannot be reached ({type(error).__name__})"
                continue
            if response.status_code in (_OK, _EMPTY):
                return _properties(response)
            if response.status_code != _TOO_MANY and response.status_code < _SERVER_ERRORS:
                raise SourceError(self._refusal(response))
            is_throttled = response.status_code == _TOO_MANY
            why = "it is asked too often" if is_throttled else f"it answers {response.status_code}"
            wait = self._asked_to_wait(response) or wait
        raise SourceError(f"Azure did not answer in {_TRIES} tries: {why}; try again later, or read an export")

    def _asked_to_wait(self, response: HttpResponse) -> float:
        """Return the longest of the waits that the answer asks for: there is one a limit."""
        waits = [0.0]
        for name, value in response.headers.items():
            if _WAIT_HEADER(name.lower()):
                try:
                    waits.append(float(value))
                except ValueError:
                    continue
        if max(waits) > _LONGEST_WAIT_SECONDS:
            raise SourceError(f"Azure asks to wait for {max(waits):.0f} seconds; try again then, or read an export")
        return max(waits)

    def _refusal(self, response: HttpResponse) -> str:
        status, scope = response.status_code, f"/{self._scope}"
        if status in (_UNAUTHORIZED, _FORBIDDEN):
            return f"Azure does not let us read the costs of {scope} ({status}); {_ROLE} it"
        if status == _NOT_FOUND:
            return f"Azure knows no scope {scope} (404); mend it"
        try:
            said = json.loads(response.text())["error"]["message"]
        except (ValueError, KeyError, TypeError, RecursionError):
            said = response.reason or ""
        return f"Azure refused to answer ({status}): {' '.join(str(said).split())[:300]}"


def _client(credential: TokenCredential, endpoint: str) -> CostManagementClient:
    try:
        from azure.mgmt.costmanagement import CostManagementClient  # noqa: PLC0415 - files need no extra
    except ImportError:
        raise SourceError("reading a live bill needs more packages: pip install 'realtime-spend[reconcile]'") from None
    # Its own retries know nothing of Cost Management's headers.
    return CostManagementClient(
        credential, endpoint.rstrip("/"), credential_scopes=[f"{endpoint.rstrip('/')}/.default"], retry_total=0
    )


def _properties(response: HttpResponse) -> dict[str, Any]:
    if response.status_code == _EMPTY:
        return {}
    try:
        answer = json.loads(response.text(), parse_float=Decimal, parse_constant=str)
        properties = answer["properties"]
    except (ValueError, KeyError, TypeError, RecursionError):
        properties = None
    if not isinstance(properties, dict):
        what = response.headers.get("content-type", "no type")
        raise SourceError(f"Azure answered something that is no result of a query ({what}); is a proxy in between?")
    return properties


def _not_let_in(error: Exception) -> str:
    """Say why there is no token: of all that was tried, what Azure itself refused, if it was asked at all."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    refused = next((line.strip() for line in lines if _REFUSED in line), None)
    if refused is None and _NONE_OF_ALL in lines[0]:
        return f"nobody is signed in to Azure: run `az login` or set {_SIGN_IN}, and {_ROLE} the scope"
    return f"Azure does not let us in ({(refused or lines[0])[:200]}); {_ROLE} the scope"
