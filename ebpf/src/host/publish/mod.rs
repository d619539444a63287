//! What a process publishes of itself: where its threads keep their trace context, and what it is called.
//!
//! Looked for when a process is added, forked or executed, and again later, because a library may be loaded at any time:
//! at first often, then every few seconds. A look that finds the address space as large as before costs one short read;
//! `/proc/PID/maps` is read only when it changed, libraries are only looked at when they are new.
//! Invariant: a look takes no more than a two-hundredth of the time, however large the process is.

mod image;
mod maps;
pub(crate) mod memory;
mod patience;
mod place;
mod process;

#[cfg(test)]
pub(crate) mod hostile;

use super::{
    clock, elf,
    python::{self, Interpreter},
    targets,
};
use crate::wire::{Place, Python};
pub(crate) use image::Image;
pub(crate) use maps::Maps;
pub(crate) use maps::Object;
pub(crate) use memory::{Memory, Process};
pub(crate) use patience::{Away, Followed};
use place::Found;
pub(crate) use place::Way;
use process::{Reading, Said};
use snowshed_engine::model::{Nanos, Pid};
use std::{collections::HashSet, fs, io};

/// The first look back comes after this, the later ones half as late again as the process is old, up to the last.
const SOONEST: Nanos = 100_000_000;
const LATEST: Nanos = 3_000_000_000;
/// A look that took long is paid off first.
const SHARE: Nanos = 200;
/// Looks at a library that the loader is not done with.
const PATIENCE: u8 = 16;

/// One process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Publisher {
    born: Nanos,
    due: Nanos,
    /// Pages of its address space at the last whole look.
    size: Option<u64>,
    /// The last whole look changed nothing: a mapping that is named late is found by one more.
    settled: bool,
    digest: Option<u64>,
    plain: HashSet<Object>,
    found: Option<Found>,
    tries: u8,
    /// The interpreter that it has loaded.
    interpreter: Option<Interpreter>,
    python: Python,
    contexts: Vec<u64>,
    /// Where the context that is believed lies, and its stamp.
    context: Option<(u64, u64)>,
    said: Said,
    /// Why its memory cannot be read.
    denied: Option<String>,
}

impl Publisher {
    /// One that is looked at for the first time, now.
    fn new(now: Nanos) -> Self {
        Self { born: now, ..Self::default() }
    }

    /// As the process that forked it: it has the same memory, save the context, which is not inherited.
    fn forked(&self, now: Nanos) -> Self {
        let mut child = self.clone();
        (child.born, child.due, child.size) = (now, now + SOONEST, None);
        (child.contexts, child.context) = (Vec::new(), None);
        child.said = Said { service: None, instance: None, schema: child.said.schema.take() };
        child
    }

    /// When it wants to be looked at.
    fn due(&self) -> Nanos {
        self.due
    }

    /// Where its threads publish.
    pub(crate) fn place(&self) -> Place {
        match self.found {
            Some(Found::At(place, _)) if self.said.is_by_symbol() => place,
            _ => Place::default(),
        }
    }

    /// How, if they do.
    pub(crate) fn way(&self) -> Option<Way> {
        match self.found {
            Some(Found::At(_, way)) if self.said.is_by_symbol() => Some(way),
            _ => None,
        }
    }

    /// Where its threads keep what they execute of Python.
    pub(crate) fn python(&self) -> Python {
        self.python
    }

    /// Its own name and the id of its instance.
    pub(crate) fn name(&self) -> (Option<&str>, Option<&str>) {
        (self.said.service.as_deref(), self.said.instance.as_deref())
    }

    /// Why it publishes something that is not read.
    fn trouble(&self) -> Option<String> {
        if let Some(schema) = self.said.schema.as_ref().filter(|_| !self.said.is_by_symbol()) {
            return Some(format!("threads publish as `{schema}`, which this version does not read"));
        }
        match self.found {
            Some(Found::Unknown(why)) => Some(why.to_owned()),
            _ => self.denied.clone(),
        }
    }

