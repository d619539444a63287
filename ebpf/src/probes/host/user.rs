//! A look at the counters every two seconds, told as gains.

use super::{
    gain::{Gains, Width},
    network, pressure,
};
use crate::{
    host::{
        cgroup::{Found, Hierarchy, Known},
        kernel::{AttachError, Kernel},
    },
    probes::{Look, Probe},
    wire::Counter,
};
use snowshed_engine::model::{HostItem, HostLook, HostScope, HostSignal, Nanos, Observation, Pid};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Interfaces of a namespace that are looked at.
const MOST_INTERFACES: usize = 64;

/// The cgroup of a process that has not run since is looked at so often all the same.
const ASLEEP: Nanos = 8_000_000_000;

/// Whose counter: the namespace's inode or the process, which signal, and which part of it.
type Key = (u64, HostScope, HostSignal, String);

pub(crate) struct Host {
    has_pressure: bool,
    gains: Gains<Key>,
    looked: Option<Nanos>,
    cgroups: Known,
    /// When the cgroup of each process was last looked at.
    groups: BTreeMap<Pid, Nanos>,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            has_pressure: !pressure::machine().is_empty(),
            gains: Gains::default(),
            looked: None,
            cgroups: Known::default(),
            groups: BTreeMap::new(),
        }
    }
}

impl Probe for Host {
    fn name(&self) -> &'static str {
        "host"
    }

    fn programs(&self) -> &'static [&'static str] {
        &[]
    }

    fn counters(&self) -> (&'static [Counter], &'static [Counter]) {
        (&[], &[])
    }

    /// It needs no kernel program, so nothing can be refused: what cannot be read is unknown.
    fn attach(&mut self, _kernel: &mut Kernel) -> Result<(), AttachError> {
        Ok(())
    }

    fn fallback(&self) -> Option<&'static str> {
        None
    }

    fn lacks(&self) -> Option<String> {
        ((!self.has_pressure).then_some("this kernel tells no pressure (/proc/pressure): built without PSI, or psi=0"))
            .map(str::to_owned)
    }

    fn period(&self) -> Option<Duration> {
        Some(Duration::from_secs(2))
    }

    fn sample(&mut self, look: &mut Look<'_>, out: &mut Vec<Observation>) {
        let (since, until) = (self.looked.replace(look.now).unwrap_or(look.now), look.now);
        let mut tell = |scope, pid, since, items: Vec<HostItem>| {
            if !items.is_empty() {
                out.push(Observation::Host(HostLook { scope, pid, since, until, items }));
            }
        };
        tell(HostScope::Machine, None, since, self.machine());
        // Targets often share a namespace: it is read once, and told to each.
        let mut namespaces: BTreeMap<u64, Vec<HostItem>> = BTreeMap::new();
        let mut cgroups = Found::default();
        let mut asleep = BTreeSet::new();
        for pid in look.targets.pids() {
            if let Some(namespace) = look.targets.network_namespace(pid, look.now) {
                let items = namespaces.entry(namespace).or_insert_with(|| self.network(pid, namespace));
                tell(HostScope::Network, Some(pid), since, items.clone());
            }
            let before = self.groups.get(&pid).copied();
            if before.is_some_and(|at| until < at + ASLEEP && look.targets.is_asleep(pid, at)) {
                asleep.insert(u64::from(pid));
                continue;
            }
            self.groups.insert(pid, until);
            tell(HostScope::Cgroup, Some(pid), before.unwrap_or(since), self.cgroup(pid, &mut cgroups));
        }
        self.gains.keep(|(whose, scope, ..)| *scope == HostScope::Cgroup && asleep.contains(whose));
        self.gains.end();
    }

    fn forget(&mut self, pid: Pid) {
        self.cgroups.forget(pid);
        self.groups.remove(&pid);
    }
}

