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
mod wire;

use super::Intake;
use crate::{clock::Clock, metrics::Tally, render::Picture};
use forward::Forward;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use snowshed_engine::model::{Observation, Pid, ProcessSeen};
use span::{Mapped, Seen};
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
    fn take(&self, call: &ExportTraceServiceRequest) -> ExportTraceServiceResponse {
        let mut taken = Taken::default();
        for group in &call.resource_spans {
            let from = self.sender(span::Resource::of(group.resource.as_ref()));
            for one in group.scope_spans.iter().flat_map(|scope| &scope.spans) {
                let pairs = attributes::pairs(&one.attributes);
                taken.add(self.map(&Seen::of(one, &pairs), &from));
            }
        }
        self.hand_over(taken)
    }

    /// The same for a call as it came, which is read before any of it is taken.
    fn take_message(&self, call: &[u8]) -> Result<ExportTraceServiceResponse, wire::Malformed> {
        let mut taken = Taken::default();
        wire::read(call, |resource| self.sender(resource), |from, one| taken.add(self.map(one, from)))?;
        Ok(self.hand_over(taken))
    }

    /// Whose spans these are; tells the engine what the sender calls itself.
    fn sender(&self, resource: span::Resource) -> (span::Resource, Option<Pid>) {
        let pid = self.pid_of(&resource);
        if let (Some(pid), true) = (pid, resource.pid == pid) {
            self.introduce(pid, &resource);
        }
        (resource, pid)
    }

    fn map(&self, one: &Seen<'_>, (resource, pid): &(span::Resource, Option<Pid>)) -> Mapped {
        span::map(one, resource, *pid, &self.clock)
    }

    fn hand_over(&self, taken: Taken) -> ExportTraceServiceResponse {
        let Taken { all, ignored, invalid, mut why } = taken;
        let (mut requests, mut calls, mut dropped) = (0, 0, 0);
        for observation in all {
            let count = if matches!(observation, Observation::Request(_)) { &mut requests } else { &mut calls };
            if self.intake.offer(observation) {
                *count += 1;
            } else {
                dropped += 1;
                why = "the agent's queue is full";
            }
        }
        let outcomes = ["request", "call", "ignored", "invalid", "dropped"];
        for (outcome, count) in outcomes.into_iter().zip([requests, calls, ignored, invalid, dropped]) {
            if count > 0 {
                self.tally.otlp_spans.with_label_values(&[outcome]).inc_by(count);
            }
        }
        let rejected = i64::try_from(invalid + dropped).unwrap_or(i64::MAX);
        ExportTraceServiceResponse {
            partial_success: (rejected > 0)
                .then(|| ExportTracePartialSuccess { rejected_spans: rejected, error_message: why.to_owned() }),
        }
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

/// The spans of a call that can be taken, and how many cannot.
#[derive(Debug, Default)]
struct Taken {
    all: Vec<Observation>,
    ignored: u64,
    invalid: u64,
    /// What is wrong with the last of these.
    why: &'static str,
}

impl Taken {
    fn add(&mut self, mapped: Mapped) {
        match mapped {
            Mapped::Request(request) => self.all.push(Observation::Request(request)),
            Mapped::Call(call) => self.all.push(Observation::Call(call)),
            Mapped::Ignored => self.ignored += 1,
            Mapped::Invalid(reason) => {
                self.invalid += 1;
                self.why = reason;
            }
        }
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
            suspected: None,
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
