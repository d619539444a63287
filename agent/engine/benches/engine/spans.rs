//! What the receiver makes of the spans of five services, two processes each: requests and the calls within them.
//!
//! Every process has ten routes and calls six others. Spans leave in batches of 512 or once a second, as SDKs send them;
//! one in a hundred batches comes twice, one in a hundred spans three seconds late, and one in fifty requests fails.

use crate::random::Random;
use snowshed_engine::model::{Call, CallKind, Caller, Nanos, Observation, Pid, Request, TraceId};
use std::collections::VecDeque;

pub(crate) const SECOND: Nanos = 1_000_000_000;
pub(crate) const SERVICES: [&str; 5] = ["gateway", "transcoder", "catalog", "billing", "sessions"];
const ROUTES: [&str; 10] = [
    "GET /api/v1/jobs/{id}",
    "POST /api/v1/transcode",
    "GET /api/v1/segments/{id}/{number}",
    "GET /api/v1/titles",
    "PUT /api/v1/titles/{id}/artwork",
    "POST /api/v1/sessions",
    "DELETE /api/v1/sessions/{id}",
    "GET /api/v1/invoices/{id}",
    "POST /api/v1/payments",
    "GET /healthz",
];
const CALLED: [(CallKind, &str); 6] = [
    (CallKind::Database, "postgresql titles:5432"),
    (CallKind::Database, "redis cache:6379"),
    (CallKind::Http, "billing:8080"),
    (CallKind::Http, "objects.internal:443"),
    (CallKind::Rpc, "grpc encoder:50051"),
    (CallKind::Messaging, "kafka jobs"),
];
const BATCH: usize = 512;

/// A request as its process knew it: what kernel events are joined to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Served {
    pub(crate) trace: TraceId,
    pub(crate) started: Nanos,
    pub(crate) ended: Nanos,
    /// The connection that it came on, by number.
    pub(crate) connection: u32,
}

/// The spans of one process.
#[derive(Debug)]
pub(crate) struct Exporter {
    pid: Pid,
    service: &'static str,
    batch: Vec<Observation>,
    flushed: Nanos,
    late: VecDeque<(Nanos, Observation)>,
    /// Requests that were told, each once.
    pub(crate) requests: u64,
}

impl Exporter {
    pub(crate) fn new(pid: Pid, number: usize) -> Self {
        let service = SERVICES[number % SERVICES.len()];
        Self { pid, service, batch: Vec::new(), flushed: 0, late: VecDeque::new(), requests: 0 }
    }

    /// Serves a request that ends now; its spans wait for the batch.
    pub(crate) fn serve(&mut self, random: &mut Random, now: Nanos) -> Served {
        let route = (random.below(10) * random.below(10) / 10) as usize;
        let took = random.time(5_000_000 * (1 + route as u64));
        let (trace, started) = (random.trace(), now - took);
        let failed = random.per_mille(20);
        let connection = 1 + random.below(200) as u32;
        // As many calls as requests.
        for _ in 0..random.below(3) {
            let (kind, peer) = CALLED[random.below(6) as usize];
            let begin = started + random.below(took / 2);
            let call = Call {
                pid: Some(self.pid),
                trace,
                span: Some(random.span()),
                kind,
                peer: peer.to_owned(),
                started: begin,
                ended: begin + random.below(took / 2),
                failed: failed && random.per_mille(500),
                weight: 1.0,
            };
            self.tell(random, now, Observation::Call(call));
        }
        let request = Request {
            pid: Some(self.pid),
            service: self.service.to_owned(),
            trace,
            span: Some(random.span()),
            route: ROUTES[route].to_owned(),
            started,
            ended: now,
            first_byte: route.is_multiple_of(2).then(|| started + took / 2),
            status: Some(if failed { 503 } else { 200 }),
            failed,
            weight: 1.0,
            peer: self.pid.is_multiple_of(2).then_some(Caller { number: connection, certain: true }),
            serial: true,
        };
        self.tell(random, now, Observation::Request(request));
        self.requests += 1;
        Served { trace, started, ended: now, connection }
    }

    fn tell(&mut self, random: &mut Random, now: Nanos, span: Observation) {
        if random.per_mille(10) {
            self.late.push_back((now + 3 * SECOND, span));
        } else {
            self.batch.push(span);
        }
    }

    /// What arrives now. A batch whose answer was lost comes again.
    pub(crate) fn flush(&mut self, random: &mut Random, now: Nanos, out: &mut Vec<Observation>) {
        while self.late.front().is_some_and(|(due, _)| *due <= now) {
            self.batch.extend(self.late.pop_front().map(|(_, span)| span));
        }
        if self.batch.len() < BATCH && now < self.flushed + SECOND {
            return;
        }
        self.flushed = now;
        if random.per_mille(10) {
            out.extend(self.batch.iter().cloned());
        }
        out.append(&mut self.batch);
    }

    /// Everything that is still on its way.
    pub(crate) fn rest(&mut self, out: &mut Vec<Observation>) {
        out.append(&mut self.batch);
        out.extend(self.late.drain(..).map(|(_, span)| span));
    }
}
