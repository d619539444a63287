//! Every metric the agent has, described once, and the counters that it keeps about itself.
//!
//! Invariant: a metric exists only if it is in [`ALL`]; help texts, label names and the generated
//! reference come from there. Counters of this module live as long as the process; what follows from
//! the engine's view is filled in at scrape time by `api::metrics`.
//! Cost: one atomic add for each count.

use prometheus::{IntCounterVec, Opts, Registry, core::Collector};

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
}

/// A metric: its name, what it says and its labels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metric {
    /// Full name, prefix included.
    pub(crate) name: &'static str,
    /// One sentence.
    pub(crate) help: &'static str,
    /// Counter or gauge.
    pub(crate) kind: Kind,
    /// Label names.
    pub(crate) labels: &'static [&'static str],
}

impl Metric {
    /// Its name and help for the client library.
    pub(crate) fn opts(&self) -> Opts {
        Opts::new(self.name, self.help)
    }
}

macro_rules! metrics {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(#[doc = $help] pub(crate) const $constant: Metric =
            Metric { name: $name, help: $help, kind: Kind::$kind, labels: &[$($label),*] };)*
        /// All of them, in the order in which they are documented.
        pub(crate) const ALL: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    TARGETS = Gauge "snowshed_targets" [] "Processes that are watched.";
    TARGET_FDS = Gauge "snowshed_target_fds" ["pid", "name", "state"] "Open file descriptors of a target, by state: live (all of them) and orphaned (kept after their request ended).";
    TARGET_FDS_LIMIT = Gauge "snowshed_target_fds_limit" ["pid", "name"] "The target's limit of open file descriptors (RLIMIT_NOFILE, soft).";
    TARGET_FDS_ETA = Gauge "snowshed_target_fds_exhaustion_seconds" ["pid", "name", "bound"] "Earliest and latest time until the descriptors run out, while their growth is significant.";
    TARGET_CONNECTIONS = Gauge "snowshed_target_connections" ["pid", "name", "waits"] "TCP connections of a target: all of them, and those that for 5 s at least are close_wait (closed by the peer and not here), stuck_send (the peer takes nothing of what is to be sent) or unread (received and not read), or idle for 10 s.";
    TARGET_RSS = Gauge "snowshed_target_rss_bytes" ["pid", "name", "kind"] "Resident memory of a target: anon (heap, stacks), file (mapped files) and shmem (shared memory).";
    TARGET_SWAP = Gauge "snowshed_target_swap_bytes" ["pid", "name"] "Memory of a target that lies in swap.";
    TARGET_ADDRESS_SPACE = Gauge "snowshed_target_address_space_bytes" ["pid", "name"] "Address space of a target, touched or not.";
    TARGET_CGROUP = Gauge "snowshed_target_cgroup_memory_bytes" ["pid", "name"] "Memory of the target's cgroup, or of the one above it that leaves less room.";
    TARGET_CGROUP_LIMIT = Gauge "snowshed_target_cgroup_memory_limit_bytes" ["pid", "name"] "That cgroup's limit; absent without one.";
    TARGET_MAJOR_FAULTS = Counter "snowshed_target_major_faults_total" ["pid", "name"] "Page faults of a target that had to read from a disk, since it started.";
    TARGET_OOM_KILLS = Counter "snowshed_target_oom_kills_total" ["pid", "name"] "Times that the kernel chose a target for lack of memory.";
    TARGET_PAGES_IN = Gauge "snowshed_target_pages_in_bytes_per_second" ["pid", "name", "kind"] "Pages that a target got over the last minute, given back or not.";
    TARGET_GROWTH = Gauge "snowshed_target_memory_growth_bytes_per_second" ["pid", "name", "kind", "bound"] "Growth of a target's memory, least and most, while it is significant.";
    TARGET_HEAP = Gauge "snowshed_target_heap_in_use_bytes" ["pid", "name"] "Heap in use, as a target publishes it; absent where it does not or no page is configured.";
    TARGET_COLLECTIONS = Counter "snowshed_target_collections_total" ["pid", "name"] "Garbage collections since the start, as a target publishes them.";
    TARGET_TASKS = Gauge "snowshed_target_tasks" ["pid", "name"] "Async tasks or goroutines, as a target publishes them.";
    TARGET_SHORTAGES = Counter "snowshed_target_shortages_total" ["pid", "name", "signal", "place"] "What a target's network namespace or cgroup dropped, refused or killed since the agent began to look.";
    TARGET_PRESSURE = Counter "snowshed_target_pressure_seconds_total" ["pid", "name", "signal"] "Time in which tasks of a target's cgroup waited for a resource (PSI).";
    HOST_SHORTAGES = Counter "snowshed_host_shortages_total" ["signal", "place"] "What the machine dropped since the agent began to look.";
    HOST_PRESSURE = Counter "snowshed_host_pressure_seconds_total" ["signal"] "Time in which tasks of the machine waited for a resource (PSI).";
    TARGET_THREADS = Gauge "snowshed_target_threads" ["pid", "name"] "Threads of a target.";
    TARGET_LOCK_WAIT = Counter "snowshed_target_lock_wait_seconds_total" ["pid", "name"] "Time that threads of a target waited for contended locks, all threads added up; estimated from looks.";
    TARGET_LOCK_WAITERS = Gauge "snowshed_target_lock_waiters" ["pid", "name"] "Threads of a target that waited for a contended lock at the last look.";
    TARGET_CPU = Counter "snowshed_target_cpu_seconds_total" ["pid", "name"] "CPU time that a target used since it is watched.";
    TARGET_CPU_DELAY = Counter "snowshed_target_cpu_delay_seconds_total" ["pid", "name"] "Time that threads of a target were ready to run and did not.";
    TARGET_THROTTLED = Counter "snowshed_target_cpu_throttled_seconds_total" ["pid", "name"] "Time that the processor limit of its cgroup kept a target from running; absent where it is unknown.";
    TARGET_THROTTLED_PERIODS = Counter "snowshed_target_cpu_throttled_periods_total" ["pid", "name"] "Periods in which the processor limit of its cgroup kept a target from running; absent where it is unknown.";
    TARGET_BLOCKED = Counter "snowshed_target_uninterruptible_seconds_total" ["pid", "name"] "Time that threads of a target were blocked uninterruptibly, mostly by a disk; estimated from looks.";
    TARGET_LOOP_BUSY = Gauge "snowshed_target_loop_busy_ratio" ["pid", "name", "tid"] "Share of its time that an event loop thread spends between waits, 0 to 1.";
    TARGET_LOOP_WAITS = Counter "snowshed_target_loop_waits_total" ["pid", "name", "call", "instance"] "Waits on an instance that ended. `call` is epoll, poll, select or io_uring; `instance` its descriptor, or for poll and select `thread` and its id.";
    TARGET_LOOP_EVENTS = Counter "snowshed_target_loop_events_total" ["pid", "name", "call", "instance"] "Events that those waits returned.";
    TARGET_LOOP_FULL = Counter "snowshed_target_loop_full_waits_total" ["pid", "name", "call", "instance"] "Waits that returned as many events as they asked for at most: more may have been ready.";
    TARGET_LOOP_STARVED = Counter "snowshed_target_loop_starved_seconds_total" ["pid", "name", "call", "instance"] "Time for which events were ready and no thread waited or came to fetch them, at least; shorter times than about 200 ms are missed.";
    TARGET_SUSPECTED = Gauge "snowshed_target_suspected" ["pid", "name", "cause"] "Confidence in the cause that is suspected, 0 to 1; absent while nothing is, and once an incident has named it.";
    TARGET_STALLS = Counter "snowshed_target_stalls_total" ["pid", "name"] "Times that an event loop thread of a target did not come back to wait.";
    TARGET_RETRANSMITS = Counter "snowshed_target_retransmits_total" ["pid", "name"] "TCP segments that were sent again on a target's connections.";
    TARGET_TCP_CONNECTIONS = Gauge "snowshed_target_tcp_connections" ["pid", "name", "peer"] "Open TCP connections of a target, by peer: address and port of a server, address of a client, or others; 33 peers at most.";
    TARGET_TCP_SEGMENTS = Counter "snowshed_target_tcp_segments_sent_total" ["pid", "name", "peer"] "TCP segments that a target sent since it is watched, those sent again included. A peer that gives way to another goes on in others.";
    TARGET_TCP_RESENT = Counter "snowshed_target_tcp_segments_retransmitted_total" ["pid", "name", "peer"] "Of these, segments sent again, by the sockets' own counters.";
    TARGET_TCP_RTT = Gauge "snowshed_target_tcp_rtt_seconds" ["pid", "name", "peer", "kind"] "Round trip: smoothed, of the slowest open connection, or least of late, of all.";
    TARGET_TCP_READS = Counter "snowshed_target_tcp_reads_total" ["pid", "name", "peer"] "Receives of a target that brought bytes of a TCP connection.";
    TARGET_TCP_READ_DELAY = Counter "snowshed_target_tcp_read_delay_seconds_total" ["pid", "name", "peer"] "How long these bytes had lain there unread, to within a tick of the kernel's clock each; divided by the reads, the delay from ready to read.";
    TARGET_TCP_ANSWERS = Counter "snowshed_target_tcp_answers_total" ["pid", "name", "peer"] "Answers: of a server that a target connected to, else the target's own; told by turns of sending and receiving, so fewer where a connection carries several requests at a time.";
    TARGET_TCP_ANSWER_TIME = Counter "snowshed_target_tcp_answer_seconds_total" ["pid", "name", "peer"] "How long these answers took, from what was asked last to the first byte, to within a tick of the kernel's clock each.";
    TARGET_TCP_ZERO = Gauge "snowshed_target_tcp_zero_windows" ["pid", "name", "peer", "side"] "Connections on which nothing can be sent because the peer does not read, or the target itself (own).";
    TARGET_TCP_RESETS = Counter "snowshed_target_tcp_resets_total" ["pid", "name", "peer", "direction"] "Resets, sent or received.";
    TARGET_TCP_FAILURES = Counter "snowshed_target_tcp_connect_failures_total" ["pid", "name", "peer", "error"] "Connects that failed, by errno; given_up: no answer was waited for, or this host refused.";
    TARGET_TCP_SHUT = Counter "snowshed_target_tcp_namespace_zero_windows_total" ["pid", "name"] "Windows that went to zero, of all processes in the target's network namespace.";
    TARGET_TCP_PROBES = Counter "snowshed_target_tcp_namespace_window_probes_total" ["pid", "name"] "Window probes sent, by all processes in the target's network namespace.";
    TARGET_ACCEPT_QUEUE = Gauge "snowshed_target_listener_accept_queue" ["pid", "name", "listener", "protocol"] "Connections that wait to be accepted; protocol is tcp or mptcp. Sockets that share an address are added up.";
    TARGET_BACKLOG = Gauge "snowshed_target_listener_backlog" ["pid", "name", "listener", "protocol"] "How many may wait; one more is dropped.";
    TARGET_LISTEN_DROPS = Counter "snowshed_target_listener_dropped_total" ["pid", "name", "listener", "protocol"] "What a listener dropped since it was made: overflows, and packets that it could not take.";
    TARGET_REQUESTS = Counter "snowshed_target_requests_total" ["pid", "name"] "Requests of a target that ended, as its spans tell.";
    TARGET_IN_FLIGHT = Gauge "snowshed_target_requests_in_flight" ["pid", "name"] "Requests in progress, as the guard layer tells.";
    TARGET_LIMIT = Gauge "snowshed_target_concurrency_limit" ["pid", "name"] "The concurrency limit that the guard layer has in force; absent without one.";
    TARGET_CALLS = Counter "snowshed_target_downstream_calls_total" ["pid", "name", "kind", "peer"] "Calls of a target to another service that ended, as its client spans tell, weighed by their sampling; 33 peers at most.";
    TARGET_CALLS_FAILED = Counter "snowshed_target_downstream_failed_total" ["pid", "name", "kind", "peer"] "Of these, calls that failed.";
    TARGET_CALL_LATENCY = Gauge "snowshed_target_downstream_latency_seconds" ["pid", "name", "kind", "peer", "percentile"] "How long these calls took, over the last 15 s window.";
    TARGET_LATENCY = Gauge "snowshed_target_latency_seconds" ["pid", "name", "percentile"] "Latency to the first byte (else to the end) over the last 15 s window.";
    SLO_STATE = Gauge "snowshed_slo_state" ["slo", "service", "state"] "1 for the state that an objective is in, 0 for the others.";
    SLO_RATIO = Gauge "snowshed_slo_good_ratio" ["slo", "service"] "Good share of the last complete window; absent when there was too little to say.";
    SLO_TARGET = Gauge "snowshed_slo_target_ratio" ["slo", "service"] "The objective's target.";
    SLO_VIOLATIONS = Gauge "snowshed_slo_violations" ["slo", "service"] "Violated windows in a row.";
    SLO_BUDGET = Gauge "snowshed_slo_budget_used_ratio" ["slo", "service"] "Error budget used over the objective's time window; 1 is all of it.";
    INCIDENTS_OPEN = Gauge "snowshed_incidents_open" [] "Incidents that are open.";
    INCIDENTS_OPENED = Counter "snowshed_incidents_opened_total" ["trigger"] "Incidents opened, by what opened them.";
    INCIDENTS = Counter "snowshed_incidents_total" ["cause", "verdict"] "Incidents by their first cause, counted when it is first named, or at the end with cause `none` if it never was.";
    PROBE_TIER = Gauge "snowshed_probe_tier" ["probe", "tier"] "1 for the tier that a probe runs in (full, reduced, off), 0 for the others.";
    PROBE_EVENTS = Counter "snowshed_probe_events_total" ["probe"] "Events that a probe delivered.";
    PROBE_COUNTS = Counter "snowshed_probe_other_events_total" ["probe", "what"] "What a probe saw and does not tell as an event, such as retransmits that failed inside this host.";
    PROBE_LOST = Counter "snowshed_probe_lost_total" ["probe"] "Events that a probe lost because a buffer or a table was full.";
    PROBE_COST = Gauge "snowshed_probe_event_seconds" ["probe"] "Kernel time for one run of a probe's programs; absent until sampled.";
    PROBE_DISPATCH = Gauge "snowshed_probe_dispatch_seconds" ["probe"] "The way to one run of a probe's programs, which the kernel's statistics do not see; calibrated at the start, absent without CAP_SYS_ADMIN.";
    PROBE_CALL = Gauge "snowshed_probe_call_seconds" ["probe", "process"] "All that a call that the probe hooks costs a process more: watched (stacks aside) or unwatched; calibrated at the start.";
    PROBE_CORE = Gauge "snowshed_probe_core_ratio" ["probe"] "Share of one core that a probe takes, in targets and all other processes.";
    PROBE_SHED = Gauge "snowshed_probe_shed" ["probe", "what"] "1 for what a probe leaves out because of the budget (stacks, owners, hooks), 0 for what it does not.";
    OVERHEAD_CORE = Gauge "snowshed_overhead_core_ratio" ["of"] "Share of one core that observing takes: targets (all hooks) and agent.";
    OVERHEAD_BUDGET = Gauge "snowshed_overhead_budget_core_ratio" ["of"] "Share of one core that observing may take now: targets (all hooks; it follows what the machine does) and agent.";
    OVERHEAD_OTHER_CALL = Gauge "snowshed_overhead_other_call_seconds" [] "What every system call of the machine that no probe hooks costs more; calibrated at the start.";
    AGENT_BPF = Gauge "snowshed_agent_bpf_bytes" [] "Kernel memory of the agent's maps and programs.";
    AGENT_MEMORY_BUDGET = Gauge "snowshed_agent_memory_budget_bytes" [] "What agent and kernel maps may hold together.";
    QUEUE_DROPPED = Counter "snowshed_engine_queue_dropped_total" ["queue"] "Observations dropped because the engine's queue was full.";
    ENGINE_LOST = Counter "snowshed_engine_lost_total" ["source"] "Evidence that never reached the engine, or that one of its bounds made it leave out, by probe or bound.";
    OTLP_SPANS = Counter "snowshed_otlp_spans_total" ["outcome"] "Spans received: request (a request's end), call (a call to another service), ignored (neither), invalid, dropped (queue full).";
    OTLP_FORWARDED = Counter "snowshed_otlp_forwarded_total" ["outcome"] "OTLP calls for the next collector: sent, failed (not taken for half a minute, or refused), dropped (queue full).";
    OTLP_REFUSED = Counter "snowshed_otlp_refused_total" ["reason"] "OTLP calls that were refused whole.";
    SCRAPES = Counter "snowshed_scrapes_total" ["outcome"] "Pages of targets that were asked for: learnt, failed.";
    GUARD_REPORTS = Counter "snowshed_guard_reports_total" ["outcome"] "Reports of the guard layer: answered, unknown_pid, invalid, dropped.";
    SINK_SENT = Counter "snowshed_sink_sent_total" ["sink"] "Messages that a sink delivered.";
    SINK_FAILED = Counter "snowshed_sink_failed_total" ["sink"] "Attempts of a sink that failed.";
    SINK_DROPPED = Counter "snowshed_sink_dropped_total" ["sink"] "Incident changes that a sink dropped because its queue was full; a later change of the same incident repeats all.";
    STORE_RECORDS = Gauge "snowshed_store_records" [] "Incidents on disk.";
    STORE_BYTES = Gauge "snowshed_store_bytes" ["of"] "What the incidents on disk weigh (records), how long the file is (file), and what the records may weigh (limit).";
    STORE_ON_DISK = Gauge "snowshed_store_on_disk" [] "1 while incidents are written to the state directory, 0 while it does not take them; absent without one.";
    STORE_LOST = Counter "snowshed_store_lost_total" ["reason"] "Incidents that are not on disk: expired (old ones that made room), dropped (while the disk failed, or too large).";
    STREAM_SUBSCRIBERS = Gauge "snowshed_stream_subscribers" [] "Open event streams.";
    STREAM_LAGGED = Counter "snowshed_stream_lagged_total" [] "Events that a slow stream reader missed.";
    AGENT_CPU = Counter "snowshed_agent_cpu_seconds_total" [] "Processor time that the agent itself has used.";
    AGENT_RSS = Gauge "snowshed_agent_rss_bytes" [] "Resident memory of the agent itself.";
    BUILD_INFO = Gauge "snowshed_build_info" ["version"] "1, with the agent's version.";
}

