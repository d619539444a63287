//! `memory`: what a process holds by kind, where pages come in, its cgroup's limit, and who was killed for lack
//! of memory.
//!
//! What: levels once a second from the kernel's own sums (`/proc/PID/status`); each page that comes in counted by
//! `rss_stat`, and sampled with the stack that touched it first and the request that thread worked for.
//! Cost: a look-up for each page that any process of the machine gets or gives back, two for a watched one; at
//! most 16 stacks for a process in a period of 200 ms, 80 for all (`cargo bench -p snowshed-ebpf`).
//! Limits: a place is where memory was touched first, which for a heap is the allocation that made it grow. What is
//! freed and used again by the allocator comes in nowhere. Before Linux 6.16 levels lag by up to 64 pages a
//! CPU (a thread, before 6.2). Huge pages count as such from 2 MiB; smaller large folios count as one page.
//! Heap in use as the process itself publishes it is not read.

mod levels;
mod places;
mod user;

pub(super) use user::Memory;
