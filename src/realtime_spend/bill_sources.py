"""Where bills come from: files, whose kind is found out, or a provider that is asked: `openai:`, `azure:SCOPE`."""

# ruff: noqa: PLC0415 - readers of bills need libraries of the extra `reconcile`: a source imports what it needs

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import date
    from pathlib import Path

    from realtime_spend.core.rates import RateBook
    from realtime_spend.core.reconciliation.bills import Bill

    # Names a stage of the work and how much of it there is; gives what is to be told each step.
    Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]

_OPENAI, _AZURE = "openai:", "azure:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What is needed to be let in where a source is not a file. Secrets, so none of it is ever shown."""

    openai_key: str | None = field(default=None, repr=False)
    # None: the provider's own address.
    openai_url: str | None = None
    azure_url: str | None = None
    # None: whatever azure-identity finds.
    azure_credential: Any = field(default=None, repr=False)
    prometheus_token: str | None = field(default=None, repr=False)
    prometheus_headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Access:
        """Return what these variables say.

        Raises:
            ValueError: one of them cannot be read; the sentence says what to write.
        """
        return cls(
            openai_key=environment.get("OPENAI_ADMIN_KEY") or None,
            prometheus_token=environment.get("REALTIME_SPEND_PROMETHEUS_TOKEN") or None,
            prometheus_headers=_headers(environment.get("REALTIME_SPEND_PROMETHEUS_HEADERS", "")),
        )


def is_live(bill: Path) -> bool:
    """Whether `bill` is one of the words for what a provider answers, and no path."""
    return str(bill).startswith((_OPENAI, _AZURE))


def bill_of_files(
    files: Sequence[Path], first: date | None, last: date | None, *, book: RateBook, progress: Progress
) -> Bill:
    """Return what these files bill from `first` to `last`; None is no bound.

    Raises:
        ValueError: one is not there, or nothing is installed to read it with; the sentence says what to do.
    """
    for path in files:
        if not path.exists():
            raise ValueError(f"there is no bill at {path}; give a file or a folder of them to --bill")
    from realtime_spend.billing.reading import bill_size, read_bill

    with progress("reading the bill", bill_size(files)) as advance:
        return read_bill(files, book=book, first=first, last=last, advance=advance)


def live_bill(source: str, access: Access, first: date, last: date, *, book: RateBook, progress: Progress) -> Bill:
    """Return what a provider answers for these days. `source` is `openai:`, `openai:PROJECT` or `azure:/SCOPE`.

    Raises:
        ValueError: it cannot be asked; the sentence says what to do.
    """
    who, _, what = source.partition(":")
    try:
        ask = _openai if source.startswith(_OPENAI) else _azure
        with progress(f"asking {who} for the bill", (last - first).days + 1) as advance:
            return ask(what, access, (first, last), book, advance)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"asking {who} needs an extra: pip install 'realtime-spend[reconcile]' ({error.name} is not there)"
        ) from None


def _openai(
    project: str, access: Access, days: tuple[date, date], _book: RateBook, advance: Callable[[int], None]
) -> Bill:
    from realtime_spend.billing.openai_costs import BASE_URL, fetch_costs

    if access.openai_key is None:
        raise ValueError("set OPENAI_ADMIN_KEY to an admin key that may read usage; openai: is asked with one")
    url = access.openai_url or BASE_URL
    return fetch_costs(*days, key=access.openai_key, base_url=url, project=project or None, advance=advance)


def _azure(scope: str, access: Access, days: tuple[date, date], book: RateBook, advance: Callable[[int], None]) -> Bill:
    from realtime_spend.billing.azure_query import ENDPOINT, fetch_azure

    if not scope.startswith("/"):
        raise ValueError(f"azure:{scope} names no scope; write azure:/subscriptions/ID, or another scope of Azure's")
    credential = access.azure_credential
    if credential is None:
        from azure.identity import DefaultAzureCredential

        credential = DefaultAzureCredential()
    with _unlogged("azure.identity"):
        return fetch_azure(
            scope, *days, credential=credential, endpoint=access.azure_url or ENDPOINT, book=book, advance=advance
        )


@contextmanager
def _unlogged(name: str) -> Iterator[None]:
    """Within the block a library logs nothing, unless somebody has set a level for it: what fails it raises too."""
    logger = logging.getLogger(name)
    before = logger.level
    if before == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _headers(text: str) -> dict[str, str]:
    """Read headers in the form of OTEL_EXPORTER_OTLP_HEADERS: name=value, several with commas."""
    found: dict[str, str] = {}
    for entry in filter(None, (entry.strip() for entry in text.split(","))):
        name, equals, value = entry.partition("=")
        if not equals or not name.strip():
            raise ValueError("REALTIME_SPEND_PROMETHEUS_HEADERS must be name=value, several with commas")
        found[name.strip()] = value.strip()
    return found
