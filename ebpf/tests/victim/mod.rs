//! A Python program under test: it says lines, and goes on when told. It ends with the test.

#![allow(clippy::unwrap_used, reason = "support of tests, where a panic is the report")]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Mutex, mpsc},
    time::{Duration, Instant},
};

/// Only a hang takes this long, also on an emulated machine.
const PATIENCE: Duration = Duration::from_secs(120);

const PRELUDE: &str = "
import sys
def say(text): print(text, flush=True)
def wait(): sys.stdin.readline()
";

pub(crate) struct Victim {
    child: Child,
    input: Mutex<ChildStdin>,
    lines: Mutex<mpsc::Receiver<String>>,
}

impl Victim {
    pub(crate) fn start(program: &str) -> Self {
        Self::run(Command::new("/usr/bin/python3").args(["-c", &format!("{PRELUDE}{program}")]))
    }

    /// Any program that says lines, and goes on at each line that it reads.
    pub(crate) fn run(command: &mut Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Not inherited: where the test's own output goes would be one more thing that the victim holds.
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("this test needs {name}: {error}"));
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let errors = child.stderr.take().unwrap();
        std::thread::spawn(move || {
            BufReader::new(errors).lines().map_while(Result::ok).for_each(|line| eprintln!("{line}"))
        });
        let (tell, lines) = mpsc::sync_channel(64);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, input: Mutex::new(input), lines: Mutex::new(lines) }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it says.
    pub(crate) fn line(&self) -> String {
        self.lines.lock().unwrap().recv_timeout(PATIENCE).expect("the victim fell silent")
    }

    pub(crate) fn expect(&self, line: &str) {
        assert_eq!(self.line(), line);
    }

    /// Ends its `wait()`.
    pub(crate) fn go_on(&self) {
        self.input.lock().unwrap().write_all(b"\n").unwrap();
    }

    pub(crate) fn wait_until_stopped(&self) {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
            if stat.rsplit_once(')').unwrap().1.trim_start().starts_with('T') {
                return;
            }
            std::thread::yield_now();
        }
        panic!("the victim did not stop");
    }

    /// What `/proc` says is open, sorted.
    pub(crate) fn fds(&self) -> Vec<i32> {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap();
        let mut fds: Vec<i32> =
            entries.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
        fds.sort_unstable();
        fds
    }

    /// Its soft limit of open files.
    pub(crate) fn limit(&self) -> Option<u64> {
        let limits = fs::read_to_string(format!("/proc/{}/limits", self.pid())).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap().to_owned();
        line.split_whitespace().nth(3).unwrap().parse().ok()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // A stopped process ends only by SIGKILL, which this is.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Connects, sends a request and reads the answer.
pub(crate) fn ask(port: u16) -> TcpStream {
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"please").unwrap();
    client.read_exact(&mut [0; 2]).unwrap();
    client
}
