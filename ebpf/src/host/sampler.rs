//! Threads that are sampled on a clock, only while somebody asks where they compute.
//!
//! Cost: nothing for threads that are not sampled.

use super::{
    kernel::{AttachError, Kernel, program},
    refusal::{chain, refusal},
};
use aya::programs::{
    PerfEvent,
    perf_event::{PerfEventConfig, PerfEventLinkId, PerfEventScope, SamplePolicy, SoftwareEvent},
};

/// A thread that is sampled; [`Kernel::end_sampling`] ends it.
#[derive(Debug)]
pub(crate) struct Sampling {
    link: PerfEventLinkId,
    tid: u32,
}

fn failed(what: &str) -> impl Fn(String) -> AttachError + '_ {
    move |reason| AttachError { what: what.to_owned(), reason }
}

impl Kernel {
    /// Loads a program that [`Self::sample`] runs on a clock.
    pub(crate) fn load_sampler(&mut self, name: &str) -> Result<(), AttachError> {
        let program: &mut PerfEvent = program(&mut self.ebpf, name)?;
        program.load().map_err(|error| failed(name)(refusal(&error, &self.missing)))
    }

    /// Runs a program so many times per second of CPU time that one thread uses. The thread is named by its id in
    /// the caller's pid namespace. A thread has one sampling at a time, or its stacks would come twice.
    pub(crate) fn sample(&mut self, name: &str, tid: u32, hertz: u64) -> Result<Sampling, AttachError> {
        if self.sampled.contains(&tid) {
            return Err(failed(name)(format!("thread {tid} is sampled already")));
        }
        let program: &mut PerfEvent = program(&mut self.ebpf, name)?;
        let clock = PerfEventConfig::Software(SoftwareEvent::CpuClock);
        let scope = PerfEventScope::OneProcess { pid: tid, cpu: None };
        let link = program.attach(clock, scope, SamplePolicy::Frequency(hertz), false);
        let link = link.map_err(|error| failed(name)(chain(&error)))?;
        self.sampled.insert(tid);
        Ok(Sampling { link, tid })
    }

    /// Ends the sampling of a thread, which may be gone.
    pub(crate) fn end_sampling(&mut self, name: &str, sampling: Sampling) -> Result<(), AttachError> {
        let program: &mut PerfEvent = program(&mut self.ebpf, name)?;
        self.sampled.remove(&sampling.tid);
        program.detach(sampling.link).map_err(|error| failed(name)(chain(&error)))
    }
}
