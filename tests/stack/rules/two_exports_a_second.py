"""A process that meters a call and exports ten times, begun with some responses already: its id comes from outside.

`OTEL_RESOURCE_ATTRIBUTES` gives it its service and its instance id; the arguments are where to export to, the call, and
how many responses it had before the first export.
"""

from __future__ import annotations

import math
import sys
import time

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

from realtime_spend import RealtimeInstrumentor, observe_server_event

URL = "wss://api.openai.com/v1/realtime?model=gpt-realtime"


def respond(call: str, number: int) -> None:
    """Take the event with which the service ends a response."""
    usage = {
        "input_tokens": 100,
        "output_tokens": 10,
        "input_token_details": {"text_tokens": 100, "audio_tokens": 0, "cached_tokens": 0},
        "output_token_details": {"text_tokens": 10, "audio_tokens": 0},
    }
    response = {"id": f"resp_{call}_{number}", "status": "completed", "usage": usage}
    observe_server_event({"type": "response.done", "response": response}, session=call, url=URL)


def main() -> None:
    """Meter and export."""
    endpoint, call, before = sys.argv[1], sys.argv[2], int(sys.argv[3])
    # Nothing is exported but here.
    provider = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=endpoint), math.inf)])
    RealtimeInstrumentor().instrument(meter_provider=provider)
    session = {"id": call, "model": "gpt-realtime"}
    observe_server_event({"type": "session.created", "session": session}, session=call, url=URL)
    for number in range(before):
        respond(call, number)
    for export in range(10):
        respond(call, before + export)
        provider.force_flush()
        time.sleep(0.5)
    provider.shutdown()


if __name__ == "__main__":
    main()
