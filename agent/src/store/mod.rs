//! The incidents on disk: they survive a restart, a `kill -9`, and fall out by size.
//!
//! Invariant: one thread owns the file and nobody waits for it but who reads from it, and that for a second at most.
//! Whatever goes wrong with the disk costs the record on disk, nothing else: the reason is logged once and shown in the
//! status, the newest records wait in memory (bounded, drops counted), and the file is tried again every few seconds.
//! Without a state directory there is no thread and nothing is written.

mod file;
#[cfg(test)]
mod tests;

use crate::render::incident::Record;
use file::{File, Part, Stored};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

/// The file's name in the state directory.
const NAME: &str = "incidents.redb";
/// Commands waiting for the thread.
const COMMANDS: usize = 64;
/// How often a file that failed is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// How long a reader waits for the disk.
const ANSWER: Duration = Duration::from_secs(1);
/// Records that wait for a disk that fails.
const PENDING: usize = 64;
/// The largest record, bytes: eight causes with all their frames are a tenth of that.
const RECORD: usize = 512 * 1024;
/// What may be set.
const BOUNDS: std::ops::RangeInclusive<u64> = (1 << 20)..=(1 << 30);

/// What can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// What the records on disk may weigh, bytes; the oldest closed ones make room. The file may be twice as long.
    pub(crate) max_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_bytes: 16 * 1024 * 1024 }
    }
}

impl Config {
    /// Checks the bounds.
    ///
    /// # Errors
    /// The key, and what is wrong with it.
    pub(crate) fn check(self) -> Result<(), String> {
        if BOUNDS.contains(&self.max_bytes) {
            return Ok(());
        }
        Err(format!("store.max_bytes: {} is not from {} to {}", self.max_bytes, BOUNDS.start(), BOUNDS.end()))
    }
}

/// How the store is getting on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct State {
    /// `off` (no state directory), `disk`, or `memory` (the disk does not take it).
    pub(crate) state: &'static str,
    /// Why it is not on disk.
    pub(crate) reason: Option<String>,
    /// The file.
    pub(crate) path: Option<String>,
    /// Incidents on disk.
    pub(crate) records: u64,
    /// What they weigh, bytes.
    pub(crate) bytes: u64,
    /// How long the file is, bytes.
    pub(crate) file_bytes: u64,
    /// What they may weigh, bytes.
    pub(crate) max_bytes: u64,
    /// Old records dropped for newer ones since the start.
    pub(crate) expired_total: u64,
    /// Records that never reached the disk since the start.
    pub(crate) dropped_total: u64,
    /// Records that were open when an agent before this one ended.
    pub(crate) interrupted: u64,
    /// Where a damaged file went.
    pub(crate) set_aside: Option<String>,
}

enum Command {
    Put(Stored),
    Read(Vec<u128>, oneshot::Sender<Part>),
    Stop,
}

/// The way to the thread.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    commands: Option<mpsc::SyncSender<Command>>,
    /// How it is getting on.
    pub(crate) state: watch::Receiver<Arc<State>>,
    /// The ids on disk, oldest first.
    ids: watch::Receiver<Arc<Vec<u128>>>,
}

impl Store {
    /// A store that keeps nothing.
    pub(crate) fn off() -> Self {
        let state = State { state: "off", reason: Some("no --state-dir is set".to_owned()), ..State::default() };
        Self { commands: None, state: watch::channel(Arc::new(state)).1, ids: watch::channel(Arc::default()).1 }
    }

    /// Starts the thread; it opens the file by itself.
    ///
    /// # Errors
    /// The thread could not be started.
    pub(crate) fn start(directory: &Path, config: Config) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (commands, inbox) = mpsc::sync_channel(COMMANDS);
        let (state, state_seen) = watch::channel(Arc::default());
        let (ids, ids_seen) = watch::channel(Arc::default());
        let mut thread = Thread {
            path: directory.join(NAME),
            max_bytes: config.max_bytes,
            file: None,
            first: true,
            pending: BTreeMap::new(),
            told: State { max_bytes: config.max_bytes, ..State::default() },
            state,
            ids,
        };
        let handle = std::thread::Builder::new().name("store".to_owned()).spawn(move || thread.run(&inbox))?;
        Ok((Self { commands: Some(commands), state: state_seen, ids: ids_seen }, handle))
    }

    /// Hands a record over; `false` if the thread has too much to do, and the caller may come again.
    pub(crate) fn put(&self, record: &Record) -> bool {
        let (Some(commands), Ok(id)) = (&self.commands, record.id.parse::<Uuid>()) else { return true };
        let Ok(json) = serde_json::to_vec(record) else { return true };
        commands.try_send(Command::Put(Stored { id: id.as_u128(), closed: record.closed_at.is_some(), json })).is_ok()
    }

    /// The ids of the incidents on disk, oldest first.
    pub(crate) fn ids(&self) -> Arc<Vec<u128>> {
        self.ids.borrow().clone()
    }

    /// The records of these ids that can be read within a second, and whether there are more, which would have been too
    /// much at once: then those that were read are the first of them.
    pub(crate) async fn read(&self, ids: Vec<u128>) -> (Vec<(u128, Record)>, bool) {
        let Some(commands) = self.commands.as_ref().filter(|_| !ids.is_empty()) else { return Default::default() };
        let (reply, answer) = oneshot::channel();
        if commands.try_send(Command::Read(ids, reply)).is_err() {
            return Default::default();
        }
        let Ok(Ok(part)) = tokio::time::timeout(ANSWER, answer).await else { return Default::default() };
        // A record of another version that this one cannot read is left out.
        let read = |(id, json): (u128, Vec<u8>)| Some((id, serde_json::from_slice(&json).ok()?));
        (part.records.into_iter().filter_map(read).collect(), part.is_cut)
    }

    /// Has the thread write what it was given and end.
    pub(crate) fn stop(&self) {
        if let Some(commands) = &self.commands {
            // A thread that is too busy to hear this is left behind; what it has committed is safe.
            drop(commands.try_send(Command::Stop));
        }
    }
}

