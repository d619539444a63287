//! What a descriptor leads to: a path, a name, a peer. Looked up when somebody asks, for the descriptors asked for.
//!
//! Invariant: text that a process chose is bounded and without control characters, so that no name of a file can
//! forge a line of a report. Cost: two reads in `/proc` for each descriptor; one more, and a line for each of its
//! files, for an io_uring.

use super::connections::addresses;
use crate::wire::{ConnectionRecord, FdRecord, UnixRecord};
use serde::Serialize;
use snowshed_engine::model::{ConnectionSeen, Holding, HoldingKind, Pid, TcpState};
use std::{
    fmt,
    fs::{self, File},
    io::{BufReader, Read as _},
    net::SocketAddr,
    os::unix::fs::MetadataExt as _,
};

/// Characters kept of a name; of a longer one its beginning and its end.
const LONGEST: usize = 240;
/// Bytes read of what the kernel says of an io_uring.
const RING: u64 = 4 << 20;
/// Of these, shown in a line.
const SHOWN: usize = 3;
/// Direct descriptors whose files are named.
const DIRECT: usize = 16;

/// A descriptor, and what it leads to.
#[derive(Clone, Debug)]
pub struct OpenFd {
    /// Itself.
    pub item: Holding,
    /// Its path, what a Unix socket is bound to, a memory file's name; else what the kernel calls it, as in
    /// `pipe:[4242]`. `None` if it may not be read. Control characters are escaped, its length is bounded.
    pub name: Option<String>,
    /// The file has no name in any directory any more, or never had one.
    pub deleted: bool,
    /// Own address of an internet socket.
    pub local: Option<SocketAddr>,
    /// Its peer's.
    pub peer: Option<SocketAddr>,
    /// State, of TCP.
    pub state: Option<TcpState>,
    /// What a TCP connection waits for.
    pub connection: Option<ConnectionSeen>,
    /// What a Unix socket's peer is bound to; else its inode, as in `socket:[4242]`.
    pub unix_peer: Option<String>,
    /// What an io_uring holds that is in no descriptor table.
    pub direct: Option<DirectFds>,
}

/// Files that an io_uring holds by itself: direct descriptors and registered files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DirectFds {
    /// Places in its table.
    pub room: u64,
    /// How many are taken; `None` if no row was seen: none is, or the ring was too busy to say.
    pub held: Option<u64>,
    /// Place and path of the first of them.
    pub files: Vec<(u64, String)>,
}

impl OpenFd {
    pub(super) fn new(item: Holding) -> Self {
        let (name, local, peer, state) = (None, None, None, None);
        Self { item, name, deleted: false, local, peer, state, connection: None, unix_peer: None, direct: None }
    }

    pub(super) fn connects(&mut self, record: &FdRecord, more: &ConnectionRecord, seen: Option<ConnectionSeen>) {
        let (local, peer) = addresses(record, more);
        (self.local, self.peer, self.connection) = (Some(local), peer, seen);
        let is_tcp = matches!(self.item.kind, HoldingKind::Tcp | HoldingKind::TcpAccepted | HoldingKind::Listener);
        self.state = TcpState::from_kernel(record.socket[2]).filter(|_| is_tcp);
    }

    pub(super) fn binds(&mut self, record: &UnixRecord) {
        self.name = unix_name(&record.own, record.own_length);
        let peer = unix_name(&record.peer, record.peer_length);
        self.unix_peer = peer.or_else(|| (record.peer_ino != 0).then(|| format!("socket:[{}]", record.peer_ino)));
    }
}

impl fmt::Display for OpenFd {
    /// In a few words: a path, or who is connected to whom.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.local, &self.name) {
            (Some(local), _) => write!(f, "{local}")?,
            (None, Some(name)) => write!(f, "{name}")?,
            (None, None) => write!(f, "?")?,
        }
        if let Some(peer) = self.peer {
            write!(f, " <-> {peer}")?;
        }
        if let Some(peer) = &self.unix_peer {
            write!(f, " <-> {peer}")?;
        }
        if self.deleted {
            write!(f, " (deleted)")?;
        }
        match self.state {
            Some(TcpState::CloseWait) => write!(f, " CLOSE_WAIT")?,
            Some(TcpState::Close) => write!(f, " not connected")?,
            _ => {}
        }
        if let Some(direct) = &self.direct {
            match direct.held {
                Some(0) => {}
                Some(held) => {
                    let files: Vec<&str> = direct.files.iter().take(SHOWN).map(|(_, file)| file.as_str()).collect();
                    let more = if held > files.len() as u64 { ", …" } else { "" };
                    write!(f, ", {held} direct descriptors ({}{more})", files.join(", "))?;
                }
                None => write!(f, ", no direct descriptor seen")?,
            }
        }
        Ok(())
    }
}

/// A path or an abstract name, which begins with a zero and is written with an `@` as everywhere.
fn unix_name(bytes: &[u8], length: u16) -> Option<String> {
    let bytes = bytes.get(..length.into()).filter(|bytes| !bytes.is_empty())?;
    Some(match bytes {
        [0, name @ ..] => format!("@{}", clean(&String::from_utf8_lossy(name))),
        path => clean(&String::from_utf8_lossy(path.split(|byte| *byte == 0).next().unwrap_or(path))),
    })
}

