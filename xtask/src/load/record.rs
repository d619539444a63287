//! What became of each request: the load generator's own log, which is the truth that claims are held against.
//!
//! Bounded: at most 200,000 requests are kept; those beyond are counted, are in the figures and on file, and are not kept.

use super::summary::{Summary, Tally};
use anyhow::Context as _;
use serde::Serialize;
use std::{
    collections::HashMap,
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

/// Requests that a log keeps.
const MOST: usize = 200_000;

/// One request that ended.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Record {
    /// Its W3C trace id, 32 hexadecimal digits.
    pub trace_id: String,
    /// When it was due, seconds since 1970.
    pub started: f64,
    /// When it was over, seconds since 1970.
    pub ended: f64,
    /// The HTTP status, if an answer came.
    pub status: Option<u16>,
    /// From the moment it was due until the client sent it (its first attempt).
    pub lag_ms: f64,
    /// From the moment it was due, or was to be tried again, to the head of the last answer.
    pub head_ms: Option<f64>,
    /// From the moment it was due to the first byte of the body.
    pub first_byte_ms: Option<f64>,
    /// From the moment it was due to its end.
    pub total_ms: f64,
    /// Bytes of the answer's body.
    pub bytes: u64,
    /// Attempts, more than one only where retries are on.
    pub attempts: u32,
    /// The client went away on purpose.
    pub aborted: bool,
    /// The client read slowly on purpose.
    pub slow: bool,
    /// The client stopped sending on purpose.
    pub stalled: bool,
    /// Pictures that a good answer holds, as its upload did.
    pub frames: u64,
    /// What went wrong.
    pub error: Option<String>,
}

impl Record {
    /// The client got all it asked for.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.status == Some(200) && self.error.is_none() && !self.aborted && !self.stalled
    }
}

/// The log of a run, shared by the requests that write it and by whoever watches.
#[derive(Debug, Default)]
pub struct Log {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Trace ids of requests that have not ended, with the time they were due.
    open: HashMap<String, f64>,
    ended: Vec<Record>,
    beyond: u64,
    tally: Tally,
    file: Option<BufWriter<File>>,
    failed: Option<std::io::Error>,
}

impl Log {
    /// A log that also writes each record to this file, one JSON document a line.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn to_file(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self { inner: Mutex::new(Inner { file: Some(BufWriter::new(file)), ..Inner::default() }) })
    }

    pub(super) fn begin(&self, trace_id: &str, started: f64) {
        let mut inner = self.lock();
        if inner.open.len() < MOST {
            inner.open.insert(trace_id.to_owned(), started);
        }
    }

    pub(super) fn end(&self, record: Record) {
        let mut inner = self.lock();
        inner.open.remove(&record.trace_id);
        if let Some(file) = &mut inner.file {
            let written = serde_json::to_writer(&mut *file, &record).map_err(std::io::Error::from);
            // A full disk must not change the load; `finish` tells.
            if let Err(error) = written.and_then(|()| file.write_all(b"\n")) {
                inner.failed.get_or_insert(error);
            }
        }
        inner.tally.add(&record);
        if inner.ended.len() < MOST {
            inner.ended.push(record);
        } else {
            inner.beyond += 1;
        }
    }

    /// Writes down that an attempt was refused with 429, this long after it was due.
    pub(super) fn refused(&self, after_ms: f64) {
        self.lock().tally.refused(after_ms);
    }

    /// The figures so far, over this many seconds.
    #[must_use]
    pub fn summary(&self, seconds: f64) -> Summary {
        self.lock().tally.summary(seconds)
    }

    /// Writes down a request that was due and for which the client had no room to the end.
    pub(super) fn never_sent(&self, started: f64) {
        let error = Some("never sent: no room in the client".to_owned());
        let ended = wall_clock();
        self.end(Record { started, ended, total_ms: (ended - started) * 1e3, error, ..Record::default() });
    }

    /// Writes down what was still open: a request that never ended must not vanish from the figures.
    pub(super) fn abandon(&self) {
        let left: Vec<(String, f64)> = self.lock().open.drain().collect();
        for (trace_id, started) in left {
            let ended = wall_clock();
            let error = Some("not over when the run ended".to_owned());
            self.end(Record {
                trace_id,
                started,
                ended,
                total_ms: (ended - started) * 1e3,
                error,
                ..Record::default()
            });
        }
    }

    pub(super) fn finish(&self) -> anyhow::Result<()> {
        let mut inner = self.lock();
        if let Some(error) = inner.failed.take() {
            return Err(error).context("write the log");
        }
        inner.file.as_mut().map_or(Ok(()), BufWriter::flush).context("write the log")
    }

    /// The requests that ended, in the order of their ends, from this index on.
    #[must_use]
    pub fn ended_since(&self, index: usize) -> Vec<Record> {
        self.lock().ended.get(index..).unwrap_or_default().to_vec()
    }

    /// How many ended.
    #[must_use]
    pub fn ended(&self) -> usize {
        self.lock().ended.len()
    }

    /// How many are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.lock().open.len()
    }

    /// How many ended that the log had no room for.
    #[must_use]
    pub fn beyond(&self) -> u64 {
        self.lock().beyond
    }

    /// Whether a request with this trace id was sent.
    #[must_use]
    pub fn sent(&self, trace_id: &str) -> bool {
        let inner = self.lock();
        inner.open.contains_key(trace_id) || inner.ended.iter().any(|record| record.trace_id == trace_id)
    }

    /// When the request with this trace id was over, seconds since 1970.
    #[must_use]
    pub fn over_at(&self, trace_id: &str) -> Option<f64> {
        self.lock().ended.iter().find(|record| record.trace_id == trace_id).map(|record| record.ended)
    }

    /// A panic elsewhere leaves the log as it was after the last whole record.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Seconds since 1970.
#[must_use]
pub fn wall_clock() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_open_then_over_and_on_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("load.jsonl");
        let log = Log::to_file(&path).unwrap();
        log.begin("aa", 1.0);
        assert!(log.sent("aa") && log.over_at("aa").is_none() && !log.sent("bb"));
        assert_eq!((log.open(), log.ended()), (1, 0));
        log.end(Record { trace_id: "aa".into(), ended: 2.5, status: Some(200), ..Record::default() });
        assert_eq!((log.open(), log.ended()), (0, 1));
        assert_eq!(log.over_at("aa"), Some(2.5));
        log.finish().unwrap();
        let line: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(line["trace_id"], "aa");
        assert_eq!(line["status"], 200);
    }
}
