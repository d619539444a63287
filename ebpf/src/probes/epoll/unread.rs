//! Whether somebody waits for a loop on poll or select, where no instance tells: sockets of the process with bytes
//! that nobody read, or connections that nobody accepted, at two looks in a row.
//!
//! Cost: one walk over the descriptors of a process whose only loop has not come back for a while.

use crate::{
    host::{
        iterator::{self, Of},
        kernel::{AttachError, Kernel},
    },
    probes::Look,
    wire::UnreadRecord,
};
use snowshed_engine::model::{Nanos, Pid};
use std::collections::{HashMap, HashSet};

const PROGRAM: &str = "unread_list";
/// Looks further apart than this say nothing together.
const TOGETHER: Nanos = 300_000_000;

/// What was unread at the last look, and when that was.
#[derive(Default)]
pub(super) struct Unread(HashMap<Pid, (Nanos, HashSet<u64>)>);

impl Unread {
    pub(super) fn load(kernel: &mut Kernel) -> Result<(), AttachError> {
        kernel.iterator(PROGRAM, "task_file")
    }

    /// The same socket was left waiting at the last look and at this one.
    pub(super) fn left_waiting(&mut self, look: &mut Look<'_>, pid: Pid) -> bool {
        let Some(kernel) = look.kernel.as_deref_mut() else { return false };
        if kernel.look(PROGRAM, Of::Process(pid), look.buffer).is_err() {
            return false;
        }
        let files = iterator::records::<UnreadRecord>(look.buffer).map(|record| record.file);
        self.compare(pid, files.collect(), look.now)
    }

    fn compare(&mut self, pid: Pid, files: HashSet<u64>, now: Nanos) -> bool {
        let before = self.0.insert(pid, (now, files));
        let (Some((at, before)), Some((_, files))) = (before, self.0.get(&pid)) else { return false };
        now.saturating_sub(at) <= TOGETHER && before.iter().any(|file| files.contains(file))
    }

    pub(super) fn forget(&mut self, pid: Pid) {
        self.0.remove(&pid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_waits_at_two_looks_in_a_row_was_left() {
        let mut unread = Unread::default();
        let mut at = |now: Nanos, files: &[u64]| unread.compare(1, files.iter().copied().collect(), now);
        assert!(!at(100_000_000, &[7]));
        assert!(!at(200_000_000, &[8]), "another one");
        assert!(at(300_000_000, &[8, 9]));
        assert!(!at(900_000_000, &[8]), "too long ago");
    }
}
