//! Copies of user stacks.

use super::{PYTHON_FRAMES, PYTHON_WINDOW, Python, PythonFrame};

/// Stack pages that are copied, from the one that holds the stack pointer upwards.
pub const STACK_PAGES: usize = 4;
/// Size of a page.
pub const PAGE: usize = 4096;
/// Below the stack pointer, what a function that calls none may use (System V ABI, x86-64).
pub const RED_ZONE: u64 = 128;

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
    /// How far into `stack` it was copied: to the end of the stack, as far as could be read, or all.
    pub bytes: u32,
    /// For which file, or for which new thread (see [`Self::is_of_new_thread`]); 0: for a thread that is looked at.
    pub file: u64,
    /// For which file, too: the other end that came in with it; 0: for none.
    pub pair: u64,
    /// When that file came in or that thread was made; for a thread that is looked at, its id in the initial namespace.
    pub made: u64,
    /// Where the thread was.
    pub registers: Registers,
    /// How the process keeps its frames, if it is a Python; if `depth` is 0, it means nothing.
    pub python: Python,
    /// How many of `frames` there are.
    pub depth: u32,
    /// Explicit padding.
    pub _pad: u32,
    /// From where `window` was read; means nothing afterwards.
    pub low: u64,
    /// Room in which frames are read; means nothing afterwards.
    pub window: [u64; PYTHON_WINDOW],
    /// What the thread executed of Python, innermost first.
    pub frames: [PythonFrame; PYTHON_FRAMES],
    /// The pages, starting at `registers.sp` rounded down. What lies before the red zone was not copied.
    pub stack: [[u8; PAGE]; STACK_PAGES],
}

#[cfg(not(target_arch = "bpf"))]
impl StackRecord {
    /// The stack under which a thread was made; `file` is then that thread's number, which is smaller than any
    /// kernel address.
    pub(crate) fn is_of_new_thread(&self) -> bool {
        (1..1 << 32).contains(&self.file)
    }
}
