//! Spans as SDKs send them: OTLP's protobuf, written by hand so that making them costs little beside taking them.
//!
//! Source: opentelemetry-proto 1.7 (`collector/trace/v1`, `trace/v1`, `resource/v1`, `common/v1`), field numbers below;
//! attributes by the semantic conventions 1.37. Cost: about a microsecond and 450 bytes a span.

use rand::{Rng as _, rngs::StdRng};

/// `SpanKind`.
const INTERNAL: u64 = 1;
const SERVER: u64 = 2;
const CLIENT: u64 = 3;

const ROUTES: [(&str, &str); 6] = [
    ("GET", "/api/v1/jobs/{id}"),
    ("POST", "/api/v1/transcode"),
    ("GET", "/api/v1/segments/{id}/{number}"),
    ("GET", "/api/v1/titles"),
    ("PUT", "/api/v1/titles/{id}/artwork"),
    ("DELETE", "/api/v1/sessions/{id}"),
];

/// A message that is being written.
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn int(&mut self, field: u64, value: u64) {
        self.varint(field << 3);
        self.varint(value);
    }

    fn fixed(&mut self, field: u64, value: u64) {
        self.varint(field << 3 | 1);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
    }

    fn inner(&mut self, field: u64, inner: &Self) {
        self.bytes(field, &inner.0);
    }

    /// `KeyValue` with an `AnyValue.string_value`.
    fn text(&mut self, field: u64, key: &str, value: &str) {
        let mut any = Self::default();
        any.bytes(1, value.as_bytes());
        self.pair(field, key, &any);
    }

    /// `KeyValue` with an `AnyValue.int_value`.
    fn number(&mut self, field: u64, key: &str, value: u64) {
        let mut any = Self::default();
        any.int(3, value);
        self.pair(field, key, &any);
    }

    fn pair(&mut self, field: u64, key: &str, any: &Self) {
        let mut pair = Self::default();
        pair.bytes(1, key.as_bytes());
        pair.inner(2, any);
        self.inner(field, &pair);
    }
}

/// Spans of one process on their way.
#[derive(Debug)]
pub(super) struct Batch {
    scope: Message,
    /// Spans in it.
    pub(super) spans: u32,
    /// Of these, requests.
    pub(super) requests: u32,
}

/// Attributes of a span are its field 9.
const ATTRIBUTE: u64 = 9;

impl Batch {
    /// An empty one.
    pub(super) fn new() -> Self {
        let (mut scope, mut library) = (Message::default(), Message::default());
        library.bytes(1, b"opentelemetry.instrumentation.http");
        library.bytes(2, b"1.37.0");
        scope.inner(1, &library);
        Self { scope, spans: 0, requests: 0 }
    }

    /// The spans of a request that ended at `now` (nanoseconds of the wall clock): its own, a call to a database or to
    /// another service, and, of every second, one inside. One in fifty fails.
    pub(super) fn request(&mut self, random: &mut StdRng, now: u64) {
        let trace: u128 = random.random();
        let trace = trace.to_be_bytes();
        let (own, took): (u64, u64) = (random.random(), random.random_range(2_000_000..80_000_000));
        let (method, route) = ROUTES[random.random_range(0..ROUTES.len())];
        let failed = random.random_ratio(1, 50);
        let server = span(&trace, own, Some(random.random()), SERVER, &format!("{method} {route}"), (now - took, now));
        self.end(server, failed, |span| {
            span.text(ATTRIBUTE, "http.request.method", method);
            span.text(ATTRIBUTE, "url.scheme", "http");
            span.text(ATTRIBUTE, "url.path", "/api/v1/titles/4711");
            span.text(ATTRIBUTE, "http.route", route);
            span.number(ATTRIBUTE, "http.response.status_code", if failed { 503 } else { 200 });
            span.text(ATTRIBUTE, "network.protocol.version", "1.1");
            span.text(ATTRIBUTE, "server.address", "titles.internal");
            span.number(ATTRIBUTE, "server.port", 8080);
            span.text(ATTRIBUTE, "network.peer.address", "10.0.3.17");
            span.number(ATTRIBUTE, "network.peer.port", 32_768 + own % 28_000);
            span.text(ATTRIBUTE, "user_agent.original", "player/5.2 (linux; hls)");
        });
        self.requests += 1;
        let times = (now - took + took / 8, now - took / 8);
        if random.random_ratio(1, 2) {
            let call = span(&trace, random.random(), Some(own), CLIENT, "SELECT titles", times);
            self.end(call, false, |span| {
                span.text(ATTRIBUTE, "db.system.name", "postgresql");
                span.text(ATTRIBUTE, "db.namespace", "titles");
                span.text(ATTRIBUTE, "db.query.text", "SELECT id, name FROM titles WHERE id = $1");
                span.text(ATTRIBUTE, "server.address", "titles-db");
                span.number(ATTRIBUTE, "server.port", 5432);
            });
        } else {
            let call = span(&trace, random.random(), Some(own), CLIENT, "POST", times);
            self.end(call, failed, |span| {
                span.text(ATTRIBUTE, "http.request.method", "POST");
                span.text(ATTRIBUTE, "url.full", "http://encoder:9000/v1/encode?profile=hls");
                span.text(ATTRIBUTE, "server.address", "encoder");
                span.number(ATTRIBUTE, "server.port", 9000);
                span.number(ATTRIBUTE, "http.response.status_code", if failed { 500 } else { 200 });
            });
        }
        if random.random_ratio(1, 2) {
            let inner = span(&trace, random.random(), Some(own), INTERNAL, "render", times);
            self.end(inner, false, |span| span.text(ATTRIBUTE, "template", "titles/show"));
        }
    }

