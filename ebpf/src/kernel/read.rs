//! How the programs read the kernel's memory.
//!
//! Three ways, the cheapest first: [`load`] through a pointer whose type the verifier knows; [`field!`] from any address,
//! as a member of the structure that lies there; [`peek`] with a call of a helper. The second is as cheap as the first where
//! the kernel lets a program say what an address is (`bpf_rdonly_cast`, since Linux 6.2: no call is left of it), and the
//! third where not. What cannot be read is zero, whichever way it is.

use super::offset;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use core::{
    ffi::c_void,
    mem::{MaybeUninit, transmute},
    ptr::read_volatile,
};

/// The number of the helper in whose place the host puts the kernel's `bpf_rdonly_cast`. No kernel has so many.
const CAST: usize = crate::wire::CAST as usize;

/// A direct load through a pointer that the verifier knows by its type: no helper call.
///
/// # Safety
/// `base` must be such a pointer, or null is read as zero by the kernel's exception table.
#[inline(always)]
pub unsafe fn load<T: Copy>(base: *const c_void, offset: usize) -> T {
    // SAFETY: the verifier checks the access; the caller's promise is about the type.
    unsafe { read_volatile(base.cast::<u8>().add(offset).cast()) }
}

/// A checked load from any kernel address; zero if it cannot be read.
#[inline(always)]
pub fn peek<T: Copy + Default>(address: u64) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    // The helper itself writes zeros where it fails. Its answer is not asked: each branch on it would double the ways that
    // the verifier follows, and older ones follow them all.
    // SAFETY: the helper checks the address and fails instead of faulting, and writes all of the value either way; zeros
    // are a value of whatever is read (integers and arrays of them).
    unsafe {
        bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, address as *const c_void);
        value.assume_init()
    }
}

/// A member of a structure of the kernel's type `kind`; see [`field!`].
#[inline(always)]
pub fn member<T: Copy + Default>(address: u64, kind: usize, offset: usize) -> T {
    // Both are constants for the verifier, which follows one of the two ways only.
    if kind == 0 {
        return peek(address.wrapping_add(offset as u64));
    }
    // SAFETY: a call that the host replaces where `kind` is not 0; the result is a pointer that the kernel loads through
    // with its exception table: what is not mapped reads as zero.
    unsafe {
        let cast: unsafe extern "C" fn(u64, u64) -> *const c_void = transmute(CAST);
        load(cast(address, kind as u64), offset)
    }
}

/// `field!(address, sk_state)`: that member, of the structure at this address. Zero where this kernel has no such member.
macro_rules! field {
    ($address:expr, $field:ident) => {
        $crate::kernel::member(
            $address as u64,
            $crate::kernel::constant(&$crate::kernel::KINDS.$field),
            $crate::kernel::offset!($field),
        )
    };
}
pub(crate) use field;

/// Zeros, word by word: a `memset` is a call of a loop, which the verifier walks byte by byte.
///
/// # Safety
/// `at` must be writable, and zeros a value of its type.
#[inline(always)]
pub unsafe fn clear<T>(at: *mut T) {
    const { assert!(size_of::<T>().is_multiple_of(8) && align_of::<T>() == 8) };
    for word in 0..size_of::<T>() / 8 {
        // SAFETY: within the value.
        unsafe { at.cast::<u64>().add(word).write_volatile(0) }
    }
}

/// The address of the `struct file` behind a descriptor of a task; 0 if there is none.
///
/// # Safety
/// `task` must be trusted by the verifier.
#[inline(always)]
pub unsafe fn file_of(task: *const c_void, fd: u32) -> u64 {
    // SAFETY: loads through typed pointers; the array itself is read with a check.
    unsafe {
        let files: *const c_void = load(task, offset!(task_files));
        let table: *const c_void = load(files, offset!(files_fdt));
        if fd >= load(table, offset!(fdt_max_fds)) {
            return 0;
        }
        let array: u64 = load(table, offset!(fdt_fd));
        // An entry is a pointer, as this one is; no type says that an array of them begins here.
        field!(array + 8 * fd as u64, list_next)
    }
}