struct Thread {
    path: PathBuf,
    max_bytes: u64,
    file: Option<File>,
    /// No file was opened yet by this process: what is open in it belongs to another one.
    first: bool,
    /// The newest record of each incident that is not on disk yet.
    pending: BTreeMap<u128, Stored>,
    told: State,
    state: watch::Sender<Arc<State>>,
    ids: watch::Sender<Arc<Vec<u128>>>,
}

impl Thread {
    fn run(&mut self, inbox: &mpsc::Receiver<Command>) {
        self.open();
        let mut tried = Instant::now();
        loop {
            // Also while one command follows the other.
            if self.file.is_none() && tried.elapsed() >= RETRY {
                self.open();
                // What waited meanwhile.
                self.write();
                tried = Instant::now();
            }
            let next = if self.file.is_some() {
                inbox.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected)
            } else {
                inbox.recv_timeout(RETRY.saturating_sub(tried.elapsed()))
            };
            let mut stop = false;
            match next {
                Ok(command) => {
                    stop |= self.take(command);
                    // What waits is written with one commit.
                    while let Ok(command) = inbox.try_recv() {
                        stop |= self.take(command);
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => stop = true,
            }
            self.write();
            if stop {
                return;
            }
        }
    }

    fn take(&mut self, command: Command) -> bool {
        match command {
            Command::Stop => return true,
            Command::Read(ids, reply) => {
                let found = self.attempt(|file| file.read(&ids)).unwrap_or_default();
                // Whoever asked may have gone.
                drop(reply.send(found));
            }
            Command::Put(record) if record.json.len() > RECORD => self.told.dropped_total += 1,
            Command::Put(record) => {
                self.pending.insert(record.id, record);
                if self.pending.len() > PENDING {
                    self.pending.pop_first();
                    self.told.dropped_total += 1;
                }
            }
        }
        false
    }

    fn write(&mut self) {
        if self.pending.is_empty() || self.file.is_none() {
            self.publish();
            return;
        }
        let records: Vec<Stored> = self.pending.values().cloned().collect();
        if let Some(dropped) = self.attempt(|file| file.put(&records)) {
            self.pending.clear();
            self.told.expired_total += dropped;
        }
        self.publish();
    }

    /// Does something with the file; if that fails, the file is closed, and opened again later.
    fn attempt<T>(&mut self, work: impl FnOnce(&mut File) -> Result<T, redb::Error>) -> Option<T> {
        let file = self.file.as_mut()?;
        match std::panic::catch_unwind(AssertUnwindSafe(|| work(file))) {
            Ok(Ok(done)) => return Some(done),
            Ok(Err(error)) => self.fail(format!("{}: {error}", self.path.display())),
            Err(_) => self.fail(format!("{}: the database gave up on it", self.path.display())),
        }
        None
    }

    fn fail(&mut self, reason: String) {
        if self.told.reason.as_ref() != Some(&reason) {
            tracing::error!("incidents are kept in memory only: {reason}");
        }
        // Closing writes as well, and may fail in the same way.
        let closing = self.file.take();
        drop(std::panic::catch_unwind(AssertUnwindSafe(move || drop(closing))));
        (self.told.state, self.told.reason) = ("memory", Some(reason));
    }

    fn open(&mut self) {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        let made = std::fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()));
        let open = AssertUnwindSafe(|| File::open(&self.path, self.max_bytes, self.first));
        let opened = made.and_then(|()| {
            std::panic::catch_unwind(open).unwrap_or_else(|_| {
                // Its pages are whole but what they say is not; the next attempt finds a new file.
                let to = file::set_aside(&self.path)?;
                Err(format!("{}: the database gave up on it; it is now {}", self.path.display(), to.display()))
            })
        });
        match opened {
            Ok((file, found)) => {
                if let Some(to) = found.set_aside {
                    tracing::error!("{} is damaged and was moved to {}", self.path.display(), to.display());
                    self.told.set_aside = Some(to.display().to_string());
                }
                if found.unreadable > 0 {
                    tracing::warn!("{} incidents on disk cannot be read by this version", found.unreadable);
                }
                if self.told.reason.is_some() {
                    tracing::info!("incidents are kept on disk again");
                }
                self.told.interrupted += found.interrupted;
                (self.told.state, self.told.reason, self.first) = ("disk", None, false);
                self.file = Some(file);
            }
            Err(reason) => self.fail(reason),
        }
        self.publish();
    }

    fn publish(&mut self) {
        let ids = self.file.as_ref().map(File::ids).unwrap_or_default();
        let (bytes, file_bytes) = self.file.as_ref().map_or((0, 0), File::weight);
        self.told.path = Some(self.path.display().to_string());
        (self.told.records, self.told.bytes, self.told.file_bytes) = (ids.len() as u64, bytes, file_bytes);
        if *self.ids.borrow().as_ref() != ids {
            self.ids.send_replace(Arc::new(ids));
        }
        self.state.send_replace(Arc::new(self.told.clone()));
    }
}
