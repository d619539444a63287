//! The calls that loops wait with, each hooked only while a target is seen to use it: every process of the machine
//! pays for a hook.
//!
//! Use is seen by looking: a thread that is blocked in the call, one that was counted in it, or, for epoll, an open
//! instance. A process that has not used a call for [`KEEP`] does not hold its hook any longer.

use crate::{
    host::kernel::{AttachError, Kernel},
    wire::ThreadRecord,
};
use snowshed_engine::model::{Nanos, Pid, WaitCall};
use std::collections::BTreeMap;

/// How long a hook stays after the last use that was seen.
const KEEP: Nanos = 60_000_000_000;
/// At the exit of all of them.
const LEFT: &str = "wait_left";

/// One call.
struct Way {
    call: WaitCall,
    /// Its number (x86-64).
    number: i64,
    name: &'static str,
    /// At its entry.
    program: &'static str,
}

const fn way(call: WaitCall, number: i64, name: &'static str, program: &'static str) -> Way {
    Way { call, number, name, program }
}

const ALL: [Way; 8] = [
    way(WaitCall::Epoll, 232, "epoll_wait", "epoll_entered"),
    way(WaitCall::Epoll, 281, "epoll_pwait", "epoll_entered"),
    way(WaitCall::Epoll, 441, "epoll_pwait2", "epoll_entered"),
    way(WaitCall::Poll, 7, "poll", "poll_entered"),
    way(WaitCall::Poll, 271, "ppoll", "poll_entered"),
    way(WaitCall::Select, 23, "select", "select_entered"),
    way(WaitCall::Select, 270, "pselect6", "select_entered"),
    way(WaitCall::IoUring, 426, "io_uring_enter", "ring_entered"),
];

/// The programs of this file.
pub(super) const PROGRAMS: [&str; 5] = ["epoll_entered", "poll_entered", "select_entered", "ring_entered", LEFT];

/// How a thread waited last.
pub(super) fn call(record: &ThreadRecord) -> Option<WaitCall> {
    ALL.iter().find(|way| way.number == i64::from(record.task.call)).map(|way| way.call)
}

/// The hooks of one call.
#[derive(Default)]
struct State {
    hooked: bool,
    /// Who uses it, and when that was last seen.
    users: BTreeMap<Pid, Nanos>,
    /// It could not be hooked: said once, not tried again.
    refused: bool,
}

#[derive(Default)]
pub(super) struct Ways([State; ALL.len()]);

impl Ways {
    /// Loads the programs, and hooks the commonest call, so that a refusal is known now and not later, and so that the
    /// price of a hook can be measured. If nobody uses it, it is unhooked when [`Self::settle`] is called first.
    pub(super) fn load(&mut self, kernel: &mut Kernel) -> Result<(), AttachError> {
        for program in PROGRAMS {
            kernel.load_hook(program)?;
        }
        hook(kernel, &ALL[0])?;
        self.0[0].hooked = true;
        Ok(())
    }

    /// A process has an epoll instance open: it will wait on it.
    pub(super) fn holds_epoll(&mut self, pid: Pid, now: Nanos) {
        for (way, state) in ALL.iter().zip(&mut self.0) {
            if matches!(way.name, "epoll_wait" | "epoll_pwait") {
                state.users.insert(pid, now);
            }
        }
    }

    /// What a thread is seen in.
    pub(super) fn seen(&mut self, pid: Pid, record: &ThreadRecord, now: Nanos) {
        for (way, state) in ALL.iter().zip(&mut self.0) {
            // A single descriptor is no loop: programs wait so for one answer.
            let waits = match way.call {
                WaitCall::Poll => record.arguments[1] >= 2,
                WaitCall::Select => record.arguments[0] >= 2,
                _ => true,
            };
            let counted =
                i64::from(record.task.call) == way.number && now.saturating_sub(record.task.wait_ended) < KEEP;
            if (record.syscall == way.number && waits) || (counted && super::judge::is_loop(record)) {
                state.users.insert(pid, now);
            }
        }
    }

    /// Hooks what is used and unhooks what is not; a refusal is said once.
    pub(super) fn settle(&mut self, kernel: &mut Kernel, now: Nanos) -> Vec<AttachError> {
        let mut refusals = Vec::new();
        for (way, state) in ALL.iter().zip(&mut self.0) {
            state.users.retain(|_, seen| now.saturating_sub(*seen) < KEEP);
            match (state.users.is_empty(), state.hooked) {
                (true, true) => {
                    unhook(kernel, way);
                    state.hooked = false;
                }
                (false, false) if !state.refused => match hook(kernel, way) {
                    Ok(()) => state.hooked = true,
                    Err(error) => {
                        state.refused = true;
                        refusals.push(error);
                    }
                },
                _ => {}
            }
        }
        refusals
    }

    pub(super) fn forget(&mut self, pid: Pid) {
        for state in &mut self.0 {
            state.users.remove(&pid);
        }
    }
}

fn hook(kernel: &mut Kernel, way: &Way) -> Result<(), AttachError> {
    let (entry, exit) = (format!("sys_enter_{}", way.name), format!("sys_exit_{}", way.name));
    // The exit first: a wait whose begin is counted has an end.
    kernel.put_on(LEFT, &exit)?;
    kernel.put_on(way.program, &entry).inspect_err(|_| kernel.take_off(LEFT, &exit))
}

fn unhook(kernel: &mut Kernel, way: &Way) {
    kernel.take_off(way.program, &format!("sys_enter_{}", way.name));
    kernel.take_off(LEFT, &format!("sys_exit_{}", way.name));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(ways: &Ways) -> Vec<&'static str> {
        ALL.iter().zip(&ways.0).filter(|(_, state)| !state.users.is_empty()).map(|(way, _)| way.name).collect()
    }

    #[test]
    fn a_call_is_used_by_who_is_seen_in_it() {
        let mut ways = Ways::default();
        let mut record = ThreadRecord { syscall: 7, arguments: [0, 1], ..ThreadRecord::default() };
        ways.seen(1, &record, 5);
        assert!(users(&ways).is_empty(), "one descriptor is no loop");
        record.arguments = [0, 2];
        ways.seen(1, &record, 5);
        assert_eq!(users(&ways), ["poll"]);
        ways.holds_epoll(2, 5);
        assert_eq!(users(&ways), ["epoll_wait", "epoll_pwait", "poll"]);
        ways.forget(2);
        ways.seen(3, &ThreadRecord { syscall: 441, ..ThreadRecord::default() }, 5);
        assert_eq!(users(&ways), ["epoll_pwait2", "poll"]);
    }
}
