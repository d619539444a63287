//! Which program is attached where, so that a probe's hooks can be taken off and put on again while it runs: all of them
//! for the budget's sake, and each by itself by a probe that hooks a call only while a target uses it.
//!
//! Invariant: a hook that is off costs nobody anything; its program stays loaded. Cost: attaching takes well under a
//! millisecond; detaching waits for one of the kernel's grace periods, for all hooks that are taken off together the same.

use super::{
    keeper::{Keeper, Kept},
    kernel::{AttachError, Kernel, program},
    refusal::{chain, refusal},
    tracefs,
};
use aya::programs::{BtfTracePoint, ProgramError, TracePoint, tp_btf::BtfTracePointLink, trace_point::TracePointLink};

/// An attached program; dropping it detaches.
#[derive(Debug)]
#[expect(dead_code, reason = "held, not read")]
pub(crate) enum Link {
    /// The link goes first, while the tracepoint still has another user.
    System(TracePointLink, Option<Kept>),
    Typed(BtfTracePointLink),
}

/// Takes them off and returns when they are. Each waits for a grace period, so they wait side by side.
fn release(links: Vec<Link>) {
    std::thread::scope(|scope| {
        for link in links {
            // Without a thread it is dropped here and now.
            drop(std::thread::Builder::new().name("unhook".to_owned()).spawn_scoped(scope, move || drop(link)));
        }
    });
}

/// Takes them off a moment later: meanwhile the rings must be read on.
fn let_go(links: Vec<Link>) {
    if !links.is_empty() {
        // Likewise.
        drop(std::thread::Builder::new().name("unhook".to_owned()).spawn(move || release(links)));
    }
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
pub(crate) fn system(program: &mut TracePoint, tracepoint: &str, keeper: &Keeper) -> Result<Link, ProgramError> {
    let id = program.attach("syscalls", tracepoint)?;
    let link = program.take_link(id)?;
    Ok(Link::System(link, keeper.keep(tracepoint)))
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
        let link = system(program, tracepoint, &self.keeper).map_err(|error| failed(tracepoint)(chain(&error)))?;
        self.hooks.push(Hook::new(name, tracepoint, link));
        Ok(())
    }

    /// Takes that hook off again.
    pub(crate) fn take_off(&mut self, name: &str, tracepoint: &str) {
        let this = |hook: &&mut Hook| hook.program == name && hook.tracepoint == tracepoint;
        let links = self.hooks.iter_mut().filter(this).filter_map(|hook| hook.link.take()).collect();
        self.hooks.retain(|hook| hook.program != name || hook.tracepoint != tracepoint);
        let_go(links);
    }

    /// Takes the hooks of these programs off, a moment later.
    pub(crate) fn unhook(&mut self, programs: &[&str]) {
        let off = self.hooks.iter_mut().filter(|hook| programs.contains(&hook.program.as_str()));
        let_go(off.filter_map(|hook| hook.link.take()).collect());
    }

    /// Puts them on again.
    ///
    /// # Errors
    /// The first that the kernel refuses, which it did not at the start.
    pub(crate) fn rehook(&mut self, programs: &[&str]) -> Result<(), String> {
        let Self { hooks, ebpf, keeper, .. } = self;
        for hook in hooks.iter_mut().filter(|hook| programs.contains(&hook.program.as_str()) && hook.link.is_none()) {
            let failed = |error: ProgramError| format!("attach {}: {}", hook.tracepoint, chain(&error));
            let name = hook.program.as_str();
            let link = if hook.typed {
                typed(program::<BtfTracePoint>(ebpf, name).map_err(|error| error.to_string())?)
            } else {
                system(program::<TracePoint>(ebpf, name).map_err(|error| error.to_string())?, &hook.tracepoint, keeper)
            };
            hook.link = Some(link.map_err(failed)?);
        }
        Ok(())
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        release(self.hooks.drain(..).filter_map(|hook| hook.link).collect());
    }
}
