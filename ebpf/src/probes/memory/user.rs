//! Levels once a second; five times a second the samples of pages that came in.

use super::{levels, places::Places};
use crate::{
    host::{
        cgroup::{Found, Known},
        kernel::{AttachError, Kernel},
        targets::{self, Targets},
    },
    probes::{Look, Probe},
    wire::{Counter, EVENT_OOM, Event},
};
use snowshed_engine::model::{Level, Nanos, Observation, OomKill, Pid, Resource};
use std::{collections::BTreeMap, time::Duration};

/// How often levels are told; the cgroup's every other time.
const TELL: Nanos = 1_000_000_000;
/// Those of a process that has not run since are told so often all the same.
const ASLEEP: Nanos = 4 * TELL;

#[derive(Default)]
pub(crate) struct Memory {
    places: Places,
    due: Nanos,
    /// When the levels of each process were last told, and when its cgroup's.
    told: BTreeMap<Pid, (Nanos, Nanos)>,
    cgroups: Known,
    lacks: Option<String>,
}

impl Probe for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn programs(&self) -> &'static [&'static str] {
        // The hooks of the killer run so rarely that they have no cost, and are never taken off for a budget.
        &["pages_counted"]
    }

    fn counters(&self) -> (&'static [Counter], &'static [Counter]) {
        (&[Counter::Growths, Counter::OomKills], &[Counter::GrowthsLost, Counter::OomKillsLost])
    }

    fn attach(&mut self, kernel: &mut Kernel) -> Result<(), AttachError> {
        // The tracepoint passes a task since 6.8 or so, a number before; the verifier takes what fits.
        let oom = kernel
            .tracepoint("oom_chose_task", "mark_victim")
            .or_else(|_| kernel.tracepoint("oom_chose_pid", "mark_victim"));
        self.lacks = oom.err().map(|error| format!("kills for lack of memory are not seen: {error}"));
        kernel.tracepoint("pages_counted", "rss_stat")
    }

    fn lacks(&self) -> Option<String> {
        self.lacks.clone()
    }

    fn fallback(&self) -> Option<&'static str> {
        Some("levels from /proc, without the places where memory grows")
    }

    fn period(&self) -> Option<Duration> {
        Some(Duration::from_millis(200))
    }

    fn sample(&mut self, look: &mut Look<'_>, out: &mut Vec<Observation>) {
        self.places.turn(look);
        if look.now < self.due {
            return;
        }
        let at = look.now;
        self.due = at + TELL;
        // Read only where somebody is told of it.
        let (mut machine, mut cgroups) = (None, Found::default());
        for pid in look.targets.pids() {
            let (told, cgroup_told) = self.told.get(&pid).copied().unwrap_or_default();
            if at < told + ASLEEP && look.targets.is_asleep(pid, told) {
                continue;
            }
            let with_cgroup = at >= cgroup_told + 2 * TELL;
            self.told.insert(pid, (at, if with_cgroup { at } else { cgroup_told }));
            let level = |resource, value, limit| Observation::Level(Level { pid, resource, value, limit, at });
            // First, so that whoever reads the levels has the limit.
            let mut cgroup = || cgroups.of(&mut self.cgroups, pid, |known| levels::cgroup(known, pid));
            if with_cgroup && let Some((current, limit)) = cgroup() {
                out.push(level(Resource::CgroupMemory, current, limit));
            }
            if with_cgroup && let Some((used, all)) = *machine.get_or_insert_with(levels::machine) {
                out.push(level(Resource::HostMemory, used, Some(all)));
            }
            let data = targets::data_limit(pid);
            let limit = |resource| data.filter(|_| resource == Resource::AddressSpaceData);
            out.extend(levels::of(pid).into_iter().map(|(resource, value)| level(resource, value, limit(resource))));
        }
        self.places.tell(at, out);
    }

    fn forget(&mut self, pid: Pid) {
        self.told.remove(&pid);
        self.cgroups.forget(pid);
    }

    fn event(&mut self, event: &Event, targets: &Targets, out: &mut Vec<Observation>) {
        if event.kind != EVENT_OOM {
            return;
        }
        // Older kernels name a thread: nearly always the first, whose number is the process's.
        let host = if event.host_tgid != 0 { event.host_tgid } else { event.child };
        // A process that nobody watches is counted, in the probe's events; whose it was is not ours to tell.
        out.extend(targets.inner(host).map(|pid| Observation::OomKill(OomKill { pid, at: event.at })));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::targets::{Activity, Watched};

    #[test]
    fn a_victim_is_found_by_process_or_by_first_thread() {
        let mut targets = Targets::default();
        targets.insert(Watched {
            pid: 7,
            host: 4007,
            name: "x".into(),
            started: 1,
            instance: None,
            parent: None,
            activity: Activity::default(),
        });
        let told = |host_tgid, child| {
            let mut out = Vec::new();
            let event = Event { kind: EVENT_OOM, host_tgid, child, at: 5, ..Event::default() };
            Memory::default().event(&event, &targets, &mut out);
            out.iter()
                .filter(|seen| matches!(seen, Observation::OomKill(kill) if kill.pid == 7 && kill.at == 5))
                .count()
        };
        assert_eq!((told(4007, 4011), told(0, 4007), told(4008, 4008)), (1, 1, 0));
    }
}
