//! Which program is attached where, so that a probe's hooks can be taken off and put on again while it runs.
//!
//! Invariant: a hook that is off costs nobody anything; its program stays loaded.

use super::kernel::{Kernel, chain, program};
use aya::programs::{BtfTracePoint, ProgramError, TracePoint, tp_btf::BtfTracePointLink, trace_point::TracePointLink};

/// An attached program; dropping it detaches.
#[derive(Debug)]
#[expect(dead_code, reason = "held, not read")]
pub(crate) enum Link {
    System(TracePointLink),
    Typed(BtfTracePointLink),
}

/// A program and its place.
#[derive(Debug)]
pub(crate) struct Hook {
    program: String,
    tracepoint: String,
    typed: bool,
    link: Option<Link>,
}

impl Hook {
    pub(crate) fn new(program: &str, tracepoint: &str, link: Link) -> Self {
        let typed = matches!(link, Link::Typed(_));
        Self { program: program.to_owned(), tracepoint: tracepoint.to_owned(), typed, link: Some(link) }
    }
}

/// Attaches to a system call's tracepoint.
pub(crate) fn system(program: &mut TracePoint, tracepoint: &str) -> Result<Link, ProgramError> {
    let id = program.attach("syscalls", tracepoint)?;
    program.take_link(id).map(Link::System)
}

/// Attaches to the BTF tracepoint that the program was loaded for.
pub(crate) fn typed(program: &mut BtfTracePoint) -> Result<Link, ProgramError> {
    let id = program.attach()?;
    program.take_link(id).map(Link::Typed)
}

impl Kernel {
    /// Program and tracepoint of every hook of these programs.
    pub(crate) fn hooks(&self, programs: &[&str]) -> Vec<(String, String)> {
        let of = |hook: &&Hook| programs.contains(&hook.program.as_str());
        self.hooks.iter().filter(of).map(|hook| (hook.program.clone(), hook.tracepoint.clone())).collect()
    }

    /// Takes the hooks of these programs off.
    pub(crate) fn unhook(&mut self, programs: &[&str]) {
        for hook in self.hooks.iter_mut().filter(|hook| programs.contains(&hook.program.as_str())) {
            hook.link = None;
        }
    }

    /// Puts them on again.
    ///
    /// # Errors
    /// The first that the kernel refuses, which it did not at the start.
    pub(crate) fn rehook(&mut self, programs: &[&str]) -> Result<(), String> {
        let Self { hooks, ebpf, .. } = self;
        for hook in hooks.iter_mut().filter(|hook| programs.contains(&hook.program.as_str()) && hook.link.is_none()) {
            let failed = |error: ProgramError| format!("attach {}: {}", hook.tracepoint, chain(&error));
            let name = hook.program.as_str();
            let link = if hook.typed {
                typed(program::<BtfTracePoint>(ebpf, name).map_err(|error| error.to_string())?)
            } else {
                system(program::<TracePoint>(ebpf, name).map_err(|error| error.to_string())?, &hook.tracepoint)
            };
            hook.link = Some(link.map_err(failed)?);
        }
        Ok(())
    }
}
