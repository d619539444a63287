//! Reading small files of `/proc`, whose size is not known before: two reads, and nothing asked about the file.
//!
//! Cost: the library's own way asks for size and position first, and begins with a few bytes.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

/// Most files fit into this.
const ROOM: usize = 8 << 10;

/// The text of a file.
pub(crate) fn read(path: impl AsRef<Path>) -> io::Result<String> {
    let mut text = String::with_capacity(ROOM);
    File::open(path)?.take(u64::MAX).read_to_string(&mut text)?;
    Ok(text)
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
}
