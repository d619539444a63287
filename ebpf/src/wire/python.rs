//! CPython: where its threads keep what they execute, and what was found of it.

/// Frames that are followed.
pub const PYTHON_FRAMES: usize = 48;
/// Words of a frame that are read; none has fewer.
pub const PYTHON_FRAME: usize = 11;
/// Words that are read at once, those of several frames if they lie close together; a power of two.
pub const PYTHON_WINDOW: usize = 128;

/// Where CPython's threads keep their frames. The host finds it out, the programs follow it. All zero: the process is no
/// Python.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Python {
    /// Where a thread keeps the address of its state, from the thread pointer, bytes.
    pub slot: u16,
    /// Where that state keeps the innermost frame, or what leads to it, bytes.
    pub frame: u16,
    /// Where what leads to it keeps it, bytes, plus one; 0: the state does.
    pub hop: u16,
    /// The first word of a frame that is read.
    pub from: u16,
    /// Which from there on, of [`PYTHON_FRAME`], is its code object.
    pub code: u16,
    /// Which is the frame that called it.
    pub previous: u16,
    /// Which is its instruction.
    pub instruction: u16,
    /// Minor version: how all of that is to be read.
    pub version: u16,
    /// Explicit padding.
    pub _pad: [u16; 4],
}

impl Python {
    /// It is no Python.
    #[inline(always)]
    pub const fn is_none(&self) -> bool {
        self.slot == 0
    }
}

/// A frame, as it was found.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PythonFrame {
    /// Address of its code object.
    pub code: u64,
    /// Its instruction: an address, or a number within its code.
    pub instruction: u64,
}
