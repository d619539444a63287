//! Reading small files of `/proc`, whose size is not known before: two reads, and nothing asked about the file.
//!
//! Cost: the library's own way asks for size and position first, and begins with a few bytes. To look a file up takes as
//! long as to read most of them, so what is asked again and again of the machine and of this process stays open.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::OnceLock,
};

/// Most files fit into this.
const ROOM: usize = 8 << 10;

/// The text of a file.
pub(crate) fn read(path: impl AsRef<Path>) -> io::Result<String> {
    let mut text = String::with_capacity(ROOM);
    File::open(path)?.take(u64::MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// A file of the machine or of this process that stays open once it was read: each read is of what it says then. Not for
/// files of targets: an open one would hold their namespaces.
#[derive(Debug)]
pub(crate) struct Kept {
    path: &'static str,
    file: OnceLock<File>,
}

impl Kept {
    pub(crate) const fn new(path: &'static str) -> Self {
        Self { path, file: OnceLock::new() }
    }

    /// Its text now.
    pub(crate) fn read(&self) -> io::Result<String> {
        let file = match self.file.get() {
            Some(file) => file,
            None => {
                let opened = File::open(self.path)?;
                self.file.get_or_init(|| opened)
            }
        };
        let mut text = vec![0; ROOM];
        let mut length = 0;
        loop {
            match file.read_at(&mut text[length..], length as u64) {
                Ok(0) => break,
                Ok(more) => length += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if length == text.len() {
                text.resize(2 * length, 0);
            }
        }
        text.truncate(length);
        String::from_utf8(text).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_files_are_read_whole() {
        assert!(read("/proc/self/status").unwrap().ends_with('\n'));
        let path = std::env::temp_dir().join(format!("snowshed-long-{}", std::process::id()));
        let long = "a line\n".repeat(ROOM);
        std::fs::write(&path, &long).unwrap();
        let told = read(&path);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(told.unwrap(), long);
        assert!(read("/proc/0/status").is_err());
    }

    #[test]
    fn what_stays_open_is_read_anew_each_time() {
        static TASKS: Kept = Kept::new("/proc/self/status");
        static NONE: Kept = Kept::new("/proc/0/status");
        let threads = || {
            let text = TASKS.read().unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix("Threads:")).unwrap();
            assert!(text.starts_with("Name:") && text.ends_with('\n'));
            line.trim().parse::<u32>().unwrap()
        };
        // Other tests have threads that come and go: of a hundred that wait here some are news to any of them.
        let before = threads();
        let together = std::sync::Barrier::new(101);
        std::thread::scope(|scope| {
            (0..100).for_each(|_| drop(scope.spawn(|| [(); 2].map(|()| together.wait()))));
            together.wait();
            assert!(threads() > before + 50, "{} after {before}", threads());
            together.wait();
        });
        assert!(NONE.read().is_err() && NONE.read().is_err());
    }

    #[test]
    fn a_long_file_that_stays_open_is_read_whole() {
        static SYMBOLS: Kept = Kept::new("/proc/kallsyms");
        let (told, all) = (SYMBOLS.read().unwrap(), std::fs::read_to_string("/proc/kallsyms").unwrap());
        assert!(told.len() > 10 * ROOM && told.ends_with('\n'), "{}", told.len());
        // Modules and BPF programs, at its end, come and go meanwhile.
        let base =
            |text: &str| text.lines().take_while(|line| !line.ends_with(']')).map(str::to_owned).collect::<Vec<_>>();
        assert!(base(&told) == base(&all));
    }
}
