"""Whatever has no price, one line says what is missing and which variable to set."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from realtime_spend.advice import advice
from realtime_spend.configuration import parse_deployments
from realtime_spend.core.endpoints import Endpoint, recognise
from realtime_spend.core.line_items import Scope, Sku
from realtime_spend.core.naming import Named, Naming, Resolved
from realtime_spend.core.rates import ModelKind, Prices, Reason
from realtime_spend.rate_cards import load_book


def _endpoint(host: str, path: str = "/openai/v1/realtime") -> Endpoint:
    endpoint = recognise(host, 443, path, "model=voice-prod")
    assert endpoint is not None
    return endpoint


_AZURE = _endpoint("acme.openai.azure.com")
_OPENAI = _endpoint("api.openai.com", "/v1/realtime")
_NAMED = Named(requested="voice-prod", said="voice-prod")


def _resolved(reason: Reason, endpoint: Endpoint = _AZURE) -> Resolved:
    has_sku = reason in (Reason.NO_RATE, Reason.REGION_NOT_KNOWN, Reason.VERSION_NOT_KNOWN, Reason.NOT_PRICED_BY_TOKEN)
    sku = Sku(provider=endpoint.provider, model="gpt-realtime", scope=Scope.REGIONAL) if has_sku else None
    return Resolved(sku=sku, reason=None if sku else reason, scope=Scope.REGIONAL, region=None, scope_assumed=False)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (Reason.MODEL_NOT_NAMED, ("'voice-prod'", 'REALTIME_SPEND_DEPLOYMENTS=\'{"voice-prod": ')),
        (
            Reason.MODEL_NOT_LISTED,
            ("'voice-prod'", "If it is a deployment", 'REALTIME_SPEND_DEPLOYMENTS=\'{"voice-prod": '),
        ),
        (Reason.NOT_A_TRANSCRIPTION_MODEL, ("does not transcribe", "REALTIME_SPEND_DEPLOYMENTS")),
        (Reason.OTHER_PRICE_LIST, ("Voice Live", "meters of its own")),
        (Reason.NOT_PRICED_BY_TOKEN, ("provisioned", "by the hour")),
        (Reason.VERSION_NOT_KNOWN, ("versions of 'gpt-realtime'", 'REALTIME_SPEND_DEPLOYMENTS=\'{"voice-prod": ')),
        (Reason.REGION_NOT_KNOWN, ("region", "REALTIME_SPEND_DEPLOYMENTS")),
        (Reason.NO_RATE, ("'gpt-realtime'", "scope regional", "REALTIME_SPEND_RATE_CARDS")),
    ],
)
def test_each_reason_has_its_sentence(reason: Reason, words: tuple[str, ...]) -> None:
    _, sentence = advice(_AZURE, _NAMED, _resolved(reason), reason)
    assert [word for word in words if word not in sentence] == []
    assert "its cost is not" in sentence


@pytest.mark.parametrize("reason", [Reason.MODEL_NOT_LISTED, Reason.NOT_A_TRANSCRIPTION_MODEL, Reason.MODEL_NOT_NAMED])
@pytest.mark.parametrize(
    ("path", "transcription", "kind"),
    [
        ("/openai/v1/realtime", False, ModelKind.REALTIME),
        ("/openai/v1/realtime", True, ModelKind.TRANSCRIPTION),
        ("/openai/v1/realtime/translations", False, ModelKind.TRANSLATION),
    ],
)
def test_what_a_deployment_may_run_is_a_model_for_what_it_was_used_for(
    reason: Reason,
    path: str,
    transcription: bool,  # noqa: FBT001
    kind: ModelKind,
) -> None:
    endpoint = _endpoint("acme.openai.azure.com", path)
    named = Named(requested="voice-prod", said="voice-prod", transcription=transcription)
    _, sentence = advice(endpoint, named, _resolved(reason), reason)
    suggested = re.search(r"REALTIME_SPEND_DEPLOYMENTS='(.*?)'", sentence)
    assert suggested is not None
    book = load_book()
    resolved = Naming(book, parse_deployments(suggested[1])).resolve(endpoint, named)
    assert resolved.sku is not None
    listed = book.listed(endpoint.provider, resolved.sku.model)
    assert listed is not None
    assert listed.kind is kind
    assert isinstance(book.prices(resolved.sku, datetime(2026, 11, 18, tzinfo=UTC)), Prices)


def test_there_is_a_sentence_for_every_reason() -> None:
    assert all(advice(_AZURE, _NAMED, _resolved(reason), reason)[1] for reason in Reason)


def test_on_openai_an_unlisted_model_wants_a_card() -> None:
    named = Named(requested="gpt-realtime-9", said="gpt-realtime-9")
    name, sentence = advice(_OPENAI, named, _resolved(Reason.MODEL_NOT_LISTED, _OPENAI), Reason.MODEL_NOT_LISTED)
    assert name == "gpt-realtime-9"
    assert "REALTIME_SPEND_RATE_CARDS" in sentence
    assert "REALTIME_SPEND_DEPLOYMENTS" not in sentence


def test_a_session_without_any_name_is_spoken_of_all_the_same() -> None:
    name, sentence = advice(
        _OPENAI, Named(requested=None, said=None), _resolved(Reason.MODEL_NOT_NAMED), Reason.MODEL_NOT_NAMED
    )
    assert name == "a session without a name"
    assert "--model" in sentence
    # Nothing could be looked up in a map of deployments.
    assert "REALTIME_SPEND_DEPLOYMENTS" not in sentence
