from __future__ import annotations

import base64
import random

import pytest

from realtime_spend.simulator.tokens import (
    Conversation,
    ResponseTokens,
    Tokens,
    draw_cached,
    encoded_size,
    item_tokens,
)


@pytest.mark.parametrize("size", range(8))
def test_the_size_of_base64_is_known_without_decoding(size: int) -> None:
    assert encoded_size(base64.b64encode(bytes(size)).decode()) == size


def test_quantities_are_disjoint_and_add_up_to_the_totals() -> None:
    used = ResponseTokens(
        input=Tokens(text=200, audio=90, image=194),
        cached=Tokens(text=128, audio=64),
        output=Tokens(text=40, audio=70),
        reasoning=12,
    )
    quantities = used.quantities()
    assert sum(quantities.values()) == used.input.total + used.output.total
    assert quantities["text.input"] == 200 - 128
    assert quantities["text.output"] == 40
    assert "image.cached_input" not in quantities


def test_a_part_of_a_response_used_a_part_of_its_output_and_all_of_its_input() -> None:
    used = ResponseTokens(input=Tokens(text=9), cached=Tokens(), output=Tokens(text=40, audio=90), reasoning=30)
    half = used.after(5, 10)
    assert (half.input, half.output) == (used.input, Tokens(text=20, audio=45))
    assert half.reasoning == 20
    assert used.after(0, 10).output == Tokens()
    assert used.after(0, 0) is used


def test_caches_hold_steps_of_64_and_never_more_than_there_is() -> None:
    prefix, now = Tokens(text=500, audio=300, image=194), Tokens(text=400, audio=301, image=0)
    seen = set()
    for seed in range(200):
        cached = draw_cached(random.Random(seed), prefix, now, whole=False)  # noqa: S311 - made to be predicted
        assert cached.text % 64 == cached.audio % 64 == 0
        assert cached.text <= 400
        assert cached.audio <= 300
        assert cached.image == 0
        seen.add(cached)
    assert Tokens() in seen
    assert len(seen) > 5
    whole = draw_cached(random.Random(1), prefix, now, whole=True)  # noqa: S311 - made to be predicted
    assert whole == Tokens(text=384, audio=256)


def test_an_item_counts_by_the_modality_of_its_parts() -> None:
    audio = base64.b64encode(bytes(48 * 1000)).decode()
    parts = [
        {"type": "input_text", "text": "12345678"},
        {"type": "input_audio", "audio": audio},
        {"type": "input_image", "image_url": "data:image/png;base64,AAAA"},
        "nonsense",
    ]
    assert item_tokens({"type": "message", "content": parts}, 48) == Tokens(text=2, audio=10, image=194)
    assert item_tokens({"type": "function_call_output", "output": "1234"}, 48) == Tokens(text=1)


def test_a_conversation_forgets_its_oldest_items_first() -> None:
    conversation = Conversation()
    assert conversation.last_item_id is None
    for number in range(1001):
        conversation.add(f"item_{number}", Tokens(text=number))
    assert conversation.tokens() == Tokens(text=sum(range(1, 1001)))
    assert not conversation.remove("item_0")
    assert conversation.remove("item_1000")
    assert conversation.last_item_id == "item_999"


def test_a_truncated_item_counts_what_was_heard_and_loses_its_transcript() -> None:
    conversation = Conversation()
    conversation.add("item_1", Tokens(text=20, audio=111))
    assert conversation.truncate("item_1", 1850)
    assert conversation.tokens() == Tokens(audio=37)
    assert not conversation.truncate("item_2", 1850)
