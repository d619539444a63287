//! The system call `bpf(2)`, for what the library does not offer.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

pub(super) const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_MAP_DELETE_ELEM: libc::c_long = 3;
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
