//! Reading another process's memory: bounded, and never trusted.
//!
//! Invariant: only reads (`process_vm_readv`), and only what was asked for: a part that is not there is an error, not
//! zeros. Cost: one system call a read.

use snowshed_engine::model::Pid;
use std::io;

/// Something with addresses.
pub(crate) trait Memory {
    /// Fills `into` from `at`.
    fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()>;

    /// So many bytes.
    fn bytes<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.read(at, &mut bytes).ok().map(|()| bytes)
    }

    /// A 64-bit word.
    fn word(&self, at: u64) -> Option<u64> {
        self.bytes(at).map(u64::from_ne_bytes)
    }

    /// A 32-bit word.
    fn half(&self, at: u64) -> Option<u32> {
        self.bytes(at).map(u32::from_ne_bytes)
    }
}

/// Places that are read in one go: `UIO_MAXIOV`.
pub(crate) const MOST_PLACES: usize = 1024;

/// A running process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process(pub(crate) Pid);

impl Memory for Process {
    fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let pid = libc::pid_t::try_from(self.0).map_err(io::Error::other)?;
        let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
        let address = usize::try_from(at).map_err(io::Error::other)?;
        let remote = libc::iovec { iov_base: std::ptr::without_provenance_mut(address), iov_len: into.len() };
        // SAFETY: one local range that is as long as told; the kernel checks the remote one.
        let read = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
        match usize::try_from(read) {
            Err(_) => Err(io::Error::last_os_error()),
            Ok(read) if read == into.len() => Ok(()),
            Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Process {
    /// What lies at each of some places, all of one size, one after the other; fewer if one of them is not there.
    /// Cost: one system call.
    pub(crate) fn scattered(self, places: &[u64], size: usize) -> io::Result<Vec<u8>> {
        let pid = libc::pid_t::try_from(self.0).map_err(io::Error::other)?;
        let mut into = vec![0_u8; places.len().min(MOST_PLACES) * size];
        let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
        let place = |at: &u64| {
            let address = usize::try_from(*at).unwrap_or(0);
            libc::iovec { iov_base: std::ptr::without_provenance_mut(address), iov_len: size }
        };
        let remote: Vec<_> = places.iter().take(MOST_PLACES).map(place).collect();
        // SAFETY: one local range that is as long as told; the kernel checks the remote ones.
        let read = unsafe {
            libc::process_vm_readv(pid, &raw const local, 1, remote.as_ptr(), remote.len() as libc::c_ulong, 0)
        };
        let read = usize::try_from(read).map_err(|_| io::Error::last_os_error())?;
        into.truncate(read - read % size.max(1));
        Ok(into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_itself_and_no_more_than_there_is() {
        let own = Process(std::process::id());
        let words = [7_u64, 9];
        let at = words.as_ptr().expose_provenance() as u64;
        assert_eq!((own.word(at), own.word(at + 8), own.half(at)), (Some(7), Some(9), Some(7)));
        for nowhere in [0, 1, u64::MAX, u64::MAX - 7, 1 << 63] {
            assert_eq!(own.word(nowhere), None, "{nowhere:#x}");
        }
        assert_eq!(Process(0).word(at), None);
        assert_eq!(Process(u32::MAX).word(at), None);
    }

    #[test]
    fn places_are_read_in_order_up_to_the_first_that_is_not_there() {
        let own = Process(std::process::id());
        let words = [7_u64, 8, 9];
        let at = |index: usize| (&raw const words[index]).expose_provenance() as u64;
        let expected: Vec<u8> = [9_u64, 7].iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!(own.scattered(&[at(2), at(0)], 8).unwrap(), expected);
        assert_eq!(own.scattered(&[at(2), at(0), 8, at(1)], 8).unwrap(), expected);
        assert_eq!(own.scattered(&vec![at(1); MOST_PLACES + 9], 8).unwrap().len(), MOST_PLACES * 8);
        assert!(own.scattered(&[], 8).unwrap().is_empty() && own.scattered(&[8], 8).is_err());
    }

    #[test]
    fn what_ends_at_a_page_is_not_read_beyond_it() {
        // SAFETY: a mapping of its own, of which the second page is given back at once.
        let page = unsafe {
            let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            let page = libc::mmap(std::ptr::null_mut(), 8192, access, kind, -1, 0);
            assert_ne!(page, libc::MAP_FAILED);
            libc::munmap(page.byte_add(4096), 4096);
            page
        };
        let own = Process(std::process::id());
        let end = page.addr() as u64 + 4096;
        assert_eq!((own.word(end - 8), own.word(end - 4), own.half(end - 4)), (Some(0), None, Some(0)));
        // SAFETY: the page mapped above.
        unsafe { libc::munmap(page, 4096) };
    }
}
