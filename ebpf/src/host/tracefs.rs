//! Tracepoint numbers come from tracefs, which a container or a small host may not have mounted.
//!
//! Instead of mounting it for everybody, the calling thread gets a mount namespace of its own and mounts it
//! there: nothing that another process can see changes, and it is gone with the thread.

use std::{ffi::CStr, fs, io};

/// Where they may be seen.
pub(super) const PLACES: [&str; 2] = ["/sys/kernel/tracing/events", "/sys/kernel/debug/tracing/events"];

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes tracepoints visible to this thread (and threads that it starts from now on).
///
/// # Errors
/// They are not visible and this thread may not mount.
pub(crate) fn ensure() -> io::Result<()> {
    for place in PLACES {
        match fs::read_dir(place) {
            Ok(_) => return Ok(()),
            // It is there and closed to this user, which mounting it once more would not change.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
            Err(_) => {}
        }
    }
    let (tracefs, place): (&CStr, &CStr) = (c"tracefs", c"/sys/kernel/tracing");
    // SAFETY: constant strings; unshare changes only this thread.
    unsafe {
        check(libc::unshare(libc::CLONE_NEWNS))?;
        let private = libc::MS_REC | libc::MS_PRIVATE;
        check(libc::mount(c"none".as_ptr(), c"/".as_ptr(), std::ptr::null(), private, std::ptr::null()))?;
        let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC | libc::MS_RDONLY;
        check(libc::mount(tracefs.as_ptr(), place.as_ptr(), tracefs.as_ptr(), flags, std::ptr::null()))
    }
}
