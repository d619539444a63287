//! Levels once a second; five times a second the samples of pages that came in.

use super::{levels, places::Places};
use crate::{
    host::{
        kernel::{AttachError, Kernel},
        targets::Targets,
    },
    probes::{Look, Probe},
    wire::{Counter, EVENT_OOM, Event},
};
use snowshed_engine::model::{Level, Nanos, Observation, OomKill, Resource};
use std::time::Duration;

/// How often levels are told; the cgroup's every other time.
const TELL: Nanos = 1_000_000_000;

#[derive(Default)]
pub(crate) struct Memory {
    places: Places,
    due: Nanos,
    tells: u64,
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
        self.tells += 1;
        let machine = levels::machine().filter(|_| self.tells % 2 == 1);
        for pid in look.targets.pids() {
            let level = |resource, value, limit| Observation::Level(Level { pid, resource, value, limit, at });
            // First, so that whoever reads the levels has the limit.
            if self.tells % 2 == 1
                && let Some((current, limit)) = levels::cgroup(pid)
            {
                out.push(level(Resource::CgroupMemory, current, limit));
            }
            out.extend(machine.map(|(used, all)| level(Resource::HostMemory, used, Some(all))));
            let data = levels::data_limit(pid);
            let limit = |resource| data.filter(|_| resource == Resource::AddressSpaceData);
            out.extend(levels::of(pid).into_iter().map(|(resource, value)| level(resource, value, limit(resource))));
        }
        self.places.tell(at, out);
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
    use crate::host::targets::Watched;

    #[test]
    fn a_victim_is_found_by_process_or_by_first_thread() {
        let mut targets = Targets::default();
        targets.insert(Watched { pid: 7, host: 4007, name: "x".into(), started: 1, parent: None });
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
