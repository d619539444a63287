//! bpftrace collecting the same facts of one process (`facts.bt` says which). It ends with this value.

use super::worker::Worker;
use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

/// The map of stacks.
const STACKS: &str = "@site";

/// Lets this thread, and what it starts from now on, see the place where bpftrace looks for tracepoints; nobody else.
pub(crate) fn see_debugfs() {
    let (name, place) = (c"debugfs", c"/sys/kernel/debug");
    // SAFETY: constant strings; unshare changes only this thread.
    let mounted = unsafe {
        let private = libc::MS_REC | libc::MS_PRIVATE;
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(name.as_ptr(), c"/".as_ptr(), std::ptr::null(), private, std::ptr::null()) == 0
            && libc::mount(name.as_ptr(), place.as_ptr(), name.as_ptr(), 0, std::ptr::null()) == 0
    };
    assert!(mounted, "mount debugfs: {}", std::io::Error::last_os_error());
}

/// One that is attached.
pub(crate) struct Bpftrace {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Bpftrace {
    /// Attaches to a worker.
    pub(crate) fn start(folder: &Path, worker: &Worker, stacks: bool) -> Self {
        let offset = format!("{} {}", if worker.offset < 0 { '-' } else { '+' }, worker.offset.abs());
        let mut script = include_str!("facts.bt").replace("OFFSET", &offset);
        assert!(script.contains(STACKS), "facts.bt collects no stacks");
        if !stacks {
            script = script.lines().filter(|line| !line.contains(STACKS)).collect::<Vec<_>>().join("\n");
        }
        script = script.replace("PID", &worker.pid().to_string());
        let (path, complaints) = (folder.join("facts.bt"), folder.join("complaints"));
        fs::write(&path, script).unwrap();
        let mut child = Command::new("bpftrace")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&complaints).unwrap())
            .spawn()
            .expect("bpftrace (Debian: bpftrace)");
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut started = Self { child, lines };
        let mut line = String::new();
        // Twice: the probes are attached one after the other.
        for _ in 0..2 {
            while line.trim() != "attached" {
                line.clear();
                let read = started.lines.read_line(&mut line).unwrap();
                assert!(read > 0, "bpftrace did not attach: {}", fs::read_to_string(&complaints).unwrap());
            }
            line.clear();
        }
        started
    }

    /// Ends it, and makes sure that it did collect what it was measured for.
    pub(crate) fn end(mut self) {
        // SAFETY: a signal to a child that has not been waited for.
        unsafe { libc::kill(self.child.id().cast_signed(), libc::SIGINT) };
        let mut told = String::new();
        self.lines.read_to_string(&mut told).unwrap();
        for map in ["@waits[", "@next["] {
            assert!(told.contains(map), "bpftrace has nothing in {map}: {told}");
        }
    }
}

impl Drop for Bpftrace {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
