//! Which program is attached where, so that a probe's hooks can be taken off and put on again while it runs: all of them
//! for the budget's sake, and each by itself by a probe that hooks a call only while a target uses it.
//!
//! Invariant: a hook that is off costs nobody anything; its program stays loaded. Cost: attaching takes well under a
//! millisecond; detaching waits for the kernel's grace period, some ten of them.

use super::{
    kernel::{AttachError, Kernel, program},
    refusal::{chain, refusal},
    tracefs,
};
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

fn failed(what: &str) -> impl Fn(String) -> AttachError + '_ {
    move |reason| AttachError { what: what.to_owned(), reason }
}

impl Kernel {
    /// Program and tracepoint of every hook of these programs that is on.
    pub(crate) fn hooks(&self, programs: &[&str]) -> Vec<(String, String)> {
        let of = |hook: &&Hook| hook.link.is_some() && programs.contains(&hook.program.as_str());
        self.hooks.iter().filter(of).map(|hook| (hook.program.clone(), hook.tracepoint.clone())).collect()
    }

    /// Loads a program that [`Self::put_on`] attaches.
    pub(crate) fn load_hook(&mut self, name: &str) -> Result<(), AttachError> {
        tracefs::ensure().map_err(|error| failed(name)(format!("tracefs: {error}")))?;
        let program: &mut TracePoint = program(&mut self.ebpf, name)?;
        program.load().map_err(|error| failed(name)(refusal(&error, &self.missing)))
    }

    /// Attaches a loaded program to a system call's tracepoint.
    pub(crate) fn put_on(&mut self, name: &str, tracepoint: &str) -> Result<(), AttachError> {
        let program: &mut TracePoint = program(&mut self.ebpf, name)?;
        let link = system(program, tracepoint).map_err(|error| failed(tracepoint)(chain(&error)))?;
        self.hooks.push(Hook::new(name, tracepoint, link));
        Ok(())
    }

    /// Takes that hook off again.
    pub(crate) fn take_off(&mut self, name: &str, tracepoint: &str) {
        self.hooks.retain(|hook| hook.program != name || hook.tracepoint != tracepoint);
    }

    /// Takes the hooks of these programs off, a moment later: with many hooks their grace periods come to a second, in
    /// which the rings must be read on.
    pub(crate) fn unhook(&mut self, programs: &[&str]) {
        let off = self.hooks.iter_mut().filter(|hook| programs.contains(&hook.program.as_str()));
        let links: Vec<Link> = off.filter_map(|hook| hook.link.take()).collect();
        if !links.is_empty() {
            // Without a thread they are dropped here and now.
            drop(std::thread::Builder::new().name("unhook".to_owned()).spawn(move || drop(links)));
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
