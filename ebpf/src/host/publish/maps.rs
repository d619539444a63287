//! What a process has mapped, as far as it matters here: programs and libraries, and the process context.
//!
//! Invariant: bounded in time and memory whatever the process maps. Nothing is opened, so names may lie. Cost: the
//! kernel writes `/proc/PID/maps`, about a microsecond a mapping.

use snowshed_engine::model::Pid;
use std::{
    fs::File,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read},
};

/// Bytes of `/proc/PID/maps` that are read; what lies beyond is not looked at.
const MOST_BYTES: u64 = 16 << 20;
/// Programs and libraries of one process.
const MOST_OBJECTS: usize = 2048;
/// How the standard names the mapping of the process context.
const NAMES: [&[u8]; 3] = [b"[anon_shmem:OTEL_CTX]", b"[anon:OTEL_CTX]", b"/memfd:OTEL_CTX"];

/// A file with code, mapped from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Object {
    /// Where its first byte lies.
    pub(crate) base: u64,
    /// One past the last mapping of it.
    pub(crate) end: u64,
    inode: u64,
    device: u64,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Maps {
    /// Programs and libraries, by address.
    pub(crate) objects: Vec<Object>,
    /// Where the process context may lie.
    pub(crate) contexts: Vec<u64>,
}

impl Maps {
    pub(crate) fn of(pid: Pid) -> io::Result<Self> {
        let mut text = Vec::with_capacity(64 << 10);
        File::open(format!("/proc/{pid}/maps"))?.take(MOST_BYTES).read_to_end(&mut text)?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &[u8]) -> Self {
        let mut maps = Self::default();
        let mut open: Option<(Object, bool)> = None;
        for line in text.split(|byte| *byte == b'\n') {
            let Some((mapping, executable, name)) = line_of(line) else { continue };
            if NAMES.iter().any(|known| name.starts_with(known)) && maps.contexts.len() < 4 {
                maps.contexts.push(mapping.base);
            }
            // Anonymous memory lies between the parts of a file: what has no file's contents at load time.
            if mapping.inode == 0 {
                continue;
            }
            match &mut open {
                Some((object, code)) if continues(object, &mapping, offset_of(line)) => {
                    object.end = mapping.end;
                    *code |= executable;
                }
                _ => {
                    maps.close(open.take());
                    open = (offset_of(line) == Some(0)).then_some((mapping, executable));
                }
            }
        }
        maps.close(open);
        maps
    }

    /// Data that only looks like a library is mapped without the right to be executed.
    fn close(&mut self, open: Option<(Object, bool)>) {
        if let Some((object, true)) = open
            && self.objects.len() < MOST_OBJECTS
        {
            self.objects.push(object);
        }
    }

    /// Equal as long as the same files with code lie at the same places.
    pub(crate) fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.objects.hash(&mut hasher);
        hasher.finish()
    }
}

fn continues(object: &Object, mapping: &Object, offset: Option<u64>) -> bool {
    (object.inode, object.device) == (mapping.inode, mapping.device) && offset != Some(0)
}

fn offset_of(line: &[u8]) -> Option<u64> {
    number(fields(line).nth(2)?)
}

fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b' ').filter(|field| !field.is_empty())
}

fn number(digits: &[u8]) -> Option<u64> {
    u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

/// Of `START-END PERMS OFFSET MAJOR:MINOR INODE NAME`: the mapping, whether it is executable, and its name.
fn line_of(line: &[u8]) -> Option<(Object, bool, &[u8])> {
    let mut fields = fields(line);
    let range = fields.next()?;
    let dash = range.iter().position(|byte| *byte == b'-')?;
    let (base, end) = (number(&range[..dash])?, number(&range[dash + 1..])?);
    let executable = fields.next()?.get(2) == Some(&b'x');
    let _offset = fields.next()?;
    let device = fields.next()?;
    let colon = device.iter().position(|byte| *byte == b':')?;
    let device = number(&device[..colon])? << 32 | number(&device[colon + 1..])?;
    let inode = str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    // Names may hold spaces; only their beginning is compared.
    Some((Object { base, end, inode, device }, executable, fields.next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
55d0a0000000-55d0a0001000 r--p 00000000 fe:01 131 /opt/my program
55d0a0001000-55d0a0002000 r-xp 00001000 fe:01 131 /opt/my program
55d0a0003000-55d0a0004000 rw-p 00000000 00:00 0
7f0000000000-7f0000001000 r--p 00000000 fe:01 140 /usr/share/data.so
7f0000002000-7f0000003000 r--p 00000000 fe:01 150 /usr/lib/libc.so.6
7f0000003000-7f0000004000 r-xp 00001000 fe:01 150 /usr/lib/libc.so.6
7f0000004000-7f0000005000 rw-p 00002000 fe:01 150 /usr/lib/libc.so.6
7f0000006000-7f0000007000 rw-p 00000000 00:00 0 [anon:OTEL_CTX]
7f0000007000-7f0000008000 rw-p 00000000 00:01 77 /memfd:OTEL_CTX (deleted)
7f0000008000-7f0000009000 rw-p 00000000 00:01 78 [anon_shmem:OTEL_CTX]
7ffc00000000-7ffc00001000 r-xp 00000000 00:00 0 [vdso]
";

    #[test]
    fn code_and_contexts_are_found() {
        let maps = Maps::parse(TEXT.as_bytes());
        let objects: Vec<_> = maps.objects.iter().map(|object| (object.base, object.end)).collect();
        assert_eq!(objects, [(0x55d0_a000_0000, 0x55d0_a000_2000), (0x7f00_0000_2000, 0x7f00_0000_5000)]);
        assert_eq!(maps.contexts, [0x7f00_0000_6000, 0x7f00_0000_7000, 0x7f00_0000_8000]);
        let moved = TEXT.replace("7f0000002000", "7f0000001000");
        assert_ne!(maps.digest(), Maps::parse(moved.as_bytes()).digest());
        let more = format!("{TEXT}7ffd00000000-7ffd00001000 rw-p 00000000 00:00 0 \n");
        assert_eq!(maps.digest(), Maps::parse(more.as_bytes()).digest(), "memory is no library");
    }

    #[test]
    fn this_process_and_garbage() {
        let own = Maps::of(std::process::id()).unwrap();
        let here = this_process_and_garbage as fn() as usize as u64;
        assert!(own.objects.iter().any(|object| (object.base..object.end).contains(&here)), "{own:?}");
        assert!(Maps::of(0).is_err());
        for text in
            ["", "\n\n", "x", "1-2", "1-2 r-xp 0 1:1", "zz-1 r-xp 0 1:1 5 /x", "1-2 r-xp 0 11 5 /x", "\u{fffd}-\0"]
        {
            assert!(Maps::parse(text.as_bytes()).objects.is_empty(), "{text:?}");
        }
        let many: String = (0..9999).map(|n| format!("{n:x}000-{n:x}fff r-xp 00000000 1:1 {} /x\n", n + 1)).collect();
        assert_eq!(Maps::parse(many.as_bytes()).objects.len(), MOST_OBJECTS);
    }
}
