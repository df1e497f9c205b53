"""What OpenAI and Azure OpenAI Realtime sessions cost, exactly, and why the bill says otherwise. The public names."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from realtime_spend.version import __version__

if TYPE_CHECKING:
    from realtime_spend.attribution import attributed
    from realtime_spend.instrumentor import RealtimeInstrumentor
    from realtime_spend.observing import observe_server_event, observe_session_end

__all__ = ["RealtimeInstrumentor", "__version__", "attributed", "observe_server_event", "observe_session_end"]

_HOMES = {
    "RealtimeInstrumentor": "realtime_spend.instrumentor",
    "attributed": "realtime_spend.attribution",
    "observe_server_event": "realtime_spend.observing",
    "observe_session_end": "realtime_spend.observing",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: a host that only names us should not pay for all of us."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
