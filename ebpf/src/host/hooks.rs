//! Hooks that come and go while the session runs: a system call is hooked only while a target uses it, because
//! every process of the machine pays for the hook; a thread is sampled only while somebody asks where it computes.
//!
//! Cost: attaching takes well under a millisecond; detaching waits for the kernel's grace period, some ten of them.

use super::{
    kernel::{AttachError, Kernel, chain, program},
    tracefs,
};
use aya::programs::{
    PerfEvent, TracePoint,
    perf_event::{PerfEventConfig, PerfEventLinkId, PerfEventScope, SamplePolicy, SoftwareEvent},
    trace_point::TracePointLinkId,
};

/// An attached system call tracepoint; [`Kernel::unhook`] takes it off.
#[derive(Debug)]
pub(crate) struct Hook(TracePointLinkId);

/// A thread that is sampled; [`Kernel::end_sampling`] ends it.
#[derive(Debug)]
pub(crate) struct Sampling(PerfEventLinkId);

fn failed(what: &str) -> impl Fn(String) -> AttachError + '_ {
    move |reason| AttachError { what: what.to_owned(), reason }
}

impl Kernel {
    /// Loads a program that [`Self::hook`] attaches later.
    pub(crate) fn load_hook(&mut self, name: &str) -> Result<(), AttachError> {
        tracefs::ensure().map_err(|error| failed(name)(format!("tracefs is not mounted: {error}")))?;
        let program: &mut TracePoint = program(&mut self.ebpf, name)?;
        program.load().map_err(|error| failed(name)(chain(&error)))
    }

    /// Attaches a loaded program to a system call's tracepoint.
    pub(crate) fn hook(&mut self, name: &str, tracepoint: &str) -> Result<Hook, AttachError> {
        let program: &mut TracePoint = program(&mut self.ebpf, name)?;
        program.attach("syscalls", tracepoint).map(Hook).map_err(|error| failed(tracepoint)(chain(&error)))
    }

    /// Takes a hook off again.
    pub(crate) fn unhook(&mut self, name: &str, hook: Hook) -> Result<(), AttachError> {
        let program: &mut TracePoint = program(&mut self.ebpf, name)?;
        program.detach(hook.0).map_err(|error| failed(name)(chain(&error)))
    }

    /// Loads a program that [`Self::sample`] runs on a clock.
    pub(crate) fn load_sampler(&mut self, name: &str) -> Result<(), AttachError> {
        let program: &mut PerfEvent = program(&mut self.ebpf, name)?;
        program.load().map_err(|error| failed(name)(chain(&error)))
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
