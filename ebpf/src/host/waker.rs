//! Ends a wait for kernel events from another thread.
//!
//! Invariant: a wake-up that comes between two waits ends the next one. Cost: a descriptor, and a write for each wake-up.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

/// A handle on the wait; clones wake the same one.
#[derive(Clone, Debug)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    /// One that nobody waits for yet.
    ///
    /// # Errors
    /// This process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just made it, and nobody else owns it.
        Ok(Self(Arc::new(unsafe { OwnedFd::from_raw_fd(fd) })))
    }

    /// Ends the present wait, or the next one.
    pub fn wake(&self) {
        let one = 1_u64;
        // SAFETY: eight valid bytes. A full counter wakes all the same.
        unsafe { libc::write(self.0.as_raw_fd(), (&raw const one).cast(), size_of::<u64>()) };
    }

    /// What has woken until now wakes no more.
    pub(crate) fn clear(&self) {
        let mut count = 0_u64;
        // SAFETY: room for eight bytes. It does not block: with nothing to read there is nothing to clear.
        unsafe { libc::read(self.0.as_raw_fd(), (&raw mut count).cast(), size_of::<u64>()) };
    }

    /// Its entry for `poll`.
    pub(crate) fn entry(&self) -> libc::pollfd {
        entry(self.0.as_raw_fd())
    }

    /// Waits for a wake-up alone, at most this long.
    pub(crate) fn wait(&self, timeout: Duration) {
        let mut own = [self.entry()];
        wait(&mut own, timeout);
        self.clear();
    }
}

/// A descriptor to be read from; a negative one is passed over.
pub(crate) fn entry(fd: i32) -> libc::pollfd {
    libc::pollfd { fd, events: libc::POLLIN, revents: 0 }
}

/// Waits for one of them, at most this long. An interrupted wait is only a shorter one.
pub(crate) fn wait(entries: &mut [libc::pollfd], timeout: Duration) {
    // Rounded up, or the last millisecond would be spent in asking again.
    let millis = i32::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
    // SAFETY: as many valid entries as told.
    unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, millis) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_wake_up_before_the_wait_counts_once() {
        let waker = Waker::new().unwrap();
        waker.clone().wake();
        waker.wake();
        let begun = Instant::now();
        waker.wait(Duration::from_secs(60));
        assert!(begun.elapsed() < Duration::from_secs(30), "woken before it waited");
        let begun = Instant::now();
        waker.wait(Duration::from_millis(30));
        assert!(begun.elapsed() >= Duration::from_millis(30), "nobody woke it again");
    }
}
