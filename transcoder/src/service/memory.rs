//! The heap: keeping it small between streams, and saying how much of it is in use.
//!
//! Codecs allocate large frames on short-lived threads. glibc raises its threshold for separate mappings whenever one
//! is freed, so after a busy minute those frames come from per-thread arenas that hardly shrink: resident memory stays
//! near its peak with almost nothing in use, and looks like a leak. A fixed threshold, few arenas, and a trim when the
//! last stream has ended give it back.

/// Allocations from this size on are mappings of their own, gone when they are freed.
const OWN_MAPPING_BYTES: libc::c_int = 128 << 10;

/// Arenas for each core: threads that run at the same time rarely meet, and what one has freed serves the next.
const ARENAS_PER_CORE: usize = 2;

/// Sets both; call it once, before any stream.
pub(crate) fn configure() {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let arenas = libc::c_int::try_from(cores * ARENAS_PER_CORE).unwrap_or(libc::c_int::MAX);
    // SAFETY: no precondition; an allocator that knows no such setting refuses it, and nothing is lost.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_MAPPING_BYTES);
        libc::mallopt(libc::M_ARENA_MAX, arenas);
    }
}

/// Gives free pages back to the kernel. Takes each arena's lock and some milliseconds: not on the event loop.
pub(super) fn trim() {
    // SAFETY: no precondition.
    unsafe { libc::malloc_trim(0) };
}

/// Bytes that are allocated and not freed, in all arenas and mappings.
pub(super) fn in_use() -> f64 {
    // SAFETY: no precondition; it takes each arena's lock for a moment.
    let info = unsafe { libc::mallinfo2() };
    (info.uordblks + info.hblkhd) as f64
}
