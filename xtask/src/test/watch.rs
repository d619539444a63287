//! Running a command so that its output is seen as it comes, and its tests are counted.
//!
//! Invariant: a command that does not end within its bound is ended and fails. Cost: two threads a command, and at
//! most [`KEPT`] bytes of what it says of its failures.

use super::report::Counts;
use crate::program;
use anyhow::Context as _;
use std::{
    io::{BufRead as _, BufReader, Read, Write as _},
    process::{Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// What a test prints to say that it could not run, with the reason behind it.
const SKIPPED: &str = "SKIPPED: ";

/// What libtest prints before it says how tests failed.
const FAILURES: &[u8] = b"failures:";

/// How much of what is said of failures is kept to be said again, bytes.
const KEPT: usize = 4 << 10;

/// How long output may still come after the command itself has ended (a child of it may hold the pipe).
const DRAIN: Duration = Duration::from_secs(5);

/// A command's end.
#[derive(Debug)]
pub(super) struct Watched {
    /// Its status; `None` if it was ended because its time was up.
    pub(super) status: Option<ExitStatus>,
    /// The tests it ran.
    pub(super) tests: Counts,
    /// How its tests failed, in libtest's words: the beginning.
    pub(super) failures: String,
}

impl Watched {
    /// Ended by itself, with 0.
    pub(super) fn succeeded(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }
}

/// Runs a command to its end, or to the bound.
///
/// # Errors
/// It could not be started.
pub(super) fn watch(name: &str, command: &mut Command, bound: Duration) -> anyhow::Result<Watched> {
    // Our own output may be a closed pipe; the tests go on.
    println!("$ {}", program::line(command));
    watch_with(|line| drop(std::io::stdout().lock().write_all(line)), name, command, bound)
}

fn watch_with(show: fn(&[u8]), name: &str, command: &mut Command, bound: Duration) -> anyhow::Result<Watched> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("start {}", program::line(command)))?;
    let said = Arc::new(Mutex::new((Counts::default(), Vec::new())));
    let readers: Vec<JoinHandle<()>> = [
        child.stdout.take().map(|pipe| pass_on(show, name, pipe, &said)),
        child.stderr.take().map(|pipe| pass_on(show, name, pipe, &said)),
    ]
    .into_iter()
    .flatten()
    .collect();
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().context("wait for a command")? {
            break Some(status);
        }
        if start.elapsed() > bound {
            println!("{name} did not end within {} s: ending it", bound.as_secs());
            child.kill().context("end a command")?;
            child.wait().context("wait for a command")?;
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let ended = Instant::now();
    while readers.iter().any(|reader| !reader.is_finished()) && ended.elapsed() < DRAIN {
        std::thread::sleep(Duration::from_millis(5));
    }
    let (tests, failures) = std::mem::take(&mut *said.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Watched { status, tests, failures: String::from_utf8_lossy(&failures).into_owned() })
}

fn pass_on(
    show: fn(&[u8]),
    name: &str,
    pipe: impl Read + Send + 'static,
    told: &Arc<Mutex<(Counts, Vec<u8>)>>,
) -> JoinHandle<()> {
    let (name, told) = (name.to_owned(), Arc::clone(told));
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let (mut line, mut said, mut failing) = (Vec::new(), 0, false);
        // A line may be anything, also no UTF-8; the end or an error of the pipe is the end of the output.
        while matches!(pipe.read_until(b'\n', &mut line), Ok(length) if length > 0) {
            show(&line);
            let (tests, failures) = &mut *told.lock().unwrap_or_else(PoisonError::into_inner);
            count(&name, &String::from_utf8_lossy(&line), &mut said, tests);
            // The second time it is only their names.
            if line.starts_with(FAILURES) {
                failing = !failing;
            } else if failing {
                let room = KEPT.saturating_sub(failures.len()).min(line.len());
                failures.extend_from_slice(&line[..room]);
            }
            line.clear();
        }
    })
}

/// Reads a line of libtest's or vitest's: the sums, or what a test says that could not run and that libtest calls
/// passed; `said` counts these until the sums come.
fn count(name: &str, line: &str, said: &mut usize, tests: &mut Counts) {
    if let Some((_, reason)) = line.split_once(SKIPPED) {
        tests.skipped.push(format!("{name}: {}", reason.trim()));
        *said += 1;
        return;
    }
    let line = line.trim_start();
    // `test result: ok. 3 passed; 0 failed; 1 ignored; …` and `Tests  1 failed | 3 passed | 1 skipped (5)`.
    let Some(sums) = line.strip_prefix("test result: ").or_else(|| line.strip_prefix("Tests  ")) else { return };
    let of = |what: &str| {
        let parts = sums.split([';', '.', '|', '(']).filter_map(|part| part.trim().strip_suffix(what));
        parts.filter_map(|number| number.trim().parse::<usize>().ok()).next().unwrap_or(0)
    };
    tests.passed += of("passed").saturating_sub(std::mem::take(said));
    tests.failed += of("failed");
    (0..of("ignored")).for_each(|_| tests.skipped.push(format!("{name}: a test marked #[ignore]")));
    (0..of("skipped")).for_each(|_| tests.skipped.push(format!("{name}: a test marked to be skipped")));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(lines: &[&str]) -> Counts {
        let (mut said, mut tests) = (0, Counts::default());
        lines.iter().for_each(|line| count("suite", line, &mut said, &mut tests));
        tests
    }

    #[test]
    fn sums_of_several_binaries_add_up() {
        let tests = counted(&[
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: FAILED. 1 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s",
        ]);
        assert_eq!((tests.passed, tests.failed, tests.skipped.len()), (4, 2, 1));
    }

    #[test]
    fn sums_of_vitest_count_too() {
        let tests = counted(&[" Test Files  8 passed (8)", "      Tests  1 failed | 57 passed | 2 skipped (60)"]);
        assert_eq!((tests.passed, tests.failed, tests.skipped.len()), (57, 1, 2));
    }

    #[test]
    fn a_test_that_says_skipped_did_not_pass() {
        let tests = counted(&["SKIPPED: systemd is not here", "test result: ok. 2 passed; 0 failed; 0 ignored;"]);
        assert_eq!((tests.passed, tests.skipped), (1, vec!["suite: systemd is not here".to_owned()]));
    }

    #[test]
    fn a_command_is_ended_at_its_bound() {
        let watched =
            watch_with(|_| {}, "sleeper", Command::new("sleep").arg("600"), Duration::from_millis(50)).unwrap();
        assert!(watched.status.is_none() && !watched.succeeded());
    }

    #[test]
    fn the_status_and_the_tests_of_a_command_are_kept() {
        // Not shown, or whoever counts our own tests would count these.
        let script = "printf 'noise\n\nfailures:\n\nwhy\n\nfailures:\n  name\n'; \
            echo 'test result: FAILED. 5 passed; 1 failed; 0 ignored;'; exit 4";
        let mut command = Command::new("sh");
        let watched = watch_with(|_| {}, "script", command.args(["-c", script]), Duration::from_secs(60)).unwrap();
        assert_eq!(watched.status.and_then(|status| status.code()), Some(4));
        assert_eq!((watched.tests.passed, watched.tests.failed), (5, 1));
        assert_eq!(watched.failures.trim(), "why", "said again at the end, where it is found");
    }
}
