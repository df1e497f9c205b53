"""Azure Monitor as a second source: the tokens that each deployment of an account had on a day.

The bill knows no deployment and the metrics no price, so they meet at the account. Whether `ProcessedPromptTokens`
includes audio is not documented, and no metric counts cached tokens apart, so only audio is compared: in and out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from realtime_spend.billing.source_text import SourceError
from realtime_spend.billing.witnesses import Witness
from realtime_spend.core.line_items import CACHED_INPUT_OF, INPUT_OF, OUTPUT_OF, Modality, Provider

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from azure.core.credentials import TokenCredential
    from azure.monitor.querymetrics import MetricsQueryResult

SOURCE = "Azure Monitor"
_NAMESPACE = "Microsoft.CognitiveServices/accounts"
_PARTS = {
    "AudioPromptTokens": frozenset({INPUT_OF[Modality.AUDIO], CACHED_INPUT_OF[Modality.AUDIO]}),
    "AudioCompletionTokens": frozenset({OUTPUT_OF[Modality.AUDIO]}),
}
_DEPLOYMENT = "modeldeploymentname"
# Without a number it answers ten series, and says nothing of the rest.
_MOST_SERIES = 1_000
# Metrics of one day, kept for 93.
_MOST_DAYS = 31


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitored:
    """An account, by its resource id, and the regional endpoint that answers for it."""

    resource: str
    endpoint: str
    # Asked for in place of the public cloud's.
    audience: str | None = None

    @property
    def account(self) -> str:
        """The account as a bill names it."""
        return self.resource.rstrip("/").rpartition("/")[2].lower()


def fetch_metrics(
    monitored: Monitored,
    first: date,
    last: date,
    *,
    credential: TokenCredential,
    retries: int = 3,
    advance: Callable[[int], None] = lambda _days: None,
) -> list[Witness]:
    """Return the audio tokens of each deployment and day, as Azure Monitor counted them.

    Raises:
        ValueError: it does not say; the sentence says what to do.
    """
    try:
        from azure.core import exceptions  # noqa: PLC0415 - of the extra
        from azure.monitor.querymetrics import MetricsClient  # noqa: PLC0415 - as above
    except ImportError:
        raise SourceError("asking Azure Monitor needs more packages: pip install 'realtime-spend[reconcile]'") from None
    found: list[Witness] = []
    options: dict[str, Any] = {} if monitored.audience is None else {"audience": monitored.audience}
    try:
        with MetricsClient(monitored.endpoint, credential, retry_total=retries, **options) as client:
            for start in (first + timedelta(days=days) for days in range(0, (last - first).days + 1, _MOST_DAYS)):
                end = min(start + timedelta(days=_MOST_DAYS - 1), last)
                for answer in _asked(client, monitored, start, end):
                    found += _witnesses(monitored, answer)
                advance((end - start).days + 1)
    except exceptions.ClientAuthenticationError:
        raise SourceError(_refusal("does not let us in", monitored)) from None
    except exceptions.HttpResponseError as error:
        raise SourceError(_refusal(f"refused to answer ({error.status_code})", monitored)) from None
    except exceptions.AzureError as error:
        raise SourceError(_refusal(f"cannot be reached ({type(error).__name__})", monitored)) from None
    return found


def _asked(client: Any, monitored: Monitored, first: date, last: date) -> list[MetricsQueryResult]:
    start = datetime.combine(first, time(), UTC)
    end = datetime.combine(last + timedelta(days=1), time(), UTC)
    answered: list[MetricsQueryResult] = client.query_resources(
        resource_ids=[monitored.resource],
        metric_namespace=_NAMESPACE,
        metric_names=list(_PARTS),
        timespan=(start, end),
        granularity=timedelta(days=1),
        aggregations=["Total"],
        filter="ModelDeploymentName eq '*'",
        max_results=_MOST_SERIES,
        enforce_https=not monitored.endpoint.startswith("http://127.0.0.1"),
    )
    return answered


def _witnesses(monitored: Monitored, answer: MetricsQueryResult) -> Iterator[Witness]:
    for metric in answer.metrics:
        parts = _PARTS.get(metric.name)
        for series in metric.timeseries if parts is not None else ():
            # The service writes the names of dimensions in lower case, whatever the case that was asked in.
            deployment = {str(key).lower(): value for key, value in series.metadata_values.items()}.get(_DEPLOYMENT)
            for point in series.data:
                if point.total:
                    total = Decimal(int(point.total))
                    yield Witness(
                        day=point.timestamp.astimezone(UTC).date(),
                        provider=Provider.AZURE,
                        source=SOURCE,
                        account=monitored.account,
                        model=None,
                        version=None,
                        deployment=deployment,
                        parts=parts or frozenset(),
                        low=total,
                        high=total,
                    )


def _refusal(what: str, monitored: Monitored) -> str:
    return f"Azure Monitor {what} for {monitored.account}; the role Monitoring Reader on its subscription is needed"
