//! CPython: what a thread executes is known to the interpreter only, whose own stack is the same for every function.
//!
//! The programs note the addresses of code objects with a copy of a stack (`kernel/python.rs`); which function and line
//! those are is read here from the process's memory, soon after. Read are CPython 3.9, 3.11, 3.13 and 3.14 as their
//! distributions build them, with glibc; of others, and of builds without the global lock, the interpreter's own frames are
//! told as before.
//! Invariant: a frame is told only if what lies there looks like a code object all through, and is the one that was seen.

mod code;
mod find;
mod layout;
mod lines;
mod names;

pub(crate) use find::{Interpreter, find};
pub(crate) use names::Names;

#[cfg(test)]
mod hostile;
