//! The measured process: a small program in C that makes one call again and again. It ends with this value.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

/// Compiles the program into a folder.
pub(crate) fn compile(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/probes/worker.c");
    let program = folder.join("worker");
    // Its symbols are in `.dynsym`, where publishing threads are looked for.
    let status = Command::new("cc").args(["-O1", "-rdynamic", "-o"]).arg(&program).arg(source).status();
    assert!(status.expect("a C compiler (Debian: gcc)").success(), "worker.c does not compile");
    program
}

/// A call, and how often it is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// As the program knows it.
    pub(crate) name: &'static str,
    /// The fastest of so many batches counts,
    pub(crate) batches: u32,
    /// each of so many calls.
    pub(crate) calls: u32,
    /// 0: outside of any trace; 1: in one; 2: in another one each time.
    pub(crate) trace: u32,
}

/// One that is running.
pub(crate) struct Worker {
    child: Child,
    lines: BufReader<ChildStdout>,
    /// Where its thread-local pointer to the trace context lies.
    pub(crate) offset: i64,
}

impl Worker {
    /// With a dozen frames of so many bytes on its stack.
    pub(crate) fn start(program: &Path, frame: usize) -> Self {
        Self::run_by(Command::new(program).arg(frame.to_string()))
    }

    /// The same in Python, a dozen functions deep.
    pub(crate) fn python() -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/probes/worker.py");
        Self::run_by(Command::new("/usr/bin/python3").arg(source))
    }

    fn run_by(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the worker");
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut worker = Self { child, lines, offset: 0 };
        worker.offset = worker.line().parse().expect("an offset");
        worker
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Nanoseconds that a call takes.
    pub(crate) fn run(&mut self, call: Call) -> f64 {
        let Call { name, batches, calls, trace } = call;
        writeln!(self.child.stdin.as_mut().unwrap(), "{name} {batches} {calls} {trace}").unwrap();
        self.line().parse().expect("nanoseconds")
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.lines.read_line(&mut line).unwrap() > 0, "the worker ended");
        line.trim().to_owned()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
