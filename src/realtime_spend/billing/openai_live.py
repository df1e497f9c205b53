"""Pages of OpenAI's organization API, fetched with an admin key: every page or a sentence that says why not."""

from __future__ import annotations

import email.utils
import json
import random
import time
from datetime import UTC, datetime, timedelta
from datetime import time as clock
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from realtime_spend.billing.source_text import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import date

    import httpx

_TIMEOUT_SECONDS = 60.0
_TRIES = 6
_FIRST_WAIT_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 60.0
# Beyond any number of days that is kept.
_MOST_PAGES = 1_000
_OK, _UNAUTHORIZED, _FORBIDDEN, _TOO_MANY, _SERVER_ERRORS = 200, 401, 403, 429, 500
_NEEDS = "the costs of an organization need an admin key with the permission api.usage.read, in OPENAI_ADMIN_KEY"


def days_query(first: date, last: date, *, group_by: str, limit: int, project: str | None) -> list[tuple[str, str]]:
    """Return what asks for the UTC days `first` to `last`, so many of them a page, by `group_by` and by project."""
    start, end = (int(datetime.combine(day, clock(), UTC).timestamp()) for day in (first, last + timedelta(days=1)))
    return [
        ("start_time", str(start)),
        ("end_time", str(end)),
        ("bucket_width", "1d"),
        ("group_by[]", group_by),
        ("group_by[]", "project_id"),
        *([("project_ids[]", project)] if project else []),
        ("limit", str(limit)),
    ]


def pages(
    url: str, query: Sequence[tuple[str, str]], *, key: str, sleep: Callable[[float], None] = time.sleep
) -> Iterator[Any]:
    """Yield each page that `url` answers to `query`.

    Raises:
        SourceError: a page cannot be had; the sentence says what to do and never holds the key.
    """
    try:
        import httpx  # noqa: PLC0415 - of the extra, which files do not need
    except ImportError:
        raise SourceError("reading a live bill needs more packages: pip install 'realtime-spend[reconcile]'") from None
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise SourceError(f"OPENAI_ADMIN_KEY holds no key; {_NEEDS}")
    seen: set[str] = set()
    cursor: list[tuple[str, str]] = []
    # A key must not follow a redirect to another host.
    with httpx.Client(timeout=_TIMEOUT_SECONDS, follow_redirects=False) as client:
        while True:
            text = "&".join(f"{name}={quote(value, safe='')}" for name, value in [*query, *cursor])
            page = _page(client, f"{url}?{text}", key, sleep)
            yield page
            following = page.get("next_page")
            if page.get("has_more") is not True:
                return
            if not isinstance(following, str) or following in seen or len(seen) > _MOST_PAGES:
                raise SourceError("OpenAI says that more pages follow, and does not say how to get them; try later")
            seen.add(following)
            cursor = [("page", following)]


def _page(client: httpx.Client, url: str, key: str, sleep: Callable[[float], None]) -> dict[str, Any]:
    """Return one page, asking again where it is worth it."""
    import httpx  # noqa: PLC0415 - of the extra

    why, wait = "", 0.0
    for attempt in range(_TRIES):
        if attempt:
            sleep(wait)
        wait = min(_FIRST_WAIT_SECONDS * 2**attempt, _LONGEST_WAIT_SECONDS) * random.uniform(0.5, 1.0)  # noqa: S311 - so that many do not ask at once
        try:
            response = client.get(url, headers={"Authorization": f"Bearer {key}"})
        except httpx.TransportError as error:
            why = f"it cannot be reached ({type(error).__name__})"
            continue
        if response.status_code == _OK:
            return _read(response)
        if response.status_code != _TOO_MANY and response.status_code < _SERVER_ERRORS:
            raise SourceError(_refusal(response, key))
        why = "it is asked too often" if response.status_code == _TOO_MANY else f"it answers {response.status_code}"
        asked = _retry_after(response)
        if asked is not None and asked > _LONGEST_WAIT_SECONDS:
            raise SourceError(f"OpenAI asks to wait for {asked:.0f} seconds; try again then")
        wait = wait if asked is None else asked
    raise SourceError(f"OpenAI did not answer in {_TRIES} tries: {why}; try again later, or read saved pages")


def _read(response: httpx.Response) -> dict[str, Any]:
    try:
        page = json.loads(response.text, parse_float=Decimal, parse_constant=str)
    except (ValueError, RecursionError):
        page = None
    if not isinstance(page, dict) or not isinstance(page.get("data"), list):
        what = response.headers.get("content-type", "no type")
        raise SourceError(
            f"{response.url.host} answered something that is no page of costs ({what}); is a proxy in between, "
            "or is the base URL another service's?"
        )
    return page


def _refusal(response: httpx.Response, key: str) -> str:
    status = response.status_code
    if status == _UNAUTHORIZED:
        return f"OpenAI does not know this key (401); {_NEEDS}"
    if status == _FORBIDDEN:
        return f"this key may not read costs (403); {_NEEDS}"
    try:
        said = str(json.loads(response.text)["error"]["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        said = response.reason_phrase
    said = " ".join(said.replace(key, "...").split())[:200]
    return f"OpenAI refused to answer ({status}): {said}"


def _retry_after(response: httpx.Response) -> float | None:
    """Return the seconds that the answer asks to wait, whichever way it says so."""
    said = response.headers.get("retry-after", "").strip()
    try:
        return max(float(said), 0.0)
    except ValueError:
        pass
    try:
        at = email.utils.parsedate_to_datetime(said)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max((at - datetime.now(UTC)).total_seconds(), 0.0)
