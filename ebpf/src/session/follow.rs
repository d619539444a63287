//! The targets of a session, from the moment they are named or forked to their end.

use super::{Session, SessionError};
use crate::{
    host::{
        clock,
        iterator::{self, Of},
        kernel::Kernel,
        targets::{self, Activity, Watched},
    },
    wire::{EVENT_EXEC, EVENT_EXIT, EVENT_FORK, Event, ThreadRecord},
};
use snowshed_engine::model::{Lost, Nanos, Observation, Pid, ProcessExit, ProcessSeen};
use std::io;

impl Session {
    /// Watches a process, its present children and, from now on, the processes it forks.
    ///
    /// # Errors
    /// The process does not exist, is ending or may not be read, or the table is full.
    pub fn add_target(&mut self, pid: Pid) -> Result<(), SessionError> {
        if self.targets.get(pid).is_some() {
            return Ok(());
        }
        self.add(pid, None)?;
        // Children that are there already; ones that fork from now on are told by the kernel.
        let mut open = vec![pid];
        while let Some(parent) = open.pop() {
            for child in targets::children(parent) {
                if self.targets.get(child).is_some() {
                    continue;
                }
                match self.add(child, Some(parent)) {
                    Ok(()) => open.push(child),
                    Err(SessionError::TooMany(..)) => self.pending.push(unfollowed(clock::now())),
                    // It ended meanwhile, or is not ours to look at.
                    Err(_) => {}
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, pid: Pid, parent: Option<Pid>) -> Result<(), SessionError> {
        if self.targets.is_full() {
            return Err(SessionError::TooMany(pid, targets::MOST));
        }
        let name = targets::name(pid).filter(|_| targets::is_alive(pid)).ok_or(SessionError::NoSuchProcess(pid))?;
        let started = targets::started(pid).ok_or(SessionError::NoSuchProcess(pid))?;
        // With kernel programs it is the kernel that lists descriptors, whoever the process belongs to.
        if self.kernel.is_none()
            && let Err(error) = std::fs::read_dir(format!("/proc/{pid}/fd"))
        {
            let gone = error.kind() == io::ErrorKind::NotFound;
            return Err(if gone {
                SessionError::NoSuchProcess(pid)
            } else {
                SessionError::NotPermitted(pid, error.to_string())
            });
        }
        let host = if self.kernel.is_some() {
            let threads = self.threads(pid).map_err(|error| SessionError::NotPermitted(pid, error.to_string()))?;
            threads.first().ok_or(SessionError::NoSuchProcess(pid))?.host[1]
        } else {
            0
        };
        let activity = Activity::default();
        let mut watched = Watched { pid, host, name, started, instance: None, parent, activity };
        self.publish(&mut watched, None);
        if let Some(mut kernel) = self.kernel.take() {
            let placed = self.place(&mut kernel, &watched);
            kernel.set_tokens(host, self.stack_rate);
            self.kernel = Some(kernel);
            if let Err(error) = placed {
                self.publishers.remove(&pid);
                return Err(SessionError::NotPermitted(pid, error));
            }
        }
        let setup = self.setups.read(pid, clock::now());
        // Asked again, so that all above is of one that lived. Who ends from now on is told by the kernel; who had ended
        // before is listed until its parent has asked, without arguments, and would take the place of what it was.
        if !targets::is_alive(pid) {
            self.publishers.remove(&pid);
            if let Some(kernel) = &mut self.kernel {
                kernel.drop_target(host);
            }
            return Err(SessionError::NoSuchProcess(pid));
        }
        self.pending.push(seen(&watched));
        self.pending.push(setup);
        self.targets.insert(watched);
        self.used = true;
        self.look_soon();
        Ok(())
    }

    pub(super) fn threads(&mut self, pid: Pid) -> io::Result<Vec<ThreadRecord>> {
        let kernel = self.kernel.as_mut().ok_or_else(|| io::Error::other("no kernel programs"))?;
        kernel.look("thread_list", Of::Process(pid), &mut self.buffer)?;
        Ok(iterator::records(&self.buffer).collect())
    }

    /// Stops watching a process.
    pub fn remove_target(&mut self, pid: Pid) {
        let Some(watched) = self.targets.remove(pid) else { return };
        if let Some(kernel) = &mut self.kernel {
            kernel.drop_target(watched.host);
            kernel.forget(pid);
        }
        self.forget(pid);
    }

    fn forget(&mut self, pid: Pid) {
        self.sites.forget(pid);
        self.rates.remove(&pid);
        self.executed.remove(&pid);
        self.publishers.remove(&pid);
        for unit in &mut self.units {
            unit.probe.forget(pid);
        }
    }

    pub(super) fn take(&mut self, kernel: &mut Kernel, event: &Event, out: &mut Vec<Observation>) {
        match event.kind {
            EVENT_FORK => {
                let Some(parent) = self.targets.inner(event.host_tgid) else { return };
                let pid = event.numbers[self.level];
                let name = targets::name(pid).or_else(|| self.targets.get(parent).map(|parent| parent.name.clone()));
                let mut watched = Watched {
                    pid,
                    host: event.child,
                    name: name.unwrap_or_default(),
                    started: event.at,
                    instance: None,
                    parent: Some(parent),
                    activity: Activity::default(),
                };
                if pid == 0 || self.targets.is_full() {
                    kernel.drop_target(event.child);
                    out.push(unfollowed(event.at));
                    return;
                }
                kernel.set_tokens(event.child, self.stack_rate);
                // Where its threads publish the kernel has from its parent.
                self.publish(&mut watched, Some(parent));
                out.push(seen(&watched));
                self.targets.insert(watched);
                self.used = true;
                self.look_soon();
            }
            EVENT_EXEC => {
                let Some(pid) = self.targets.inner(event.host_tgid) else { return };
                self.sites.forget(pid);
                self.executed.insert(pid, event.at);
                self.units.iter_mut().for_each(|unit| unit.probe.executed(pid));
                if let Some(mut watched) = self.targets.get(pid).cloned() {
                    watched.name = targets::name(pid).unwrap_or(watched.name);
                    watched.instance = None;
                    self.publish(&mut watched, None);
                    // It may be gone already; its exit follows on the ring.
                    drop(self.place(kernel, &watched));
                    out.push(seen(&watched));
                    out.push(self.setups.read(pid, event.at));
                    self.targets.insert(watched);
                }
            }
            EVENT_EXIT => {
                if let Some(pid) = self.targets.inner(event.host_tgid) {
                    self.targets.remove(pid);
                    kernel.drop_target(event.host_tgid);
                    kernel.forget(pid);
                    self.forget(pid);
                    out.push(Observation::Exit(ProcessExit { pid, at: event.at }));
                }
            }
            _ => self.units.iter_mut().for_each(|unit| unit.probe.event(event, &self.targets, out)),
        }
    }

    /// Without kernel programs, or after something of the life of processes was lost: who has ended is found by looking.
    pub(super) fn reap(&mut self, now: Nanos, out: &mut Vec<Observation>) {
        let doubted = std::mem::take(&mut self.doubted) || self.kernel.is_none();
        for pid in if doubted { self.targets.pids() } else { self.targets.silent() } {
            if !targets::is_alive(pid) {
                self.remove_target(pid);
                out.push(Observation::Exit(ProcessExit { pid, at: now }));
            }
        }
    }
}

/// Follows forks, execs and exits: without it nothing else can be trusted, so it is not a probe.
pub(super) fn lifecycle(kernel: &mut Kernel) -> Result<(), String> {
    kernel.iterator("thread_list", "task").map_err(|error| error.to_string())?;
    let hooks = [
        ("process_forked", "sched_process_fork"),
        ("process_executed", "sched_process_exec"),
        ("process_exited", "sched_process_exit"),
    ];
    for (program, tracepoint) in hooks {
        kernel.tracepoint(program, tracepoint).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// A child that there was no room for: what it does is not seen, so that is told.
fn unfollowed(at: Nanos) -> Observation {
    Observation::Lost(Lost { probe: "targets".to_owned(), events: 1, at })
}

pub(super) fn seen(watched: &Watched) -> Observation {
    Observation::Process(ProcessSeen {
        pid: watched.pid,
        name: watched.name.clone(),
        started: watched.started,
        parent: watched.parent,
        instance: watched.instance.clone(),
    })
}
