"""Meters calls that others hold, a browser or a telephone: a socket beside each of them, which only listens.

    RealtimeInstrumentor().instrument()
    service = Service.of(os.environ)
    end = await Attachment("rtc_1", service).follow()

What is metered goes where the instrumentation of this process puts it: the same metrics, the same ledger, each usage
once. `Incoming` takes the webhook by which a service tells of a telephone call, and attaches by itself.
"""

from realtime_spend.sideband.attachment import Attachment, End, Patience
from realtime_spend.sideband.incoming import Incoming, Told
from realtime_spend.sideband.service import Service

__all__ = ["Attachment", "End", "Incoming", "Patience", "Service", "Told"]
