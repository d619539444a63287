//! The command's processes as `/proc` shows them: threads at the end, children that stay, what a descriptor names.

use snowshed_engine::model::Pid;
use std::{ffi::OsStr, fs, io::Read as _, os::unix::ffi::OsStrExt as _, path::PathBuf};

/// `PF_IO_WORKER`, `PF_USER_WORKER`: the kernel's own helpers inside a process.
const WORKERS: u32 = 0x10 | 0x4000;
/// `PF_EXITING`: has been joined or soon will be.
const EXITING: u32 = 0x4;
/// A script is one of the first words after the interpreter.
const SCRIPT_WORDS: usize = 4;
/// Programs are searched this far for what their compiler left.
const MOST_BYTES: u64 = 256 << 20;

/// A thread or process of `/proc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Task {
    pub(super) id: Pid,
    pub(super) name: String,
    state: char,
    flags: u32,
}

fn task(stat: &str) -> Option<Task> {
    // The name may hold anything, so it ends at the last bracket.
    let (id, rest) = stat.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let flags = fields.nth(5)?.parse().ok()?;
    Some(Task { id: id.parse().ok()?, name: name.to_owned(), state, flags })
}

/// The process that a thread belongs to.
pub(super) fn process_of(tid: Pid) -> Option<Pid> {
    let status = fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim().parse().ok()
}

/// The name of a process and who its parent is.
pub(super) fn name_and_parent(pid: Pid) -> Option<(String, Pid)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
    Some((task(&stat)?.name, parent))
}

/// It runs a program, not only what its parent forked.
pub(super) fn has_executed(pid: Pid) -> bool {
    /// `PF_FORKNOEXEC`.
    const FORKED: u32 = 0x40;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    stat.and_then(|stat| task(&stat)).is_some_and(|task| task.flags & FORKED == 0)
}

/// A child that has ended, and its status.
pub(super) fn reap() -> Option<(Pid, i32)> {
    let mut status = 0;
    // SAFETY: room for one status.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    Pid::try_from(pid).ok().filter(|pid| *pid > 0).map(|pid| (pid, status))
}

/// Sends a signal to a process that the command left; it may be gone.
pub(super) fn end(pid: Pid, signal: i32) {
    if let Ok(pid) = libc::pid_t::try_from(pid) {
        // SAFETY: kill takes numbers. Nobody else reaps our descendants, so the number is still theirs.
        unsafe { libc::kill(pid, signal) };
    }
}

/// The threads of a process that would go on if it did not end: not the one that ends it, none that has ended.
pub(super) fn threads_besides(pid: Pid, ending: Pid) -> Vec<Task> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let stats = entries.flatten().filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    stats.filter_map(|stat| task(&stat)).filter(|task| task.id != ending && is_left(task)).collect()
}

fn is_left(task: &Task) -> bool {
    !matches!(task.state, 'Z' | 'X') && task.flags & (WORKERS | EXITING) == 0
}

/// All running processes below this one.
pub(super) fn descendants() -> Vec<Task> {
    let (mut open, mut found) = (vec![std::process::id()], Vec::new());
    while let Some(parent) = open.pop() {
        let Ok(tasks) = fs::read_dir(format!("/proc/{parent}/task")) else { continue };
        let lists = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        let children: Vec<Pid> = lists
            .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
            .collect();
        for child in children {
            open.push(child);
            let stat = fs::read_to_string(format!("/proc/{child}/stat")).ok();
            found.extend(stat.and_then(|stat| task(&stat)).filter(|task| !matches!(task.state, 'Z' | 'X')));
        }
    }
    found
}

/// What a descriptor names: a path, or what the kernel writes in its place.
pub(super) fn target_of(pid: Pid, fd: i32) -> Option<String> {
    let link: PathBuf = fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok()?;
    Some(link.to_string_lossy().into_owned())
}

/// The files that a process was told to run: a shell keeps its script open until the end.
pub(super) fn scripts(pid: Pid) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = line.split(|byte| *byte == 0).skip(1).take(SCRIPT_WORDS);
    // Relative to where it is now, and seen from its own root.
    let from = PathBuf::from(format!("/proc/{pid}/cwd"));
    let real = |word: &[u8]| fs::canonicalize(from.join(OsStr::from_bytes(word))).ok();
    words.filter(|word| !word.is_empty()).filter_map(real).map(|path| path.to_string_lossy().into_owned()).collect()
}

/// How many threads a language's runtime keeps until the end of every program: Go all, Node one (its inspector's).
pub(super) fn threads_of_the_runtime(pid: Pid) -> usize {
    let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    match program.file_name().and_then(OsStr::to_str) {
        Some("node" | "nodejs") => 1,
        _ if is_go(pid) => usize::MAX,
        _ => 0,
    }
}

/// Compiled by Go.
fn is_go(pid: Pid) -> bool {
    const MARK: &[u8] = b"\xff Go buildinf:";
    let Ok(file) = fs::File::open(format!("/proc/{pid}/exe")) else { return false };
    let (mut file, mut chunk, mut kept) = (file.take(MOST_BYTES), vec![0; 1 << 20], 0);
    loop {
        match file.read(&mut chunk[kept..]) {
            Ok(0) | Err(_) => return false,
            Ok(read) => {
                let filled = kept + read;
                if chunk[..filled].windows(MARK.len()).any(|window| window == MARK) {
                    return true;
                }
                kept = filled.min(MARK.len() - 1);
                chunk.copy_within(filled - kept..filled, 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_stat_is_read_whatever_the_name_is() {
        let read = task("7 (a) R (b) S 1 7 7 0 -1 4194560 1 2").unwrap();
        assert_eq!((read.id, read.name.as_str(), read.state, read.flags), (7, "a) R (b", 'S', 4_194_560));
        assert!(is_left(&read));
        assert!(!is_left(&Task { flags: 4_194_560 | EXITING, ..read.clone() }), "it is ending");
        assert!(!is_left(&Task { state: 'Z', ..read.clone() }));
        assert!(!is_left(&Task { flags: 0x10, ..read }), "the kernel's own");
        assert_eq!(task("garbage"), None);
    }

    #[test]
    fn this_process_is_seen_as_it_is() {
        let me = std::process::id();
        assert_eq!(process_of(me), Some(me));
        assert_eq!(name_and_parent(me).unwrap().1, std::os::unix::process::parent_id());
        let stop = std::sync::Arc::new(std::sync::Barrier::new(2));
        let other = std::thread::spawn({
            let stop = stop.clone();
            move || stop.wait()
        });
        assert!(!threads_besides(me, me).is_empty());
        stop.wait();
        other.join().unwrap();
        assert!(!is_go(me) && !is_go(0));
        assert!(target_of(me, 0).is_some());
    }
}
