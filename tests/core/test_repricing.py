from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from realtime_spend.core.card_format import parse_card
from realtime_spend.core.line_items import Scope
from realtime_spend.core.naming import Deployment
from realtime_spend.core.rates import RateBook, Reason
from realtime_spend.core.repricing import Repricer
from realtime_spend.core.usage import Reported

if TYPE_CHECKING:
    from collections.abc import Callable

_RAW = {
    "total_tokens": 1_500,
    "input_tokens": 1_000,
    "output_tokens": 500,
    "input_token_details": {"text_tokens": 1_000, "audio_tokens": 0},
    "output_token_details": {"text_tokens": 0, "audio_tokens": 500},
}
_CHANGE = datetime(2026, 12, 1, 12, 0, 0, 500_000, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, kw_only=True)
class Record:
    """A record of OpenAI's gpt-realtime as the ledger has it."""

    at: datetime = datetime(2026, 11, 18, 10, tzinfo=UTC)
    kind: str = "response"
    provider: str = "openai"
    server: str = "api.openai.com"
    service: str | None = None
    requested_model: str | None = "gpt-realtime"
    model: str | None = "gpt-realtime"
    version: str | None = None
    scope: str | None = "global"
    region: str | None = None
    rate_card: str | None = "openai@2026-11-19"
    reported: Reported = Reported.REPORTED
    raw: Any = None


_OPENAI = Record(raw=_RAW)
_AZURE = Record(
    raw=_RAW,
    provider="azure.ai.openai",
    server="contoso.openai.azure.com",
    requested_model="voice-prod",
    model="gpt-realtime",
    version="2025-08-28",
    scope="datazone",
    rate_card="azure@2026-10-09",
)
# Nobody knew its model when it was recorded: its name is what the service said, here the deployment's.
_UNNAMED = replace(_AZURE, model="voice-prod", version=None, scope=None, rate_card=None)


def _own(**changes: Any) -> dict[str, Any]:
    return {
        "format": 1,
        "provider": "openai",
        "name": "own",
        "date": date(2026, 11, 1),
        "currency": "USD",
        **changes,
    }


@pytest.fixture
def with_own(book: RateBook) -> Callable[..., RateBook]:
    return lambda **changes: RateBook([parse_card(_own(**changes)), *book.cards])


def _priced(repricer: Repricer, record: Record) -> tuple[Any, ...]:
    repriced = repricer.reprice(record)
    assert repriced is not None
    sku = repriced.resolved.sku
    return sku and (sku.model, sku.version, sku.scope, sku.region), repriced.priced.cost, repriced.priced.reasons


def _cost(text_input: str, audio_output: str, mtok: Callable[[str, int], Decimal]) -> Decimal:
    return mtok(text_input, 1_000) + mtok(audio_output, 500)


def test_a_usage_is_priced_from_its_own_numbers(book: RateBook, mtok: Callable[[str, int], Decimal]) -> None:
    assert _priced(Repricer(book), _OPENAI) == (
        ("gpt-realtime", None, Scope.GLOBAL, None),
        _cost("4", "64", mtok),
        (),
    )


@pytest.mark.parametrize(
    ("at", "text_input"),
    [
        (_CHANGE - _MICROSECOND, "4"),
        (_CHANGE, "5"),
        (_CHANGE + _MICROSECOND, "5"),
        (datetime(2026, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), "5"),
        (datetime(2027, 1, 1, tzinfo=UTC), "6"),
    ],
    ids=str,
)
def test_the_rate_is_that_of_the_very_instant(
    at: datetime, text_input: str, with_own: Callable[..., RateBook], mtok: Callable[[str, int], Decimal]
) -> None:
    rates = [
        {"model": "gpt-realtime", "from": _CHANGE, "text": {"input": "5"}},
        {"model": "gpt-realtime", "from": date(2027, 1, 1), "text": {"input": "6"}},
    ]
    repricer = Repricer(with_own(rate=rates))
    assert _priced(repricer, replace(_OPENAI, at=at))[1] == _cost(text_input, "64", mtok)


def test_a_model_that_no_card_listed_gets_the_price_of_one_that_does(with_own: Callable[..., RateBook]) -> None:
    record = replace(_OPENAI, model="gpt-next", requested_model="gpt-next", rate_card=None)
    own = with_own(
        model=[{"model": "gpt-next", "kind": "realtime"}],
        rate=[{"model": "gpt-next", "text": {"input": "1"}, "audio": {"output": "2"}}],
    )
    assert _priced(Repricer(own), record)[1] == Decimal("0.001") + Decimal("0.001")
    assert _priced(Repricer(RateBook(own.cards[1:])), record) == (None, None, (Reason.MODEL_NOT_LISTED,))


def test_a_sku_whose_rate_is_gone_has_no_price_and_keeps_its_name(book: RateBook) -> None:
    record = replace(_OPENAI, at=datetime(2020, 1, 1, tzinfo=UTC))
    assert _priced(Repricer(book), record) == (
        ("gpt-realtime", None, Scope.GLOBAL, None),
        None,
        (Reason.NO_RATE,),
    )


