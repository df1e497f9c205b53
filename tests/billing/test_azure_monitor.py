"""Azure Monitor over a real socket, and its deployments beside what was counted of their account."""

from __future__ import annotations

import sys
import time
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from tests.billing.answering import Asked, Reply, answering

from realtime_spend.billing.azure_monitor import Monitored, fetch_metrics
from realtime_spend.billing.witnesses import Witness, beside
from realtime_spend.core.line_items import CACHED_INPUT_OF, INPUT_OF, OUTPUT_OF, Modality, Part, Provider
from realtime_spend.core.reconciliation.estimated import Estimate, Estimates, EstimateSource

DAY = date(2026, 11, 18)
SUBSCRIPTION = "1c4a2f6e-0000-4000-8000-000000000001"
RESOURCE = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/voice/providers/Microsoft.CognitiveServices/accounts/Contoso-Voice"
)
HEARD = frozenset({INPUT_OF[Modality.AUDIO], CACHED_INPUT_OF[Modality.AUDIO]})
SPOKEN = frozenset({OUTPUT_OF[Modality.AUDIO]})


class Credential:
    def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        return AccessToken("token", int(time.time()) + 3_600)


def series(deployment: str, *totals: float | None) -> dict[str, Any]:
    points = [
        {"timeStamp": f"{DAY + timedelta(days=number)}T00:00:00Z", "total": total}
        for number, total in enumerate(totals)
    ]
    return {"metadatavalues": [{"name": {"value": "modeldeploymentname"}, "value": deployment}], "data": points}


def metric(name: str, *found: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"{RESOURCE}/providers/Microsoft.Insights/metrics/{name}",
        "type": "Microsoft.Insights/metrics",
        "name": {"value": name, "localizedValue": name},
        "unit": "Count",
        "displayDescription": name,
        "timeseries": list(found),
        "errorCode": "Success",
    }


def answer_of(*metrics: dict[str, Any]) -> Reply:
    value = {
        "starttime": f"{DAY}T00:00:00Z",
        "endtime": f"{DAY + timedelta(days=2)}T00:00:00Z",
        "interval": "P1D",
        "namespace": "Microsoft.CognitiveServices/accounts",
        "resourceregion": "swedencentral",
        "resourceid": RESOURCE,
        "value": list(metrics),
    }
    return Reply({"values": [value]})


ANSWER = answer_of(
    metric("AudioPromptTokens", series("voice-a", 110.0, None), series("voice-b", 40.0, 7.0)),
    metric("AudioCompletionTokens", series("voice-a", 299.0, 0.0)),
    metric("ActiveTokens", series("voice-a", 1.0)),
)


def fetch(url: str, days: int = 2, **options: Any) -> list[Witness]:
    monitored = Monitored(resource=RESOURCE, endpoint=url)
    return fetch_metrics(monitored, DAY, DAY + timedelta(days=days - 1), credential=Credential(), **options)


def test_each_deployment_and_day_is_a_witness() -> None:
    steps: list[int] = []
    with answering([ANSWER]) as service:
        found = fetch(service.url, advance=steps.append)
    assert [(witness.day, witness.deployment, witness.parts, witness.low) for witness in found] == [
        (DAY, "voice-a", HEARD, Decimal(110)),
        (DAY, "voice-b", HEARD, Decimal(40)),
        (DAY + timedelta(days=1), "voice-b", HEARD, Decimal(7)),
        (DAY, "voice-a", SPOKEN, Decimal(299)),
    ]
    assert {(witness.account, witness.provider, witness.model) for witness in found} == {
        ("contoso-voice", Provider.AZURE, None)
    }
    assert all(witness.low == witness.high for witness in found)
    assert steps == [2]


def test_what_is_asked() -> None:
    with answering([ANSWER]) as service:
        fetch(service.url)
    (asked,) = service.asked
    assert asked.path == f"/subscriptions/{SUBSCRIPTION}/metrics:getBatch"
    assert asked.body == {"resourceids": [RESOURCE]}
    assert asked.query["metricnames"] == ["AudioPromptTokens,AudioCompletionTokens"]
    assert asked.query["filter"] == ["ModelDeploymentName eq '*'"]
    assert (asked.query["interval"], asked.query["top"]) == (["P1D"], ["1000"])
    assert asked.query["starttime"][0].startswith("2026-11-18T00:00:00")
    assert asked.query["endtime"][0].startswith("2026-11-20T00:00:00")


def test_long_times_are_asked_for_in_months() -> None:
    def answer(_asked: Asked) -> Reply:
        return answer_of()

    with answering(answer) as service:
        assert fetch(service.url, days=70) == []
    assert len(service.asked) == 3


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (Reply({"error": {"code": "AuthorizationFailed", "message": "no"}}, 403), r"refused to answer \(403\)"),
        (Reply({"error": {"code": "Unauthorized", "message": "no"}}, 401), r"does not let us in"),
        (Reply({"error": {"code": "BadRequest", "message": "no"}}, 400), r"refused to answer \(400\)"),
    ],
)
def test_what_it_refuses_is_one_sentence(reply: Reply, why: str) -> None:
    with (
        answering([reply]) as service,
        pytest.raises(ValueError, match=rf"{why} for contoso-voice; the role Monitoring Reader"),
    ):
        fetch(service.url)


def test_what_cannot_be_reached_is_one_sentence() -> None:
    with answering([ANSWER]) as service:
        gone = service.url
    monitored = Monitored(resource=RESOURCE, endpoint=gone)
    with pytest.raises(ValueError, match=r"cannot be reached \(ServiceRequestError\) for contoso-voice"):
        fetch_metrics(monitored, DAY, DAY, credential=Credential(), retries=0)


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "azure.monitor.querymetrics", None)
    with pytest.raises(ValueError, match=r"pip install 'realtime-spend\[reconcile\]'"):
        fetch("http://127.0.0.1:9")


def _estimate(part: Part, quantity: int, account: str | None = "contoso-voice") -> Estimate:
    return Estimate(
        day=DAY,
        provider=Provider.AZURE,
        account=account,
        model="gpt-realtime-mini",
        version="2025-12-15",
        scope=None,
        part=part,
        quantity=Decimal(quantity),
        cost=None,
        unpriced=Decimal(0),
    )


def test_deployments_are_added_up_beside_what_was_counted_of_their_account() -> None:
    estimates = Estimates(
        source=EstimateSource.LEDGER,
        items=[
            _estimate(INPUT_OF[Modality.AUDIO], 86),
            _estimate(CACHED_INPUT_OF[Modality.AUDIO], 64),
            _estimate(OUTPUT_OF[Modality.AUDIO], 250),
            _estimate(INPUT_OF[Modality.TEXT], 5_000),
            _estimate(INPUT_OF[Modality.AUDIO], 9_000, account="another"),
        ],
    )
    with answering([ANSWER]) as service:
        rows = beside(fetch(service.url), estimates)
    assert [(row.day, row.low, row.counted, row.agrees) for row in rows] == [
        (DAY, Decimal(150), Decimal(150), True),
        (DAY, Decimal(299), Decimal(250), False),
        (DAY + timedelta(days=1), Decimal(7), Decimal(0), False),
    ]
    assert [row.sentence() for row in rows[:2]] == [
        (
            "2026-11-18, contoso-voice: Azure Monitor counts 150 of audio.cached_input and audio.input "
            "in voice-a, voice-b, we the same"
        ),
        "2026-11-18, contoso-voice: Azure Monitor counts 299 of audio.output in voice-a, we 250",
    ]
