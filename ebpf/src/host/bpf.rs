//! The system call `bpf(2)`, for what the library does not offer.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

pub(super) const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_MAP_DELETE_ELEM: libc::c_long = 3;
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
pub(super) const BPF_LINK_CREATE: libc::c_long = 28;
pub(super) const BPF_ITER_CREATE: libc::c_long = 33;

#[repr(C)]
struct Element {
    map: u32,
    _pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// A call whose result is no descriptor.
fn call<T>(command: libc::c_long, attributes: &T) -> libc::c_long {
    // SAFETY: the attributes are plain data of the size told; they and what they point to outlive the call.
    unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) }
}

/// A call that makes something.
///
/// # Errors
/// The kernel refuses.
pub(super) fn make<T>(command: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    descriptor(call(command, attributes))
}

/// What a system call that makes a descriptor returned.
///
/// # Errors
/// It made none.
pub(super) fn descriptor(result: libc::c_long) -> io::Result<OwnedFd> {
    let fd = i32::try_from(result).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made it, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Puts a map or a perf event into a map that holds such, or takes out what is there.
///
/// # Errors
/// The kernel refuses; nothing is there to be taken out.
pub(super) fn put(map: BorrowedFd<'_>, key: u32, value: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let number = |fd: BorrowedFd<'_>| fd.as_raw_fd().unsigned_abs();
    let command = if value.is_some() { BPF_MAP_UPDATE_ELEM } else { BPF_MAP_DELETE_ELEM };
    let value = value.map_or(0, number);
    // Exposed: the kernel reads them through what the compiler takes for numbers.
    let address = |word: &u32| std::ptr::from_ref(word).expose_provenance() as u64;
    let element = Element { map: number(map), _pad: 0, key: address(&key), value: address(&value), flags: 0 };
    if call(command, &element) < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[repr(C)]
struct Batch {
    begin: u64,
    end: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

/// The first rows of a table with words for each CPU, row by row.
///
/// # Errors
/// The kernel refuses, or has fewer rows. `values` has to be as long as the rows are numbers of possible CPUs.
pub(super) fn rows(map: BorrowedFd<'_>, rows: u32, values: &mut [u64]) -> io::Result<()> {
    let mut keys = vec![0_u32; rows as usize];
    let mut end = 0_u32;
    let mut batch = Batch {
        begin: 0,
        end: (&raw mut end).expose_provenance() as u64,
        keys: keys.as_mut_ptr().expose_provenance() as u64,
        values: values.as_mut_ptr().expose_provenance() as u64,
        count: rows,
        map: map.as_raw_fd().unsigned_abs(),
        element_flags: 0,
        flags: 0,
    };
    // SAFETY: plain data of the size told; the kernel writes so many keys and values, and how many there were.
    let result = unsafe { libc::syscall(libc::SYS_bpf, BPF_MAP_LOOKUP_BATCH, &raw mut batch, size_of::<Batch>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // Rows come in their order.
    let whole = batch.count == rows && keys.iter().zip(0..).all(|(key, row)| *key == row);
    if whole { Ok(()) } else { Err(io::Error::other("rows are missing")) }
}