/// The counters that live as long as the process.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    registry: Registry,
    /// [`QUEUE_DROPPED`].
    pub(crate) queue_dropped: IntCounterVec,
    /// [`OTLP_SPANS`].
    pub(crate) otlp_spans: IntCounterVec,
    /// [`OTLP_FORWARDED`].
    pub(crate) otlp_forwarded: IntCounterVec,
    /// [`OTLP_REFUSED`].
    pub(crate) otlp_refused: IntCounterVec,
    /// [`GUARD_REPORTS`].
    pub(crate) guard_reports: IntCounterVec,
    /// [`SCRAPES`].
    pub(crate) scrapes: IntCounterVec,
    /// [`SINK_SENT`].
    pub(crate) sink_sent: IntCounterVec,
    /// [`SINK_FAILED`].
    pub(crate) sink_failed: IntCounterVec,
    /// [`SINK_DROPPED`].
    pub(crate) sink_dropped: IntCounterVec,
    /// [`INCIDENTS_OPENED`].
    pub(crate) incidents_opened: IntCounterVec,
    /// [`INCIDENTS`].
    pub(crate) incidents: IntCounterVec,
    /// [`STREAM_LAGGED`].
    pub(crate) stream_lagged: IntCounterVec,
}

impl Tally {
    /// All at zero, and shown at zero: an alert on a counter that does not exist yet never fires.
    ///
    /// # Errors
    /// A description that the client library refuses, which a test rules out.
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let tally = Self {
            registry: Registry::new(),
            queue_dropped: counter(&QUEUE_DROPPED)?,
            otlp_spans: counter(&OTLP_SPANS)?,
            otlp_forwarded: counter(&OTLP_FORWARDED)?,
            otlp_refused: counter(&OTLP_REFUSED)?,
            guard_reports: counter(&GUARD_REPORTS)?,
            scrapes: counter(&SCRAPES)?,
            sink_sent: counter(&SINK_SENT)?,
            sink_failed: counter(&SINK_FAILED)?,
            sink_dropped: counter(&SINK_DROPPED)?,
            incidents_opened: counter(&INCIDENTS_OPENED)?,
            incidents: counter(&INCIDENTS)?,
            stream_lagged: counter(&STREAM_LAGGED)?,
        };
        for collector in tally.collectors() {
            tally.registry.register(collector)?;
        }
        start_at_zero(&tally.queue_dropped, &["kernel", "told"]);
        start_at_zero(&tally.otlp_spans, &["request", "call", "ignored", "invalid", "dropped"]);
        start_at_zero(&tally.otlp_forwarded, &["sent", "failed", "dropped"]);
        start_at_zero(&tally.otlp_refused, &["too_large", "encoding", "content_type", "malformed"]);
        start_at_zero(&tally.guard_reports, &["answered", "unknown_pid", "invalid", "dropped"]);
        let triggers = ["orphans", "stall", "exhaustion", "anomaly", "slo_windows", "joint_rule", "process_exit"];
        start_at_zero(&tally.incidents_opened, &triggers);
        for cause in CAUSES {
            tally.incidents.with_label_values(&[cause, "named"]).inc_by(0);
        }
        tally.incidents.with_label_values(&["none", "unknown"]).inc_by(0);
        start_at_zero(&tally.scrapes, &["learnt", "failed"]);
        tally.stream_lagged.with_label_values::<&str>(&[]).inc_by(0);
        Ok(tally)
    }

    /// Shows a sink's counters at zero from its start.
    pub(crate) fn sink_started(&self, sink: &str) {
        for counter in [&self.sink_sent, &self.sink_failed, &self.sink_dropped] {
            start_at_zero(counter, &[sink]);
        }
    }

    /// What has been counted.
    pub(crate) fn gather(&self) -> Vec<prometheus::proto::MetricFamily> {
        self.registry.gather()
    }

    fn collectors(&self) -> [Box<dyn Collector>; 12] {
        [
            Box::new(self.queue_dropped.clone()),
            Box::new(self.otlp_spans.clone()),
            Box::new(self.otlp_forwarded.clone()),
            Box::new(self.otlp_refused.clone()),
            Box::new(self.guard_reports.clone()),
            Box::new(self.scrapes.clone()),
            Box::new(self.sink_sent.clone()),
            Box::new(self.sink_failed.clone()),
            Box::new(self.sink_dropped.clone()),
            Box::new(self.incidents_opened.clone()),
            Box::new(self.incidents.clone()),
            Box::new(self.stream_lagged.clone()),
        ]
    }
}