/// Without control characters and not too long.
fn clean(text: &str) -> String {
    let is_hidden = |c: char| {
        c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) { clean.extend(c.escape_unicode()) } else { clean.push(c) }
    }
    let length = clean.chars().count();
    if length <= LONGEST {
        return clean;
    }
    let (head, tail) = (LONGEST / 4, LONGEST - LONGEST / 4);
    let start: String = clean.chars().take(head).collect();
    let end: String = clean.chars().skip(length - tail).collect();
    format!("{start}…{end}")
}

/// Fills in what `/proc` says of a descriptor.
pub(super) fn look_up(pid: Pid, one: &mut OpenFd) {
    let path = format!("/proc/{pid}/fd/{}", one.item.number);
    if one.name.is_none()
        && let Ok(link) = fs::read_link(&path)
    {
        let text = link.to_string_lossy();
        let on_disk = matches!(
            one.item.kind,
            HoldingKind::File | HoldingKind::Directory | HoldingKind::Device | HoldingKind::Pipe | HoldingKind::Memfd
        );
        // The kernel says so in the name, where a file may also say so itself.
        let gone = on_disk && text.starts_with('/') && fs::metadata(&path).is_ok_and(|file| file.nlink() == 0);
        let text = if gone { text.strip_suffix(" (deleted)").unwrap_or(&text) } else { &text };
        let memory = text.strip_prefix("/memfd:").filter(|_| one.item.kind == HoldingKind::Memfd);
        one.deleted = gone && memory.is_none();
        one.name = Some(memory.map_or_else(|| clean(text), |name| format!("memfd:{}", clean(name))));
    }
    if one.item.kind == HoldingKind::IoUring
        && let Ok(file) = File::open(format!("/proc/{pid}/fdinfo/{}", one.item.number))
    {
        one.direct = Some(direct(BufReader::new(file.take(RING))));
    }
}

/// Reads `UserFiles:` and the table below it: places, each with a path where the kernel prints one. A ring whose lock
/// is taken prints no table; so does one with nothing registered.
fn direct(lines: impl std::io::BufRead) -> DirectFds {
    let mut found = DirectFds::default();
    let (mut inside, mut told, mut empty, mut held) = (false, false, false, 0);
    for line in lines.lines().map_while(Result::ok) {
        let Some((key, value)) = line.split_once(':') else { continue };
        if key == "UserFiles" {
            found.room = value.trim().parse().unwrap_or(0);
            (inside, told) = (true, true);
            continue;
        }
        match key.trim().parse::<u64>() {
            Ok(place) if inside => {
                let path = value.trim();
                if path == "<none>" {
                    empty = true;
                } else {
                    held += 1;
                    if found.files.len() < DIRECT {
                        found.files.push((place, clean(path)));
                    }
                }
            }
            _ => inside = false,
        }
    }
    // Without rows the table is empty or, before 6.16, its lock was taken.
    found.held = (held > 0 || empty || (told && found.room == 0)).then_some(held);
    found
}

/// Address and inode of each file that the last look found, by number.
pub(super) fn files(look: &crate::probes::Look<'_>) -> std::collections::HashMap<i32, (u64, u64)> {
    let number = |fd| i32::try_from(fd).unwrap_or(i32::MAX);
    super::connections::records(look.buffer).map(|(record, _)| (number(record.fd), (record.file, record.ino))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_forges_a_line_or_fills_a_screen() {
        assert_eq!(clean("a\nroot\u{1b}[2J\u{202e}b"), "a\\u{a}root\\u{1b}[2J\\u{202e}b");
        let long = clean(&format!("/begin/{}/end", "x".repeat(5_000)));
        assert!(long.chars().count() == LONGEST + 1 && long.starts_with("/begin/") && long.ends_with("/end"));
        let name = |bytes: &[u8]| unix_name(bytes, u16::try_from(bytes.len()).unwrap());
        assert_eq!(name(b"\0bus\0x").as_deref(), Some("@bus\\u{0}x"));
        assert_eq!((name(b"/run/a.sock\0").as_deref(), name(b"")), (Some("/run/a.sock"), None));
        assert_eq!(unix_name(b"abc", 9), None, "a length that cannot be is none");
    }

    #[test]
    fn direct_descriptors_are_read_as_old_and_new_kernels_print_them() {
        let new = "SqThread:\t-1\nUserFiles:\t8\n    1: /etc/hosts\n    5: socket:[77]\nUserBufs:\t0\nPollList:\n";
        let files = vec![(1, "/etc/hosts".to_owned()), (5, "socket:[77]".to_owned())];
        assert_eq!(direct(new.as_bytes()), DirectFds { room: 8, held: Some(2), files });
        let old = "UserFiles:\t2\n    0: <none>\n    1: hosts\nUserBufs:\t1\n    0: 0x7f/4096\n";
        assert_eq!(direct(old.as_bytes()).files, [(1, "hosts".to_owned())], "a buffer is no file");
        let of = |text: &str| direct(text.as_bytes()).held;
        assert_eq!((of("UserFiles:\t0\n"), of("UserFiles:\t1\n    0: <none>\n")), (Some(0), Some(0)));
        assert_eq!((of("UserFiles:\t4\nUserBufs:\t0\n"), of("SqMask:\t1\n")), (None, None), "empty or busy");
    }
}
