// Spans of the service's requests by OpenTelemetry's SDK, sent as OTEL_EXPORTER_OTLP_ENDPOINT says.
'use strict';
const { SpanKind, SpanStatusCode, propagation, trace, ROOT_CONTEXT } = require('@opentelemetry/api');
const { OTLPTraceExporter } = require('@opentelemetry/exporter-trace-otlp-http');
const { resourceFromAttributes } = require('@opentelemetry/resources');
const { BatchSpanProcessor, NodeTracerProvider } = require('@opentelemetry/sdk-trace-node');

const provider = new NodeTracerProvider({
  resource: resourceFromAttributes({ 'service.name': 'node', 'process.pid': process.pid }),
  spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())],
});
provider.register();
const tracer = provider.getTracer('service');

// The span of a request; it ends with the answer. Answers the context for what is asked of others meanwhile.
exports.request = (request, response) => {
  const span = tracer.startSpan(
    `GET ${request.url}`,
    {
      kind: SpanKind.SERVER,
      attributes: {
        'http.request.method': 'GET',
        'network.peer.address': request.socket.remoteAddress,
        'network.peer.port': request.socket.remotePort,
        'network.protocol.version': request.httpVersion,
      },
    },
    propagation.extract(ROOT_CONTEXT, request.headers),
  );
  response.on('close', () => span.end());
  return trace.setSpan(ROOT_CONTEXT, span);
};

// The span of a question to another service: the headers that tell it of the trace, and what ends the span.
exports.call = (within, host, port) => {
  const attributes = { 'http.request.method': 'GET', 'server.address': host, 'server.port': port };
  const span = tracer.startSpan('GET', { kind: SpanKind.CLIENT, attributes }, within);
  const headers = {};
  propagation.inject(trace.setSpan(within, span), headers);
  const ended = (error) => {
    if (error) span.setStatus({ code: SpanStatusCode.ERROR, message: error.message });
    span.end();
  };
  return { headers, ended };
};
