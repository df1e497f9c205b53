from __future__ import annotations

import pytest

from realtime_spend.core.endpoints import Endpoint, Service
from realtime_spend.core.line_items import Provider, Scope, Sku
from realtime_spend.core.naming import Deployment, Named, Naming, Resolved
from realtime_spend.core.rates import RateBook, Reason

OPENAI = Endpoint(provider=Provider.OPENAI, server="api.openai.com", port=443, scope=Scope.GLOBAL)
AZURE = Endpoint(provider=Provider.AZURE, server="acme.openai.azure.com", port=443)
VOICE_LIVE = Endpoint(
    provider=Provider.AZURE, server="acme.services.ai.azure.com", port=443, service=Service.VOICE_LIVE
)


def sku_of(resolved: Resolved) -> Sku:
    assert resolved.sku is not None
    assert resolved.reason is None
    return resolved.sku


@pytest.mark.parametrize(
    ("said", "model", "version"),
    [
        ("gpt-realtime", "gpt-realtime", None),
        ("gpt-realtime-2025-08-28", "gpt-realtime", "2025-08-28"),
        ("gpt-realtime-mini-2025-12-15", "gpt-realtime-mini", "2025-12-15"),
        ("gpt-realtime-1.5-2026-02-23", "gpt-realtime-1.5", "2026-02-23"),
        ("gpt-4o-realtime-preview-2024-10-01", "gpt-4o-realtime-preview", "2024-10-01"),
    ],
)
def test_an_alias_has_a_model_and_a_snapshot_has_a_version_too(
    book: RateBook, said: str, model: str, version: str | None
) -> None:
    resolved = Naming(book).resolve(OPENAI, Named(requested="gpt-realtime", said=said))
    assert resolved == Resolved(
        sku=Sku(provider=Provider.OPENAI, model=model, version=version, scope=Scope.GLOBAL),
        reason=None,
        scope=Scope.GLOBAL,
        region=None,
        scope_assumed=False,
    )


def test_what_the_service_says_goes_before_what_was_asked_for(book: RateBook) -> None:
    named = Named(requested="gpt-realtime-mini", said="gpt-realtime")
    assert sku_of(Naming(book).resolve(OPENAI, named)).model == "gpt-realtime"


def test_what_was_asked_for_counts_where_the_service_says_nothing(book: RateBook) -> None:
    named = Named(requested="gpt-realtime-mini", said=None)
    assert sku_of(Naming(book).resolve(OPENAI, named)).model == "gpt-realtime-mini"


@pytest.mark.parametrize("name", ["gpt-realtime-9", "gpt-realtime-2025", "GPT-REALTIME", "gpt-4o-realtime"])
def test_a_name_that_no_card_lists_is_not_priced_by_its_likeness_to_another(book: RateBook, name: str) -> None:
    resolved = Naming(book).resolve(OPENAI, Named(requested=name, said=name))
    assert (resolved.sku, resolved.reason) == (None, Reason.MODEL_NOT_LISTED)
    assert resolved.scope is Scope.GLOBAL
    assert not resolved.scope_assumed


def test_a_usage_around_which_nobody_named_a_model_says_so(book: RateBook) -> None:
    nameless = Naming(book).resolve(OPENAI, Named(requested=None, said=None))
    assert (nameless.sku, nameless.reason) == (None, Reason.MODEL_NOT_NAMED)


# --- Azure ---------------------------------------------------------------------------------------------------------


def test_a_deployments_name_is_not_taken_for_a_model(book: RateBook) -> None:
    resolved = Naming(book).resolve(AZURE, Named(requested="gpt-realtime", said=None))
    assert (resolved.sku, resolved.reason) == (None, Reason.MODEL_NOT_NAMED)


def test_on_azure_the_model_is_what_the_session_says_and_its_scope_is_assumed(book: RateBook) -> None:
    resolved = Naming(book).resolve(AZURE, Named(requested="prod-voice", said="gpt-realtime-2025-08-28"))
    assert sku_of(resolved) == Sku(provider=Provider.AZURE, model="gpt-realtime", version="2025-08-28")
    assert resolved.scope is None
    assert resolved.scope_assumed


def test_the_users_deployment_map_has_the_first_word(book: RateBook) -> None:
    deployment = Deployment(model="gpt-realtime-mini", version="2025-12-15", scope=Scope.REGIONAL, region="northeurope")
    resolved = Naming(book, {"prod-voice": deployment}).resolve(
        AZURE, Named(requested="prod-voice", said="gpt-realtime-2025-08-28")
    )
    expected = Sku(
        provider=Provider.AZURE,
        model="gpt-realtime-mini",
        version="2025-12-15",
        scope=Scope.REGIONAL,
        region="northeurope",
    )
    assert resolved == Resolved(
        sku=expected, reason=None, scope=Scope.REGIONAL, region="northeurope", scope_assumed=False
    )


def test_a_deployment_may_be_found_by_what_the_session_calls_itself(book: RateBook) -> None:
    naming = Naming(book, {"prod-voice": Deployment(model="gpt-realtime", scope=Scope.DATAZONE)})
    assert sku_of(naming.resolve(AZURE, Named(requested=None, said="prod-voice"))).scope is Scope.DATAZONE
    assert sku_of(naming.resolve(AZURE, Named(requested="other", said="prod-voice"))).scope is Scope.DATAZONE


