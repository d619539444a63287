//! Copies of user stacks.

/// Stack pages that are copied, from the one that holds the stack pointer upwards.
pub const STACK_PAGES: usize = 4;
/// Size of a page.
pub const PAGE: usize = 4096;

/// User registers.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Registers {
    /// Instruction pointer.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer.
    pub bp: u64,
}

/// A copied user stack. Copies may hold secrets: they are unwound and dropped at once.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StackRecord {
    /// Process, initial namespace.
    pub host_tgid: u32,
    /// Pages that could be read.
    pub pages: u32,
    /// For which file; 0: for a thread.
    pub file: u64,
    /// When that file came in; for a thread, its id in the initial namespace.
    pub made: u64,
    /// Where the thread was.
    pub registers: Registers,
    /// The pages, starting at `registers.sp` rounded down.
    pub stack: [[u8; PAGE]; STACK_PAGES],
}
