//! Values of the process, read when the page is asked for.
//!
//! Invariant: reading them takes no file descriptor on Linux 6.2 and later, so that a process that has run out of
//! them can still say so; on older kernels their number alone is then NaN. Cost: a few system calls a page,
//! and each of the allocator's locks for a moment.

use crate::service::memory;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::runtime::Handle;

/// Reads the process's own page of `/proc`, kept open.
#[derive(Debug)]
pub(super) struct Process {
    stat: Option<File>,
    started_at: f64,
}

/// What `/proc/self/stat` tells.
#[derive(Debug, PartialEq)]
struct Stat {
    threads: f64,
    /// Since the machine's start, in clock ticks.
    started: f64,
    resident_pages: f64,
}

impl Process {
    /// Opens what is needed later.
    pub(super) fn open() -> Self {
        let stat = File::open("/proc/self/stat").ok();
        let started = stat.as_ref().and_then(read).map_or(f64::NAN, |stat| stat.started);
        let ago = clock(libc::CLOCK_BOOTTIME) - started / setting(libc::_SC_CLK_TCK);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |now| now.as_secs_f64());
        Self { stat, started_at: now - ago }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let stat = self.stat.as_ref().and_then(read);
        let (threads, resident) =
            stat.map_or((f64::NAN, f64::NAN), |stat| (stat.threads, stat.resident_pages * setting(libc::_SC_PAGESIZE)));
        let tasks = Handle::try_current().map_or(0, |runtime| runtime.metrics().num_alive_tasks());
        let gauges = [
            ("heap_in_use_bytes", "Heap that is allocated and not freed (mallinfo2).", memory::in_use()),
            ("resident_bytes", "Memory of the process that is in RAM.", resident),
            ("tasks", "Tasks of the event loop that are alive.", tasks as f64),
            ("threads", "Threads of the process.", threads),
            ("open_fds", "Open file descriptors; NaN where none is left to count them with.", open_fds()),
            ("max_fds", "File descriptors that may be open (the soft limit).", max_fds()),
            ("process_start_time_seconds", "When the process was started, since the epoch.", self.started_at),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let cpu = ConstCounter::new(clock(libc::CLOCK_PROCESS_CPUTIME_ID));
        cpu.encode(encoder.encode_descriptor("cpu_seconds", "CPU time, user and system.", None, cpu.metric_type())?)
    }
}

fn read(stat: &File) -> Option<Stat> {
    let mut text = [0; 1024];
    let length = stat.read_at(&mut text, 0).ok()?;
    parse(std::str::from_utf8(&text[..length]).ok()?)
}

/// Fields by their numbers in proc_pid_stat(5). The second is the program's name, which may hold anything.
fn parse(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse().ok();
    Some(Stat { threads: field(20)?, started: field(22)?, resident_pages: field(24)? })
}

/// The kernel tells their number as the directory's size since 6.2; before, they must be listed.
fn open_fds() -> f64 {
    let told = std::fs::metadata("/proc/self/fd").map_or(0, |directory| directory.size());
    if told > 0 {
        return told as f64;
    }
    // Less the descriptor that this takes.
    std::fs::read_dir("/proc/self/fd").map_or(f64::NAN, |fds| fds.count().saturating_sub(1) as f64)
}

fn max_fds() -> f64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes into the struct, which outlives the call.
    let got = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    if got == 0 { limit.rlim_cur as f64 } else { f64::NAN }
}

/// A clock, in seconds.
fn clock(which: libc::clockid_t) -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes into the struct, which outlives the call.
    let got = unsafe { libc::clock_gettime(which, &raw mut time) };
    if got == 0 { time.tv_sec as f64 + time.tv_nsec as f64 / 1e9 } else { f64::NAN }
}

/// A constant of the system.
fn setting(name: libc::c_int) -> f64 {
    // SAFETY: no precondition; an unknown name gives -1.
    (unsafe { libc::sysconf(name) }) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_brackets_do_not_shift_the_fields() {
        let text = "7 (a) b (c)) S 1 7 7 0 -1 4194560 9 0 0 0 3 4 0 0 20 0 11 0 5555 99 42 184";
        assert_eq!(parse(text), Some(Stat { threads: 11.0, started: 5555.0, resident_pages: 42.0 }));
        assert_eq!(parse("7 (x) S 1"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn the_values_are_this_process_s() {
        let process = Process::open();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
        assert!(process.started_at <= now + 1.0 && process.started_at > now - 3600.0, "{} {now}", process.started_at);
        let before = open_fds();
        let held = File::open("/dev/null").expect("there is one");
        // Other tests open and close files meanwhile.
        assert!(before >= 3.0 && open_fds() >= 3.0);
        drop(held);
        assert!(max_fds() >= before);
        let stat = process.stat.as_ref().and_then(read).expect("readable");
        assert!(stat.threads >= 1.0 && stat.resident_pages > 100.0);
        assert!(clock(libc::CLOCK_PROCESS_CPUTIME_ID) > 0.0);
    }
}
