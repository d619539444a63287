//! What the kernel tells of one trace.

use super::Who;
use crate::{
    model::{
        Holding, Nanos, PageKind, PagesAt, Pid, Retransmit, Stall, TraceDescriptors, TraceGrowth, TraceProcess,
        TraceRetransmits, TraceStall,
    },
    text::cut,
};
use std::collections::BTreeMap;

const PROCESSES: usize = 8;
const THREADS: usize = 16;
const DESCRIPTORS: usize = 16;
const STALLS: usize = 8;
const RETRANSMITS: usize = 8;
const GROWTH: usize = 8;

/// A text as it is kept.
fn short(text: &str) -> String {
    cut(text, super::TEXT).to_owned()
}

/// Kernel events of a trace, grouped by what is the same.
#[derive(Debug, Default)]
pub(super) struct Events {
    pub(super) last: Nanos,
    pub(super) processes: Vec<TraceProcess>,
    pub(super) threads: Vec<(Pid, Pid)>,
    descriptors: Vec<TraceDescriptors>,
    pub(super) stalls: Vec<TraceStall>,
    pub(super) retransmits: Vec<TraceRetransmits>,
    pub(super) growth: Vec<TraceGrowth>,
    /// Events that did not fit.
    pub(super) left_out: u64,
}

impl Events {
    /// The place of what is the same, or a new one; `None` if there is no room.
    fn place<'a, T>(
        list: &'a mut Vec<T>,
        most: usize,
        left_out: &mut u64,
        same: impl Fn(&T) -> bool,
        new: impl FnOnce() -> T,
    ) -> Option<&'a mut T> {
        if let Some(at) = list.iter().position(same) {
            return list.get_mut(at);
        }
        if list.len() >= most {
            *left_out += 1;
            return None;
        }
        if list.is_empty() {
            // Most lists stay at one.
            list.reserve_exact(1);
        }
        list.push(new());
        list.last_mut()
    }

    fn process(&mut self, who: Who<'_>) {
        let new = || TraceProcess { pid: who.pid, name: short(who.name), parent: who.parent, exited: None };
        // A number that is used again is another process.
        let same = |known: &TraceProcess| known.pid == who.pid && known.exited.is_none();
        Self::place(&mut self.processes, PROCESSES, &mut self.left_out, same, new);
    }

    fn thread(&mut self, pid: Pid, tid: Pid) {
        if tid != 0 && self.threads.len() < THREADS && !self.threads.contains(&(pid, tid)) {
            self.threads.push((pid, tid));
        }
    }

    /// Something held for it, or for one of so many traces, found by the look at `at`; the one before was at `before`.
    pub(super) fn holding(
        &mut self,
        (item, ambiguity): (&Holding, u32),
        made: Nanos,
        (at, before): (Nanos, Option<Nanos>),
        who: Who<'_>,
    ) {
        let pid = who.pid;
        self.process(who);
        self.thread(pid, item.maker);
        self.last = self.last.max(made);
        let (kind, site, join) = (item.kind, item.site, item.owner.join);
        let same = |known: &TraceDescriptors| {
            (known.pid, known.kind, known.site, known.join, known.ambiguity) == (pid, kind, site, join, ambiguity)
        };
        let new = || TraceDescriptors {
            pid,
            kind,
            site,
            join,
            ambiguity,
            made: 0,
            live: 0,
            numbers: [None; 4],
            first_made: made,
            last_made: made,
            seen: at,
        };
        let Some(group) = Self::place(&mut self.descriptors, DESCRIPTORS, &mut self.left_out, same, new) else {
            return;
        };
        if group.seen != at {
            (group.live, group.numbers, group.seen) = (0, [None; 4], at);
        }
        group.live = group.live.saturating_add(1);
        let is_new = item.made.is_some_and(|made| before.is_none_or(|before| made > before));
        group.made = group.made.saturating_add(u32::from(is_new)).max(group.live);
        (group.first_made, group.last_made) = (group.first_made.min(made), group.last_made.max(made));
        if let Some(free) = group.numbers.iter_mut().find(|number| number.is_none()) {
            *free = Some(item.number);
        }
    }

    /// A process of it may have ended.
    pub(super) fn exit(&mut self, pid: Pid, at: Nanos) {
        for process in self.processes.iter_mut().filter(|process| process.pid == pid && process.exited.is_none()) {
            process.exited = Some(at);
            let gone = self.descriptors.iter_mut().filter(|group| group.pid == pid);
            gone.for_each(|group| (group.live, group.numbers) = (0, [None; 4]));
        }
    }

    pub(super) fn stall(&mut self, told: &Stall, until: Nanos, who: Who<'_>) {
        self.process(who);
        self.thread(told.pid, told.tid);
        self.last = self.last.max(until);
        let same = |known: &TraceStall| (known.tid, known.since) == (told.tid, told.since);
        let new = || TraceStall {
            pid: told.pid,
            tid: told.tid,
            thread: short(&told.thread),
            since: told.since,
            until,
            site: told.site,
            syscall: told.syscall.as_deref().map(short),
            join: told.join,
        };
        if let Some(stall) = Self::place(&mut self.stalls, STALLS, &mut self.left_out, same, new) {
            stall.until = stall.until.max(until);
        }
    }

    pub(super) fn retransmit(&mut self, told: &Retransmit, at: Nanos, who: Option<Who<'_>>) {
        if let Some(who) = who {
            self.process(who);
        }
        self.last = self.last.max(at);
        let same = |known: &TraceRetransmits| (known.pid, known.local, known.peer) == (told.pid, told.local, told.peer);
        let new = || TraceRetransmits {
            pid: told.pid,
            local: told.local,
            peer: told.peer,
            segments: 0,
            first: at,
            last: at,
            join: told.join,
            ambiguity: told.ambiguity,
        };
        if let Some(known) = Self::place(&mut self.retransmits, RETRANSMITS, &mut self.left_out, same, new) {
            known.segments = known.segments.saturating_add(told.segments.into());
            (known.first, known.last) = (known.first.min(at), known.last.max(at));
            known.join = known.join.max(told.join);
            // 0 is "nobody knows", which is worse than any number.
            let worse = known.ambiguity != 0 && (told.ambiguity == 0 || told.ambiguity > known.ambiguity);
            known.ambiguity = if worse { told.ambiguity } else { known.ambiguity };
        }
    }

    pub(super) fn pages(&mut self, kind: PageKind, told: &PagesAt, until: Nanos, who: Who<'_>) {
        self.process(who);
        self.last = self.last.max(until);
        let (pid, site) = (who.pid, told.site);
        let same = |known: &TraceGrowth| (known.pid, known.kind, known.site) == (pid, kind, site);
        let new = || TraceGrowth { pid, kind, site, bytes: 0, seen: until, join: told.join };
        if let Some(known) = Self::place(&mut self.growth, GROWTH, &mut self.left_out, same, new) {
            known.bytes = known.bytes.saturating_add(told.bytes);
            (known.seen, known.join) = (known.seen.max(until), known.join.max(told.join));
        }
    }

    /// It holds nothing, and nothing went wrong with it.
    pub(super) fn is_quiet(&self, looks: &BTreeMap<Pid, Nanos>) -> bool {
        let holds = |group: &TraceDescriptors| group.live > 0 && is_present(group, looks);
        self.stalls.is_empty() && self.retransmits.is_empty() && !self.descriptors.iter().any(holds)
    }

    /// What was made for it, and what of that the last look still found.
    pub(super) fn descriptors(&self, looks: &BTreeMap<Pid, Nanos>) -> impl Iterator<Item = TraceDescriptors> {
        self.descriptors.iter().map(|group| {
            let mut group = *group;
            if !is_present(&group, looks) {
                (group.live, group.numbers) = (0, [None; 4]);
            }
            group
        })
    }
}

/// The last look found it.
fn is_present(group: &TraceDescriptors, looks: &BTreeMap<Pid, Nanos>) -> bool {
    looks.get(&group.pid).is_none_or(|look| group.seen >= *look)
}
