//! Which BPF programs the kernel holds, and which of them a process keeps alive.
//!
//! Other users of the machine load programs too, so "nothing is left" is asked of the very ids that a process held,
//! read from `/proc/PID/fdinfo` while it ran. Ids are handed out in cycles: one does not come back within a test.

use std::collections::BTreeSet;

/// `BPF_PROG_GET_NEXT_ID` of `enum bpf_cmd` in the kernel's `include/uapi/linux/bpf.h`.
const PROG_GET_NEXT_ID: libc::c_long = 11;

/// The part of `union bpf_attr` that the `*_GET_NEXT_ID` commands use.
#[repr(C)]
struct NextId {
    start_id: u32,
    next_id: u32,
    open_flags: u32,
}

/// The ids of all programs loaded on this machine.
///
/// # Errors
/// Not permitted.
pub fn programs_loaded() -> std::io::Result<BTreeSet<u32>> {
    let mut ids = BTreeSet::new();
    let mut request = NextId { start_id: 0, next_id: 0, open_flags: 0 };
    loop {
        let size = size_of::<NextId>();
        // SAFETY: the kernel reads and writes `size` bytes of `request`, which outlives the call.
        let answer = unsafe { libc::syscall(libc::SYS_bpf, PROG_GET_NEXT_ID, &raw mut request, size) };
        if answer != 0 {
            let error = std::io::Error::last_os_error();
            return if error.raw_os_error() == Some(libc::ENOENT) { Ok(ids) } else { Err(error) };
        }
        ids.insert(request.next_id);
        request.start_id = request.next_id;
    }
}

/// The ids of the programs that a process holds by a descriptor of a program or of a link.
///
/// # Errors
/// It does not exist or may not be read.
pub fn programs_held_by(pid: u32) -> std::io::Result<BTreeSet<u32>> {
    numbers_in_fdinfo(pid, "prog_id:")
}

/// The ids of the links (attachments) that a process holds.
///
/// # Errors
/// It does not exist or may not be read.
pub fn links_held_by(pid: u32) -> std::io::Result<BTreeSet<u32>> {
    numbers_in_fdinfo(pid, "link_id:")
}

fn numbers_in_fdinfo(pid: u32, field: &str) -> std::io::Result<BTreeSet<u32>> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // A descriptor that was closed meanwhile holds nothing.
        let Ok(text) = std::fs::read_to_string(entry?.path()) else { continue };
        let values = text.lines().filter_map(|line| line.strip_prefix(field));
        found.extend(values.filter_map(|value| value.trim().parse::<u32>().ok()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_without_bpf_holds_none() {
        assert!(programs_held_by(std::process::id()).unwrap().is_empty());
        assert!(programs_held_by(u32::MAX).is_err());
    }
}