def test_without_a_map_a_deployment_keeps_the_sku_it_was_priced_by(
    book: RateBook, mtok: Callable[[str, int], Decimal]
) -> None:
    sku, cost, _ = _priced(Repricer(book), _AZURE)
    assert sku == ("gpt-realtime", "2025-08-28", Scope.DATAZONE, None)
    assert cost == _cost("4.4", "70.4", mtok)


def test_a_map_names_the_model_of_a_deployment_that_had_none(
    book: RateBook, mtok: Callable[[str, int], Decimal]
) -> None:
    said = {"voice-prod": Deployment(model="gpt-realtime-mini-2025-12-15", scope=Scope.GLOBAL)}
    assert _priced(Repricer(book), _UNNAMED) == (None, None, (Reason.MODEL_NOT_NAMED,))
    sku, cost, _ = _priced(Repricer(book, said), _UNNAMED)
    assert sku == ("gpt-realtime-mini", "2025-12-15", Scope.GLOBAL, None)
    assert cost is not None
    assert cost < _cost("4", "64", mtok)


@pytest.mark.parametrize(
    ("deployment", "sku"),
    [
        (
            Deployment(scope=Scope.REGIONAL, region="northeurope"),
            ("gpt-realtime", "2025-08-28", Scope.REGIONAL, "northeurope"),
        ),
        (Deployment(model="gpt-realtime"), ("gpt-realtime", "2025-08-28", Scope.DATAZONE, None)),
        (
            Deployment(model="gpt-realtime-mini", version="2025-10-06"),
            ("gpt-realtime-mini", "2025-10-06", Scope.DATAZONE, None),
        ),
        (Deployment(model="gpt-realtime-mini"), ("gpt-realtime-mini", None, Scope.DATAZONE, None)),
        (Deployment(version="2026-01-01"), ("gpt-realtime", "2026-01-01", Scope.DATAZONE, None)),
        (Deployment(), ("gpt-realtime", "2025-08-28", Scope.DATAZONE, None)),
    ],
)
def test_a_map_changes_what_it_says_and_the_record_tells_the_rest(
    deployment: Deployment, sku: tuple[Any, ...], book: RateBook
) -> None:
    assert _priced(Repricer(book, {"voice-prod": deployment}), _AZURE)[0] == sku


_SAID = replace(_AZURE, version=None, scope=None, requested_model="chat1")


@pytest.mark.parametrize(
    ("record", "name"),
    [(_SAID, "gpt-realtime"), (replace(_SAID, version="2025-08-28"), "gpt-realtime-2025-08-28")],
    ids=["the model", "its snapshot"],
)
def test_a_map_may_name_a_deployment_as_the_session_said_it(record: Record, name: str, book: RateBook) -> None:
    said = {name: Deployment(scope=Scope.DATAZONE)}
    sku = _priced(Repricer(book, said), record)[0]
    assert sku == ("gpt-realtime", record.version, Scope.DATAZONE, None)
    # As it goes live, the name in the URL comes before it.
    said["chat1"] = Deployment(scope=Scope.REGIONAL, region="northeurope")
    assert _priced(Repricer(book, said), record)[0][2:] == (Scope.REGIONAL, "northeurope")


_MAP = {"voice": Deployment(model="gpt-realtime", scope=Scope.REGIONAL, region="northeurope")}
_BOTH = {**_MAP, "gpt-realtime": Deployment(scope=Scope.DATAZONE)}


@pytest.mark.parametrize(
    ("record", "said", "doubtful"),
    [
        # By this very map it was said to be `voice`, or another map knew it.
        (replace(_SAID, scope="regional", region="northeurope"), _BOTH, {"gpt-realtime"}),
        (_SAID, _MAP, {"voice"}),
        (replace(_SAID, requested_model="voice"), _MAP, set()),
        # The session said the snapshot, or a map did.
        (_AZURE, {"gpt-realtime": Deployment(scope=Scope.GLOBAL)}, {"gpt-realtime"}),
        (_SAID, {"gpt-realtime-mini": Deployment(scope=Scope.DATAZONE)}, set()),
        (_OPENAI, _MAP, set()),
        (_UNNAMED, _MAP, set()),
        (_SAID, {}, set()),
    ],
)
def test_a_name_that_the_session_may_have_said_is_doubtful_and_changes_nothing(
    record: Record, said: dict[str, Deployment], doubtful: set[str], book: RateBook
) -> None:
    repriced = Repricer(book, said).reprice(record)
    assert repriced is not None
    assert repriced.doubtful == doubtful
    if doubtful:
        assert _priced(Repricer(book, said), record) == _priced(Repricer(book), record)


