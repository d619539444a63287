"""Spans of the service's requests by OpenTelemetry's SDK, sent as OTEL_EXPORTER_OTLP_ENDPOINT says.

What frameworks' instrumentations do, by hand: the service has no framework. Attribute names are those before and after
they were settled, one set for each server.
"""

import contextlib
import os

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

PROPAGATOR = TraceContextTextMapPropagator()
TRACERS = []
NAMES = {
    "threads": ("net.peer.ip", "net.peer.port", "http.flavor"),
    "asyncio": ("network.peer.address", "network.peer.port", "network.protocol.version"),
}


def install(mode):
    """What wraps the handling of one request: called with its headers, path and the client's address."""
    provider = TracerProvider(
        resource=Resource.create({"service.name": "python-" + mode, "process.pid": os.getpid()})
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    tracer = provider.get_tracer("service")
    TRACERS.append(tracer)
    address, port, version = NAMES[mode]

    def request(headers, path, client):
        attributes = {"http.request.method": "GET", address: client[0], port: client[1], version: "1.1"}
        return tracer.start_as_current_span(
            "GET " + path, context=PROPAGATOR.extract(headers), kind=trace.SpanKind.SERVER, attributes=attributes
        )

    return request


@contextlib.contextmanager
def asking(host, port):
    """What wraps a question to another service: it gives the headers that tell that service of the trace."""
    attributes = {"http.request.method": "GET", "server.address": host, "server.port": port}
    with TRACERS[0].start_as_current_span("GET", kind=trace.SpanKind.CLIENT, attributes=attributes):
        headers = {}
        PROPAGATOR.inject(headers)
        yield headers
