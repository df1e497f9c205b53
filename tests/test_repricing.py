"""Law: whatever a service sends, a record that is priced again by the same cards and deployments stays as it is."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from realtime_spend.core.endpoints import recognise
from realtime_spend.core.line_items import Scope
from realtime_spend.core.naming import Deployment, Named, Naming
from realtime_spend.core.pricing import price
from realtime_spend.core.rates import Reason
from realtime_spend.core.raw_numbers import numbers_text
from realtime_spend.core.reading import read_amounts
from realtime_spend.core.session import Metered
from realtime_spend.core.usage import Kind, Reported, Usage
from realtime_spend.rate_cards import load_book
from realtime_spend.repricing import reprice
from realtime_spend.sinks.ledger import Ledger
from realtime_spend.sinks.records import ledger_record

_BOOK = load_book()
_DEPLOYMENTS = {
    "voice": Deployment(model="gpt-realtime", version="2025-08-28", scope=Scope.REGIONAL, region="northeurope"),
    "no-region": Deployment(model="gpt-realtime", version="2025-08-28", scope=Scope.REGIONAL),
    "bought": Deployment(model="gpt-realtime", scope=Scope.PROVISIONED),
    "scoped": Deployment(scope=Scope.DATAZONE),
    "our-own": Deployment(model="fine-tuned"),
    # Names that a session says and a URL need not.
    "gpt-realtime": Deployment(scope=Scope.DATAZONE),
    "gpt-realtime-2025-08-28": Deployment(scope=Scope.DATAZONE),
}
_COUNTS = st.integers(0, 5_000)
_DETAILS = st.dictionaries(st.sampled_from(["text_tokens", "audio_tokens", "image_tokens"]), _COUNTS)
_STRANGE = st.none() | st.booleans() | st.text(max_size=3) | st.floats() | st.integers(-5, 10**40) | st.just([1])
_USAGES = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["tokens", "duration", "other"]),
        "total_tokens": _COUNTS | _STRANGE,
        "input_tokens": _COUNTS | _STRANGE,
        "output_tokens": _COUNTS | _STRANGE,
        "seconds": st.floats(0, 1_000) | _COUNTS | _STRANGE,
        "input_token_details": st.builds(
            lambda counts, cached, split: {**counts, **cached, **({"cached_tokens_details": split} if split else {})},
            _DETAILS,
            st.dictionaries(st.just("cached_tokens"), _COUNTS),
            _DETAILS,
        )
        | _STRANGE,
        "output_token_details": _DETAILS | _STRANGE,
        "note": _STRANGE,
    },
)
_NAMES = [*_DEPLOYMENTS, "chat1", "gpt-realtime-mini-2025-12-15", "gpt-4o-realtime-preview", "gpt-surprise"]
_NAMES += ["whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe-2025-12-15"]
_SERVERS = [("api.openai.com", "/v1/realtime"), ("eu.api.openai.com", "/v1/realtime")]
_SERVERS += [("contoso.openai.azure.com", "/openai/v1/realtime")]
_METERED = st.fixed_dictionaries(
    {
        "server": st.sampled_from(_SERVERS),
        "kind": st.sampled_from([Kind.RESPONSE, Kind.TRANSCRIPTION, Kind.TRANSLATION]),
        "requested": st.sampled_from(_NAMES),
        "said": st.sampled_from([None, *_NAMES]),
        "usage": _USAGES | st.none(),
        "lost": st.booleans(),
        "at": st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1)).map(lambda at: at.replace(tzinfo=UTC)),  # noqa: DTZ001 - they become UTC
    }
)


def _record(number: int, drawn: dict[str, Any]) -> dict[str, Any]:
    """Write one usage down on the road that it goes when it is new."""
    kind, said = drawn["kind"], None if drawn["lost"] else drawn["usage"]
    host, path = drawn["server"]
    endpoint = recognise(host, 443, path, f"model={drawn['requested']}")
    assert endpoint is not None
    is_transcription = kind is Kind.TRANSCRIPTION
    named = Named(requested=drawn["requested"], said=drawn["said"])
    if is_transcription:
        named = Named(requested=drawn["said"], said=drawn["said"], transcription=True)
    resolved = Naming(_BOOK, _DEPLOYMENTS).resolve(endpoint, named)
    amounts = read_amounts(said, text_output=is_transcription)
    usage = Usage(
        kind=kind,
        id=f"id_{number}",
        status=None,
        reported=Reported.LOST if drawn["lost"] else Reported.MISSING if amounts.is_missing else Reported.REPORTED,
        amounts=amounts,
        raw=numbers_text(said),
    )
    prices = _BOOK.prices(resolved.sku, drawn["at"]) if resolved.sku else resolved.reason or Reason.MODEL_NOT_NAMED
    return ledger_record(
        Metered(usage=usage, named=named, session=None, at=0),
        endpoint,
        resolved,
        price(amounts, prices),
        at=drawn["at"],
        account=None,
        attributes={},
    )


@settings(max_examples=40, deadline=None)
@given(drawn=st.lists(_METERED, min_size=1, max_size=12), is_mapped=st.booleans())
def test_at_unchanged_rates_every_record_comes_out_as_it_was(drawn: list[dict[str, Any]], *, is_mapped: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, copy = Path(name) / "ledger", Path(name) / "copy"
        ledger = Ledger(folder)
        for number, usage in enumerate(drawn):
            record = _record(number, usage)
            assert ledger.append(record.pop("at"), json.dumps(record)[1:-1]) is None
        ledger.close()
        found = reprice(folder, ("model",), book=_BOOK, deployments=_DEPLOYMENTS if is_mapped else {}, output=copy)
        for path in folder.iterdir():
            before = [json.loads(line) for line in path.read_text().splitlines()]
            after = [json.loads(line) for line in (copy / path.name).read_text().splitlines()]
            for old, new in zip(before, after, strict=True):
                assert new == old
        for change in found.groups.values():
            assert change.changed == change.gained.usages == change.lost.usages == 0
            assert not change.difference
