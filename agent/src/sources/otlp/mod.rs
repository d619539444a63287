//! Spans by OTLP, over gRPC and HTTP: the requests that ended.
//!
//! Invariant: a call is bounded (4 MiB), a broken one is refused with a status that says why, and
//! nothing a sender does ends the agent. Server and root spans become requests, client spans calls to others; the rest
//! is counted and forgotten. A span that arrives twice is told apart by the engine. Cost: decoding, on the runtime's threads, never on the engine's task.

mod attributes;
pub(crate) mod forward;
pub(crate) mod grpc;
pub(crate) mod http;
#[cfg(test)]
mod sdk;
mod span;

use super::Intake;
use crate::{clock::Clock, metrics::Tally, render::Picture};
use forward::Forward;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use snowshed_engine::model::{Observation, Pid, ProcessSeen};
use span::Mapped;
use std::sync::Arc;
use tokio::sync::watch;

/// The largest call, bytes.
const MESSAGE: usize = 4 * 1024 * 1024;

/// What a call needs to be taken.
#[derive(Clone)]
pub(crate) struct Desk {
    /// Where observations go.
    pub(crate) intake: Intake,
    /// The processes that are watched.
    pub(crate) targets: watch::Receiver<Arc<Vec<Pid>>>,
    /// Their names.
    pub(crate) picture: watch::Receiver<Arc<Picture>>,
    /// The time.
    pub(crate) clock: Clock,
    /// Counters.
    pub(crate) tally: Tally,
    /// Where calls are passed on to.
    pub(crate) forward: Forward,
}

impl Desk {
    /// Takes a call's spans. Partial success, as the specification has it: what was rejected, and why.
    fn take(&self, call: ExportTraceServiceRequest) -> ExportTraceServiceResponse {
        let (mut rejected, mut why) = (0_i64, "");
        for group in call.resource_spans {
            let resource = span::Resource::read(group.resource.as_ref());
            let pid = self.pid_of(&resource);
            if let (Some(pid), true) = (pid, resource.pid == pid) {
                self.introduce(pid, &resource);
            }
            for one in group.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                let outcome = match span::map(&one, &resource, pid, &self.clock) {
                    Mapped::Request(request) => self.offer("request", Observation::Request(request)),
                    Mapped::Call(call) => self.offer("call", Observation::Call(call)),
                    Mapped::Ignored => "ignored",
                    Mapped::Invalid(reason) => {
                        why = reason;
                        "invalid"
                    }
                };
                if matches!(outcome, "dropped" | "invalid") {
                    rejected += 1;
                }
                if outcome == "dropped" {
                    why = "the agent's queue is full";
                }
                self.tally.otlp_spans.with_label_values(&[outcome]).inc();
            }
        }
        ExportTraceServiceResponse {
            partial_success: (rejected > 0)
                .then(|| ExportTracePartialSuccess { rejected_spans: rejected, error_message: why.to_owned() }),
        }
    }

    fn offer(&self, outcome: &'static str, observation: Observation) -> &'static str {
        if self.intake.offer(observation) { outcome } else { "dropped" }
    }

    /// The target that these spans come from: the one with their pid, else the only one with their name.
    fn pid_of(&self, resource: &span::Resource) -> Option<Pid> {
        if let Some(pid) = resource.pid.filter(|pid| self.targets.borrow().contains(pid)) {
            return Some(pid);
        }
        let picture = self.picture.borrow();
        let mut named = picture.view.targets.iter().filter(|target| target.name == resource.service);
        match (named.next(), named.next()) {
            (Some(only), None) => Some(only.pid),
            _ => None,
        }
    }

    /// Tells the engine what the process calls itself, if that is news.
    fn introduce(&self, pid: Pid, resource: &span::Resource) {
        let known = self.picture.borrow().view.targets.iter().any(|t| t.pid == pid && t.name == resource.service);
        if !known && !resource.service.is_empty() {
            self.intake.offer(Observation::Process(ProcessSeen {
                pid,
                name: resource.service.clone(),
                started: 0,
                parent: None,
                instance: resource.instance.clone(),
            }));
        }
    }

    fn refused(&self, reason: &'static str) {
        self.tally.otlp_refused.with_label_values(&[reason]).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snowshed_engine::model::{FdView, TargetView, View};
    use tokio::sync::mpsc;

    /// A desk that watches pid 42, named `transcoder`.
    pub(crate) fn desk() -> (Desk, mpsc::Receiver<Observation>) {
        let tally = Tally::new().expect("the table is valid");
        let (intake, queue) = Intake::new(tally.queue_dropped.with_label_values(&["told"]));
        let target = TargetView {
            pid: 42,
            name: "transcoder".into(),
            started: 0,
            fds: FdView::default(),
            connections: None,
            rss_anon: None,
            rss_file: None,
            memory: snowshed_engine::model::MemoryView::default(),
            host: Vec::new(),
            threads: None,
            loops: Vec::new(),
            instances: Vec::new(),
            stalls_total: 0,
            retransmits_total: 0,
            tcp: snowshed_engine::model::TcpView::default(),
            in_flight: None,
            limit: None,
            requests_total: 0,
            latency_seconds: None,
            rules: Vec::new(),
        };
        let view = View { targets: vec![target], ..View::default() };
        let desk = Desk {
            intake,
            targets: watch::channel(Arc::new(vec![42])).1,
            picture: watch::channel(Arc::new(Picture { view, ..Picture::default() })).1,
            clock: Clock::with_offset(0),
            forward: Forward::off(tally.clone()),
            tally,
        };
        (desk, queue)
    }

    fn from(pid: Option<Pid>, service: &str) -> span::Resource {
        span::Resource { pid, service: service.into(), instance: None }
    }

    #[test]
    fn spans_are_joined_to_a_target_by_pid_then_by_its_only_name() {
        let (desk, _queue) = desk();
        assert_eq!(desk.pid_of(&from(Some(42), "other")), Some(42));
        assert_eq!(desk.pid_of(&from(Some(7), "transcoder")), Some(42), "a pid of another namespace");
        assert_eq!(desk.pid_of(&from(Some(7), "other")), None);
    }
}
