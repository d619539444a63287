//! Where a process computes: each of its threads is sampled on its own processor clock.

use super::stacks::Place;
use crate::failure::Failure;
use snowshed_ebpf::{CpuSampling, Session};
use snowshed_engine::model::Pid;
use std::collections::BTreeMap;

/// Samples a second of processor time: no multiple of what programs do in step with the clock.
const HERTZ: u64 = 99;

/// Sampling that goes on.
pub(super) struct Sampled(CpuSampling);

impl Sampled {
    /// Begins.
    ///
    /// # Errors
    /// The kernel refuses, or there are no kernel programs.
    pub(super) fn start(session: &mut Session, pid: Pid) -> Result<Self, Failure> {
        session.sample_cpu(pid, HERTZ).map(Self).map_err(|error| Failure::usage(format!("pid {pid}: {error}")))
    }

    /// Threads that are new are sampled too.
    pub(super) fn follow(&mut self, session: &mut Session) {
        session.follow_cpu(&mut self.0);
    }

    /// Ends: nanoseconds by place.
    pub(super) fn end(self, session: &mut Session) -> BTreeMap<Place, u64> {
        let each = 1_000_000_000 / HERTZ;
        let sums = session.end_cpu(self.0).into_iter();
        sums.map(|(site, count)| (Place { site, trace: None, label: String::new() }, count * each)).collect()
    }
}
