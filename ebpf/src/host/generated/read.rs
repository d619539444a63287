//! Reads the end of a map from a target's own root.
//!
//! It is the target's file, and whoever else may write to its `/tmp` could have made it: links are not followed, and it must
//! belong to the target's user or to root, as `perf` asks for.

use snowshed_engine::model::Pid;
use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Seek as _, SeekFrom},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
};

/// Read at once.
const SLICE: usize = 1 << 20;
/// Of a longer map only so much is read, from the end.
const MOST: u64 = 32 << 20;

/// Whole lines.
#[derive(Debug)]
pub(super) struct Part {
    /// Where in the file.
    pub(super) from: u64,
    pub(super) text: Vec<u8>,
}

/// What follows after so many bytes; from the beginning if there are not even as many. `None`: there is no map.
pub(super) fn part(pid: Pid, from: u64) -> Option<Part> {
    let flags = libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let path = format!("/proc/{pid}/root/tmp/perf-{}.map", own_number(pid)?);
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    let (told, user) = (file.metadata().ok()?, fs::metadata(format!("/proc/{pid}")).ok()?.uid());
    if !told.is_file() || (told.uid() != user && told.uid() != 0) {
        return None;
    }
    let from = if told.len() < from { 0 } else { from };
    let least = told.len().saturating_sub(MOST);
    let skips = from < least;
    lines(&file, from.max(least), skips)
}

/// The number of a process in its own namespace.
fn own_number(pid: Pid) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("NSpid:"))?.split_whitespace().last()?.parse().ok()
}

fn lines(mut file: &File, from: u64, skips: bool) -> Option<Part> {
    file.seek(SeekFrom::Start(from)).ok()?;
    let mut text = Vec::new();
    let got = file.take(SLICE as u64).read_to_end(&mut text).ok()?;
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    // No line is that long.
    text.truncate(if whole == 0 && got == SLICE { got } else { whole });
    if skips && let Some(first) = text.iter().position(|byte| *byte == b'\n') {
        text[..first].fill(b' ');
    }
    Some(Part { from, text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn whole_lines_in_slices() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("map");
        let line = format!("1000 10 {}\n", "x".repeat(91));
        fs::write(&path, line.repeat(30_000)).unwrap();
        let file = File::open(&path).unwrap();
        let (mut from, mut parts) = (0, 0);
        loop {
            let part = lines(&file, from, false).unwrap();
            if part.text.is_empty() {
                break;
            }
            assert_eq!((part.text.len() % line.len(), part.text.last()), (0, Some(&b'\n')));
            (from, parts) = (from + part.text.len() as u64, parts + 1);
        }
        assert_eq!((from, parts), (30_000 * line.len() as u64, 3));
        let part = lines(&file, 50, true).unwrap();
        assert!(part.text[..49].iter().all(|byte| *byte == b' '), "half of a line is none");
        assert_eq!(&part.text[50..60], b"\n1000 10 xx"[1..].as_ref());
        fs::write(&path, "y".repeat(SLICE + 5)).unwrap();
        assert_eq!(lines(&File::open(&path).unwrap(), 0, false).unwrap().text.len(), SLICE);
    }

    #[test]
    fn links_and_pipes_are_no_map() {
        let pid = std::process::id();
        // Of a process that is not this one, so as not to meet the map that another test tells of it.
        let mut other = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let path = format!("/tmp/perf-{}.map", other.id());
        assert!(part(other.id(), 0).is_none() && pid != other.id());
        symlink("/etc/passwd", &path).unwrap();
        let linked = part(other.id(), 0);
        fs::remove_file(&path).unwrap();
        let name = std::ffi::CString::new(path.as_str()).unwrap();
        // SAFETY: a name that ends.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        let pipe = part(other.id(), 0);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "1000 10 f\n").unwrap();
        let plain = part(other.id(), 0);
        fs::remove_file(&path).unwrap();
        other.kill().unwrap();
        other.wait().unwrap();
        assert!(linked.is_none() && pipe.is_none());
        assert_eq!(plain.unwrap().text, b"1000 10 f\n");
    }
}
