//! `epoll`: how event loops spend their time, and which of them did not come back. A loop waits by epoll, io_uring,
//! or by poll or select for two descriptors or more.
//!
//! What: waits, their time and the events they returned, per thread, kept in the kernel; ten looks a second at what
//! each such thread does, works for and is blocked in, and at what waits on the instances. A stall is told with
//! where the thread stands (blocked) or computes (sampled on its own CPU clock, only while it is suspected), and
//! with its time on the CPU, queued and blocked.
//! Cost: two hooks per wait of a target (`cargo bench -p snowshed-ebpf`), and as much for others that use the same
//! call; a call is hooked only while a target uses it. One record per thread and look.
//! Limits: stalls shorter than about 150 ms are seen only as busy time, and a stack of a computing thread needs
//! about 200 ms. A loop that is always found computing, and holds no epoll instance, is not found until it waits. On
//! poll and select a stall is told only if a socket was left waiting, and only where one thread is the only loop. Go's
//! runtime hands the work of a stuck thread to others, so there only instances that nobody serves are told.

mod hot;
mod instance;
mod judge;
mod syscalls;
mod unread;
mod user;
mod ways;

pub(crate) use hot::PROGRAM as SAMPLED;
pub(super) use syscalls::name as syscall_name;
pub(super) use user::Epoll;
