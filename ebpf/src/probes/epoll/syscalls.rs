//! System calls by number (x86-64): which of them are an event loop's rest, and names for the others.

/// Blocked in one of these, a thread rests: it waits for events, a lock hand-over or a timer of its runtime.
pub(super) fn is_rest(number: i64) -> bool {
    matches!(
        number,
        7 | 23 // poll, select
        | 202 // futex
        | 232 | 281 | 441 // epoll_wait, epoll_pwait, epoll_pwait2
        | 270 | 271 // pselect6, ppoll
        | 426 // io_uring_enter
        | 449 | 454..=456 // futex_waitv, futex_wake, futex_wait, futex_requeue
    )
}

/// The name of a call that a thread may block in.
pub(in crate::probes) fn name(number: i64) -> String {
    let known = match number {
        0 => "read",
        1 => "write",
        17 => "pread64",
        18 => "pwrite64",
        19 => "readv",
        20 => "writev",
        34 => "pause",
        35 => "nanosleep",
        42 => "connect",
        43 => "accept",
        44 => "sendto",
        45 => "recvfrom",
        46 => "sendmsg",
        47 => "recvmsg",
        56 => "clone",
        58 => "vfork",
        61 => "wait4",
        72 => "fcntl",
        73 => "flock",
        74 => "fsync",
        75 => "fdatasync",
        76 => "truncate",
        77 => "ftruncate",
        82 => "rename",
        87 => "unlink",
        162 => "sync",
        230 => "clock_nanosleep",
        247 => "waitid",
        257 => "openat",
        262 => "newfstatat",
        263 => "unlinkat",
        285 => "fallocate",
        288 => "accept4",
        306 => "syncfs",
        316 => "renameat2",
        437 => "openat2",
        _ => return format!("system call {number}"),
    };
    known.to_owned()
}
