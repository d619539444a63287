//! Where each version of CPython keeps things; from its own headers (`offsetof`), on 64-bit machines.
//!
//! Within a minor version these do not change: extensions and debuggers rely on them.

/// How a code object tells its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lines {
    /// Pairs of steps, `co_lnotab`: up to 3.9.
    Steps,
    /// Pairs of ranges, `co_linetable`: 3.10.
    Ranges,
    /// Entries of bits, `co_linetable`: since 3.11.
    Entries,
}

/// One version. Offsets in bytes, or in words of eight where it says so.
#[derive(Debug)]
pub(super) struct Layout {
    /// Minor version.
    pub(super) minor: u16,
    /// The runtime's newest interpreter, and that one's newest thread; `None`: it says so itself (since 3.13).
    pub(super) lists: Option<(u64, u64)>,
    /// Of a thread's state: the next one, and what `pthread_self` says.
    pub(super) next: u64,
    pub(super) thread: u64,
    /// Of a thread's state: the innermost frame, or what leads to it with one more step.
    pub(super) frame: u16,
    pub(super) hop: Option<u16>,
    /// Of a frame: the first word that is read; from there on, its code object, who called it, its instruction.
    pub(super) from: u16,
    pub(super) code: u16,
    pub(super) previous: u16,
    pub(super) instruction: u16,
    /// Of a code object.
    pub(super) first_line: u16,
    pub(super) file: u16,
    pub(super) name: u16,
    pub(super) lines: (Lines, u16),
    /// Of a code object: its first instruction; 0: instructions are counted.
    pub(super) start: u16,
    /// Where the letters of a string begin: plain ones, and others.
    pub(super) letters: (u16, u16),
}

/// All that are read.
pub(super) const ALL: &[Layout] = &[
    Layout { instruction: 10, lines: (Lines::Steps, 120), ..UP_TO_10 },
    Layout { minor: 10, ..UP_TO_10 },
    Layout {
        minor: 11,
        lists: Some((40, 16)),
        frame: 56,
        hop: Some(8),
        code: 4,
        previous: 6,
        first_line: 72,
        start: 184,
        letters: (48, 72),
        ..SINCE_11
    },
    Layout { minor: 12, lists: Some((40, 72)), thread: 136, frame: 56, hop: Some(0), start: 192, ..SINCE_11 },
    Layout { minor: 13, start: 200, ..SINCE_11 },
    Layout { minor: 14, start: 208, ..SINCE_11 },
];

const UP_TO_10: Layout = Layout {
    minor: 9,
    lists: Some((32, 8)),
    next: 8,
    thread: 176,
    frame: 24,
    hop: None,
    from: 3,
    code: 1,
    previous: 0,
    instruction: 9,
    first_line: 40,
    file: 104,
    name: 112,
    lines: (Lines::Ranges, 120),
    start: 0,
    letters: (48, 72),
};

const SINCE_11: Layout = Layout {
    minor: 0,
    lists: None,
    next: 8,
    thread: 152,
    frame: 72,
    hop: None,
    from: 0,
    code: 0,
    previous: 1,
    instruction: 7,
    first_line: 68,
    file: 112,
    name: 128,
    lines: (Lines::Entries, 136),
    start: 0,
    letters: (40, 56),
};

/// How a version is read.
pub(super) fn of(minor: u32) -> Option<&'static Layout> {
    ALL.iter().find(|layout| u32::from(layout.minor) == minor)
}
