"""What a response hears: instructions and conversation, cut to what the model holds, and what of it is cached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from realtime_spend.simulator.models import Service
from realtime_spend.simulator.options import Outcome
from realtime_spend.simulator.tokens import Tokens, draw_cached, item_tokens

if TYPE_CHECKING:
    import random

    from realtime_spend.simulator.session import Session


class NotHeardError(Exception):
    """A response that cannot be given; it becomes an `error` event."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Context:
    """The input of a session's responses."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._prompts = 0
        # Another session with the same instructions came before this one: so the first response can be cached too.
        self._prefix = Tokens(text=session.options.base_text_tokens)

    def hear(self, request: dict[str, Any]) -> Tokens:
        """Count the input of a response that is asked for. What the model cannot hold is dropped from the conversation.

        Raises:
            NotHeardError: it is too much and nothing may be dropped, or an item is referred to that is not there.
        """
        said = request.get("instructions")
        instructions = self._instructions(said if isinstance(said, str) else None)
        items = request.get("input")
        if isinstance(items, list):
            return sum((self._listed(item) for item in items if isinstance(item, dict)), instructions)
        self._fit(instructions)
        return instructions + self._session.conversation.tokens()

    def cached(self, heard: Tokens, outcome: Outcome, rng: random.Random, *, out_of_band: bool) -> Tokens:
        """Draw what is cached of an input, and remember the input: the next one of the conversation begins like it."""
        drawn = draw_cached(rng, self._prefix, heard, whole=outcome is Outcome.UNSPLIT_CACHE)
        self._prompts += 1
        if not out_of_band:
            self._prefix = heard
        return Tokens() if self._session.address.service is Service.QWEN else drawn

    def change_at(self, item_id: str) -> None:
        """Take note that an item will not be what it was: of the cache only what stands before it holds."""
        before = self._session.conversation.tokens(before=item_id)
        self._keep(self._instructions(None) + before)

    def instruct_anew(self) -> None:
        """Take note that instructions or tools are others now, which every prompt begins with."""
        if self._prompts:
            self._keep(Tokens())

    def _instructions(self, said: str | None) -> Tokens:
        return Tokens(text=self._session.options.base_text_tokens + self._session.config.prompt_tokens(said))

    def _listed(self, item: dict[str, Any]) -> Tokens:
        if item.get("type") != "item_reference":
            return item_tokens(item, self._session.config.bytes_per_ms)
        found = self._session.conversation.find(str(item.get("id")))
        if found is None:
            raise NotHeardError("item_not_found", f"Item with item_id not found: {item.get('id')!r:.100}")
        return found

    def _fit(self, instructions: Tokens) -> None:
        """Drop the oldest items, as many as the session's `truncation` says, once there are more than fit."""
        conversation, chosen = self._session.conversation, self._session.config.truncation
        # What the service itself puts in front does not take the place of anything.
        held = max(0, self._session.options.context_tokens - self._session.config.prompt_tokens())
        room = held if chosen.limit is None else min(held, chosen.limit)
        if conversation.tokens().total <= room:
            return
        if chosen.is_disabled:
            raise NotHeardError("input_tokens_exceeded", f"The conversation is longer than {room} tokens.")
        conversation.shorten(int(room * chosen.retention))
        self._keep(instructions)

    def _keep(self, most: Tokens) -> None:
        kept = self._prefix
        self._prefix = Tokens(
            text=min(kept.text, most.text), audio=min(kept.audio, most.audio), image=min(kept.image, most.image)
        )