/// What a process's cgroup counts.
fn counters(cgroups: &mut Known, pid: Pid) -> Vec<(HostSignal, u64)> {
    let mut counters = Vec::new();
    let unified = cgroups.groups(pid, Hierarchy::V2);
    if let Some(own) = unified.first() {
        counters.extend(pressure::group(own));
    }
    // The kernel counts a kill in the group whose process it was.
    let kills = unified
        .first()
        .and_then(|own| own.word("memory.events", "oom_kill"))
        .or_else(|| cgroups.groups(pid, Hierarchy::V1("memory")).first()?.word("memory.oom_control", "oom_kill"));
    counters.extend(kills.map(|kills| (HostSignal::OomKills, kills)));
    counters
}

impl Host {
    fn gain(&mut self, key: Key, now: u64, width: Width) -> Option<u64> {
        self.gains.of(key, now, width)
    }

    fn machine(&mut self) -> Vec<HostItem> {
        let mut items = Vec::new();
        for (signal, now) in pressure::machine() {
            let gain = self.gain((0, HostScope::Machine, signal, String::new()), now, Width::Wide);
            items.extend(gain.map(|amount| HostItem { signal, place: String::new(), amount }));
        }
        let rows = network::backlogs();
        for (signal, pick) in [
            (HostSignal::SoftnetDropped, (|row| row.1) as fn(&(u64, u64, u64)) -> u64),
            (HostSignal::SoftnetSqueezed, |row| row.2),
        ] {
            let gains: Vec<u64> = rows
                .iter()
                .filter_map(|row| {
                    self.gain((0, HostScope::Machine, signal, row.0.to_string()), pick(row), Width::Narrow)
                })
                .collect();
            if !gains.is_empty() {
                items.push(HostItem { signal, place: String::new(), amount: gains.iter().sum() });
            }
        }
        items
    }

    fn network(&mut self, pid: Pid, namespace: u64) -> Vec<HostItem> {
        let mut items = Vec::new();
        let key = |signal, place: &str| (namespace, HostScope::Network, signal, place.to_owned());
        for one in network::interfaces(pid).into_iter().take(MOST_INTERFACES) {
            let place = one.name.clone();
            let dropped = self.gain(key(HostSignal::NicRxDropped, &place), one.rx_dropped, Width::Wide);
            // The two add up to what the interface dropped; nothing dropped is nothing missed.
            let missed = if one.rx_dropped == 0 { Some(0) } else { network::missed(pid, &one) };
            let missed = missed.and_then(|now| self.gain(key(HostSignal::NicRxMissed, &place), now, Width::Wide));
            let of =
                |signal, amount: Option<u64>| amount.map(|amount| HostItem { signal, place: place.clone(), amount });
            items.extend(of(HostSignal::NicRxDropped, dropped.map(|all| all.saturating_sub(missed.unwrap_or(0)))));
            items.extend(of(HostSignal::NicRxMissed, missed));
            let fifo = self.gain(key(HostSignal::NicRxFifo, &place), one.rx_fifo, Width::Wide);
            items.extend(of(HostSignal::NicRxFifo, fifo));
            let unsent = self.gain(key(HostSignal::NicTxDropped, &place), one.tx_dropped, Width::Wide);
            items.extend(of(HostSignal::NicTxDropped, unsent));
        }
        if let Some((overflows, drops)) = network::listeners(pid) {
            for (signal, now) in [(HostSignal::ListenOverflows, overflows), (HostSignal::ListenDrops, drops)] {
                let gain = self.gain(key(signal, ""), now, Width::Wide);
                items.extend(gain.map(|amount| HostItem { signal, place: String::new(), amount }));
            }
        }
        items
    }

    fn cgroup(&mut self, pid: Pid, cgroups: &mut Found<Vec<(HostSignal, u64)>>) -> Vec<HostItem> {
        let counters = cgroups.of(&mut self.cgroups, pid, |known| counters(known, pid));
        let mut items = Vec::new();
        for (signal, now) in counters {
            let gain = self.gain((u64::from(pid), HostScope::Cgroup, signal, String::new()), now, Width::Wide);
            items.extend(gain.map(|amount| HostItem { signal, place: String::new(), amount }));
        }
        items
    }
}
