//! What the agent itself costs, from its clock and `/proc/self`; and keeping it from holding memory that it does not use.

use std::{fs::File, os::unix::fs::FileExt as _, sync::OnceLock};

/// What the agent itself has used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// Processor time, seconds.
    pub(crate) cpu_seconds: f64,
    /// Resident memory, bytes.
    pub(crate) rss_bytes: u64,
}

/// The agent's own use now; `None` if `/proc` does not tell. Cost: two system calls; the file stays open.
pub(crate) fn own_usage() -> Option<Usage> {
    static STATM: OnceLock<Option<File>> = OnceLock::new();
    let mut text = [0; 128];
    let length = STATM.get_or_init(|| File::open("/proc/self/statm").ok()).as_ref()?.read_at(&mut text, 0).ok()?;
    let pages: u64 = str::from_utf8(&text[..length]).ok()?.split_whitespace().nth(1)?.parse().ok()?;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is valid; this clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    Some(Usage {
        cpu_seconds: time.tv_sec as f64 + time.tv_nsec as f64 / 1e9,
        rss_bytes: pages.saturating_mul(procfs::page_size()),
    })
}

/// Has the C library's allocator give back what is freed: call it first, before there are threads. With an arena for each
/// thread, and thresholds that rise with the largest block so far, three times as much stays resident with ten targets.
pub(crate) fn keep_memory_small() {
    #[cfg(target_env = "gnu")]
    // SAFETY: numbers only; what is refused changes nothing.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 128 << 10);
    }
}

/// Gives back what only the past needed: free memory between blocks in use, and pages of the program that mostly its start
/// ran through. Whatever of these is needed again comes from the page cache. Cost: a walk over the heap and a short file.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: changes nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
    let Some((exe, maps)) =
        std::fs::read_link("/proc/self/exe").ok().zip(std::fs::read_to_string("/proc/self/maps").ok())
    else {
        return;
    };
    for (address, length) in code(&maps, &exe.to_string_lossy()) {
        // SAFETY: a private mapping of a file that nobody writes to: what is dropped reads the same when it is touched again.
        unsafe { libc::madvise(address as *mut libc::c_void, length, libc::MADV_DONTNEED) };
    }
}

/// Where code is mapped, the program's and its libraries', and the program's constants: address and length. Other parts are
/// not the file's any more once the loader has relocated them: all that is only read, but for what begins where the file does.
fn code(maps: &str, exe: &str) -> Vec<(usize, usize)> {
    let range = |line: &str| {
        let mut fields = line.split_whitespace();
        let (from, to) = fields.next()?.split_once('-')?;
        let (permissions, offset, _device, file) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let is_code = permissions == "r-xp" && file != "0";
        let begins = permissions == "r--p" && offset.bytes().all(|digit| digit == b'0');
        if !(is_code || begins && line.ends_with(exe)) {
            return None;
        }
        let number = |text| usize::from_str_radix(text, 16).ok();
        let (from, to) = (number(from)?, number(to)?);
        Some((from, to.checked_sub(from)?))
    };
    maps.lines().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_and_what_begins_the_program_is_given_back() {
        let maps = "5000-6000 r--p 00000000 fe:00 9   /usr/bin/agent\n6000-8000 r-xp 00001000 fe:00 9   /usr/bin/agent\n\
                    8000-8500 r--p 00003000 fe:00 9   /usr/bin/agent\n\
                    8000-9000 rw-p 00003000 fe:00 9   /usr/bin/agent\n9000-a000 r--p 00000000 fe:00 7   /lib/libc.so\n\
                    a000-c000 r-xp 00001000 fe:00 7   /lib/libc.so\nd000-e000 r-xp 00000000 00:00 0\n\
                    f000-ff00 r-xp 00000000 00:00 0   [vdso]\n";
        assert_eq!(code(maps, "/usr/bin/agent"), [(0x5000, 0x1000), (0x6000, 0x2000), (0xa000, 0x2000)]);
        assert!(code("x\n-\n", "").is_empty());
    }

    #[test]
    fn code_that_does_not_run_now_is_dropped() {
        let exe = std::fs::read_link("/proc/self/exe").unwrap();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let (address, length) = *code(&maps, &exe.to_string_lossy()).iter().max_by_key(|(_, length)| *length).unwrap();
        let resident = || {
            let pages = length.div_ceil(4096);
            let file = std::fs::File::open("/proc/self/pagemap").unwrap();
            let mut entries = vec![0_u8; pages * 8];
            let at = (address / 4096 * 8) as u64;
            std::os::unix::fs::FileExt::read_exact_at(&file, &mut entries, at).unwrap();
            // The highest bit: mapped here.
            entries.chunks_exact(8).filter(|entry| entry[7] >> 7 == 1).count()
        };
        // SAFETY: mapped, and readable as code is.
        let touch = |at: usize| unsafe { std::ptr::read_volatile((address + at) as *const u8) };
        let sum: u64 = (0..length).step_by(4096).map(|at| u64::from(touch(at))).sum();
        let all = resident();
        give_back();
        assert!(resident() < all / 2, "of {all} pages {} are left ({sum})", resident());
    }

    #[test]
    fn the_agents_own_use_is_known() {
        assert!(own_usage().is_some_and(|usage| usage.rss_bytes > 100_000));
    }
}
