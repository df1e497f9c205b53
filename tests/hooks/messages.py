"""What the tests of hooks say and are told: server events, what a client sends, and where a simulator is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from realtime_spend.simulator import RunningSimulator

CREATE = json.dumps({"type": "response.create"})
# The last event of a turn.
LAST = "rate_limits.updated"


def created(session: str = "sess_1", kind: str = "session.created", **more: object) -> str:
    return json.dumps({"type": kind, "session": {"id": session, "model": "gpt-realtime", **more}})


def begun(response: str = "resp_1") -> str:
    return json.dumps({"type": "response.created", "response": {"id": response}})


def done(response: str, text: int = 5, **more: object) -> str:
    """Return the end of a response of `text` tokens of output and twice as many of input, all of them text."""
    usage = {
        "input_tokens": 2 * text,
        "output_tokens": text,
        "total_tokens": 3 * text,
        "input_token_details": {"text_tokens": 2 * text},
        "output_token_details": {"text_tokens": text},
    }
    body = {"id": response, "status": "completed", "usage": usage, **more}
    return json.dumps({"type": "response.done", "event_id": f"event_{response}", "response": body}, ensure_ascii=False)


def url_of(simulator: RunningSimulator, path: str = "/v1/realtime", /, **options: object) -> str:
    said = "".join(f"&sim_{key}={value}" for key, value in options.items())
    return f"ws://127.0.0.1:{simulator.port}{path}?model=gpt-realtime{said}"


def slug(name: str) -> str:
    """Return a name as a test's id."""
    return name.replace(" ", "_")
