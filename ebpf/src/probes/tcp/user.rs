//! Attaching, and turning records into observations.

use super::{connections::Connections, diag::Diag, namespace, writers::Writers};
use crate::{
    host::{
        clock,
        iterator::{self, Of},
        kernel::{AttachError, Kernel},
    },
    probes::{Look, Probe},
    session::Shed,
    wire::{Counter, SocketRecord},
};
use snowshed_engine::model::{Nanos, Observation, Pid};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Records taken per look, so that one flood cannot keep the agent from looking.
const MOST_PER_LOOK: usize = 4096;
/// How often the sockets are looked at: each look goes over all descriptors of the targets.
const LOOK: Nanos = 2_000_000_000;
/// A look is followed by at least so many times what it cost: with very many descriptors looks are rarer.
const REST: Nanos = 200;
/// What was written while nobody heard who writes counts for whoever writes next: until it is surely acknowledged.
const SENT: Nanos = 60_000_000_000;
/// The longest time between two looks.
const RAREST: Nanos = 30_000_000_000;

#[derive(Default)]
pub(crate) struct Tcp {
    writers: Writers,
    diag: Diag,
    connections: Connections,
    due: Nanos,
    /// Nobody hears who writes.
    deaf: bool,
    /// What happened to sockets since the last look.
    news: Vec<(Pid, SocketRecord)>,
    /// When a process was looked at that had no socket.
    without: BTreeMap<Pid, Nanos>,
    /// Zero windows and window probes of a process's network namespace, at the last look.
    windows: BTreeMap<Pid, (u64, u64)>,
    namespaces: namespace::Windows,
    /// What this kernel does not let be seen.
    missing: Vec<String>,
}

impl Probe for Tcp {
    fn name(&self) -> &'static str {
        "tcp"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["tcp_sent", "tcp_retransmitted", "tcp_changed", "tcp_reset_sent", "tcp_reset_received"]
    }

    fn counters(&self) -> (&'static [Counter], &'static [Counter]) {
        (
            &[Counter::Retransmits, Counter::Sockets],
            &[Counter::RetransmitsLost, Counter::StampsLost, Counter::SocketsLost],
        )
    }

    fn counts(&self) -> &'static [(&'static str, Counter)] {
        &[("retransmits_failed_inside_this_host", Counter::RetransmitsFailed)]
    }

    fn attach(&mut self, kernel: &mut Kernel) -> Result<(), AttachError> {
        kernel.tracepoint("tcp_retransmitted", "tcp_retransmit_skb")?;
        kernel.iterator("tcp_list", "task_file")?;
        kernel.tracepoint("tcp_changed", "inet_sock_set_state")?;
        let mut without = |attached: Result<(), AttachError>, what: &str| {
            if let Err(error) = attached {
                self.missing.push(format!("{what}: {error}"));
            }
        };
        without(kernel.tracepoint("tcp_reset_sent", "tcp_send_reset"), "resets that are sent are not counted");
        without(
            kernel.tracepoint("tcp_reset_received", "tcp_receive_reset"),
            "resets that are received are not counted",
        );
        without(
            kernel.tracepoint("tcp_sent", "sock_send_length"),
            "retransmits are told without who wrote their bytes",
        );
        Ok(())
    }

    fn lacks(&self) -> Option<String> {
        (!self.missing.is_empty()).then(|| self.missing.join("; "))
    }

    fn fallback(&self) -> Option<&'static str> {
        self.diag.serves()
    }

    fn sheds(&self) -> &'static [Shed] {
        &[Shed::Owners, Shed::Hooks]
    }

    /// The only one of its hooks that runs at every send.
    fn owners(&self) -> &'static [&'static str] {
        &["tcp_sent"]
    }

    fn owned(&mut self, owned: bool, now: Nanos) {
        if owned && self.deaf {
            self.writers.doubt_until(now + SENT);
        }
        self.deaf = !owned;
        if self.deaf {
            self.connections.hear(None);
        }
    }

    fn without_owners(&self) -> &'static str {
        "retransmits without who wrote their bytes"
    }

    fn without_hooks(&self) -> Option<&'static str> {
        Some("what each open connection has sent, again and in all, every two seconds")
    }

    fn period(&self) -> Option<Duration> {
        Some(Duration::from_millis(100))
    }

    fn sample(&mut self, look: &mut Look<'_>, out: &mut Vec<Observation>) {
        let Some(kernel) = look.kernel.as_deref_mut() else {
            self.connections.hear(None);
            return self.diag.look(&look.targets.pids(), look.now, out);
        };
        if !self.deaf && !self.connections.hears() {
            self.connections.hear(Some(look.now));
        }
        let mut told = Vec::new();
        kernel.retransmits(MOST_PER_LOOK, |record| {
            let pid = look.targets.inner(record.host_tgid);
            self.writers.take(&record, pid, &mut told);
        });
        self.writers.rest(look.now, &mut told);
        self.writers.doubt(&mut told);
        out.extend(told.into_iter().map(Observation::Retransmit));
        if look.now >= self.due {
            let begun = clock::of_thread();
            self.look(look, out);
            self.due = look.now + (REST * clock::of_thread().saturating_sub(begun)).clamp(LOOK, RAREST);
        } else {
            self.news(look);
            // Short-lived connections must not pile up until the next look.
            self.connections.take(&mut std::mem::take(&mut self.news));
        }
    }

    fn forget(&mut self, pid: Pid) {
        self.connections.forget(pid);
        self.without.remove(&pid);
        self.windows.remove(&pid);
    }
}

impl Tcp {
    fn news(&mut self, look: &mut Look<'_>) {
        let Some(kernel) = look.kernel.as_deref_mut() else { return };
        kernel.sockets(MOST_PER_LOOK, |record| {
            if let Some(pid) = look.targets.inner(record.host_tgid) {
                self.news.push((pid, record));
            }
        });
    }

    fn look(&mut self, look: &mut Look<'_>, out: &mut Vec<Observation>) {
        let pids = look.targets.pids();
        let mut seen = BTreeSet::new();
        for pid in &pids {
            // Who has not run since has made none.
            if self.without.get(pid).is_some_and(|at| look.targets.is_asleep(*pid, *at)) {
                continue;
            }
            let Some(kernel) = look.kernel.as_deref_mut() else { return };
            // One that has ended, or whose files cannot be listed, has nothing open.
            if kernel.look("tcp_list", Of::Process(*pid), look.buffer).is_err() {
                continue;
            }
            let own = iterator::records::<SocketRecord>(look.buffer);
            // A duplicated descriptor shows its socket again.
            seen.clear();
            self.news.extend(own.filter(|record| seen.insert(record.socket)).map(|record| (*pid, record)));
            if seen.is_empty() {
                self.without.insert(*pid, look.now);
            } else {
                self.without.remove(pid);
            }
        }
        // After the look, so that what closed during it is known to have.
        self.news(look);
        self.connections.take(&mut std::mem::take(&mut self.news));
        for mut told in self.connections.tell(&pids, look.now) {
            let namespace = look.targets.network_namespace(told.pid, look.now);
            if let Some(now) = namespace.and_then(|namespace| self.namespaces.of(told.pid, namespace, look.now)) {
                let before = self.windows.insert(told.pid, now).unwrap_or(now);
                told.zero_windows = Some(now.0.saturating_sub(before.0));
                told.window_probes = Some(now.1.saturating_sub(before.1));
            }
            out.push(Observation::Tcp(told));
        }
    }
}