fn counter(metric: &Metric) -> Result<IntCounterVec, prometheus::Error> {
    IntCounterVec::new(metric.opts(), metric.labels)
}

fn start_at_zero(counter: &IntCounterVec, values: &[&str]) {
    for value in values {
        counter.with_label_values(&[value]).inc_by(0);
    }
}

/// Causes that can be named, as label values.
const CAUSES: &[&str] = &[
    "fd_leak",
    "event_loop_stall",
    "task_leak",
    "memory_growth",
    "cpu_throttled",
    "disk_stall",
    "lock_contention",
    "cpu_saturation",
    "nic_drops",
    "tcp_retransmits",
    "downstream_slow",
    "accept_queue_overflow",
    "pool_exhausted",
    "traffic_surge",
    "dns_failure",
    "blocked_writer",
    "deadline_overrun",
    "oom_kill",
];

#[cfg(test)]
mod tests {
    use super::*;
    use snowshed_engine::model::CauseKind;
    use std::collections::HashSet;

    #[test]
    fn names_follow_the_rules() {
        let mut seen = HashSet::new();
        for metric in ALL {
            assert!(metric.name.starts_with("snowshed_"), "{}", metric.name);
            assert!(seen.insert(metric.name), "{} twice", metric.name);
            assert!(metric.help.ends_with('.'), "{}: the help is a sentence", metric.name);
            assert_eq!(metric.kind == Kind::Counter, metric.name.ends_with("_total"), "{}", metric.name);
        }
    }

    #[test]
    fn counters_are_shown_at_zero() {
        let tally = Tally::new().expect("the table is valid");
        let text = prometheus::TextEncoder::new().encode_to_string(&tally.gather()).expect("encodes");
        assert!(text.contains("snowshed_incidents_total{cause=\"fd_leak\",verdict=\"named\"} 0"), "{text}");
        assert!(text.contains("snowshed_stream_lagged_total 0"), "{text}");
        for cause in CAUSES {
            let kind: Result<CauseKind, _> = serde_json::from_value((*cause).into());
            assert!(kind.is_ok(), "{cause} is no cause");
        }
    }
}
