//! Recordings: every observation with the time at which the engine took it, one JSON object a line.
//!
//! Invariant: a recording is complete up to where it ends. It stops, loudly, at its size limit or at the
//! first write that fails; it never leaves a gap, because a replay of it would then decide differently.

use serde::{Deserialize, Serialize};
use snowshed_engine::model::{Nanos, Observation};
use std::{
    fs::File,
    io::{BufRead, BufReader, BufWriter, Write},
    path::Path,
};

/// The longest line that is read back, bytes.
const LINE: u64 = 64 * 1024 * 1024;

/// A line as it is written.
#[derive(Serialize)]
struct Taken<'a> {
    now: Nanos,
    observation: &'a Observation,
}

/// A line as it is read.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
    /// When the engine took it.
    pub(crate) now: Nanos,
    /// What it took.
    pub(crate) observation: Observation,
}

/// Writes a recording.
#[derive(Debug)]
pub(crate) struct Recorder {
    file: Option<BufWriter<File>>,
    left: u64,
    line: Vec<u8>,
}

impl Recorder {
    /// A new file of at most `limit` bytes.
    ///
    /// # Errors
    /// The file cannot be made.
    pub(crate) fn create(path: &Path, limit: u64) -> std::io::Result<Self> {
        let file = File::options().write(true).create(true).truncate(true).open(path)?;
        Ok(Self { file: Some(BufWriter::new(file)), left: limit, line: Vec::new() })
    }

    /// Writes one observation, unless the recording has ended.
    pub(crate) fn take(&mut self, now: Nanos, observation: &Observation) {
        let Some(file) = &mut self.file else { return };
        self.line.clear();
        let written = serde_json::to_writer(&mut self.line, &Taken { now, observation }).map_err(std::io::Error::from);
        self.line.push(b'\n');
        let length = self.line.len() as u64;
        if length > self.left {
            tracing::warn!("the recording has reached its size limit and ends here");
            self.finish();
        } else if let Err(error) = written.and_then(|()| file.write_all(&self.line)) {
            tracing::error!("the recording ends here: {error}");
            self.file = None;
        } else {
            self.left -= length;
        }
    }

    /// Writes what is still in memory.
    pub(crate) fn finish(&mut self) {
        if let Some(Err(error)) = self.file.take().map(|mut file| file.flush()) {
            tracing::error!("the recording's end is missing: {error}");
        }
    }
}

/// The lines of a recording.
///
/// # Errors
/// The file cannot be opened; a line cannot be read (with its number).
pub(crate) fn lines(path: &Path) -> Result<impl Iterator<Item = Result<Line, String>> + use<>, String> {
    let name = path.display().to_string();
    let mut reader = BufReader::new(File::open(path).map_err(|error| format!("{name}: {error}"))?);
    let mut number = 0_u64;
    let mut text = String::new();
    Ok(std::iter::from_fn(move || {
        number += 1;
        text.clear();
        match std::io::Read::take(&mut reader, LINE).read_line(&mut text) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&text).map_err(|error| format!("{name}:{number}: {error}"))),
            Err(error) => Some(Err(format!("{name}:{number}: {error}"))),
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use snowshed_engine::model::ProcessExit;

    #[test]
    fn what_is_written_reads_back_until_the_limit() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x.jsonl");
        let mut recorder = Recorder::create(&path, 150).expect("a file");
        for now in 1..10 {
            recorder.take(now, &Observation::Exit(ProcessExit { pid: 7, at: now }));
        }
        recorder.finish();
        let read: Vec<Line> = lines(&path).expect("opens").collect::<Result<_, _>>().expect("reads");
        assert!(!read.is_empty() && read.len() < 9, "{}", read.len());
        assert!(read.iter().zip(1..).all(|(line, now)| line.now == now));
        assert!(std::fs::metadata(&path).expect("it is there").len() <= 150);
    }

    #[test]
    fn a_broken_line_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x.jsonl");
        std::fs::write(&path, "{\"now\":1,\"observation\":{\"type\":\"exit\",\"pid\":1,\"at\":1}}\nnonsense\n")
            .expect("writes");
        let read: Vec<_> = lines(&path).expect("opens").collect();
        assert!(read[0].is_ok());
        assert!(read[1].as_ref().is_err_and(|error| error.contains("x.jsonl:2:")));
    }
}
