//! Threads that are sampled on a clock, only while somebody asks where they compute.
//!
//! Cost: nothing for threads that are not sampled.

use super::kernel::{AttachError, Kernel, chain, program, refusal};
use aya::programs::{
    PerfEvent,
    perf_event::{PerfEventConfig, PerfEventLinkId, PerfEventScope, SamplePolicy, SoftwareEvent},
};

/// A thread that is sampled; [`Kernel::end_sampling`] ends it.
#[derive(Debug)]
pub(crate) struct Sampling(PerfEventLinkId);

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
    /// the caller's pid namespace.
    pub(crate) fn sample(&mut self, name: &str, tid: u32, hertz: u64) -> Result<Sampling, AttachError> {
        let program: &mut PerfEvent = program(&mut self.ebpf, name)?;
        let clock = PerfEventConfig::Software(SoftwareEvent::CpuClock);
        let scope = PerfEventScope::OneProcess { pid: tid, cpu: None };
        let link = program.attach(clock, scope, SamplePolicy::Frequency(hertz), false);
        link.map(Sampling).map_err(|error| failed(name)(chain(&error)))
    }

    /// Ends the sampling of a thread, which may be gone.
    pub(crate) fn end_sampling(&mut self, name: &str, sampling: Sampling) -> Result<(), AttachError> {
        let program: &mut PerfEvent = program(&mut self.ebpf, name)?;
        program.detach(sampling.0).map_err(|error| failed(name)(chain(&error)))
    }
}
