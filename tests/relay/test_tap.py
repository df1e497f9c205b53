"""The tap against a plain reader of the same stream, cut anywhere."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.metrics import NoOpMeterProvider
from tests.relay.peers import BINARY, CLOSE, PING, TEXT, frame

from realtime_spend.configuration import configure
from realtime_spend.core.endpoints import recognise
from realtime_spend.core.frames import DELTA_TYPES
from realtime_spend.core.session import Metered
from realtime_spend.relay.frame_walk import FrameWalk, close_frame, header_at
from realtime_spend.relay.running import metered
from realtime_spend.relay.tap import UsageTap
from realtime_spend.watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime_spend.core.session import Learned
    from realtime_spend.metering import Metering

_LARGEST = 1 << 20


class _Kept(Watcher):
    """A watcher that keeps what it is handed."""

    __slots__ = ("heard",)

    def __init__(self, metering: Metering) -> None:
        endpoint = recognise("127.0.0.1", 1, "/v1/realtime", "model=gpt-realtime")
        assert endpoint is not None
        super().__init__(metering, endpoint, {})
        self.heard: list[bytes] = []
        self.opened()

    def frame(self, data: str | bytes | bytearray) -> None:
        assert isinstance(data, bytes)
        self.heard.append(data)
        super().frame(data)


def _ordered(event: dict[str, object], order: str) -> str:
    kind = {"type": event["type"]}
    rest = {key: value for key, value in event.items() if key != "type"}
    said = {"first": kind | rest, "second": {"event_id": "e"} | kind | rest, "last": rest | kind}[order]
    return json.dumps(said, separators=(",", ":"), ensure_ascii=False)


_order = st.sampled_from(["first", "second", "last"])
_sizes = st.sampled_from([0, 1, 40, 100, 125, 126, 127, 400, 65_500, 65_536, 70_000])


@st.composite
def _messages(draw: st.DrawFn) -> tuple[bytes, list[str]]:
    """Make a stream of frames, and the ids of the usages in it, in their order."""
    order = draw(_order)
    stream, ids = b"", []
    for number in range(draw(st.integers(1, 12))):
        what = draw(st.sampled_from(["delta", "usage", "hidden", "begun", "other", "ping", "nonsense"]))
        text = ""
        if what == "delta":
            kind, size = draw(st.sampled_from(DELTA_TYPES)), draw(_sizes)
            text = _ordered({"type": kind, "response_id": "resp_0", "delta": "A" * size}, order)
        elif what in ("usage", "hidden"):
            ids.append(f"resp_{number}")
            # Of which the client may write what it likes.
            decoy = {"type": draw(st.sampled_from(DELTA_TYPES))} if what == "hidden" else {}
            used = {"total_tokens": 3, "input_tokens": 2, "output_tokens": 1}
            response = {"metadata": decoy, "id": ids[-1], "pad": "é" * draw(_sizes), "usage": used}
            text = _ordered({"type": "response.done", "response": response}, order)
        elif what == "begun":
            text = _ordered({"type": "response.created", "response": {"id": f"resp_{number}"}}, order)
        elif what == "other":
            text = _ordered({"type": "rate_limits.updated", "rate_limits": []}, order)
        if what == "ping":
            stream += frame(b"p" * draw(st.integers(0, 125)), PING)
            continue
        data = draw(st.binary(max_size=200)) if what == "nonsense" else text.encode()
        stream += _framed(draw, data)
    return stream, ids


def _framed(draw: st.DrawFn, data: bytes) -> bytes:
    opcode = draw(st.sampled_from([TEXT, BINARY]))
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=3)))
    pieces = [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    found = b""
    for place, piece in enumerate(pieces):
        found += frame(piece, opcode if place == 0 else 0, final=place == len(pieces) - 1)
        if place < len(pieces) - 1 and draw(st.booleans()):
            found += frame(b"between", PING)
    return found


def _fed(walk: FrameWalk, stream: bytes, cuts: Sequence[int]) -> bytes:
    """Feed a stream cut at these places, as a leg does; return what may pass."""
    passed, held = b"", b""
    places = sorted({place for place in cuts if place < len(stream)})
    for begin, end in zip([0, *places], [*places, len(stream)], strict=True):
        data = held + stream[begin:end]
        passing = walk.feed(data)
        passed, held = passed + data[:passing], data[passing:]
        assert len(held) < 14, "no more than a header waits"
    return passed + held


def _heard(stream: bytes, cuts: Sequence[int]) -> list[str | None]:
    """Return the ids of the usages that are heard of a stream, cut at these places."""
    taken: list[str | None] = []

    def take(_: Watcher, learned: Sequence[Learned]) -> None:
        taken.extend(item.usage.id for item in learned if isinstance(item, Metered))

    parts = metered(configure({}, {}), NoOpMeterProvider())
    with patch.object(parts.metering, "take", take):
        tap = UsageTap(_Kept(parts.metering), _LARGEST)
        assert _fed(tap, stream, cuts) == stream
    assert tap.left == 0
    assert not tap.is_unreadable
    return taken


@given(_messages(), st.lists(st.integers(1, 100_000), max_size=30))
def test_every_usage_is_heard_once_however_the_stream_is_cut(made: tuple[bytes, list[str]], cuts: list[int]) -> None:
    stream, ids = made
    assert _heard(stream, cuts) == ids


@pytest.mark.parametrize("order", ["first", "second", "last"])
def test_a_usage_between_deltas_in_one_chunk_is_heard(order: str) -> None:
    delta = frame(_ordered({"type": DELTA_TYPES[0], "response_id": "resp_0", "delta": "AAAA"}, order))
    used = {"total_tokens": 3, "input_tokens": 2, "output_tokens": 1}
    usage = frame(_ordered({"type": "response.done", "response": {"id": "resp_1", "usage": used}}, order))
    assert _heard(delta * 3 + usage + delta, []) == ["resp_1"]


def test_a_usage_that_holds_the_type_of_a_delta_where_deltas_have_theirs_is_heard() -> None:
    delta = f'{{"pad":"xyz","type":"{DELTA_TYPES[0]}","delta":"AAAA"}}'
    decoy = f'{{"response":{{"type":"{DELTA_TYPES[0]}","id":"resp_1","usage":{{"total_tokens":3,"input_tokens":2,'
    decoy += '"output_tokens":1}},"type":"response.done"}'
    assert delta.index('"type"') == decoy.index('"type"')
    assert _heard(frame(delta) * 3 + frame(decoy) + frame(delta), []) == ["resp_1"]


@given(_messages(), st.lists(st.integers(1, 100_000), max_size=30))
def test_a_walk_knows_where_each_frame_ends(made: tuple[bytes, list[str]], cuts: list[int]) -> None:
    stream, _ = made
    ends, position = {0}, 0
    while (header := header_at(stream, position)) is not None:
        position = header[2] + header[3]
        ends.add(position)
    walk, passed, held = FrameWalk(_LARGEST), 0, b""
    places = sorted({place for place in cuts if place < len(stream)})
    for begin, end in zip([0, *places], [*places, len(stream)], strict=True):
        data = held + stream[begin:end]
        passing = walk.feed(data)
        passed, held = passed + passing, data[passing:]
        assert passed + walk.left in ends
    assert passed == len(stream)


@given(st.binary(max_size=2_000), st.lists(st.integers(1, 2_000), max_size=10))
def test_no_bytes_at_all_can_stop_the_walk(stream: bytes, cuts: list[int]) -> None:
    """They may end it, where a frame would be too large; nothing is lost and nothing raises."""
    for walk in (FrameWalk(1_000), UsageTap(_Kept(metered(configure({}, {}), NoOpMeterProvider()).metering), 1_000)):
        passed, held = b"", b""
        for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(stream)], strict=True):
            data = held + stream[begin:end]
            passing = walk.feed(data)
            passed, held = passed + data[:passing], data[passing:]
            if walk.is_too_large:
                break
        assert stream.startswith(passed + held)


@given(st.integers(1_000, 4_999), st.text(max_size=30), st.booleans())
def test_a_close_frame_is_one(code: int, reason: str, masked: bool) -> None:  # noqa: FBT001 - a parameter of the test
    made = close_frame(code, reason, masked=masked)
    found = header_at(made, 0)
    assert found is not None
    first, is_masked, body, length = found
    assert (first, is_masked, body + length) == (0x80 | CLOSE, masked, len(made))
    mask = made[body - 4 : body] if masked else bytes(4)
    payload = bytes(byte ^ mask[place % 4] for place, byte in enumerate(made[body:]))
    assert payload == code.to_bytes(2, "big") + reason.encode()


def test_a_delta_is_never_copied_nor_handed_over() -> None:
    watcher = _Kept(metered(configure({}, {}), NoOpMeterProvider()).metering)
    tap = UsageTap(watcher, _LARGEST)
    one = frame('{"type":"response.output_audio.delta","response_id":"resp_1","delta":"' + "A" * 90_000 + '"}')
    # Its head is in one chunk with its type, the rest is in three others.
    assert _fed(tap, one * 3, [300, 30_000, 60_000]) == one * 3
    assert watcher.heard == []
    assert tap._kept is None
