//! `epoll`: how event loops spend their time, and which of their threads did not come back.
//!
//! What: time in and between waits, per thread, kept in the kernel; ten looks a second at what each such
//! thread does, works for and is blocked in.
//! Cost: two hooks per wait of a target (`cargo bench -p snowshed-ebpf`); one record per thread and look.
//! Limits: stalls shorter than about 150 ms are seen only as busy time. A thread that parks outside epoll
//! (tokio workers, Go) is judged by its CPU time and by what it is blocked in. The stack of a thread that
//! computes is not taken in this version.

mod judge;
mod syscalls;
mod user;

pub(super) use syscalls::name as syscall_name;
pub(super) use user::Epoll;