    fn end(&mut self, mut span: Message, failed: bool, attributes: impl FnOnce(&mut Message)) {
        attributes(&mut span);
        if failed {
            let (mut event, mut status) = (Message::default(), Message::default());
            event.bytes(2, b"exception");
            event.text(3, "exception.type", "Timeout");
            event.text(3, "exception.message", "the encoder did not answer in time");
            span.inner(11, &event);
            status.bytes(2, b"timeout");
            status.int(3, 2);
            span.inner(15, &status);
        }
        self.scope.inner(2, &span);
        self.spans += 1;
    }

    /// The call that sends it, in gRPC's frame.
    pub(super) fn frame(&self, service: &str, pid: u32) -> Vec<u8> {
        let (mut resource, mut group, mut call) = (Message::default(), Message::default(), Message::default());
        resource.text(1, "service.name", service);
        resource.number(1, "process.pid", pid.into());
        resource.text(1, "telemetry.sdk.language", "go");
        resource.text(1, "telemetry.sdk.name", "opentelemetry");
        resource.text(1, "telemetry.sdk.version", "1.38.0");
        resource.text(1, "host.name", "node-7");
        group.inner(1, &resource);
        group.inner(2, &self.scope);
        call.inner(1, &group);
        let mut frame = vec![0];
        frame.extend((call.0.len() as u32).to_be_bytes());
        frame.extend(call.0);
        frame
    }
}

/// A span without its attributes, whose times are nanoseconds of the wall clock.
fn span(
    trace: &[u8; 16],
    id: u64,
    parent: Option<u64>,
    kind: u64,
    name: &str,
    (started, ended): (u64, u64),
) -> Message {
    let mut span = Message::default();
    span.bytes(1, trace);
    span.bytes(2, &(id | 1).to_be_bytes());
    if let Some(parent) = parent {
        span.bytes(4, &(parent | 1).to_be_bytes());
    }
    span.bytes(5, name.as_bytes());
    span.int(6, kind);
    span.fixed(7, started);
    span.fixed(8, ended);
    span
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    #[test]
    fn messages_are_written_as_protobuf_writes_them() {
        let mut message = Message::default();
        message.int(3, 300);
        message.text(1, "k", "v");
        message.fixed(7, 1);
        // Varints in groups of seven bits, tags of field and type, lengths before bytes.
        assert_eq!(
            message.0,
            [0x18, 0xac, 2, 0x0a, 8, 0x0a, 1, b'k', 0x12, 3, 0x0a, 1, b'v', 0x39, 1, 0, 0, 0, 0, 0, 0, 0]
        );
    }

    #[test]
    fn a_frame_tells_its_length() {
        let (mut batch, mut random) = (Batch::new(), StdRng::seed_from_u64(1));
        (0..100).for_each(|_| batch.request(&mut random, 1 << 60));
        assert!(batch.requests == 100 && batch.spans > 200, "{batch:?}");
        let frame = batch.frame("titles", 7);
        assert_eq!(u32::from_be_bytes([frame[1], frame[2], frame[3], frame[4]]) as usize, frame.len() - 5);
        assert!(frame.len() < 1000 * batch.spans as usize, "{} bytes", frame.len());
    }
}
