//! `fd`: every open descriptor of the targets, whose it is, where it was opened.
//!
//! What: presence from `iter/task_file`; owner, time and stack from the system calls that make descriptors.
//! Cost: about 0.3 ms per 1,000 descriptors and look (one a second); some hundred nanoseconds per opening
//! call of a target, one hash look-up per such call of any other process.
//! Limits: descriptors that were open before the probe, or came by a way that is not hooked (ioctl,
//! SCM_RIGHTS, io_uring), are listed without owner.

mod kind;
mod procfs;
mod user;

pub(super) use user::Fd;
