//! The file: records of incidents by their id, in an embedded database (redb).
//!
//! Invariant: what `put` has returned for survives a `kill -9` and a loss of power; what does not fit into `max_bytes`
//! makes room, the oldest closed record first, and is counted. A file that cannot be read is moved aside, never deleted.
//! Every call may block on the disk, and a damaged page may panic inside the database: only the store's own thread calls.
//!
//! One table, `incidents`: the key is the record's UUIDv7 as a big-endian number, so the order is that of opening; the
//! value is one byte (0 open, 1 closed) and the public record as JSON.

use crate::render::incident::{End, Record};
use redb::{Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, StorageError, TableDefinition};
use std::{
    collections::BTreeMap,
    io::ErrorKind,
    path::{Path, PathBuf},
};

const RECORDS: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("incidents");
/// Memory for pages, bytes.
const CACHE: usize = 1024 * 1024;
/// Records kept at most, however small they are: their ids are held in memory.
const RECORDS_MOST: usize = 16_384;
/// Read at once at most, bytes; one record always is.
const READ: usize = 4 * 1024 * 1024;
/// Damaged files kept beside the present one.
const SET_ASIDE: usize = 8;
const OPEN: u8 = 0;
const CLOSED: u8 = 1;

/// A record as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) id: u128,
    pub(super) closed: bool,
    pub(super) json: Vec<u8>,
}

/// Some records, as they were read.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) records: Vec<(u128, Vec<u8>)>,
    /// There were more, which would have been too much at once.
    pub(super) is_cut: bool,
}

/// An open file.
#[derive(Debug)]
pub(super) struct File {
    database: Database,
    path: PathBuf,
    max_bytes: u64,
    /// Weight of each record, bytes, and whether it is closed.
    index: BTreeMap<u128, (u64, bool)>,
    bytes: u64,
}

/// What was found when a file was opened.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Where a damaged one went.
    pub(super) set_aside: Option<PathBuf>,
    /// Records that were open when their agent ended.
    pub(super) interrupted: u64,
    /// Of these, records that could not be read; they are kept as they are.
    pub(super) unreadable: u64,
}

impl File {
    /// Opens or makes the file. With `first`, records that are still open belong to an agent that is gone: they are
    /// closed with an unknown end.
    ///
    /// # Errors
    /// What went wrong, in words; nothing is open then.
    pub(super) fn open(path: &Path, max_bytes: u64, first: bool) -> Result<(Self, Found), String> {
        let mut found = Found::default();
        let database = match database(path) {
            Err(Wrong::Damaged(why)) => {
                found.set_aside = Some(set_aside(path).map_err(|error| format!("{}: {why}; {error}", path.display()))?);
                database(path).map_err(|wrong| wrong.words(path))?
            }
            other => other.map_err(|wrong| wrong.words(path))?,
        };
        let mut file = Self { database, path: path.to_path_buf(), max_bytes, index: BTreeMap::new(), bytes: 0 };
        let left_open = file.read_index().map_err(|error| format!("{}: {error}", path.display()))?;
        if first && !left_open.is_empty() {
            let ended: Vec<Stored> = left_open.into_iter().map(|stored| interrupted(stored, &mut found)).collect();
            file.put(&ended).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok((file, found))
    }

    /// Builds the index; returns the records that are open.
    fn read_index(&mut self) -> Result<Vec<Stored>, redb::Error> {
        let transaction = self.database.begin_write()?;
        drop(transaction.open_table(RECORDS)?);
        transaction.commit()?;
        let mut open = Vec::new();
        for entry in self.database.begin_read()?.open_table(RECORDS)?.iter()? {
            let (key, value) = entry?;
            let (id, value) = (key.value(), value.value());
            let closed = value.first() != Some(&OPEN);
            self.index.insert(id, (value.len() as u64, closed));
            self.bytes += value.len() as u64;
            if !closed {
                open.push(Stored { id, closed, json: value.get(1..).unwrap_or_default().to_vec() });
            }
        }
        Ok(open)
    }

    /// Writes records, and makes room: returns how many old ones were dropped for it.
    ///
    /// # Errors
    /// The disk's; the file must be opened anew then.
    pub(super) fn put(&mut self, records: &[Stored]) -> Result<u64, redb::Error> {
        let mut index = self.index.clone();
        let mut bytes = self.bytes;
        let transaction = self.database.begin_write()?;
        let mut dropped = 0;
        {
            let mut table = transaction.open_table(RECORDS)?;
            for record in records {
                let mut value = Vec::with_capacity(record.json.len() + 1);
                value.push(if record.closed { CLOSED } else { OPEN });
                value.extend_from_slice(&record.json);
                table.insert(record.id, value.as_slice())?;
                let weight = value.len() as u64;
                let before = index.insert(record.id, (weight, record.closed));
                bytes = bytes.saturating_sub(before.map_or(0, |(weight, _)| weight)) + weight;
            }
            while bytes > self.max_bytes || index.len() > RECORDS_MOST {
                let closed = index.iter().find(|(_, (_, closed))| *closed).or_else(|| index.iter().next());
                let Some(oldest) = closed.map(|(id, _)| *id) else { break };
                table.remove(oldest)?;
                bytes = bytes.saturating_sub(index.remove(&oldest).map_or(0, |(weight, _)| weight));
                dropped += 1;
            }
        }
        transaction.commit()?;
        (self.index, self.bytes) = (index, bytes);
        Ok(dropped)
    }

    /// The JSON of some records, in the order of their ids; those that are not there are left out.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn read(&self, ids: &[u128]) -> Result<Part, redb::Error> {
        let table = self.database.begin_read()?.open_table(RECORDS)?;
        let mut part = Part::default();
        let mut bytes = 0;
        for &id in ids {
            let Some(value) = table.get(id)? else { continue };
            bytes += value.value().len();
            if bytes > READ && !part.records.is_empty() {
                part.is_cut = true;
                break;
            }
            part.records.push((id, value.value().get(1..).unwrap_or_default().to_vec()));
        }
        Ok(part)
    }

