//! `fd`: every open descriptor of the targets, whose it is, where it was opened.
//!
//! What: presence from `iter/task_file`; owner, time and stack from the system calls that make descriptors.
//! Cost: one record per descriptor and look (one look a second; with more than 12,288 descriptors in all, rarer); a walk
//! to the file and one table entry per opening call of a target, one hash look-up per such call of any other process
//! (`cargo xtask bench probes --only cost`).
//! Limits: descriptors that were open before the probe, or came by a way that is not hooked (ioctl, io_uring,
//! SCM_RIGHTS from a process that is not watched), are listed without owner, age and place. Should such a file get
//! the address of a closed one and be of the same inode (the same path opened again), it reads as that one. A
//! server connection's exchanges are counted by its turns (bytes that came after bytes were sent): HTTP/2 and the like
//! make more of them than there are requests, so the engine rests nothing on the count alone. An
//! io_uring's direct descriptors are in no descriptor table: they are counted by ring (`/proc/PID/fdinfo`), without
//! age, owner and place. Of multipath TCP connections only the addresses are known.

mod connections;
mod deaf;
mod kind;
mod open;
mod owner;
mod pace;
mod procfs;
mod user;

pub use open::{DirectFds, OpenFd};
pub(super) use user::Fd;