    /// Another look has other news: where its threads publish, or its name.
    fn differs(&self, after: &Self) -> bool {
        self.place() != after.place() || self.python != after.python || self.said != after.said
    }

    /// Looks.
    fn look(&mut self, pid: Pid, now: Nanos) {
        let begun = clock::now();
        self.look_now(pid);
        let rest = (now.saturating_sub(self.born) / 2).clamp(SOONEST, LATEST);
        self.due = now + rest.max(clock::now().saturating_sub(begun).saturating_mul(SHARE));
    }

    fn look_now(&mut self, pid: Pid) {
        let memory = Process(pid);
        let size = pages(pid);
        if size != self.size || !self.settled || self.size.is_none() {
            let Ok(maps) = Maps::of(pid).map_err(|error| self.deny(&error)) else { return };
            self.settled = size.is_some() && size == self.size;
            self.size = size;
            self.contexts.clone_from(&maps.contexts);
            self.resolve(pid, &memory, &maps);
        } else if self.found == Some(Found::NotYet) && self.tries < PATIENCE {
            // The loader writes without mapping anything.
            self.settled = false;
        }
        // An interpreter that has just been started has no threads yet.
        if let Some(interpreter) = self.interpreter.filter(|_| self.python.is_none()) {
            self.python = interpreter.place(&memory).unwrap_or_default();
        }
        self.read_context(&memory);
    }

    fn resolve(&mut self, pid: Pid, memory: &Process, maps: &Maps) {
        let digest = maps.digest();
        let again = self.found == Some(Found::NotYet) && self.tries < PATIENCE;
        if self.digest == Some(digest) && !again {
            return;
        }
        self.tries = if self.digest == Some(digest) { self.tries + 1 } else { 0 };
        self.digest = Some(digest);
        self.denied = None;
        if self.interpreter.is_none() {
            let mut new = maps.objects.iter().filter(|object| !self.plain.contains(object));
            self.interpreter = new.find_map(|object| python::find(memory, object));
        }
        // Whether it may be read at all: the same answer for all of its memory.
        if let Some(object) = maps.objects.first()
            && let Err(error) = memory.read(object.base, &mut [0; 1])
        {
            self.deny(&error);
        }
        let headers = targets::auxiliary(pid, targets::AT_PHDR).unwrap_or_default();
        let found = place::find(memory, &maps.objects, headers, &mut self.plain);
        self.plain.retain(|object| maps.objects.contains(object));
        self.found = Some(match found {
            // A program that does not show its symbol, and was not stripped; or one that may not be read.
            Found::Nowhere => match elf::hidden_symbol(&targets::executable(pid), place::SYMBOL) {
                Some(offset) => Found::At(Place { offset, ..Place::default() }, Way::Program),
                None => Found::Nowhere,
            },
            found => found,
        });
    }

    fn deny(&mut self, error: &io::Error) {
        if error.raw_os_error() == Some(libc::EPERM) || error.kind() == io::ErrorKind::PermissionDenied {
            self.denied = Some(format!("its memory may not be read: {error}"));
        }
    }

    fn read_context(&mut self, memory: &Process) {
        for at in &self.contexts {
            let known = self.context.filter(|(place, _)| place == at).map_or(0, |(_, stamp)| stamp);
            match process::read(memory, *at, known) {
                Reading::Said(said, stamp) => {
                    self.context = Some((*at, stamp));
                    self.said = said;
                    return;
                }
                // What was said stands until something else is.
                Reading::Same | Reading::Busy => return,
                Reading::None => {}
            }
        }
    }
}

/// Pages of a process's address space: changes with everything that is mapped.
fn pages(pid: Pid) -> Option<u64> {
    fs::read_to_string(format!("/proc/{pid}/statm")).ok()?.split(' ').next()?.parse().ok()
}
