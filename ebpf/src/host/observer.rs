//! The map in which OpenTelemetry's eBPF instrumentation (OBI) tells which request a thread serves.
//!
//! It is pinned by its owner and may come and go. It is read only, never made here: what this process made would outlive
//! it. No program needs it to be loaded: they find it through a map of maps of our own, into which it is put while it is
//! there; and while it is not, no target is looked up.
//! Cost: one `stat` in five seconds.

use super::bpf;
use aya::maps::{MapData, MapType};
use snowshed_engine::model::Nanos;
use std::{
    fs, io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

/// Where its owner pins it.
pub(crate) const PATH: &str = "/sys/fs/bpf/otel/traces_ctx_v1";
/// How often it is looked for.
const EVERY: Nanos = 5_000_000_000;
/// A thread's number, and the ids of trace and span.
const SHAPE: (u32, u32) = (8, 24);

/// Which pin it was: device and inode.
type Pin = (u64, u64);

/// What is known of it.
#[derive(Debug)]
pub(crate) struct Observer {
    path: PathBuf,
    due: Nanos,
    pin: Option<Pin>,
    /// It is there and can be read.
    read: bool,
    /// Why it is not read; empty before the first look and while it is.
    reason: String,
}

impl Default for Observer {
    fn default() -> Self {
        Self { path: PATH.into(), due: 0, pin: None, read: false, reason: String::new() }
    }
}

/// What a look found.
pub(crate) enum News {
    /// What it was.
    None,
    /// This map is there now.
    Here(MapData),
    /// It is gone, or cannot be read.
    Gone,
}

impl Observer {
    /// Looks for it there from now on.
    pub(crate) fn at(path: &Path) -> Self {
        Self { path: path.to_path_buf(), ..Self::default() }
    }

    pub(crate) fn is_read(&self) -> bool {
        self.read
    }

    /// Why it is not read; empty while it is.
    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }

    /// Looks, if it is time.
    pub(crate) fn look(&mut self, now: Nanos) -> News {
        if now < self.due {
            return News::None;
        }
        self.due = now + EVERY;
        let pin = match fs::symlink_metadata(&self.path) {
            Ok(found) => Some((found.dev(), found.ino())),
            Err(error) => {
                self.reason = match error.kind() {
                    io::ErrorKind::NotFound => format!("{} is not there", self.path.display()),
                    _ => format!("{}: {error}", self.path.display()),
                };
                None
            }
        };
        if pin == self.pin {
            return News::None;
        }
        self.pin = pin;
        let was = self.read;
        self.read = false;
        let opened = pin.map(|_| open(&self.path));
        match opened {
            Some(Ok(map)) => return News::Here(map),
            Some(Err(error)) => self.reason = format!("{}: {error}", self.path.display()),
            None => {}
        }
        if was { News::Gone } else { News::None }
    }

    /// What became of the map that was here: whether the kernel took it.
    pub(crate) fn taken(&mut self, result: Result<(), String>) {
        self.read = result.is_ok();
        self.reason = result.err().map(|error| format!("{}: {error}", self.path.display())).unwrap_or_default();
    }
}

/// Puts a map into the one place of a map of maps, or takes out what is there.
pub(crate) fn put(maps: &MapData, map: Option<&MapData>) -> io::Result<()> {
    bpf::put(maps.fd().as_fd(), 0, map.map(|map| map.fd().as_fd()))
}

fn open(path: &Path) -> Result<MapData, String> {
    let map = MapData::from_pin(path).map_err(|error| super::refusal::chain(&error))?;
    let info = map.info().map_err(|error| super::refusal::chain(&error))?;
    let kind = info.map_type().map_err(|error| super::refusal::chain(&error))?;
    let shape = (info.key_size(), info.value_size());
    if kind != MapType::LruHash || shape != SHAPE || info.map_flags() != 0 {
        return Err(format!("a map of another shape: {kind:?}, keys of {} bytes, values of {}", shape.0, shape.1));
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_or_no_map_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("traces_ctx_v1");
        let mut observer = Observer::at(&path);
        assert!(matches!(observer.look(1), News::None));
        assert!(!observer.is_read() && observer.reason().contains("is not there"), "{}", observer.reason());
        fs::write(&path, "no map").unwrap();
        assert!(matches!(observer.look(1), News::None));
        assert!(observer.reason().contains("is not there"), "looked too soon: {}", observer.reason());
        assert!(matches!(observer.look(1 + EVERY), News::None));
        assert!(!observer.is_read() && observer.reason().contains("BPF_OBJ_GET"), "{}", observer.reason());
    }
}
