//! What is left behind, by the place where it was made.
//!
//! A descriptor counts if the process that ends made it itself, after its last exec: 0, 1 and 2, and what it was
//! given by its parent or before its exec, are not its own, and neither is the script that it runs. A thread counts if it would run on; the threads of Go's
//! runtime and the one that Node keeps for its inspector do not. A process counts if it outlives the command.
//! Invariant: bounded; what does not fit is counted.

use super::processes::{self, Task};
use crate::render::{frame, wire_name};
use serde::Serialize;
use snowshed_ebpf::Session;
use snowshed_engine::model::{Holding, Holdings, Nanos, Pid, SiteId, TraceId};
use std::collections::{BTreeMap, HashSet};

/// Places that are told apart.
const MOST_SITES: usize = 1024;
/// Examples of a place: pids, names, traces.
const EXAMPLES: usize = 16;
/// Descriptors of a process whose peers are looked up.
const NAMED: usize = 64;
/// Notes on what was not judged.
const MOST_NOTES: usize = 64;
/// Standard input, output and error.
const STANDARD: i32 = 2;

/// Things of one kind, made at one place by one program.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Site {
    /// A kind of descriptor, `thread` or `process`.
    pub(super) kind: String,
    /// How many.
    pub(super) count: u64,
    /// The program that left them; for a process itself.
    pub(super) process: String,
    /// Where they were made, innermost first; empty if unknown.
    pub(super) frames: Vec<String>,
    /// Paths, or names of threads; some of them if they are many.
    pub(super) names: Vec<String>,
    /// The processes that left them; some of them if they are many.
    pub(super) pids: Vec<Pid>,
    /// The requests in which they were made, where that is known.
    pub(super) trace_ids: Vec<TraceId>,
}

type Key = (String, String, Vec<String>, Option<String>);

/// Everything that was found.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    sites: BTreeMap<Key, Site>,
    seen: HashSet<(Pid, Option<Nanos>)>,
    /// What the command was given at its start.
    given: HashSet<u64>,
    ignore: Vec<String>,
    /// Processes that were looked at when they ended.
    pub(super) judged: u64,
    /// Things that `--ignore` took out.
    pub(super) ignored: u64,
    /// Things at places that did not fit.
    pub(super) more: u64,
    /// What was not judged, and why.
    pub(super) notes: Vec<String>,
}

/// One thing left, before it is counted.
struct Thing {
    kind: String,
    frames: Vec<String>,
    name: Option<String>,
    trace: Option<TraceId>,
    /// Things of different names are different places (threads, processes).
    apart: bool,
}

impl Ledger {
    /// `ignore`: what to leave out, by a part of a frame, a name, a kind or a program's name.
    pub(super) fn new(ignore: Vec<String>, given: Option<Holdings>) -> Self {
        let given = given.iter().flat_map(|given| given.items.iter().map(|item| item.key)).collect();
        Self { ignore, given, ..Self::default() }
    }

    /// Everything, the most first.
    pub(super) fn sites(&self) -> Vec<Site> {
        let mut sites: Vec<Site> = self.sites.values().cloned().collect();
        sites.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.kind.cmp(&b.kind)));
        sites
    }

    pub(super) fn is_clean(&self) -> bool {
        self.sites.is_empty() && self.more == 0
    }

    pub(super) fn note(&mut self, note: String) {
        if self.notes.len() < MOST_NOTES {
            self.notes.push(note);
        }
    }

    /// Looks at a process that a thread is about to end.
    pub(super) fn judge(&mut self, session: &mut Session, pid: Pid, ending: Pid, kernel: bool) {
        let Some((name, parent)) = processes::name_and_parent(pid) else { return };
        let held = session.holdings(pid);
        let born = session.born(pid);
        if !self.seen.insert((pid, born)) {
            return;
        }
        let Some(held) = held.filter(|_| born.is_some() || !kernel) else {
            return self.note(format!("{name} (pid {pid}) could not be looked at when it ended"));
        };
        self.judged += 1;
        let own = |item: &&Holding| {
            item.number > STANDARD && item.made.is_none_or(|made| born.is_none_or(|born| made >= born))
        };
        let left: Vec<Holding> =
            held.items.iter().filter(own).filter(|item| !self.given.contains(&item.key)).copied().collect();
        let numbers: Vec<i32> = left.iter().take(NAMED).map(|item| item.number).collect();
        let named = session.open(pid, &numbers).unwrap_or_default();
        let scripts = if left.is_empty() { Vec::new() } else { processes::scripts(pid) };
        // What came by a way that is not seen may have been inherited: then the parent has it too.
        let parents: HashSet<u64> = match left.iter().any(|item| item.made.is_none()) {
            true => session.holdings(parent).iter().flat_map(|held| held.items.iter().map(|item| item.key)).collect(),
            false => HashSet::new(),
        };
        for item in left.iter().filter(|item| item.made.is_some() || !parents.contains(&item.key)) {
            let frames = frames(session, item.site);
            if is_the_runtimes(&frames) {
                continue;
            }
            let trace = item.owner.trace;
            let target = processes::target_of(pid, item.number);
            if target.as_ref().is_some_and(|target| scripts.contains(target)) {
                continue;
            }
            // With its peer, if it is a socket; of the many the first.
            let found = named.iter().find(|one| one.item.number == item.number).map(ToString::to_string);
            let target = found.or(target.filter(|text| !text.contains(char::is_control)));
            self.add(&name, pid, Thing { kind: wire_name(item.kind), frames, name: target, trace, apart: false });
        }
        let threads = processes::threads_besides(pid, ending);
        if !threads.is_empty() {
            let own = processes::threads_of_the_runtime(pid);
            for thread in threads.into_iter().skip(own) {
                self.add(&name, pid, running("thread", thread.name));
            }
        }
    }

    /// A process that outlived the command.
    pub(super) fn outlived(&mut self, task: Task) {
        let (id, name) = (task.id, task.name);
        self.add(&name.clone(), id, running("process", name));
    }

    fn add(&mut self, process: &str, pid: Pid, thing: Thing) {
        let matches = |text: &String| self.ignore.iter().any(|part| text.contains(part.as_str()));
        let ignored = thing.frames.iter().chain(&thing.name).any(matches)
            || self.ignore.iter().any(|part| *part == thing.kind || part == process);
        if ignored {
            self.ignored += 1;
            return;
        }
        let key =
            (thing.kind.clone(), process.to_owned(), thing.frames.clone(), thing.name.clone().filter(|_| thing.apart));
        if self.sites.len() >= MOST_SITES && !self.sites.contains_key(&key) {
            self.more += 1;
            return;
        }
        let site = self.sites.entry(key).or_insert_with(|| Site {
            kind: thing.kind,
            count: 0,
            process: process.to_owned(),
            frames: thing.frames,
            names: Vec::new(),
            pids: Vec::new(),
            trace_ids: Vec::new(),
        });
        site.count += 1;
        keep(&mut site.pids, Some(pid));
        keep(&mut site.names, thing.name);
        keep(&mut site.trace_ids, thing.trace);
    }
}

