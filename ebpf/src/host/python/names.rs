//! What code objects are called, looked up once for each place in them.
//!
//! Invariants: bounded; and nobody waits for a process whose memory does not answer for longer than [`WAIT`].
//! Cost: some eight reads of memory for a place that is new, in a thread of its own; one look-up for one that is known.

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
/// One that did not answer in time is asked again after this.
const REST: Nanos = 60_000_000_000;

/// A place in a process: version, and what was seen.
type Place = (Pid, u32, [u64; 3]);

/// All that are known.
#[derive(Default)]
pub(crate) struct Names {
    known: HashMap<Place, Option<Arc<Frame>>>,
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
        let place = |frame: &PythonFrame| (pid, record.version, [frame.code, frame.instruction, frame.check]);
        let new: Vec<PythonFrame> =
            seen.iter().filter(|frame| !self.known.contains_key(&place(frame))).copied().collect();
        if !new.is_empty() {
            self.ask(pid, record.version, new, now);
        }
        seen.iter().filter_map(|frame| self.known.get(&place(frame)).cloned().flatten()).collect()
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
            let place = (pid, version, [found.code, found.instruction, found.check]);
            self.known.insert(place, frame.map(Arc::new));
        }
    }
}
