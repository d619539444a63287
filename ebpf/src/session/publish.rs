//! What the targets publish of themselves, kept up to date: where their threads' contexts lie, their names, and the
//! map of another observer.

use super::Session;
use crate::{
    host::{
        clock,
        kernel::Kernel,
        observer::{News, Observer},
        publish::{Followed, Publisher, Way},
        targets::Watched,
    },
    status::ContextStatus,
    wire::Target,
};
use snowshed_engine::model::{Nanos, Observation, Pid};
use std::path::Path;

/// Looks of one turn: the others are due at the next.
const MOST_LOOKS: usize = 16;
/// After so long it has surely been noted who ran.
const NOTED: Nanos = 1_000_000_000;
/// Reasons that are told.
const MOST_REASONS: usize = 8;

impl Session {
    /// Looks for the map of OBI's contexts there instead of in `/sys/fs/bpf/otel`.
    pub fn set_observer_map(&mut self, path: &Path) {
        self.observer = Observer::at(path);
        if let Some(kernel) = &self.kernel {
            kernel.drop_observer();
        }
        self.replace_all();
        self.observe(clock::now());
    }

    /// Begins to follow what a process publishes, with a look now. A name of its own replaces the kernel's.
    pub(super) fn publish(&mut self, watched: &mut Watched, parent: Option<Pid>) {
        let publisher = match parent.and_then(|parent| self.publishers.get(&parent)) {
            Some(parent) => parent.forked(watched.pid),
            None => Followed::begin(watched.pid, &self.away),
        };
        identify(watched, publisher.known());
        self.publishers.insert(watched.pid, publisher);
    }

    /// Tells the kernel side where the threads of a process publish.
    pub(super) fn place(&self, kernel: &mut Kernel, watched: &Watched) -> Result<(), String> {
        let known = self.publishers.get(&watched.pid).map(|publisher| publisher.known());
        let place = known.map(Publisher::place).unwrap_or_default();
        let python = known.map(Publisher::python).unwrap_or_default();
        let inherited = kernel.target(watched.host).map_or([0; 2], |old| old.inherited);
        kernel
            .set_target(watched.host, Target { place, python, inherited, observer: u64::from(self.observer.is_read()) })
    }

    /// Looks at whoever is due.
    pub(super) fn follow_publishers(&mut self, now: Nanos, out: &mut Vec<Observation>) {
        self.observe(now);
        let due = self.publishers.iter().filter(|(_, publisher)| publisher.due() <= now);
        let due: Vec<Pid> = due.map(|(pid, _)| *pid).take(MOST_LOOKS).collect();
        for pid in due {
            let Some(publisher) = self.publishers.get_mut(&pid) else { continue };
            // Who runs is noted several times a second.
            if publisher.looked().is_some_and(|at| at + NOTED < now && self.targets.is_asleep(pid, at)) {
                publisher.let_sleep(now);
                continue;
            }
            if !publisher.follow(now, &self.away) {
                continue;
            }
            let Some(watched) = self.targets.get_mut(pid) else { continue };
            let renamed = identify(watched, publisher.known());
            let watched = watched.clone();
            if renamed {
                out.push(super::follow::seen(&watched));
            }
            self.replace(&watched);
        }
    }

    /// The kernel's entry of a process, anew; it may be gone already.
    fn replace(&mut self, watched: &Watched) {
        let Some(mut kernel) = self.kernel.take() else { return };
        // One that the kernel has dropped has ended.
        if kernel.target(watched.host).is_some()
            && let Err(error) = self.place(&mut kernel, watched)
        {
            tracing::warn!(pid = watched.pid, "where its threads publish: {error}");
        }
        self.kernel = Some(kernel);
    }

    fn observe(&mut self, now: Nanos) {
        let Some(kernel) = &mut self.kernel else { return };
        let map = match self.observer.look(now) {
            News::None => return,
            News::Gone => None,
            News::Here(map) => Some(map),
        };
        match map {
            Some(map) => self.observer.taken(kernel.set_observer(&map)),
            None => kernel.drop_observer(),
        }
        self.replace_all();
    }

    fn replace_all(&mut self) {
        let all: Vec<Watched> = self.targets.iter().cloned().collect();
        all.iter().for_each(|watched| self.replace(watched));
    }

    /// How the trace of a thread is known.
    #[must_use]
    pub fn contexts(&self) -> ContextStatus {
        let mut status = ContextStatus::default();
        for (pid, publisher) in &self.publishers {
            let count = match publisher.known().way() {
                Some(Way::Program) => &mut status.program,
                Some(Way::Library) => &mut status.library,
                Some(Way::Dynamic | Way::Descriptor) => &mut status.dynamic,
                None => &mut status.none,
            };
            *count += 1;
            status.named += u32::from(publisher.known().name().0.is_some());
            if let Some(trouble) = publisher.trouble().filter(|_| status.reasons.len() < MOST_REASONS) {
                status.reasons.push(format!("pid {pid}: {trouble}"));
            }
        }
        status.observer = self.observer.is_read();
        status.observer_reason = match &self.kernel {
            None => "no kernel programs to read it".to_owned(),
            Some(_) => self.observer.reason().to_owned(),
        };
        status
    }
}

/// Takes what the process calls itself; true if that is news.
fn identify(watched: &mut Watched, publisher: &Publisher) -> bool {
    let (service, instance) = publisher.name();
    let name = service.map_or_else(|| watched.name.clone(), str::to_owned);
    let instance = instance.map(str::to_owned).or_else(|| watched.instance.clone());
    let news = name != watched.name || instance != watched.instance;
    (watched.name, watched.instance) = (name, instance);
    news
}
