"""A small OTLP/HTTP receiver: keeps the newest value of every cumulative series that programs export to it."""

from __future__ import annotations

import gzip
import threading
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from opentelemetry.proto.common.v1.common_pb2 import KeyValue

# What OpenTelemetry's exporters can be told to compress with.
_DECODERS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.decompress, "deflate": zlib.decompress}
_MOST_BYTES = 16 * 1024 * 1024
_Labels = frozenset[tuple[str, str]]


@dataclass(slots=True)
class Received:
    """What has arrived: by process, metric and attributes the newest value of a sum."""

    series: dict[tuple[str, str, _Labels], int | float] = field(default_factory=dict)
    requests: int = 0

    def total(self, metric: str, attributes: Mapping[str, str | None]) -> int | float:
        """Return the sum over all processes of the series of `metric` with these attributes; None is an absent one."""
        wanted = {(key, value) for key, value in attributes.items() if value is not None}
        absent = {key for key, value in attributes.items() if value is None}
        return sum(
            value
            for (_, name, labels), value in self.series.items()
            if name == metric and wanted <= labels and not absent & {key for key, _ in labels}
        )

    def take(self, request: ExportMetricsServiceRequest) -> None:
        """Take one export. A later value of a cumulative series replaces the earlier one."""
        self.requests += 1
        for resource_metrics in request.resource_metrics:
            instance = dict(_labels(resource_metrics.resource.attributes)).get("service.instance.id", "")
            for scope_metrics in resource_metrics.scope_metrics:
                for metric in scope_metrics.metrics:
                    for point in metric.sum.data_points:
                        value = point.as_int if point.WhichOneof("value") == "as_int" else point.as_double
                        self.series[instance, metric.name, _labels(point.attributes)] = value


def _labels(attributes: Iterable[KeyValue]) -> _Labels:
    return frozenset(
        (
            pair.key,
            str(pair.value.int_value) if pair.value.WhichOneof("value") == "int_value" else pair.value.string_value,
        )
        for pair in attributes
    )


@contextmanager
def receiving() -> Iterator[tuple[str, Received]]:
    """Listen on a free port of this machine for as long as the block lasts; give the endpoint and what arrives."""
    received = Received()
    with taking(received.take) as endpoint:
        yield endpoint, received


@contextmanager
def taking(take: Callable[[ExportMetricsServiceRequest], None]) -> Iterator[str]:
    """Hand on what arrives at a free port of this machine, one export at a time, and give the endpoint."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Take a body of OTLP protobuf."""
            body = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), _MOST_BYTES))
            body = _DECODERS.get(self.headers.get("Content-Encoding", ""), bytes)(body)
            if self.path == "/v1/metrics":
                with lock:
                    take(ExportMetricsServiceRequest.FromString(body))
            answer = ExportMetricsServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_arguments: object) -> None:
            """Say nothing: the demo prints what matters."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()
