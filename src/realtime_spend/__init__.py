"""What OpenAI and Azure OpenAI Realtime sessions cost, exactly, and why the bill says otherwise. The public names."""

from realtime_spend.attribution import attributed
from realtime_spend.instrumentor import RealtimeInstrumentor
from realtime_spend.version import __version__

__all__ = ["RealtimeInstrumentor", "__version__", "attributed"]
