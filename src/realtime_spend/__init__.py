"""What OpenAI and Azure OpenAI Realtime sessions cost, exactly, and why the bill says otherwise. The public names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from realtime_spend.version import __version__

if TYPE_CHECKING:
    from realtime_spend.attribution import attributed
    from realtime_spend.instrumentor import RealtimeInstrumentor

__all__ = ["RealtimeInstrumentor", "__version__", "attributed"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: a host that only names us should not pay for all of us."""
    if name == "attributed":
        from realtime_spend.attribution import attributed  # noqa: PLC0415 - see above

        return attributed
    if name == "RealtimeInstrumentor":
        from realtime_spend.instrumentor import RealtimeInstrumentor  # noqa: PLC0415 - see above

        return RealtimeInstrumentor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
