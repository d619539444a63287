//! What code objects are called, looked up for each place in them and believed for [`FRESH`]: another may lie there later.
//!
//! Invariants: bounded; and nobody waits for a process whose memory does not answer for longer than [`WAIT`].
//! Cost: some eight reads of memory for a place that is not known, in a thread of its own; one look-up for one that is.

use super::{code, layout};
use crate::{
    host::{
        publish::{Away, Process},
        sites::Frame,
    },
    wire::{PythonFrame, StackRecord},
};
use snowshed_engine::model::{Nanos, Pid};
use std::{
    collections::HashMap,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

/// Places that are kept; all are forgotten once there are more.
const MOST: usize = 4096;
const WAIT: Duration = Duration::from_millis(50);
/// A process that makes code as it runs frees it, too, and the next takes its place. To note with each stack what tells
/// them apart took longer than to copy the stack.
const FRESH: Nanos = 1_000_000_000;
/// One that did not answer in time is asked again after this.
const REST: Nanos = 60_000_000_000;

/// A place in a process: version, and what was seen.
type Place = (Pid, u32, [u64; 2]);

/// What a place is called, if that is known, and when it was looked up.
struct Named {
    frame: Option<Arc<Frame>>,
    asked: Nanos,
}

/// All that are known.
#[derive(Default)]
pub(crate) struct Names {
    known: HashMap<Place, Named>,
    away: Away,
    /// Who did not answer, and until when it is let alone.
    silent: HashMap<Pid, Nanos>,
}

impl Names {
    /// What a thread executed when its stack was copied, innermost first; empty where that is not known.
    pub(crate) fn frames(&mut self, pid: Pid, record: &StackRecord, now: Nanos) -> Vec<Arc<Frame>> {
        let depth = usize::try_from(record.depth).unwrap_or(0).min(record.frames.len());
        let seen = &record.frames[..depth];
        if seen.is_empty() {
            return Vec::new();
        }
        let version = record.python.version.into();
        let known = |names: &Self, frame: &PythonFrame| {
            let named = names.known.get(&(pid, version, [frame.code, frame.instruction]));
            named.filter(|named| now.saturating_sub(named.asked) < FRESH).map(|named| named.frame.clone())
        };
        let new: Vec<PythonFrame> = seen.iter().filter(|frame| known(self, frame).is_none()).copied().collect();
        if !new.is_empty() {
            self.ask(pid, version, new, now);
        }
        seen.iter().filter_map(|frame| known(self, frame).flatten()).collect()
    }

    /// The process ended or executes another program.
    pub(crate) fn forget(&mut self, pid: Pid) {
        self.known.retain(|(of, ..), _| *of != pid);
        self.silent.remove(&pid);
    }

    fn ask(&mut self, pid: Pid, version: u32, new: Vec<PythonFrame>, now: Nanos) {
        self.silent.retain(|_, until| *until > now);
        if self.silent.contains_key(&pid) {
            return;
        }
        let Some(layout) = layout::of(version) else { return };
        let Some(ticket) = self.away.ticket() else { return };
        let (tell, told) = mpsc::sync_channel(1);
        let look = move || {
            let memory = Process(pid);
            let named: Vec<_> = new.iter().map(|found| (*found, code::frame(&memory, layout, *found))).collect();
            // Nobody waits any more if it took too long.
            let _late = tell.send(named);
            drop(ticket);
        };
        if thread::Builder::new().name("python".into()).spawn(look).is_err() {
            return;
        }
        let Ok(named) = told.recv_timeout(WAIT) else {
            self.silent.insert(pid, now.saturating_add(REST));
            return;
        };
        if self.known.len() + named.len() > MOST {
            self.known.clear();
        }
        for (found, frame) in named {
            let named = Named { frame: frame.map(Arc::new), asked: now };
            self.known.insert((pid, version, [found.code, found.instruction]), named);
        }
    }
}
