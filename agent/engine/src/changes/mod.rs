//! What changed: what is different about a target since an onset, or from the instance before it.
//!
//! Invariant: facts only, none of which is called a cause; what is not known on both sides is not compared, and no
//! value of an argument or of the environment is in here, because none comes in. Cost: a few comparisons, and one pass
//! over the windows of [`traffic`], only while an incident is young.

mod lives;
mod traffic;

pub(crate) use lives::{Life, Lives};

use crate::{
    model::{Level, Limit, Nanos, Pid, Request, Resource, Setup},
    window::{SECOND, seconds},
};
use std::collections::VecDeque;
use traffic::Traffic;

/// What happened so long before an onset is told of.
const RECENT: Nanos = 900 * SECOND;
/// What happened so long after the earliest onset is still part of how it began.
const AFTER: Nanos = 60 * SECOND;
/// Changes of one target that are kept.
const KEPT: usize = 16;
/// Most lines.
const LINES: usize = 12;

/// What changed in one target.
#[derive(Debug)]
pub(crate) struct Changes {
    /// What it runs with.
    setup: Option<Setup>,
    /// That is what its parent runs with.
    inherited: bool,
    /// What changed while it ran, oldest first.
    own: VecDeque<(Nanos, String)>,
    limits: Vec<(Resource, u64)>,
    traffic: Traffic,
}

/// Who it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who<'a> {
    pub(crate) name: &'a str,
    pub(crate) pid: Pid,
    /// When it started; `None`: that is not known.
    pub(crate) started: Option<Nanos>,
}

impl Changes {
    /// Of which nothing is known yet.
    pub(crate) fn new() -> Self {
        Self { setup: None, inherited: false, own: VecDeque::new(), limits: Vec::new(), traffic: Traffic::new() }
    }

    /// Takes what it runs with; the second time it is another program.
    pub(crate) fn setup(&mut self, told: &Setup, at: Nanos) {
        if let Some(known) = self.setup.as_ref().filter(|_| !self.inherited) {
            let lines: Vec<String> = differences(told, &known.clone(), "before its last exec").collect();
            lines.into_iter().for_each(|line| self.keep(at, line));
        }
        (self.setup, self.inherited) = (Some(told.clone()), false);
    }

    /// What it runs with, where that is known.
    pub(crate) fn known(&self) -> Option<&Setup> {
        self.setup.as_ref()
    }

    /// It was forked, and runs with what its parent does until it executes something.
    pub(crate) fn inherit(&mut self, setup: Setup) {
        (self.setup, self.inherited) = (Some(setup), true);
    }

    /// Takes a level with its limit.
    pub(crate) fn level(&mut self, told: &Level, at: Nanos) {
        let name = match told.resource {
            Resource::Fds => "open files",
            Resource::CgroupMemory => "cgroup memory (bytes)",
            _ => return,
        };
        // That none is told may mean that it could not be read.
        let Some(limit) = told.limit else { return };
        let known = self.limits.iter_mut().find(|(resource, _)| *resource == told.resource);
        let Some((_, known)) = known else { return self.limits.push((told.resource, limit)) };
        let before = std::mem::replace(known, limit);
        if before != limit {
            self.keep(at, format!("limit: {name} {limit}, {before} before it was changed while it ran"));
        }
    }

    /// Takes a request that ended.
    pub(crate) fn request(&mut self, told: &Request, ended: Nanos) {
        self.traffic.request(told, ended);
    }

    fn keep(&mut self, at: Nanos, line: String) {
        if self.own.len() >= KEPT {
            self.own.pop_front();
        }
        self.own.push_back((at, line));
    }

    /// What changed by an onset, one line each, at most twelve.
    pub(crate) fn lines(&self, who: Who<'_>, lives: &Lives, onset: (Nanos, Nanos), now: Nanos) -> Vec<String> {
        let mut lines = Vec::new();
        let latest = onset.1.saturating_add(AFTER);
        let is_near = |at: Nanos| at <= latest && at.saturating_add(RECENT) >= onset.0;
        let earlier = who.started.and_then(|started| lives.before(who.name, who.pid, started));
        let other = self.setup.as_ref().zip(earlier).map(|(own, earlier)| {
            let place = match earlier.ended {
                Some(ended) => {
                    format!("in the instance before it (pid {}, ended {})", earlier.pid, when(ended, onset.0))
                }
                None => format!("in the instance before it (pid {})", earlier.pid),
            };
            differences(own, &earlier.setup, &place).collect::<Vec<_>>()
        });
        let other = other.unwrap_or_default();
        if let Some(started) = who.started.filter(|started| is_near(*started) || !other.is_empty()) {
            lines.push(format!("start: the process started {}", when(started, onset.0)));
        }
        lines.extend(other);
        let own = self.own.iter().filter(|(at, _)| is_near(*at));
        lines.extend(own.map(|(at, line)| format!("{line} ({})", when(*at, onset.0))));
        lines.extend(self.traffic.changed(onset, now));
        lines.truncate(LINES);
        lines
    }
}

/// How one setup differs from another, one line each.
fn differences<'a>(own: &'a Setup, other: &'a Setup, place: &'a str) -> impl Iterator<Item = String> + 'a {
    let build = own.build.as_ref().zip(other.build.as_ref()).filter(|(own, other)| own != other);
    let build = build.map(|(own, other)| format!("build: {}, {} {place}", short(own), short(other)));
    let digest = |what: &str, own: Option<u64>, other: Option<u64>| {
        own.zip(other).filter(|(own, other)| own != other).map(|_| format!("{what}: not the same as {place}"))
    };
    let arguments = digest("arguments", own.arguments, other.arguments);
    let environment = digest("environment", own.environment, other.environment);
    let limits = own.limits.iter().filter_map(move |limit| {
        let before = other.limits.iter().find(|before| before.name == limit.name)?;
        let text = |limit: &Limit| limit.value.map_or_else(|| "unlimited".to_owned(), |value| value.to_string());
        (before.value != limit.value)
            .then(|| format!("limit: {} {}, {} {place}", limit.name, text(limit), text(before)))
    });
    build.into_iter().chain(arguments).chain(environment).chain(limits)
}

/// A build id as people compare it.
fn short(build: &str) -> String {
    build.chars().filter(|letter| letter.is_ascii_graphic()).take(16).collect()
}

/// A moment against an onset.
fn when(at: Nanos, onset: Nanos) -> String {
    let long = |span: f64| match span {
        short if short < 120.0 => format!("{short:.0} s"),
        middle if middle < 7_200.0 => format!("{:.0} min", middle / 60.0),
        long => format!("{:.0} h", long / 3_600.0),
    };
    if at <= onset {
        format!("{} before the onset", long(seconds(onset - at)))
    } else {
        format!("{} after the onset", long(seconds(at - onset)))
    }
}