def test_one_of_several_names_of_a_model_is_doubtful(with_own: Callable[..., RateBook]) -> None:
    own = with_own(
        provider="azure.ai.openai",
        model=[{"model": "gpt-realtime", "kind": "realtime", "names": {"gpt-realtime": "", "our-alias": ""}}],
    )
    repriced = Repricer(own, {"our-alias": Deployment(scope=Scope.DATAZONE)}).reprice(_SAID)
    assert repriced is not None
    assert repriced.doubtful == {"our-alias"}
    assert repriced.resolved.scope is None


def test_a_region_goes_with_the_scope_that_is_said_with_it(book: RateBook) -> None:
    regional = replace(_AZURE, scope="regional", region="northeurope")
    for deployment, region in (
        (Deployment(scope=Scope.DATAZONE), None),
        (Deployment(region="swedencentral"), "swedencentral"),
        (Deployment(version="2025-08-28"), "northeurope"),
    ):
        assert _priced(Repricer(book, {"voice-prod": deployment}), regional)[0][3] == region


@pytest.mark.parametrize(
    ("service", "requested", "reasons"),
    [
        # What Voice Live calls a model is billed on its own tiers; a record that does not say could be of either.
        ("voice_live", "gpt-realtime", (Reason.OTHER_PRICE_LIST,)),
        ("voice_live", "voice-prod", (Reason.OTHER_PRICE_LIST,)),
        (None, "voice-prod", (Reason.MODEL_NOT_NAMED,)),
        # The deployment is called as a model, which proves nothing.
        ("realtime", "gpt-realtime-2025-08-28", (Reason.MODEL_NOT_NAMED,)),
        # The session said the model itself.
        ("realtime", "voice-prod", ()),
    ],
)
def test_on_azure_a_name_is_believed_only_where_the_session_said_it(
    service: str | None, requested: str, reasons: tuple[Reason, ...], book: RateBook
) -> None:
    record = replace(_UNNAMED, service=service, requested_model=requested, model="gpt-realtime-2025-08-28")
    assert _priced(Repricer(book), record)[2] == reasons


def test_a_map_does_not_carry_voice_live_onto_the_meters_of_a_model(book: RateBook) -> None:
    said = {"voice-prod": Deployment(model="gpt-realtime")}
    assert _priced(Repricer(book, said), replace(_UNNAMED, service="voice_live"))[2] == (Reason.OTHER_PRICE_LIST,)


def test_a_transcription_is_read_and_named_as_one(book: RateBook, mtok: Callable[[str, int], Decimal]) -> None:
    raw = {"type": "tokens", "input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    raw |= {"input_token_details": {"text_tokens": 0, "audio_tokens": 10}}
    record = replace(_OPENAI, kind="transcription", requested_model="gpt-4o-transcribe", model="gpt-4o-transcribe")
    sku, cost, _ = _priced(Repricer(book), replace(record, raw=raw))
    assert sku[0] == "gpt-4o-transcribe"
    assert cost == mtok("6", 10) + mtok("10", 5)
    said = {"gpt-4o-transcribe": Deployment(model="gpt-realtime")}
    assert _priced(Repricer(book, said), replace(record, raw=raw))[2] == (Reason.NOT_A_TRANSCRIPTION_MODEL,)


def test_seconds_are_priced_by_time(book: RateBook, minutes: Callable[[str, str], Decimal]) -> None:
    record = replace(_OPENAI, kind="transcription", requested_model="whisper-1", model="whisper-1")
    assert _priced(Repricer(book), replace(record, raw={"type": "duration", "seconds": 9.3}))[1] == minutes(
        "0.006", "9.3"
    )


@pytest.mark.parametrize("reported", [Reported.MISSING, Reported.LOST])
def test_usage_that_nobody_knows_stays_unknown(reported: Reported, book: RateBook) -> None:
    repriced = Repricer(book).reprice(replace(_OPENAI, reported=reported))
    assert repriced is not None
    assert (repriced.priced.items, repriced.priced.cost, repriced.priced.card) == ((), None, "openai@2026-11-19")


@pytest.mark.parametrize(
    "changes",
    [
        {"raw": None},
        {"raw": {}},
        {"raw": [1]},
        {"raw": {"seconds": 0}},
        {"raw": {"total_tokens": 7}},
        {"kind": "live"},
        {"kind": "telepathy"},
        {"provider": "another"},
        {"scope": "galactic"},
        {"service": "another"},
    ],
    ids=str,
)
def test_a_record_that_does_not_hold_what_it_takes_is_left_alone(changes: dict[str, Any], book: RateBook) -> None:
    assert Repricer(book).reprice(replace(_OPENAI, **changes)) is None


def test_a_record_without_any_name_has_no_price(book: RateBook) -> None:
    for rate_card in (None, "openai@2026-11-19"):
        record = replace(_OPENAI, model=None, requested_model=None, rate_card=rate_card)
        assert _priced(Repricer(book), record) == (None, None, (Reason.MODEL_NOT_NAMED,))