    /// The ids, oldest first.
    pub(super) fn ids(&self) -> Vec<u128> {
        self.index.keys().copied().collect()
    }

    /// What the records weigh, and how long the file is, bytes.
    pub(super) fn weight(&self) -> (u64, u64) {
        (self.bytes, std::fs::metadata(&self.path).map_or(0, |found| found.len()))
    }
}

/// Why a file could not be opened.
enum Wrong {
    /// Its content makes no sense.
    Damaged(String),
    /// The disk, its rights, or another agent that has it open.
    Other(String),
}

impl Wrong {
    fn words(self, path: &Path) -> String {
        let (Self::Damaged(why) | Self::Other(why)) = self;
        format!("{}: {why}", path.display())
    }
}

fn database(path: &Path) -> Result<Database, Wrong> {
    let open = || Database::builder().set_cache_size(CACHE).set_check_integrity_on_open(true).create(path);
    match std::panic::catch_unwind(open) {
        Err(_) => Err(Wrong::Damaged("the database gave up on it".to_owned())),
        Ok(Ok(database)) => Ok(database),
        Ok(Err(error)) => Err(match &error {
            DatabaseError::Storage(StorageError::Corrupted(_))
            | DatabaseError::UpgradeRequired(_)
            | DatabaseError::RepairAborted => Wrong::Damaged(error.to_string()),
            DatabaseError::Storage(StorageError::Io(io))
                if matches!(io.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) =>
            {
                Wrong::Damaged(error.to_string())
            }
            _ => Wrong::Other(error.to_string()),
        }),
    }
}

/// Moves a damaged file away, so that a new one can be made in its place.
pub(super) fn set_aside(path: &Path) -> Result<PathBuf, String> {
    let name = |number: usize| path.with_extension(format!("redb.damaged-{number}"));
    let free = (1..=SET_ASIDE).map(name).find(|to| !to.exists());
    let to =
        free.ok_or_else(|| format!("{SET_ASIDE} damaged files lie there already; look at them and remove them"))?;
    std::fs::rename(path, &to).map_err(|error| format!("it cannot be moved aside: {error}"))?;
    Ok(to)
}

/// A record whose agent ended before it did: closed when it was last known to be open, with an unknown end.
fn interrupted(mut stored: Stored, found: &mut Found) -> Stored {
    stored.closed = true;
    let ended = serde_json::from_slice::<Record>(&stored.json).and_then(|mut record| {
        record.closed_at = Some(record.updated_at.clone());
        record.end = Some(End::Unknown);
        serde_json::to_vec(&record)
    });
    match ended {
        Ok(json) => {
            found.interrupted += 1;
            stored.json = json;
        }
        Err(_) => found.unreadable += 1,
    }
    stored
}
