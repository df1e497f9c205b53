"""What the card of Azure OpenAI says: every name, every price as money for each scope and region, every date."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from realtime_spend.core.line_items import Provider, Scope, Sku
from realtime_spend.core.rates import Prices, RateBook, RateRow, Reason
from realtime_spend.rate_cards import built_in

CARD = built_in("azure.toml")
BOOK = RateBook([CARD])
NOW = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)

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


@dataclass(frozen=True)
class Place:
    scope: Scope
    regions: tuple[str | None, ...] = (None,)


GLOBAL = Place(Scope.GLOBAL)
DATAZONE = Place(Scope.DATAZONE)
US = Place(Scope.REGIONAL, ("eastus", "eastus2", "northcentralus", "southcentralus", "westus", "westus3"))
SWEDEN = Place(Scope.REGIONAL, ("swedencentral",))
IRELAND = Place(Scope.REGIONAL, ("northeurope",))
# Whisper is sold in other regions than the rest, in three steps of price.
WHISPER_LOW = Place(Scope.REGIONAL, ("eastus2", "northcentralus", "westus2", "southindia"))
WHISPER_MIDDLE = Place(Scope.REGIONAL, ("swedencentral", "norwayeast", "switzerlandnorth", "uaenorth"))
WHISPER_HIGH = Place(Scope.REGIONAL, ("northeurope", "westeurope"))
WHISPER_ANYWHERE = Place(Scope.REGIONAL, WHISPER_LOW.regions + WHISPER_MIDDLE.regions + WHISPER_HIGH.regions)


def mtok(price: str, tokens: int) -> Decimal:
    return Decimal(price) * tokens / 1_000_000


def tokens(*, text: str, audio: str, image: str = "- -") -> dict[str, Decimal]:
    """What USED_TOKENS cost at rates as printed: input, cached input, output, with a dash where there is none."""
    printed = {"text": text, "audio": audio, "image": image}
    return {
        f"{modality}.{component}": mtok(price, USED_TOKENS[f"{modality}.{component}"])
        for modality, rates in printed.items()
        for component, price in zip(("input", "cached_input", "output"), rates.split(), strict=False)
        if price != "-"
    }


def hours(price: str) -> dict[str, Decimal]:
    return {"audio.duration": Decimal(price) * USED_SECONDS / 3_600}


@dataclass(frozen=True)
class Case:
    model: str
    version: str | None
    place: Place
    costs: dict[str, Decimal]
    at: datetime = NOW


OCTOBER_2024 = datetime(2024, 10, 15, tzinfo=UTC)

CASES = [
    Case("gpt-realtime", "2025-08-28", GLOBAL, tokens(text="4 0.4 16", audio="32 0.4 64", image="5 0.5")),
    Case(
        "gpt-realtime", "2025-08-28", DATAZONE, tokens(text="4.4 0.44 17.6", audio="35.2 0.44 70.4", image="5.5 0.55")
    ),
    Case(
        "gpt-realtime",
        "2025-08-28",
        IRELAND,
        tokens(text="5.28 0.528 21.12", audio="42.24 0.528 84.48", image="6.6 0.66"),
    ),
    Case("gpt-realtime-1.5", "2026-02-23", GLOBAL, tokens(text="4 0.4 16", audio="32 0.4 64", image="5 0.5")),
    Case(
        "gpt-realtime-1.5",
        "2026-02-23",
        DATAZONE,
        tokens(text="4.4 0.44 17.6", audio="35.2 0.44 70.4", image="5.5 0.55"),
    ),
    Case("gpt-realtime-2", None, GLOBAL, tokens(text="4 0.4 24", audio="32 0.4 64", image="5 0.5")),
    Case("gpt-realtime-2.1", None, GLOBAL, tokens(text="4 0.4 24", audio="32 0.4 64", image="5 0.5")),
    Case("gpt-realtime-2.1", None, DATAZONE, tokens(text="4.4 0.44 26.4", audio="35.2 0.44 70.4", image="5.5 0.55")),
    Case("gpt-realtime-2.1-mini", None, GLOBAL, tokens(text="0.6 0.06 2.4", audio="10 0.3 20", image="0.8 0.08")),
    Case(
        "gpt-realtime-2.1-mini", None, DATAZONE, tokens(text="0.66 0.066 2.64", audio="11 0.33 22", image="0.88 0.088")
    ),
    Case("gpt-realtime-mini", "2025-10-06", GLOBAL, tokens(text="0.6 0.06 2.4", audio="10 0.3 20", image="0.8 0.08")),
    Case(
        "gpt-realtime-mini",
        "2025-10-06",
        DATAZONE,
        tokens(text="0.66 0.066 2.64", audio="11 0.33 22", image="0.88 0.088"),
    ),
    Case(
        "gpt-realtime-mini",
        "2025-10-06",
        IRELAND,
        tokens(text="0.792 0.08 3.168", audio="13.2 0.396 26.4", image="1.056 0.106"),
    ),
    Case("gpt-realtime-mini", "2025-12-15", GLOBAL, tokens(text="0.6 0.06 2.4", audio="10 0.3 20", image="0.8 0.08")),
    Case(
        "gpt-realtime-mini",
        "2025-12-15",
        DATAZONE,
        tokens(text="0.66 0.066 2.64", audio="11 0.33 22", image="0.88 0.088"),
    ),
    Case(
        "gpt-realtime-mini",
        "2025-12-15",
        IRELAND,
        tokens(text="0.792 0.0792 3.168", audio="13.2 0.396 26.4", image="1.056 0.1056"),
    ),
    Case("gpt-4o-realtime-preview", "2024-10-01", GLOBAL, tokens(text="5 2.5 20", audio="100 20 200")),
    Case("gpt-4o-realtime-preview", "2024-10-01", DATAZONE, tokens(text="5.5 2.75 22", audio="110 22 220")),
    Case("gpt-4o-realtime-preview", "2024-10-01", US, tokens(text="5.5 2.75 22", audio="110 22 220")),
    Case("gpt-4o-realtime-preview", "2024-10-01", SWEDEN, tokens(text="6.05 3.025 24.2", audio="121 24.2 242")),
    Case("gpt-4o-realtime-preview", "2024-10-01", IRELAND, tokens(text="6.6 3.3 26.4", audio="132 26.4 264")),
    Case("gpt-4o-realtime-preview", "2024-12-17", GLOBAL, tokens(text="5 2.5 20", audio="40 2.5 80")),
    Case("gpt-4o-realtime-preview", "2024-12-17", DATAZONE, tokens(text="5.5 2.75 22", audio="44 2.75 88")),
    Case("gpt-4o-realtime-preview", "2024-12-17", US, tokens(text="5.5 2.75 22", audio="44 2.75 88")),
    Case("gpt-4o-realtime-preview", "2024-12-17", SWEDEN, tokens(text="6.05 3.025 24.2", audio="48.4 3.025 96.8")),
    Case("gpt-4o-realtime-preview", "2024-12-17", IRELAND, tokens(text="- 3.3 -", audio="- 3.3 -")),
    Case("gpt-4o-realtime-preview", "2025-06-03", GLOBAL, tokens(text="5 2.5 20", audio="40 2.5 80")),
    Case("gpt-4o-realtime-preview", "2025-06-03", DATAZONE, tokens(text="5.5 2.75 22", audio="44 2.75 88")),
    Case("gpt-4o-realtime-preview", "2025-06-03", US, tokens(text="5.5 2.75 22", audio="44 2.75 88")),
    Case("gpt-4o-realtime-preview", "2025-06-03", SWEDEN, tokens(text="6.05 3.025 24.2", audio="48.4 3.025 96.8")),
    Case("gpt-4o-realtime-preview", "2025-06-03", IRELAND, tokens(text="- 3.3 -", audio="- 3.3 -")),
    Case("gpt-4o-mini-realtime-preview", "2024-12-17", GLOBAL, tokens(text="0.6 0.3 2.4", audio="10 0.3 20")),
    Case("gpt-4o-mini-realtime-preview", "2024-12-17", DATAZONE, tokens(text="0.66 0.33 2.64", audio="11 0.33 22")),
    Case("gpt-4o-mini-realtime-preview", "2024-12-17", US, tokens(text="0.66 0.33 2.64", audio="11 0.33 22")),
    Case(
        "gpt-4o-mini-realtime-preview", "2024-12-17", SWEDEN, tokens(text="0.726 0.363 2.904", audio="12.1 0.363 24.2")
    ),
    Case("gpt-4o-mini-realtime-preview", "2024-12-17", IRELAND, tokens(text="- 0.396 -", audio="- 0.396 -")),
    Case("gpt-4o-transcribe", None, GLOBAL, tokens(text="2.5 - 10", audio="6 - -")),
    Case("gpt-4o-transcribe", None, DATAZONE, tokens(text="2.75 - 11", audio="6.6 - -")),
    Case("gpt-4o-transcribe", None, US, tokens(text="2.75 - 11", audio="6.6 - -")),
    Case("gpt-4o-transcribe", None, SWEDEN, tokens(text="3.025 - 12.1", audio="7.26 - -")),
    Case("gpt-4o-transcribe", None, IRELAND, tokens(text="3.3 - 13.2", audio="7.92 - -")),
    Case("gpt-4o-transcribe-diarize", None, GLOBAL, tokens(text="2.5 - 10", audio="6 - -")),
    Case("gpt-4o-transcribe-diarize", None, DATAZONE, tokens(text="2.75 - 11", audio="6.6 - -")),
    Case("gpt-4o-transcribe-diarize", None, IRELAND, tokens(text="3.3 - 13.2", audio="7.92 - -")),
    Case("gpt-4o-mini-transcribe", "2025-03-20", GLOBAL, tokens(text="1.25 - 5", audio="3 - -")),
    Case("gpt-4o-mini-transcribe", "2025-03-20", DATAZONE, tokens(text="1.375 - 5.5", audio="3.3 - -")),
    Case("gpt-4o-mini-transcribe", "2025-03-20", US, tokens(text="1.375 - 5.5", audio="3.3 - -")),
    Case("gpt-4o-mini-transcribe", "2025-03-20", SWEDEN, tokens(text="1.513 - 6.05", audio="3.63 - -")),
    Case("gpt-4o-mini-transcribe", "2025-03-20", IRELAND, tokens(text="1.65 - 6.6", audio="3.96 - -")),
    Case("gpt-4o-mini-transcribe", "2025-12-15", GLOBAL, tokens(text="1.25 - 5", audio="3 - -")),
    Case("gpt-4o-mini-transcribe", "2025-12-15", DATAZONE, tokens(text="1.375 - 5.5", audio="3.3 - -")),
    Case("gpt-4o-mini-transcribe", "2025-12-15", IRELAND, tokens(text="1.65 - 6.6", audio="3.96 - -")),
    # Cached tokens had no meter yet.
    Case("gpt-4o-realtime-preview", "2024-10-01", GLOBAL, tokens(text="5 - 20", audio="100 - 200"), OCTOBER_2024),
    Case("gpt-4o-realtime-preview", "2024-10-01", DATAZONE, tokens(text="5.5 - 22", audio="110 - 220"), OCTOBER_2024),
    Case("gpt-4o-realtime-preview", "2024-10-01", US, tokens(text="5.5 - 22", audio="110 - 220"), OCTOBER_2024),
    Case("gpt-4o-realtime-preview", "2024-10-01", SWEDEN, tokens(text="6.05 - 24.2", audio="121 - 242"), OCTOBER_2024),
    Case("gpt-4o-realtime-preview", "2024-10-01", IRELAND, tokens(text="6.6 - 26.4", audio="132 - 264"), OCTOBER_2024),
    Case("whisper", None, GLOBAL, hours("0.36")),
    Case("whisper", None, WHISPER_LOW, hours("0.396")),
    Case("whisper", None, WHISPER_MIDDLE, hours("0.4356")),
    Case("whisper", None, WHISPER_HIGH, hours("0.4752")),
    Case("whisper", None, WHISPER_ANYWHERE, hours("0.36"), datetime(2025, 11, 30, tzinfo=UTC)),
    Case("gpt-realtime-whisper", None, GLOBAL, hours("1.02")),
    Case("gpt-realtime-translate", None, GLOBAL, hours("2.04")),
    # A bare name is priced where every version that it may mean costs the same.
    Case("gpt-realtime", None, GLOBAL, tokens(text="4 0.4 16", audio="32 0.4 64", image="5 0.5")),
    Case("gpt-realtime-mini", None, DATAZONE, tokens(text="0.66 0.066 2.64", audio="11 0.33 22", image="0.88 0.088")),
    Case("gpt-4o-mini-transcribe", None, IRELAND, tokens(text="1.65 - 6.6", audio="3.96 - -")),
]
SKUS = [
    pytest.param(case, region, id=f"{case.model}-{case.version}-{case.place.scope}-{region}-{case.at:%Y%m%d}")
    for case in CASES
    for region in case.place.regions
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
    "gpt-4o-transcribe": ("gpt-4o-transcribe", None),
    "gpt-4o-transcribe-diarize": ("gpt-4o-transcribe-diarize", None),
    "gpt-4o-mini-transcribe": ("gpt-4o-mini-transcribe", None),
    "gpt-4o-mini-transcribe-2025-03-20": ("gpt-4o-mini-transcribe", "2025-03-20"),
    "gpt-4o-mini-transcribe-2025-12-15": ("gpt-4o-mini-transcribe", "2025-12-15"),
    "whisper": ("whisper", None),
    "whisper-1": ("whisper", None),
    "gpt-realtime-whisper": ("gpt-realtime-whisper", None),
    "gpt-realtime-translate": ("gpt-realtime-translate", None),
    "gpt-transcribe": ("gpt-transcribe", None),
    "gpt-live-transcribe": ("gpt-live-transcribe", None),
}


def azure(model: str, version: str | None = None, scope: Scope | None = Scope.GLOBAL, region: str | None = None) -> Sku:
    return Sku(provider=Provider.AZURE, model=model, version=version, scope=scope, region=region)


def costs(book: RateBook, sku: Sku, at: datetime) -> dict[str, Decimal] | Reason:
    prices = book.prices(sku, at)
    if isinstance(prices, Reason):
        return prices
    used = {**USED_TOKENS, "audio.duration": USED_SECONDS}
    return {str(part): rate.cost(Decimal(used[str(part)])) for part, rate in prices.rates.items()}


def costs_of(case: Case, region: str | None, book: RateBook = BOOK) -> dict[str, Decimal] | Reason:
    return costs(book, azure(case.model, case.version, case.place.scope, region), case.at)


def without(index: int, row: RateRow, *, region: str | None) -> RateBook:
    """The card less one region of one row, or less the row where it has no regions."""
    rows = list(CARD.rows)
    if region is None:
        del rows[index]
    else:
        rows[index] = replace(row, regions=(row.regions or frozenset()) - {region})
    return RateBook([replace(CARD, rows=tuple(rows))])


def test_the_card_names_itself_by_its_date() -> None:
    assert (CARD.name, CARD.provider, CARD.currency) == ("azure@2026-10-09", Provider.AZURE, "USD")


@pytest.mark.parametrize("row", CARD.rows, ids=lambda row: f"{row.model}-{row.starts:%Y%m%d}")
def test_every_row_says_where_its_price_is_printed_and_when_that_was_looked_at(row: RateRow) -> None:
    assert row.source.startswith("https://")
    assert date(2026, 8, 11) <= date.fromisoformat(row.checked) <= date(2026, 11, 22)


@pytest.mark.parametrize(("case", "region"), SKUS)
def test_what_was_used_costs_what_the_printed_rates_come_to(case: Case, region: str | None) -> None:
    assert costs_of(case, region) == case.costs


def test_every_row_and_every_region_of_it_is_priced_by_a_case_above() -> None:
    for index, row in enumerate(CARD.rows):
        for region in row.regions or (None,):
            book = without(index, row, region=region)
            assert any(costs_of(case, each, book) != case.costs for case in CASES for each in case.place.regions), (
                f"no case would notice that {row.model} {row.versions} of {row.starts:%Y-%m-%d} lost {region}"
            )


def test_the_names_that_are_listed_are_these_and_no_others() -> None:
    assert {name: (listed.model, listed.version) for name, listed in CARD.names.items()} == NAMES


@pytest.mark.parametrize(("name", "told"), NAMES.items())
def test_a_listed_name_resolves_to_its_model_and_version(name: str, told: tuple[str, str | None]) -> None:
    listed = BOOK.listed(Provider.AZURE, name)
    assert listed is not None
    assert (listed.model, listed.version) == told


@pytest.mark.parametrize(
    "name",
    [
        "",
        "my-deployment",
        "gpt-realtime-global-standard",
        "gpt-realtime-datazone",
        "gpt-4o-realtime",
        "gpt-4o-realtime-preview-2024",
        "gpt-realtime-mini-2025-12",
        "gpt-realtime-2.1-mini-2026-07-01",
        "GPT-realtime",
        "gpt-live-1",
        "gpt-audio",
        "whisper-2",
    ],
)
def test_a_name_that_is_not_listed_resolves_to_nothing_however_much_it_resembles_one(name: str) -> None:
    assert BOOK.listed(Provider.AZURE, name) is None


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
                "whisper",
                "gpt-realtime-whisper",
                "gpt-transcribe",
                "gpt-live-transcribe",
            },
        ),
        ("translation", {"gpt-realtime-translate"}),
    ],
)
def test_a_model_is_of_the_kind_that_its_usage_is(kind: str, models: set[str]) -> None:
    assert {listed.model for listed in CARD.names.values() if listed.kind == kind} == models


@pytest.mark.parametrize(
    ("model", "version", "first"),
    [
        ("gpt-realtime", "2025-08-28", date(2025, 9, 1)),
        ("gpt-realtime-1.5", "2026-02-23", date(2026, 3, 1)),
        ("gpt-realtime-2", None, date(2026, 5, 1)),
        ("gpt-realtime-2.1", None, date(2026, 7, 1)),
        ("gpt-realtime-2.1-mini", None, date(2026, 7, 1)),
        ("gpt-realtime-mini", "2025-10-06", date(2025, 10, 1)),
        ("gpt-realtime-mini", "2025-12-15", date(2025, 12, 1)),
        ("gpt-4o-realtime-preview", "2024-10-01", date(2024, 10, 1)),
        ("gpt-4o-realtime-preview", "2024-12-17", date(2025, 1, 1)),
        ("gpt-4o-realtime-preview", "2025-06-03", date(2025, 6, 1)),
        ("gpt-4o-mini-realtime-preview", "2024-12-17", date(2025, 1, 1)),
        ("gpt-4o-transcribe", None, date(2025, 4, 1)),
        ("gpt-4o-transcribe-diarize", None, date(2025, 10, 1)),
        ("gpt-4o-mini-transcribe", "2025-03-20", date(2025, 4, 1)),
        ("gpt-4o-mini-transcribe", "2025-12-15", date(2025, 12, 1)),
        ("whisper", None, date(2024, 6, 1)),
        ("gpt-realtime-whisper", None, date(2026, 5, 1)),
        ("gpt-realtime-translate", None, date(2026, 5, 1)),
    ],
)
def test_a_rate_holds_from_its_first_instant_and_not_a_microsecond_before(
    model: str, version: str | None, first: date
) -> None:
    instant = datetime(first.year, first.month, first.day, tzinfo=UTC)
    assert isinstance(BOOK.prices(azure(model, version), instant), Prices)
    assert BOOK.prices(azure(model, version), instant - timedelta(microseconds=1)) is Reason.NO_RATE


@pytest.mark.parametrize("place", [GLOBAL, DATAZONE, US, SWEDEN, IRELAND])
def test_cached_tokens_of_the_first_preview_are_unpriced_until_their_meters_began(place: Place) -> None:
    first = azure("gpt-4o-realtime-preview", "2024-10-01", place.scope, place.regions[0])
    change = datetime(2024, 12, 1, tzinfo=UTC)
    before = costs(BOOK, first, change - timedelta(microseconds=1))
    after = costs(BOOK, first, change)
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    assert set(after) - set(before) == {"text.cached_input", "audio.cached_input"}


@pytest.mark.parametrize(
    ("version", "text", "image"), [("2025-10-06", "0.08", "0.106"), ("2025-12-15", "0.0792", "0.1056")]
)
def test_the_two_minis_differ_in_ireland_because_azure_rounded_one_of_them(version: str, text: str, image: str) -> None:
    mini = costs(BOOK, azure("gpt-realtime-mini", version, Scope.REGIONAL, "northeurope"), NOW)
    assert isinstance(mini, dict)
    assert mini["text.cached_input"] == mtok(text, 640)
    assert mini["image.cached_input"] == mtok(image, 128)


def test_a_bare_mini_in_ireland_has_no_price_because_its_versions_differ_there() -> None:
    assert costs(BOOK, azure("gpt-realtime-mini", None, Scope.REGIONAL, "northeurope"), NOW) is Reason.VERSION_NOT_KNOWN


@pytest.mark.parametrize("place", [GLOBAL, DATAZONE, US, SWEDEN, IRELAND])
def test_the_bare_preview_name_could_be_the_dear_snapshot_or_a_cheap_one_so_it_has_no_price(place: Place) -> None:
    alias = azure("gpt-4o-realtime-preview", None, place.scope, place.regions[0])
    assert costs(BOOK, alias, NOW) is Reason.VERSION_NOT_KNOWN


def test_the_bare_preview_name_had_a_price_while_there_was_one_version_only() -> None:
    alias = azure("gpt-4o-realtime-preview")
    second = datetime(2025, 1, 1, tzinfo=UTC)
    only = costs(BOOK, alias, second - timedelta(microseconds=1))
    assert only == tokens(text="5 2.5 20", audio="100 20 200")
    assert costs(BOOK, alias, second) is Reason.VERSION_NOT_KNOWN


def test_a_data_zone_session_with_reasoning_costs_a_tenth_more_than_a_global_one() -> None:
    quantities = {
        "text.input": 5_120 - 4_608,
        "text.cached_input": 4_608,
        "text.output": 610,
        "audio.input": 600 - 128,
        "audio.cached_input": 128,
        "audio.output": 220,
    }
    prices = BOOK.prices(azure("gpt-realtime-2.1", None, Scope.DATAZONE), NOW)
    assert isinstance(prices, Prices)
    rates = {str(part): rate for part, rate in prices.rates.items()}
    cost = sum(rates[part].cost(Decimal(quantity)) for part, quantity in quantities.items())
    text = mtok("4.4", 512) + mtok("0.44", 4_608) + mtok("26.4", 610)
    audio = mtok("35.2", 472) + mtok("0.44", 128) + mtok("70.4", 220)
    assert cost == text + audio


@pytest.mark.parametrize("model", sorted({row.model for row in CARD.rows if row.regions}))
def test_a_regional_deployment_of_an_unknown_region_has_no_price(model: str) -> None:
    versions = {version for row in CARD.rows if row.model == model for version in row.versions or (None,)}
    for version in versions:
        assert costs(BOOK, azure(model, version, Scope.REGIONAL), NOW) is Reason.REGION_NOT_KNOWN


@pytest.mark.parametrize(
    ("model", "version", "region"),
    [
        ("gpt-realtime", "2025-08-28", "eastus2"),
        ("gpt-realtime-1.5", "2026-02-23", "northeurope"),
        ("gpt-realtime-2.1", None, "swedencentral"),
        ("gpt-4o-realtime-preview", "2024-12-17", "westeurope"),
        ("whisper", None, "eastus"),
    ],
)
def test_a_region_without_a_regional_meter_has_no_price(model: str, version: str | None, region: str) -> None:
    assert costs(BOOK, azure(model, version, Scope.REGIONAL, region), NOW) is Reason.NO_RATE


@pytest.mark.parametrize("model", ["gpt-realtime-2", "gpt-realtime-whisper", "gpt-realtime-translate", "whisper"])
def test_a_data_zone_whose_meters_nobody_has_seen_has_no_price(model: str) -> None:
    assert costs(BOOK, azure(model, None, Scope.DATAZONE), NOW) is Reason.NO_RATE


@pytest.mark.parametrize("model", ["gpt-transcribe", "gpt-live-transcribe"])
def test_a_model_whose_price_was_never_seen_in_dollars_is_known_by_name_and_unpriced(model: str) -> None:
    assert BOOK.listed(Provider.AZURE, model) is not None
    assert costs(BOOK, azure(model), NOW) is Reason.NO_RATE


def test_a_provisioned_deployment_is_not_priced_by_the_token() -> None:
    provisioned = azure("gpt-realtime", "2025-08-28", Scope.PROVISIONED)
    assert costs(BOOK, provisioned, NOW) is Reason.NOT_PRICED_BY_TOKEN


def test_a_deployment_whose_scope_nobody_configured_is_priced_as_global() -> None:
    unsaid = azure("gpt-realtime", "2025-08-28", scope=None)
    assert BOOK.prices(unsaid, NOW) == BOOK.prices(azure("gpt-realtime", "2025-08-28"), NOW)


def test_the_only_contested_price_is_that_of_regional_whisper_before_prices_went_by_region() -> None:
    (row,) = (row for row in CARD.rows if row.contests)
    (contest,) = row.contests
    assert (row.model, row.starts) == ("whisper", datetime(2024, 6, 1, tzinfo=UTC))
    assert (contest.used, contest.others) == (Decimal("0.36"), (Decimal("0.396"), Decimal("0.4356"), Decimal("0.4752")))


def test_the_audio_price_that_came_from_another_list_says_so() -> None:
    (row,) = (row for row in CARD.rows if row.model == "gpt-realtime-2")
    assert "foundry-model-availability-notifications" in row.note