fn running(kind: &str, name: String) -> Thing {
    Thing { kind: kind.to_owned(), frames: Vec::new(), name: Some(name), trace: None, apart: true }
}

fn keep<T: PartialEq>(all: &mut Vec<T>, one: Option<T>) {
    all.extend(one.filter(|one| all.len() < EXAMPLES && !all.contains(one)));
}

fn frames(session: &mut Session, site: SiteId) -> Vec<String> {
    if site == SiteId(0) { Vec::new() } else { session.frames(site).iter().map(frame).collect() }
}

/// What a language's runtime opens once for itself and keeps until the end: the poller of Go, the loop of Node.
fn is_the_runtimes(frames: &[String]) -> bool {
    const OPENERS: [&str; 5] =
        ["runtime.netpollinit", "uv_loop_init", "uv__signal_", "node::PlatformInit", "node::InitializeOncePerProcess"];
    frames.iter().any(|frame| OPENERS.iter().any(|opener| frame.starts_with(opener)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(frames: &[&str], name: &str) -> Thing {
        let frames = frames.iter().map(|frame| (*frame).to_owned()).collect();
        Thing { kind: "file".into(), frames, name: Some(name.into()), trace: None, apart: false }
    }

    #[test]
    fn things_of_one_place_are_counted_together() {
        let mut ledger = Ledger::new(Vec::new(), None);
        for n in 0..40 {
            ledger.add("suite", 100 + n, file(&["spool (a.c:3)"], &format!("/tmp/{n}")));
        }
        ledger.add("suite", 7, file(&["other (a.c:9)"], "/tmp/x"));
        ledger.outlived_named("sleep", 9);
        let sites = ledger.sites();
        assert_eq!(sites.iter().map(|site| site.count).collect::<Vec<_>>(), [40, 1, 1]);
        assert_eq!((sites[0].names.len(), sites[0].pids.len()), (EXAMPLES, EXAMPLES));
        assert!(!ledger.is_clean());
    }

    #[test]
    fn what_a_runtime_keeps_for_itself_is_not_left() {
        let of = |frames: [&str; 2]| is_the_runtimes(&frames.map(String::from));
        assert!(of(["epoll_create1", "uv_loop_init"]) && of(["syscall.Syscall", "runtime.netpollinit"]));
        assert!(!of(["uv__fs_work", "node::fs::Open(v8::FunctionCallbackInfo<v8::Value> const&)"]));
    }

    #[test]
    fn what_is_to_be_ignored_is_left_out_and_counted() {
        let mut ledger = Ledger::new(vec!["log_open".into(), "sleep".into()], None);
        ledger.add("suite", 1, file(&["log_open (log.c:3)"], "/var/log/x"));
        ledger.outlived_named("sleep", 9);
        assert!(ledger.is_clean() && ledger.ignored == 2);
    }

    #[test]
    fn places_are_bounded_and_the_rest_is_counted() {
        let mut ledger = Ledger::new(Vec::new(), None);
        for n in 0..MOST_SITES + 5 {
            ledger.add("suite", 1, file(&[&format!("f{n}")], "/tmp/x"));
        }
        assert_eq!((ledger.sites().len(), ledger.more), (MOST_SITES, 5));
    }

    impl Ledger {
        fn outlived_named(&mut self, name: &str, pid: Pid) {
            self.add(name, pid, running("process", name.to_owned()));
        }
    }
}
