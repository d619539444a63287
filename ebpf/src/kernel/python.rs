//! What a thread of CPython executes: its frames, innermost first. A copy of its stack shows the interpreter only, because
//! Python's own calls leave nothing there.
//!
//! Nothing that is read is trusted: the host makes sure that what is called a code object is one, and the walk ends at the
//! last of so many frames, or at what cannot be read.
//! Cost: three reads, and two for each frame. Paid with a copy of a stack only, of which there are a few a second.

use crate::wire::{PYTHON_FRAMES, PYTHON_WINDOW, Python, PythonFrame, StackRecord};
use core::ffi::c_void;

/// Objects lie on such a border: below it are marks of the interpreter.
const MARKS: u64 = 7;

/// Notes the frames of the thread whose thread pointer this is; `read` fills so many bytes from an address of its process,
/// with zeros where it cannot.
///
/// # Safety
/// `record` must be writable as a whole.
#[inline(always)]
pub unsafe fn walk(record: *mut StackRecord, python: &Python, base: u64, read: impl Fn(*mut c_void, u32, u64)) {
    // SAFETY: the caller's promise; indices are masked.
    unsafe {
        let window: *mut [u64; PYTHON_WINDOW] = &raw mut (*record).window;
        // Whether something could be read is never asked: each branch on it doubles the ways that the verifier follows.
        let word = |at: u64| {
            read(window.cast(), 8, at);
            (*window)[0]
        };
        let mut depth = 0;
        if !python.is_none() {
            let mut frame = word(word(base.wrapping_add(python.slot as u64)).wrapping_add(python.frame as u64));
            if python.hop != 0 {
                frame = word(frame.wrapping_add(python.hop as u64));
            }
            let span = (python.span as usize & (PYTHON_WINDOW - 1)) as u32 * 8;
            let at = |index: u16| (*window)[index as usize & (PYTHON_WINDOW - 1)];
            for index in 0..PYTHON_FRAMES {
                if frame == 0 {
                    break;
                }
                read(window.cast(), span, frame.wrapping_add(python.from as u64 * 8));
                let (code, previous, instruction) =
                    (at(python.code) & !MARKS, at(python.previous), at(python.instruction));
                let check = word(code.wrapping_add(python.check as u64));
                (&raw mut (*record).frames[index]).write(PythonFrame { code, instruction, check });
                depth += 1;
                frame = previous;
            }
        }
        (&raw mut (*record).version).write(python.version as u32);
        (&raw mut (*record).depth).write(depth);
    }
}
