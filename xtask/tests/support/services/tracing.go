// Spans of the service's requests by OpenTelemetry's SDK, as Debian packages it (1.1). That package has no exporter for
// OTLP, so the one here is not the SDK's own: it sends OTLP's JSON as OTEL_EXPORTER_OTLP_ENDPOINT says.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

type pair map[string]any

func text(key, value string) pair {
	return pair{"key": key, "value": pair{"stringValue": value}}
}

type exporter struct{ url string }

func (exporter *exporter) ExportSpans(_ context.Context, ended []sdk.ReadOnlySpan) error {
	var spans []pair
	for _, span := range ended {
		var attributes []pair
		for _, one := range span.Attributes() {
			attributes = append(attributes, text(string(one.Key), one.Value.Emit()))
		}
		spans = append(spans, pair{
			"traceId": span.SpanContext().TraceID().String(), "spanId": span.SpanContext().SpanID().String(),
			"parentSpanId": span.Parent().SpanID().String(), "name": span.Name(), "kind": int(span.SpanKind()),
			"startTimeUnixNano": strconv.FormatInt(span.StartTime().UnixNano(), 10),
			"endTimeUnixNano":   strconv.FormatInt(span.EndTime().UnixNano(), 10), "attributes": attributes,
			"status": pair{"code": map[codes.Code]int{codes.Ok: 1, codes.Error: 2}[span.Status().Code]},
		})
	}
	resource := pair{"attributes": []pair{text("service.name", "go"), text("process.pid", strconv.Itoa(os.Getpid()))}}
	call := pair{"resourceSpans": []pair{{"resource": resource, "scopeSpans": []pair{{"spans": spans}}}}}
	body, err := json.Marshal(call)
	if err != nil {
		return err
	}
	answer, err := http.Post(exporter.url, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != 200 {
		return fmt.Errorf("%s: %s", exporter.url, answer.Status)
	}
	return nil
}

func (*exporter) Shutdown(context.Context) error { return nil }

func init() {
	url := os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") + "/v1/traces"
	var tracer trace.Tracer = sdk.NewTracerProvider(sdk.WithBatcher(&exporter{url})).Tracer("service")
	wrap = func(inner http.Handler) http.Handler {
		return http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
			host, port, _ := net.SplitHostPort(request.RemoteAddr)
			parent := propagation.TraceContext{}.Extract(request.Context(), propagation.HeaderCarrier(request.Header))
			inside, span := tracer.Start(parent, "GET "+request.URL.Path, trace.WithSpanKind(trace.SpanKindServer),
				trace.WithAttributes(attribute.String("net.sock.peer.addr", host),
					attribute.String("net.sock.peer.port", port), attribute.String("http.flavor", "1.1")))
			defer span.End()
			inner.ServeHTTP(response, request.WithContext(inside))
		})
	}
	carry = func(inner http.RoundTripper) http.RoundTripper { return &carrier{tracer, inner} }
}

// What asks others, with a span of its own, and tells them of the trace.
type carrier struct {
	tracer trace.Tracer
	inner  http.RoundTripper
}

func (carrier *carrier) RoundTrip(request *http.Request) (*http.Response, error) {
	port, _ := strconv.Atoi(request.URL.Port())
	inside, span := carrier.tracer.Start(request.Context(), "GET", trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attribute.String("net.peer.name", request.URL.Hostname()),
			attribute.Int("net.peer.port", port), attribute.String("http.method", "GET")))
	defer span.End()
	request = request.Clone(inside)
	propagation.TraceContext{}.Inject(inside, propagation.HeaderCarrier(request.Header))
	answer, err := carrier.inner.RoundTrip(request)
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	return answer, err
}

// What ends connections that are idle must reach them.
func (carrier *carrier) CloseIdleConnections() {
	if inner, can := carrier.inner.(interface{ CloseIdleConnections() }); can {
		inner.CloseIdleConnections()
	}
}
