"""Three whole sessions, from the first frame to the last dollar, with the totals worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Context, Decimal
from typing import Any

from realtime_spend.core.connection import Connection
from realtime_spend.core.endpoints import recognise
from realtime_spend.core.line_items import Scope
from realtime_spend.core.naming import Deployment, Naming
from realtime_spend.core.pricing import Priced, price
from realtime_spend.core.rates import RateBook, Reason
from realtime_spend.core.session import Metered, Repeated, Sessions
from realtime_spend.core.usage import Reported

Money = Callable[[str, int], Decimal]
Minutes = Callable[[str, str], Decimal]
Usage = Callable[..., dict[str, Any]]
Event = dict[str, Any]

SECOND = 10**9
BEGUN = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
EXACT = Context(prec=60)


@dataclass(frozen=True, slots=True)
class Bill:
    """What one session came to, usage by usage."""

    usages: dict[str | None, tuple[Metered, Priced | None]]
    repeated: int

    @property
    def total(self) -> Decimal:
        total = Decimal(0)
        for _, priced in self.usages.values():
            total = EXACT.add(total, priced.cost or Decimal(0) if priced else Decimal(0))
        return total

    def cost(self, usage_id: str) -> Decimal | None:
        priced = self.usages[usage_id][1]
        return priced.cost if priced else None

    def of(self, reported: Reported) -> list[str | None]:
        return [key for key, (metered, _) in self.usages.items() if metered.usage.reported is reported]


def bill_of(
    url: tuple[str, str, str],
    frames: Iterable[Event],
    book: RateBook,
    deployments: Mapping[str, Deployment] | None = None,
) -> Bill:
    """Play a session, one second a frame, and price all it used."""
    host, path, query = url
    endpoint = recognise(host, 443, path, query)
    assert endpoint is not None
    connection = Connection(endpoint, Sessions())
    at = int(BEGUN.timestamp()) * SECOND
    learned: list[Any] = []
    for frame in frames:
        at += SECOND
        learned += connection.receive(json.dumps(frame), at)
    learned += connection.close(at)
    naming = Naming(book, deployments)
    usages: dict[str | None, tuple[Metered, Priced | None]] = {}
    for one in learned:
        if not isinstance(one, Metered):
            continue
        resolved = naming.resolve(endpoint, one.named)
        assert not resolved.scope_assumed
        when = datetime.fromtimestamp(one.at / SECOND, tz=UTC)
        prices = book.prices(resolved.sku, when) if resolved.sku else resolved.reason or Reason.NO_RATE
        assert one.usage.id not in usages
        usages[one.usage.id] = (one, price(one.usage.amounts, prices))
    return Bill(usages=usages, repeated=sum(isinstance(one, Repeated) for one in learned))


def created(response_id: str, **fields: Any) -> Event:
    response = {"id": response_id, "object": "realtime.response", "status": "in_progress", "usage": None, **fields}
    return {"type": "response.created", "event_id": f"event_c_{response_id}", "response": response}


def done(response_id: str, usage: Event | None, status: str = "completed", **fields: Any) -> Event:
    response = {"object": "realtime.response", "id": response_id, "status": status, "usage": usage, **fields}
    return {"type": "response.done", "event_id": f"event_d_{response_id}", "response": response}


def committed(item_id: str) -> list[Event]:
    return [
        {"type": "input_audio_buffer.speech_started", "item_id": item_id},
        {"type": "input_audio_buffer.speech_stopped", "item_id": item_id},
        {"type": "input_audio_buffer.committed", "item_id": item_id, "previous_item_id": None},
        {"type": "conversation.item.added", "item": {"id": item_id, "type": "message", "role": "user"}},
    ]


def transcribed(item_id: str, usage: Event | None) -> Event:
    return {
        "type": "conversation.item.input_audio_transcription.completed",
        "item_id": item_id,
        "content_index": 0,
        "transcript": 'say "type":"response.audio.delta"',
        "usage": usage,
    }


def deltas(kind: str) -> list[Event]:
    return [
        {"type": f"response.{kind}.delta", "event_id": f"event_{number}", "delta": "A" * 500} for number in range(5)
    ]


def test_a_session_at_openai_with_caches_a_barge_in_and_a_lost_answer(
    book: RateBook, usage_of: Usage, mtok: Money
) -> None:
    spoken = {
        "type": "tokens",
        "total_tokens": 35,
        "input_tokens": 26,
        "input_token_details": {"text_tokens": 0, "audio_tokens": 26},
        "output_tokens": 9,
    }
    first = usage_of((15, 27, 0), (0, 0, 0), (18, 42))
    frames: list[Event] = [
        {
            "type": "session.created",
            "session": {
                "type": "realtime",
                "id": "sess_1",
                "model": "gpt-realtime",
                "audio": {"input": {"transcription": None}},
            },
        },
        {
            "type": "session.updated",
            "session": {
                "type": "realtime",
                "id": "sess_1",
                "model": "gpt-realtime",
                "audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}}},
            },
        },
        *committed("item_1"),
        created("resp_1"),
        *deltas("output_audio"),
        *deltas("output_audio_transcript"),
        done("resp_1", first),
        transcribed("item_1", spoken),
        *committed("item_2"),
        created("resp_2"),
        *deltas("output_audio"),
        transcribed("item_2", spoken | {"total_tokens": 26 + 5, "output_tokens": 5}),
        done("resp_2", usage_of((43, 96, 0), (0, 64, 0), (18, 43))),
        done("resp_1", first),
        created("resp_3"),
        *deltas("output_audio"),
        done(
            "resp_3",
            usage_of((1310, 640, 0), (1280, 576, 0), (12, 66)),
            status="cancelled",
            status_details={"type": "cancelled", "reason": "turn_detected"},
            metadata={"type": "response.audio.delta"},
        ),
        created("resp_4"),
        *deltas("output_audio"),
    ]
    bill = bill_of(("api.openai.com", "/v1/realtime", "model=gpt-realtime"), frames, book)
    assert bill.cost("resp_1") == mtok("4", 15) + mtok("32", 27) + mtok("16", 18) + mtok("64", 42)
    assert bill.cost("item_1#0") == mtok("6", 26) + mtok("10", 9)
    assert bill.cost("item_2#0") == mtok("6", 26) + mtok("10", 5)
    assert bill.cost("resp_2") == (
        mtok("4", 43) + mtok("32", 96 - 64) + mtok("0.4", 64) + mtok("16", 18) + mtok("64", 43)
    )
    assert bill.cost("resp_3") == (
        mtok("4", 1310 - 1280)
        + mtok("0.4", 1280)
        + mtok("32", 640 - 576)
        + mtok("0.4", 576)
        + mtok("16", 12)
        + mtok("64", 66)
    )
    assert bill.cost("resp_4") is None
    assert bill.of(Reported.LOST) == ["resp_4"]
    assert bill.repeated == 1
    realtime = (
        mtok("4", 15 + 43 + 30)
        + mtok("0.4", 1280 + 64 + 576)
        + mtok("32", 27 + 32 + 64)
        + mtok("16", 18 + 18 + 12)
        + mtok("64", 42 + 43 + 66)
    )
    assert bill.total == realtime + mtok("6", 26 + 26) + mtok("10", 9 + 5)


def test_a_session_at_azure_of_the_preview_in_a_data_zone_with_whisper_by_seconds(
    book: RateBook, usage_of: Usage, mtok: Money, minutes: Minutes
) -> None:
    deployments = {
        "prod-voice": Deployment(scope=Scope.DATAZONE),
        "ears": Deployment(model="whisper-1", scope=Scope.GLOBAL),
    }
    announced = {"id": "sess_1", "model": "gpt-realtime-2025-08-28", "modalities": ["audio", "text"]}
    usage = usage_of((149, 0, 0), (128, 0, 0), (33, 0))
    frames: list[Event] = [
        {"type": "session.created", "session": announced | {"input_audio_transcription": None}},
        {"type": "session.updated", "session": announced | {"input_audio_transcription": {"model": "ears"}}},
        created("resp_1"),
        *deltas("text"),
        done("resp_1", usage),
        *committed("item_1"),
        created("resp_2"),
        *deltas("audio"),
        done("resp_2", usage_of((96, 26, 0), (64, 0, 0), (28, 69))),
        transcribed("item_1", {"type": "duration", "seconds": 3}),
        *committed("item_2"),
        transcribed("item_2", {"type": "duration", "seconds": 9.3}),
        *committed("item_3"),
        transcribed("item_3", {"type": "duration", "seconds": 0}),
        *committed("item_4"),
        created("resp_3"),
        done("resp_3", None, status="failed"),
    ]
    url = ("acme.openai.azure.com", "/openai/realtime", "api-version=2025-04-01-preview&deployment=prod-voice")
    bill = bill_of(url, frames, book, deployments)
    assert bill.cost("resp_1") == mtok("4.4", 149 - 128) + mtok("0.44", 128) + mtok("17.6", 33)
    assert bill.cost("resp_2") == (
        mtok("4.4", 96 - 64) + mtok("0.44", 64) + mtok("35.2", 26) + mtok("17.6", 28) + mtok("70.4", 69)
    )
    # Azure sells whisper by the hour: 0.36, which is 0.006 a minute.
    assert bill.cost("item_1#0") == minutes("0.006", "3")
    assert bill.cost("item_2#0") == minutes("0.006", "9.3")
    assert bill.of(Reported.MISSING) == ["item_3#0", "resp_3", "item_4#0"]
    assert [bill.cost(key) for key in ("item_3#0", "resp_3", "item_4#0")] == [None, None, None]
    realtime = (
        mtok("4.4", 21 + 32) + mtok("0.44", 128 + 64) + mtok("35.2", 26) + mtok("17.6", 33 + 28) + mtok("70.4", 69)
    )
    assert bill.total == realtime + minutes("0.006", "12.3")


def test_a_session_of_a_mini_model_with_an_image_reasoning_and_an_out_of_band_response(
    book: RateBook, usage_of: Usage, mtok: Money
) -> None:
    frames: list[Event] = [
        {"type": "session.created", "session": {"id": "sess_1", "model": "gpt-realtime-2.1-mini"}},
        {
            "type": "conversation.item.added",
            "item": {"id": "item_1", "role": "user", "content": [{"type": "input_image"}]},
        },
        created("resp_1", conversation_id="conv_1"),
        created("resp_2", conversation_id=None, metadata={"topic": "guardrail", "type": "response.audio.delta"}),
        *deltas("output_text"),
        done("resp_2", usage_of((64, 0, 0), None, (3, 0)), conversation_id=None),
        done("resp_1", usage_of((152, 0, 194), (128, 0, 0), (28, 0), 18), conversation_id="conv_1"),
        *committed("item_2"),
        created("resp_3", conversation_id="conv_1"),
        *deltas("output_audio"),
        done("resp_3", usage_of((180, 30, 194), (128, 0, 194), (12, 40), 5), conversation_id="conv_1"),
    ]
    bill = bill_of(("api.openai.com", "/v1/realtime", "model=gpt-realtime-2.1-mini"), frames, book)
    assert bill.cost("resp_1") == mtok("0.6", 152 - 128) + mtok("0.06", 128) + mtok("0.8", 194) + mtok("2.4", 28)
    assert bill.cost("resp_2") == mtok("0.6", 64) + mtok("2.4", 3)
    assert bill.cost("resp_3") == (
        mtok("0.6", 180 - 128)
        + mtok("0.06", 128)
        + mtok("10", 30)
        + mtok("0.08", 194)
        + mtok("2.4", 12)
        + mtok("20", 40)
    )
    assert list(bill.usages) == ["resp_2", "resp_1", "resp_3"]
    assert bill.total == (
        mtok("0.6", 24 + 64 + 52)
        + mtok("0.06", 128 + 128)
        + mtok("10", 30)
        + mtok("0.8", 194)
        + mtok("0.08", 194)
        + mtok("2.4", 28 + 3 + 12)
        + mtok("20", 40)
    )
