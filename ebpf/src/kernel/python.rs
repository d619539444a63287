//! What a thread of CPython executes: its frames, innermost first. A copy of its stack shows the interpreter only, because
//! Python's own calls leave nothing there.
//!
//! Nothing that is read is trusted: the host makes sure that what is called a code object is one, and the walk ends at the
//! last of so many frames, or at what cannot be read.
//! Cost: three reads, and one for each run of frames that lie close together. A read costs some hundred nanoseconds
//! however little it is, so each takes a kilobyte; since 3.11 calls follow each other in memory, several in that. Paid with
//! a copy of a stack only, of which there are a few a second.

use super::{current, load, offset, targets};
use crate::wire::{PAGE, PYTHON_FRAME, PYTHON_FRAMES, PYTHON_WINDOW, Python, PythonFrame, StackRecord};
use aya_ebpf::helpers::generated::bpf_probe_read_user;
use core::{cmp::min, ffi::c_void};

/// Objects lie on such a border: below it are marks of the interpreter.
const MARKS: u64 = 7;
const ROOM: u64 = PYTHON_WINDOW as u64 * 8;
/// What a window has room for beside a frame.
const BESIDE: u64 = ROOM - PYTHON_FRAME as u64 * 8;

/// Notes what the current thread executes. A global function, as [`super::stack`] has one, and for the same reason.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn python_followed(record: *mut StackRecord, host_tgid: u32) -> u32 {
    if record.is_null() {
        return 0;
    }
    // SAFETY: memory of that size, the verifier sees to it; the current task is trusted.
    unsafe {
        (&raw mut (*record).depth).write(0);
        if let Some(target) = targets::get(host_tgid) {
            let read = |to: *mut c_void, size: u32, from: u64| {
                bpf_probe_read_user(to, size, from as *const c_void);
            };
            walk(record, &target.python, load(current().cast(), offset!(task_fsbase)), read);
        }
    }
    0
}

/// Notes the frames of the thread whose thread pointer this is; `read` fills so many bytes from an address of its process,
/// with zeros where it cannot.
///
/// # Safety
/// `record` must be writable as a whole.
#[inline(always)]
pub unsafe fn walk(record: *mut StackRecord, python: &Python, base: u64, read: impl Fn(*mut c_void, u32, u64)) {
    // SAFETY: the caller's promise; indices are masked.
    unsafe {
        // For the host; and so that the verifier need not follow each place that a target may have.
        (&raw mut (*record).python).write_volatile(*python);
        (&raw mut (*record).depth).write(0);
        let python = &*(&raw const (*record).python);
        if python.is_none() {
            return;
        }
        let window: *mut [u64; PYTHON_WINDOW] = &raw mut (*record).window;
        // The verifier follows both ways of each branch, and their sum doubles with every frame unless they end alike: so
        // whether something could be read is never asked, and where the window lies is kept where it knows nothing of it.
        let word = |at: u64| {
            read(window.cast(), 8, at);
            (*window)[0]
        };
        let low = &raw mut (*record).low;
        let mut frame = word(word(base.wrapping_add(python.slot as u64)).wrapping_add(python.frame as u64));
        if python.hop != 0 {
            frame = word(frame.wrapping_add(python.hop as u64 - 1));
        }
        low.write_volatile(0);
        for index in 0..PYTHON_FRAMES {
            if frame == 0 {
                break;
            }
            let first = frame.wrapping_add(python.from as u64 * 8);
            if first.wrapping_sub(low.read_volatile()) > BESIDE {
                // Who called lies below, mostly; what lies below the frame's page may not be there.
                low.write_volatile(first.wrapping_sub(min(first % PAGE as u64, BESIDE)));
                read(window.cast(), ROOM as u32, low.read_volatile());
            }
            let words = first.wrapping_sub(low.read_volatile()) / 8;
            let at = |index: u16| (*window)[words.wrapping_add(index as u64) as usize & (PYTHON_WINDOW - 1)];
            let found = PythonFrame { code: at(python.code) & !MARKS, instruction: at(python.instruction) };
            frame = at(python.previous);
            (&raw mut (*record).frames[index]).write(found);
            (&raw mut (*record).depth).write(index as u32 + 1);
        }
    }
}