def test_a_deployment_that_names_a_snapshot_tells_its_version(book: RateBook) -> None:
    naming = Naming(book, {"prod": Deployment(model="gpt-4o-realtime-preview-2024-12-17")})
    sku = sku_of(naming.resolve(AZURE, Named(requested="prod", said=None)))
    assert (sku.model, sku.version) == ("gpt-4o-realtime-preview", "2024-12-17")


def test_a_deployment_without_a_version_takes_the_one_the_session_says_of_that_model(book: RateBook) -> None:
    naming = Naming(book, {"prod": Deployment(model="gpt-realtime")})
    same = naming.resolve(AZURE, Named(requested="prod", said="gpt-realtime-2025-08-28"))
    another = naming.resolve(AZURE, Named(requested="prod", said="gpt-realtime-mini-2025-12-15"))
    unlisted = naming.resolve(AZURE, Named(requested="prod", said="prod"))
    assert [sku_of(found).version for found in (same, another, unlisted)] == ["2025-08-28", None, None]


def test_a_deployment_of_a_model_that_no_card_lists_is_the_users_own_business(book: RateBook) -> None:
    naming = Naming(book, {"prod": Deployment(model="my-tuned-model", scope=Scope.GLOBAL)})
    assert sku_of(naming.resolve(AZURE, Named(requested="prod", said=None))).model == "my-tuned-model"
    spoken = Named(requested="prod", said="prod", transcription=True)
    assert sku_of(naming.resolve(AZURE, spoken)).model == "my-tuned-model"


def test_a_deployment_that_says_its_scope_alone_leaves_the_model_to_the_session(book: RateBook) -> None:
    naming = Naming(book, {"prod": Deployment(scope=Scope.PROVISIONED)})
    resolved = naming.resolve(AZURE, Named(requested="prod", said="gpt-realtime-2025-08-28"))
    assert sku_of(resolved).model == "gpt-realtime"
    assert resolved.scope is Scope.PROVISIONED
    nameless = naming.resolve(AZURE, Named(requested="prod", said=None))
    assert (nameless.reason, nameless.scope) == (Reason.MODEL_NOT_NAMED, Scope.PROVISIONED)


@pytest.mark.parametrize("said", ["gpt-realtime-mini", "gpt-realtime-mini-2025-10-06"])
def test_a_deployment_that_says_its_version_alone_is_believed(book: RateBook, said: str) -> None:
    naming = Naming(book, {"prod": Deployment(version="2025-12-15")})
    resolved = naming.resolve(AZURE, Named(requested="prod", said=said))
    assert sku_of(resolved) == Sku(provider=Provider.AZURE, model="gpt-realtime-mini", version="2025-12-15")
    assert resolved.scope_assumed
    nameless = naming.resolve(AZURE, Named(requested="prod", said=None))
    assert (nameless.sku, nameless.reason) == (None, Reason.MODEL_NOT_NAMED)


def test_voice_live_is_on_a_price_list_of_its_own(book: RateBook) -> None:
    resolved = Naming(book).resolve(VOICE_LIVE, Named(requested="gpt-realtime", said="gpt-realtime"))
    assert (resolved.sku, resolved.reason) == (None, Reason.OTHER_PRICE_LIST)
    ordinary = Naming(book, {"gpt-realtime": Deployment(model="gpt-realtime")})
    refused = ordinary.resolve(VOICE_LIVE, Named(requested="gpt-realtime", said=None))
    assert (refused.sku, refused.reason) == (None, Reason.OTHER_PRICE_LIST)
    mapped = Naming(book, {"gpt-realtime": Deployment(model="voice-live-pro")})
    assert sku_of(mapped.resolve(VOICE_LIVE, Named(requested="gpt-realtime", said=None))).model == "voice-live-pro"


# --- transcription -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["whisper-1", "gpt-4o-transcribe", "gpt-realtime-whisper"])
def test_a_transcription_is_priced_at_a_model_that_transcribes(book: RateBook, name: str) -> None:
    named = Named(requested=name, said=name, transcription=True)
    assert sku_of(Naming(book).resolve(OPENAI, named)).model == name


@pytest.mark.parametrize("endpoint", [OPENAI, AZURE])
def test_a_transcription_is_never_priced_as_the_realtime_model(book: RateBook, endpoint: Endpoint) -> None:
    named = Named(requested="gpt-realtime", said="gpt-realtime", transcription=True)
    resolved = Naming(book).resolve(endpoint, named)
    assert (resolved.sku, resolved.reason) == (None, Reason.NOT_A_TRANSCRIPTION_MODEL)


def test_a_deployment_that_does_not_transcribe_prices_no_transcription(book: RateBook) -> None:
    naming = Naming(book, {"asr": Deployment(model="gpt-realtime")})
    resolved = naming.resolve(AZURE, Named(requested="asr", said="asr", transcription=True))
    assert resolved.reason is Reason.NOT_A_TRANSCRIPTION_MODEL


def test_a_transcription_deployment_is_resolved_by_the_users_map(book: RateBook) -> None:
    naming = Naming(book, {"asr": Deployment(model="whisper-1", scope=Scope.GLOBAL)})
    resolved = naming.resolve(AZURE, Named(requested="asr", said="asr", transcription=True))
    assert sku_of(resolved) == Sku(provider=Provider.AZURE, model="whisper", scope=Scope.GLOBAL)


def test_a_transcription_of_which_nobody_named_the_model_says_so(book: RateBook) -> None:
    named = Named(requested=None, said=None, transcription=True)
    for endpoint in (OPENAI, AZURE):
        assert Naming(book).resolve(endpoint, named).reason is Reason.MODEL_NOT_NAMED
