//! What lets hooks go without a wait: a second, bare user of each tracepoint, which the kernel closes by itself later.
//!
//! Who closes the last perf event of a tracepoint waits for several of the kernel's grace periods, under a lock of the
//! whole machine: forty hooks are three seconds. So each hooked tracepoint has an event more, which counts nothing and
//! runs nothing. It is held by a map whose entries outlive its descriptor (`BPF_F_PRESERVE_ELEMS`, since 5.10): when this
//! process ends, however it does, its programs are off at once, and a worker of the kernel closes the events one by one.
//! Cost: no time; about a kilobyte of the kernel's memory a hook.
//! Limits: while that worker closes them, what kernel threads and interrupts close waits behind it, for as long as this
//! process would have waited else. Whoever is killed before its links are gone still waits for the links, one by one.

use super::{
    bpf::{self, BPF_MAP_CREATE},
    tracefs,
};
use std::{
    fmt, fs, io,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
};

/// Events that are held at most; hooks beyond wait when they are let go.
const MOST: usize = 64;

const BPF_MAP_TYPE_PERF_EVENT_ARRAY: u32 = 4;
const BPF_F_PRESERVE_ELEMS: u32 = 1 << 11;
const PERF_TYPE_TRACEPOINT: u32 = 2;
const PERF_FLAG_FD_CLOEXEC: u64 = 1 << 3;
/// `perf_event_attr.disabled`.
const DISABLED: u64 = 1;

/// `struct perf_event_attr` of the first version, which is all that a tracepoint needs.
#[repr(C)]
#[derive(Default)]
struct EventAttributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    bp_type: u32,
    config1: u64,
}

/// The map, and which of its entries are taken.
struct Shelf {
    map: OwnedFd,
    taken: Mutex<[bool; MOST]>,
}

/// Holds an event of each tracepoint that is hooked, as far as the kernel lets it.
pub(crate) struct Keeper(Option<Arc<Shelf>>);

/// An event that is held; dropping it leaves it to the kernel to close.
pub(crate) struct Kept {
    shelf: Arc<Shelf>,
    key: u32,
}

impl fmt::Debug for Kept {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Kept({})", self.key)
    }
}

/// An event of this tracepoint, on the first processor, that is never switched on.
fn event(tracepoint: u64) -> io::Result<OwnedFd> {
    let attributes = EventAttributes {
        kind: PERF_TYPE_TRACEPOINT,
        size: size_of::<EventAttributes>() as u32,
        config: tracepoint,
        flags: DISABLED,
        ..EventAttributes::default()
    };
    let (everybody, processor, group) = (-1, 0, -1);
    let address = &raw const attributes;
    // SAFETY: the attributes are plain data that tell their size, and outlive the call.
    bpf::descriptor(unsafe {
        libc::syscall(libc::SYS_perf_event_open, address, everybody, processor, group, PERF_FLAG_FD_CLOEXEC)
    })
}

/// The number of a system call's tracepoint.
fn number(tracepoint: &str) -> io::Result<u64> {
    let mut files = tracefs::PLACES.iter().map(|events| format!("{events}/syscalls/{tracepoint}/id"));
    let text = files.find_map(|file| fs::read_to_string(file).ok()).ok_or(io::ErrorKind::NotFound)?;
    text.trim().parse().map_err(io::Error::other)
}

impl Keeper {
    /// Where the kernel refuses the map, hooks are let go of with a wait.
    pub(crate) fn new() -> Self {
        // Kind, size of a key, size of a value, entries, flags.
        let attributes = [BPF_MAP_TYPE_PERF_EVENT_ARRAY, 4, 4, MOST as u32, BPF_F_PRESERVE_ELEMS];
        match bpf::make(BPF_MAP_CREATE, &attributes) {
            Ok(map) => Self(Some(Arc::new(Shelf { map, taken: Mutex::new([false; MOST]) }))),
            Err(error) => {
                tracing::debug!(%error, "hooks are let go of with a wait");
                Self(None)
            }
        }
    }

    /// Holds an event of this system call's tracepoint. Nothing, if the kernel refuses or no place is free.
    pub(crate) fn keep(&self, tracepoint: &str) -> Option<Kept> {
        let shelf = self.0.as_ref()?;
        match number(tracepoint).and_then(event).and_then(|event| shelf.put(&event)) {
            Ok(key) => Some(Kept { shelf: Arc::clone(shelf), key }),
            Err(error) => {
                tracing::debug!(tracepoint, %error, "this hook is let go of with a wait");
                None
            }
        }
    }
}

impl Shelf {
    /// Puts an event where nothing is, and says where.
    fn put(&self, event: &OwnedFd) -> io::Result<u32> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let free = taken.iter().position(|taken| !taken).ok_or(io::ErrorKind::StorageFull)?;
        let key = free as u32;
        bpf::put(self.map.as_fd(), key, Some(event.as_fd()))?;
        taken[free] = true;
        Ok(key)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut taken = self.shelf.taken.lock().unwrap_or_else(PoisonError::into_inner);
        // Refused only for an entry that is empty.
        drop(bpf::put(self.shelf.map.as_fd(), self.key, None));
        taken[self.key as usize] = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Root, as all tests that hook.
    #[test]
    fn as_many_are_kept_as_there_is_room_for_and_room_is_used_again() {
        tracefs::ensure().unwrap();
        let keeper = Keeper::new();
        let mut kept: Vec<Kept> = (0..MOST).map(|_| keeper.keep("sys_enter_eventfd2").unwrap()).collect();
        assert!(keeper.keep("sys_enter_eventfd2").is_none());
        kept.swap_remove(7);
        kept.push(keeper.keep("sys_exit_eventfd2").unwrap());
        assert!(keeper.keep("sys_exit_eventfd2").is_none());
        kept.pop();
        assert!(keeper.keep("sys_enter_no_such_call").is_none());
    }
}
