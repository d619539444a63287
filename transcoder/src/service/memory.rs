//! The heap: keeping it small between streams, and saying how much of it is in use.
//!
//! Codecs allocate large frames on short-lived threads. glibc raises its threshold for separate mappings whenever one
//! is freed, so after a busy minute those frames come from per-thread arenas that hardly shrink: resident memory stays
//! near its peak with almost nothing in use, and looks like a leak. A fixed threshold and a trim after the last stream
//! give it back.

/// Allocations from this size on are mappings of their own, gone when they are freed.
const OWN_MAPPING_BYTES: libc::c_int = 128 << 10;

/// Sets the threshold; call it once, before any stream.
pub(crate) fn configure() {
    // SAFETY: no precondition; an allocator that knows no such setting refuses it, and nothing is lost.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_MAPPING_BYTES) };
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
