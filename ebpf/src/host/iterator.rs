//! Reading BPF iterators for one process or one thread.
//!
//! The library's own attach passes no target, so the link is made here: the kernel then walks only that
//! process's files or threads (since 6.1).

use super::bpf::{BPF_ITER_CREATE, BPF_LINK_CREATE, make};
use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

/// Whose files or threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Of {
    /// A process, by its id in the caller's pid namespace.
    Process(u32),
    /// A thread.
    Thread(u32),
}

const BPF_TRACE_ITER: u32 = 28;

#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    iter_info: u64,
    iter_info_len: u32,
    _pad: u32,
}

/// Makes a link, by which the iterator can be run for one process or thread as often as wanted.
pub(crate) fn link(program: BorrowedFd<'_>, of: Of) -> io::Result<OwnedFd> {
    // struct { __u32 tid, pid, pid_fd } of union bpf_iter_link_info
    let info: [u32; 4] = match of {
        Of::Process(pid) => [0, pid, 0, 0],
        Of::Thread(tid) => [tid, 0, 0, 0],
    };
    make(
        BPF_LINK_CREATE,
        &LinkCreate {
            prog_fd: program.as_raw_fd().unsigned_abs(),
            target_fd: 0,
            attach_type: BPF_TRACE_ITER,
            flags: 0,
            iter_info: info.as_ptr() as u64,
            iter_info_len: 16,
            _pad: 0,
        },
    )
}

/// Runs the iterator of a link; `buffer` is cleared first and keeps its capacity. The process is looked up by its number
/// each time: whose number it is by then, the programs see.
pub(crate) fn read(link: BorrowedFd<'_>, buffer: &mut Vec<u8>) -> io::Result<()> {
    let iterator = make(BPF_ITER_CREATE, &[link.as_raw_fd().unsigned_abs(), 0])?;
    buffer.clear();
    buffer.reserve(ROOM);
    // Without the limit the library would ask how large the file is, which it is not.
    File::from(iterator).take(u64::MAX).read_to_end(buffer)?;
    Ok(())
}

/// Room that a look begins with.
const ROOM: usize = 16 << 10;

/// Links that are kept: a descriptor each.
const MOST_LINKS: usize = 256;

/// Links of the iterators that are run for the same process again and again.
#[derive(Default)]
pub(crate) struct Links(HashMap<(&'static str, Of), OwnedFd>);

impl Links {
    pub(crate) fn get(&self, program: &'static str, of: Of) -> Option<BorrowedFd<'_>> {
        self.0.get(&(program, of)).map(AsFd::as_fd)
    }

    /// Keeps one, if it is of a process and there is room.
    pub(crate) fn keep(&mut self, program: &'static str, of: Of, link: OwnedFd) {
        if matches!(of, Of::Process(_)) && self.0.len() < MOST_LINKS {
            self.0.insert((program, of), link);
        }
    }

    /// Forgets those of a process.
    pub(crate) fn forget(&mut self, pid: u32) {
        self.0.retain(|(_, of), _| *of != Of::Process(pid));
    }
}

/// The records in a buffer, copied out one by one; a cut-off rest is ignored.
pub(crate) fn records<R: Copy>(buffer: &[u8]) -> impl Iterator<Item = R> + '_ {
    buffer.chunks_exact(size_of::<R>()).map(|bytes| {
        // SAFETY: the programs write whole records of plain data; the read needs no alignment.
        unsafe { bytes.as_ptr().cast::<R>().read_unaligned() }
    })
}
