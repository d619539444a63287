//! `fd_leak`: descriptors kept after the request that they were made for.
//!
//! Rests on ownership, not on a trend; the trend only says how long there is left. Confidence falls with
//! the join, with things of the same group that later requests do use, a little with those given back
//! normally (a leak on an error path is still a leak), and while few have been seen.

use super::{CauseUnit, Scene, trigger_evidence};
use crate::{
    correlate::{group::Leak, join::certainty},
    forecast::span_words,
    model::{Cause, CauseKind, Evidence, Forecast, HoldingKind, Layer, TriggerKind},
};

/// Most causes of this kind at once.
const MOST: usize = 3;

pub(crate) const UNIT: CauseUnit = CauseUnit {
    kind: CauseKind::FdLeak,
    needs: &[TriggerKind::Orphans, TriggerKind::JointRule],
    produces: &[TriggerKind::Orphans, TriggerKind::Exhaustion, TriggerKind::SloWindows, TriggerKind::JointRule],
    opens: |_| None,
    propose,
    explains,
};

/// At the limit, accept fails and its loop spins: stalls and connections that nobody accepts are then symptoms.
fn explains(scene: &Scene<'_>, kind: CauseKind) -> bool {
    let own = &scene.target.own;
    matches!(kind, CauseKind::EventLoopStall | CauseKind::AcceptQueueOverflow)
        && own.limit.is_some_and(|limit| own.live.saturating_mul(100) >= limit.saturating_mul(97))
}

fn propose(scene: &Scene<'_>) -> Vec<Cause> {
    let mut culprits: Vec<(Leak, usize)> = Vec::new();
    for leak in scene.leaks {
        match culprits.iter_mut().find(|(known, _)| same_requests(known, leak)) {
            Some((known, places)) => {
                absorb(known, leak);
                *places += 1;
            }
            None => culprits.push((leak.clone(), 1)),
        }
    }
    culprits.sort_by_key(|(leak, _)| std::cmp::Reverse(leak.orphaned));
    culprits.iter().take(MOST).map(|(leak, places)| cause(scene, leak, *places)).collect()
}

/// One careless handler often opens several files, each at a line of its own: most requests behind the one
/// place are then behind the other too.
fn same_requests(one: &Leak, other: &Leak) -> bool {
    let common = other.traces.iter().filter(|trace| one.traces.contains(trace)).count();
    let fewer = one.traces.len().min(other.traces.len());
    one.kind == other.kind && fewer > 0 && common * 2 > fewer
}

/// Adds a place to a leak; the place with most orphans stays the one that is shown.
fn absorb(leak: &mut Leak, other: &Leak) {
    leak.orphaned = leak.orphaned.saturating_add(other.orphaned);
    leak.most = leak.most.saturating_add(other.most);
    leak.reused = leak.reused.saturating_add(other.reused);
    leak.returned = leak.returned.saturating_add(other.returned);
    leak.growing |= other.growing;
    leak.onset = leak.onset.min(other.onset);
    leak.ambiguity = leak.ambiguity.max(other.ambiguity);
}

#[expect(clippy::cast_precision_loss, reason = "counts of descriptors, as shares and evidence")]
fn cause(scene: &Scene<'_>, leak: &Leak, places: usize) -> Cause {
    let orphaned = leak.orphaned as f64;
    let pure = orphaned / (orphaned + leak.reused as f64).max(1.0);
    let kept = orphaned / (orphaned + leak.returned as f64).max(1.0);
    let seen = 1.0 - 0.5 / orphaned.max(1.0);
    let growth = if leak.growing { 1.0 } else { 0.95 };
    let confidence = certainty(leak.join) * (0.6 + 0.4 * pure) * (0.85 + 0.15 * kept) * seen * growth;
    let forecast = leak.growing.then(|| significant(scene, leak)).flatten();
    let evidence = |signal: &str, before: u64, after: u64, n| Evidence {
        layer: Layer::Application,
        signal: signal.to_owned(),
        before: before as f64,
        after: after as f64,
        unit: "fds".to_owned(),
        n,
        since: leak.onset.0,
        until: scene.now,
        join: leak.join,
        ambiguity: leak.ambiguity,
    };
    let live_before = scene.target.fds.before(leak.onset.0).unwrap_or(0);
    let mut all = vec![
        evidence("fd.orphaned", 0, leak.most, leak.most),
        evidence("fd.live", live_before, scene.target.own.live, scene.target.own.live),
    ];
    all.extend(trigger_evidence(scene));
    Cause {
        kind: CauseKind::FdLeak,
        confidence: confidence.clamp(0.0, 1.0),
        title: title(leak, places, forecast.as_ref()),
        site: leak.site,
        thread: None,
        connection: None,
        traces: leak.traces.clone(),
        evidence: all,
        forecast,
    }
}

fn significant(scene: &Scene<'_>, leak: &Leak) -> Option<Forecast> {
    let target = scene.target;
    target.forecast_fds(Some(leak.onset.0), scene.config)
}

fn title(leak: &Leak, places: usize, forecast: Option<&Forecast>) -> String {
    let what = plural(leak.kind);
    let opened = if places > 1 { format!(", opened at {places} places") } else { String::new() };
    let held = if leak.orphaned < leak.most {
        format!("{} of up to {} {what} still held by requests that ended{opened}", leak.orphaned, leak.most)
    } else {
        format!("{} {what} held by requests that ended{opened}", leak.orphaned)
    };
    match forecast {
        Some(told) => format!("{held}; the limit of {} is reached in {}", told.limit, span_words(told.eta_seconds)),
        None => held,
    }
}

fn plural(kind: HoldingKind) -> &'static str {
    match kind {
        HoldingKind::File => "files",
        HoldingKind::Directory => "directories",
        HoldingKind::Device => "devices",
        HoldingKind::Pipe => "pipe ends",
        HoldingKind::Listener => "listening sockets",
        HoldingKind::TcpAccepted => "accepted connections",
        HoldingKind::Tcp => "TCP connections",
        HoldingKind::Udp => "UDP sockets",
        HoldingKind::Unix => "Unix sockets",
        HoldingKind::Socket => "sockets",
        HoldingKind::Epoll => "epoll instances",
        HoldingKind::Eventfd => "eventfds",
        HoldingKind::Timerfd => "timers",
        HoldingKind::Signalfd => "signalfds",
        HoldingKind::Inotify => "inotify instances",
        HoldingKind::Fanotify => "fanotify groups",
        HoldingKind::Memfd => "memfds",
        HoldingKind::Pidfd => "pidfds",
        HoldingKind::IoUring => "io_urings",
        HoldingKind::Userfaultfd => "userfaultfds",
        HoldingKind::PerfEvent => "perf events",
        HoldingKind::Bpf => "BPF maps",
        HoldingKind::Netlink => "netlink sockets",
        HoldingKind::Anon => "descriptors",
    }
}
