"""What the card of OpenAI says: every name, every price as money, every date, every doubt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from realtime_spend.core.line_items import Provider, Scope, Sku
from realtime_spend.core.rates import BEGINNING, Prices, RateBook, RateRow, Reason
from realtime_spend.rate_cards import built_in

CARD = built_in("openai.toml")
BOOK = RateBook([CARD])
NOW = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
ANY_SCOPE = (Scope.GLOBAL, Scope.RESIDENCY)

# What every case below has used, so that one line of printed rates says what each part of it costs.
USED_TOKENS = {
    "text.input": 1_200,
    "text.cached_input": 640,
    "text.output": 310,
    "audio.input": 2_110,
    "audio.cached_input": 832,
    "audio.output": 1_019,
    "image.input": 765,
    "image.cached_input": 128,
}
USED_SECONDS = 90


def mtok(price: str, tokens: int) -> Decimal:
    return Decimal(price) * tokens / 1_000_000


def minutes(price: str, seconds: int) -> Decimal:
    return Decimal(price) * seconds / 60


def tokens(*, text: str, audio: str, image: str = "- -") -> dict[str, Decimal]:
    """What USED_TOKENS cost at rates as printed: input, cached input, output, with a dash where there is none."""
    printed = {"text": text, "audio": audio, "image": image}
    return {
        f"{modality}.{component}": mtok(price, USED_TOKENS[f"{modality}.{component}"])
        for modality, rates in printed.items()
        for component, price in zip(("input", "cached_input", "output"), rates.split(), strict=False)
        if price != "-"
    }


@dataclass(frozen=True, kw_only=True)
class Case:
    model: str
    costs: dict[str, Decimal]
    version: str | None = None
    scopes: tuple[Scope, ...] = (Scope.GLOBAL,)
    at: datetime = NOW


CASES = [
    Case(
        model="gpt-realtime",
        version="2025-08-28",
        scopes=ANY_SCOPE,
        costs=tokens(text="4 0.4 16", audio="32 0.4 64", image="5 0.5"),
    ),
    Case(model="gpt-realtime", costs=tokens(text="4 0.4 16", audio="32 0.4 64", image="5 0.5")),
    Case(
        model="gpt-realtime-1.5",
        version="2026-02-23",
        scopes=ANY_SCOPE,
        costs=tokens(text="4 0.4 16", audio="32 0.4 64", image="5 0.5"),
    ),
    Case(model="gpt-realtime-2", costs=tokens(text="4 0.4 24", audio="32 0.4 64", image="5 0.5")),
    Case(model="gpt-realtime-2.1", costs=tokens(text="4 0.4 24", audio="32 0.4 64", image="5 0.5")),
    Case(
        model="gpt-realtime-2.1",
        scopes=(Scope.RESIDENCY,),
        costs=tokens(text="4.4 0.44 26.4", audio="35.2 0.44 70.4", image="5.5 0.55"),
    ),
    Case(model="gpt-realtime-2.1-mini", costs=tokens(text="0.6 0.06 2.4", audio="10 0.3 20", image="0.8 0.08")),
    Case(
        model="gpt-realtime-2.1-mini",
        scopes=(Scope.RESIDENCY,),
        costs=tokens(text="0.66 0.066 2.64", audio="11 0.33 22", image="0.88 0.088"),
    ),
    Case(
        model="gpt-realtime-mini",
        version="2025-10-06",
        scopes=ANY_SCOPE,
        costs=tokens(text="0.6 0.06 2.4", audio="10 0.3 20", image="0.8 0.08"),
    ),
    Case(
        model="gpt-realtime-mini",
        version="2025-12-15",
        costs=tokens(text="0.6 0.06 2.4", audio="10 0.3 20", image="0.8 0.08"),
    ),
    Case(
        model="gpt-4o-realtime-preview",
        version="2024-10-01",
        scopes=ANY_SCOPE,
        at=datetime(2024, 10, 15, tzinfo=UTC),
        costs=tokens(text="5 5 20", audio="100 100 200"),
    ),
    Case(
        model="gpt-4o-realtime-preview",
        version="2024-10-01",
        scopes=ANY_SCOPE,
        costs=tokens(text="5 2.5 20", audio="100 20 200"),
    ),
    Case(
        model="gpt-4o-realtime-preview",
        version="2024-12-17",
        scopes=ANY_SCOPE,
        costs=tokens(text="5 2.5 20", audio="40 2.5 80"),
    ),
    Case(
        model="gpt-4o-realtime-preview",
        version="2025-06-03",
        scopes=ANY_SCOPE,
        costs=tokens(text="5 2.5 20", audio="40 2.5 80"),
    ),
    Case(model="gpt-4o-realtime-preview", scopes=ANY_SCOPE, costs=tokens(text="5 2.5 20", audio="40 2.5 80")),
    Case(
        model="gpt-4o-mini-realtime-preview",
        version="2024-12-17",
        scopes=ANY_SCOPE,
        costs=tokens(text="0.6 0.3 2.4", audio="10 0.3 20"),
    ),
    Case(model="gpt-audio", scopes=ANY_SCOPE, costs=tokens(text="2.5 - 10", audio="32 - 64")),
    Case(model="gpt-audio-1.5", costs=tokens(text="2.5 - 10", audio="32 - 64")),
    Case(model="gpt-audio-mini", scopes=ANY_SCOPE, costs=tokens(text="0.6 - 2.4", audio="10 - 20")),
    Case(model="gpt-4o-transcribe", scopes=ANY_SCOPE, costs=tokens(text="2.5 - 10", audio="6 - -")),
    Case(model="gpt-4o-transcribe-diarize", scopes=ANY_SCOPE, costs=tokens(text="2.5 - 10", audio="6 - -")),
    Case(model="gpt-4o-mini-transcribe", scopes=ANY_SCOPE, costs=tokens(text="1.25 - 5", audio="3 - -")),
    Case(
        model="gpt-4o-mini-transcribe",
        version="2025-12-15",
        scopes=ANY_SCOPE,
        costs=tokens(text="1.25 - 5", audio="3 - -"),
    ),
    Case(model="whisper-1", scopes=ANY_SCOPE, costs={"audio.duration": minutes("0.006", USED_SECONDS)}),
    Case(model="gpt-transcribe", costs={"audio.duration": minutes("0.0045", USED_SECONDS)}),
    Case(model="gpt-realtime-whisper", costs={"audio.duration": minutes("0.017", USED_SECONDS)}),
    Case(model="gpt-live-transcribe", costs={"audio.duration": minutes("0.017", USED_SECONDS)}),
    Case(model="gpt-realtime-translate", costs={"audio.duration": minutes("0.034", USED_SECONDS)}),
    Case(model="gpt-live-1", costs={"audio.duration": minutes("0.05", USED_SECONDS)}),
    Case(model="gpt-live-1.1", costs={"audio.duration": minutes("0.05", USED_SECONDS)}),
]
SKUS = [
    pytest.param(case, scope, id=f"{case.model}-{case.version}-{scope}-{case.at:%Y%m%d}")
    for case in CASES
    for scope in case.scopes
]

# Every name that is listed, with the model and the version that it tells.
NAMES = {
    "gpt-realtime": ("gpt-realtime", None),
    "gpt-realtime-2025-08-28": ("gpt-realtime", "2025-08-28"),
    "gpt-realtime-1.5": ("gpt-realtime-1.5", None),
    "gpt-realtime-1.5-2026-02-23": ("gpt-realtime-1.5", "2026-02-23"),
    "gpt-realtime-2": ("gpt-realtime-2", None),
    "gpt-realtime-2.1": ("gpt-realtime-2.1", None),
    "gpt-realtime-2.1-mini": ("gpt-realtime-2.1-mini", None),
    "gpt-realtime-mini": ("gpt-realtime-mini", None),
    "gpt-realtime-mini-2025-10-06": ("gpt-realtime-mini", "2025-10-06"),
    "gpt-realtime-mini-2025-12-15": ("gpt-realtime-mini", "2025-12-15"),
    "gpt-4o-realtime-preview": ("gpt-4o-realtime-preview", None),
    "gpt-4o-realtime-preview-2024-10-01": ("gpt-4o-realtime-preview", "2024-10-01"),
    "gpt-4o-realtime-preview-2024-12-17": ("gpt-4o-realtime-preview", "2024-12-17"),
    "gpt-4o-realtime-preview-2025-06-03": ("gpt-4o-realtime-preview", "2025-06-03"),
    "gpt-4o-mini-realtime-preview": ("gpt-4o-mini-realtime-preview", None),
    "gpt-4o-mini-realtime-preview-2024-12-17": ("gpt-4o-mini-realtime-preview", "2024-12-17"),
    "gpt-audio": ("gpt-audio", None),
    "gpt-audio-2025-08-28": ("gpt-audio", "2025-08-28"),
    "gpt-audio-1.5": ("gpt-audio-1.5", None),
    "gpt-audio-mini": ("gpt-audio-mini", None),
    "gpt-audio-mini-2025-10-06": ("gpt-audio-mini", "2025-10-06"),
    "gpt-audio-mini-2025-12-15": ("gpt-audio-mini", "2025-12-15"),
    "gpt-4o-transcribe": ("gpt-4o-transcribe", None),
    "gpt-4o-transcribe-diarize": ("gpt-4o-transcribe-diarize", None),
    "gpt-4o-mini-transcribe": ("gpt-4o-mini-transcribe", None),
    "gpt-4o-mini-transcribe-2025-03-20": ("gpt-4o-mini-transcribe", "2025-03-20"),
    "gpt-4o-mini-transcribe-2025-12-15": ("gpt-4o-mini-transcribe", "2025-12-15"),
    "whisper-1": ("whisper-1", None),
    "gpt-transcribe": ("gpt-transcribe", None),
    "gpt-realtime-whisper": ("gpt-realtime-whisper", None),
    "gpt-live-transcribe": ("gpt-live-transcribe", None),
    "gpt-realtime-translate": ("gpt-realtime-translate", None),
    "gpt-live-1": ("gpt-live-1", None),
    "gpt-live-1.1": ("gpt-live-1.1", None),
}


def openai(model: str, version: str | None = None, scope: Scope | None = Scope.GLOBAL) -> Sku:
    return Sku(provider=Provider.OPENAI, model=model, version=version, scope=scope)


def costs(book: RateBook, sku: Sku, at: datetime) -> dict[str, Decimal] | Reason:
    prices = book.prices(sku, at)
    if isinstance(prices, Reason):
        return prices
    used = {**USED_TOKENS, "audio.duration": USED_SECONDS}
    return {str(part): rate.cost(Decimal(used[str(part)])) for part, rate in prices.rates.items()}


def prices_of(sku: Sku, at: datetime = NOW) -> Prices:
    prices = BOOK.prices(sku, at)
    assert isinstance(prices, Prices)
    return prices


def test_the_card_names_itself_by_its_date() -> None:
    assert (CARD.name, CARD.provider, CARD.currency) == ("openai@2026-11-19", Provider.OPENAI, "USD")


@pytest.mark.parametrize("row", CARD.rows, ids=lambda row: f"{row.model}-{row.starts:%Y%m%d}")
def test_every_row_says_where_its_price_is_printed_and_when_that_was_looked_at(row: RateRow) -> None:
    assert row.source.startswith("https://")
    assert date(2026, 11, 19) <= date.fromisoformat(row.checked) <= date(2026, 11, 22)


@pytest.mark.parametrize(("case", "scope"), SKUS)
def test_what_was_used_costs_what_the_printed_rates_come_to(case: Case, scope: Scope) -> None:
    assert costs(BOOK, openai(case.model, case.version, scope), case.at) == case.costs


def test_every_row_and_every_scope_of_it_is_priced_by_a_case_above() -> None:
    for index, row in enumerate(CARD.rows):
        for scope in row.scopes:
            rows = list(CARD.rows)
            rows[index] = replace(row, scopes=row.scopes - {scope})
            book = RateBook([replace(CARD, rows=tuple(rows))])
            assert any(
                costs(book, openai(case.model, case.version, each), case.at) != case.costs
                for case in CASES
                for each in case.scopes
            ), f"no case would notice that {row.model} of {row.starts:%Y-%m-%d} lost {scope}"


def test_the_names_that_are_listed_are_these_and_no_others() -> None:
    assert {name: (listed.model, listed.version) for name, listed in CARD.names.items()} == NAMES


@pytest.mark.parametrize(("name", "told"), NAMES.items())
def test_a_listed_name_resolves_to_its_model_and_version(name: str, told: tuple[str, str | None]) -> None:
    listed = BOOK.listed(Provider.OPENAI, name)
    assert listed is not None
    assert (listed.model, listed.version) == told
    assert isinstance(BOOK.prices(openai(listed.model, listed.version), NOW), Prices)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "gpt-4o-realtime",
        "gpt-4o-realtime-preview-2024",
        "gpt-4o-realtime-preview-2024-10-02",
        "gpt-realtime-2025-08-28 ",
        "gpt-realtime-2.1-2026-06-25",
        "gpt-realtime-3",
        "GPT-realtime",
        "gpt-live-1.1-mini",
        "gpt-audio-1.5-mini",
        "whisper",
        "gpt-4o",
    ],
)
def test_a_name_that_is_not_listed_resolves_to_nothing_however_much_it_resembles_one(name: str) -> None:
    assert BOOK.listed(Provider.OPENAI, name) is None


def test_the_names_of_openai_say_nothing_of_azure() -> None:
    assert BOOK.listed(Provider.AZURE, "gpt-realtime") is None


@pytest.mark.parametrize(
    ("kind", "models"),
    [
        (
            "realtime",
            {
                "gpt-realtime",
                "gpt-realtime-1.5",
                "gpt-realtime-2",
                "gpt-realtime-2.1",
                "gpt-realtime-2.1-mini",
                "gpt-realtime-mini",
                "gpt-4o-realtime-preview",
                "gpt-4o-mini-realtime-preview",
            },
        ),
        (
            "transcription",
            {
                "gpt-4o-transcribe",
                "gpt-4o-transcribe-diarize",
                "gpt-4o-mini-transcribe",
                "whisper-1",
                "gpt-transcribe",
                "gpt-realtime-whisper",
                "gpt-live-transcribe",
            },
        ),
        ("translation", {"gpt-realtime-translate"}),
        ("live", {"gpt-live-1", "gpt-live-1.1"}),
        ("chat", {"gpt-audio", "gpt-audio-1.5", "gpt-audio-mini"}),
    ],
)
def test_a_model_is_of_the_kind_that_its_usage_is(kind: str, models: set[str]) -> None:
    assert {listed.model for listed in CARD.names.values() if listed.kind == kind} == models


@pytest.mark.parametrize(
    ("model", "version", "first"),
    [
        ("gpt-realtime", "2025-08-28", date(2025, 8, 28)),
        ("gpt-realtime-1.5", "2026-02-23", date(2026, 2, 23)),
        ("gpt-realtime-2", None, date(2026, 5, 7)),
        ("gpt-realtime-mini", "2025-10-06", date(2025, 10, 6)),
        ("gpt-4o-realtime-preview", "2024-10-01", date(2024, 10, 1)),
        ("gpt-4o-realtime-preview", "2024-12-17", date(2024, 12, 17)),
        ("gpt-4o-mini-realtime-preview", "2024-12-17", date(2024, 12, 17)),
        ("gpt-4o-transcribe", None, date(2025, 3, 20)),
        ("gpt-4o-mini-transcribe", "2025-03-20", date(2025, 3, 20)),
        ("gpt-realtime-whisper", None, date(2026, 5, 7)),
        ("gpt-live-transcribe", None, date(2026, 7, 28)),
        ("gpt-realtime-translate", None, date(2026, 5, 7)),
        ("gpt-live-1", None, date(2026, 9, 10)),
        ("gpt-live-1.1", None, date(2026, 11, 20)),
    ],
)
def test_a_rate_holds_from_its_first_instant_and_not_a_microsecond_before(
    model: str, version: str | None, first: date
) -> None:
    instant = datetime(first.year, first.month, first.day, tzinfo=UTC)
    assert isinstance(BOOK.prices(openai(model, version), instant), Prices)
    assert BOOK.prices(openai(model, version), instant - timedelta(microseconds=1)) is Reason.NO_RATE


def test_a_first_day_that_nobody_printed_is_left_out_and_the_note_says_so() -> None:
    undated = {row.model: row.note for row in CARD.rows if row.starts == BEGINNING and row.scopes != {Scope.RESIDENCY}}
    assert set(undated) == {
        "gpt-realtime-2.1",
        "gpt-realtime-2.1-mini",
        "gpt-audio",
        "gpt-audio-1.5",
        "gpt-audio-mini",
        "gpt-4o-transcribe-diarize",
        "whisper-1",
        "gpt-transcribe",
    }
    assert all("known" in note for note in undated.values())


def test_cached_tokens_of_the_first_preview_cost_the_full_rate_until_cached_rates_began() -> None:
    first = openai("gpt-4o-realtime-preview", "2024-10-01")
    change = datetime(2024, 10, 30, tzinfo=UTC)
    before = costs(BOOK, first, change - timedelta(microseconds=1))
    after = costs(BOOK, first, change)
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    assert before["audio.cached_input"] == mtok("100", 832)
    assert after["audio.cached_input"] == mtok("20", 832)
    assert before["text.cached_input"] == mtok("5", 640)
    assert after["text.cached_input"] == mtok("2.5", 640)


def test_the_bare_preview_name_costs_what_the_snapshot_behind_it_did_on_the_day() -> None:
    alias = openai("gpt-4o-realtime-preview")
    successor = datetime(2024, 12, 17, tzinfo=UTC)
    assert costs(BOOK, alias, successor - timedelta(microseconds=1)) == tokens(text="5 2.5 20", audio="100 20 200")
    assert costs(BOOK, alias, successor) == tokens(text="5 2.5 20", audio="40 2.5 80")


def test_the_session_that_was_billed_at_half_of_what_its_owner_had_calculated() -> None:
    rates = {str(part): rate for part, rate in prices_of(openai("gpt-4o-mini-realtime-preview")).rates.items()}
    quantities = {
        "text.input": 5_378 - 5_376,
        "text.cached_input": 5_376,
        "text.output": 250,
        "audio.input": 2_845 - 2_816,
        "audio.cached_input": 2_816,
        "audio.output": 1_019,
    }
    right = sum(rates[part].cost(Decimal(quantity)) for part, quantity in quantities.items())
    cached = mtok("0.3", 5_376) + mtok("0.3", 2_816)
    fresh = mtok("0.6", 2) + mtok("10", 29) + mtok("2.4", 250) + mtok("20", 1_019)
    assert right == cached + fresh == Decimal("0.0237288")


@pytest.mark.parametrize(
    ("model", "used", "other"),
    [
        ("gpt-4o-transcribe", "6", "2.5"),
        ("gpt-4o-transcribe-diarize", "6", "2.5"),
        ("gpt-4o-mini-transcribe", "3", "1.25"),
    ],
)
def test_audio_input_of_the_transcription_models_is_marked_as_contested(model: str, used: str, other: str) -> None:
    (contest,) = prices_of(openai(model)).contests
    assert (str(contest.part), contest.used, contest.others) == ("audio.input", Decimal(used), (Decimal(other),))
    assert contest.why


@pytest.mark.parametrize("model", ["gpt-realtime-2.1", "gpt-realtime-2.1-mini"])
def test_the_residency_uplift_is_a_tenth_of_every_global_rate_and_all_of_it_is_contested(model: str) -> None:
    everywhere = prices_of(openai(model))
    resident = prices_of(openai(model, scope=Scope.RESIDENCY))
    assert not everywhere.contests
    assert {part: rate.unit_price for part, rate in resident.rates.items()} == {
        part: rate.unit_price * Decimal("1.1") for part, rate in everywhere.rates.items()
    }
    assert {contest.part: contest.others for contest in resident.contests} == {
        part: (rate.unit_price,) for part, rate in everywhere.rates.items()
    }


@pytest.mark.parametrize(
    "model",
    [
        "gpt-realtime-2",
        "gpt-audio-1.5",
        "gpt-transcribe",
        "gpt-realtime-whisper",
        "gpt-live-transcribe",
        "gpt-realtime-translate",
        "gpt-live-1",
        "gpt-live-1.1",
    ],
)
def test_residency_has_no_rate_where_nobody_says_whether_the_uplift_applies(model: str) -> None:
    assert BOOK.prices(openai(model, scope=Scope.RESIDENCY), NOW) is Reason.NO_RATE


def test_nothing_but_the_transcription_models_and_the_uplift_is_contested() -> None:
    contested = {row.model for row in CARD.rows if row.contests}
    assert contested == {
        "gpt-4o-transcribe",
        "gpt-4o-transcribe-diarize",
        "gpt-4o-mini-transcribe",
        "gpt-realtime-2.1",
        "gpt-realtime-2.1-mini",
    }


def test_a_scope_that_nobody_configured_is_priced_as_global() -> None:
    assert prices_of(openai("gpt-realtime", scope=None)) == prices_of(openai("gpt-realtime"))


def test_a_provisioned_scope_is_not_priced_by_the_token() -> None:
    assert BOOK.prices(openai("gpt-realtime", scope=Scope.PROVISIONED), NOW) is Reason.NOT_PRICED_BY_TOKEN


def test_the_price_of_standby_is_told_beside_the_active_rate_of_gpt_live() -> None:
    (row,) = (row for row in CARD.rows if row.model == "gpt-live-1.1")
    assert "0.02" in row.note
