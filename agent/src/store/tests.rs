//! The store on a real file: restarts, retention, damage, and a disk that does not take it.

use super::{Config, NAME, Store, file, file::File, file::Stored};
use crate::render::incident::{End, Record, tests::sample};
use std::{path::Path, thread::JoinHandle, time::Duration};
use uuid::{NoContext, Timestamp, Uuid};

fn id(second: u64) -> Uuid {
    Uuid::new_v7(Timestamp::from_unix(NoContext, second, 0))
}

fn record(id: Uuid, closed: bool) -> Record {
    let (numbered, sites, clock) = sample();
    let mut record = Record { id: id.to_string(), ..Record::of(&numbered, &sites, &clock) };
    if closed {
        (record.closed_at, record.end) = (Some(record.updated_at.clone()), Some(End::Seen));
    }
    record
}

/// Ends a store as the agent does.
fn end((store, handle): (Store, JoinHandle<()>)) {
    store.stop();
    handle.join().expect("no panic");
}

fn start(directory: &Path) -> (Store, JoinHandle<()>) {
    Store::start(directory, Config::default()).expect("a thread")
}

/// Waits until the state is as wanted.
async fn wait(store: &Store, wanted: impl FnMut(&std::sync::Arc<super::State>) -> bool) {
    let mut state = store.state.clone();
    let waited = tokio::time::timeout(Duration::from_secs(60), state.wait_for(wanted)).await;
    assert!(matches!(waited, Ok(Ok(_))), "{:?}", store.state.borrow());
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart_and_open_ones_have_an_unknown_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let (closed, open) = (id(1), id(2));
    let first = start(directory.path());
    assert!(first.0.put(&record(closed, true)) && first.0.put(&record(open, false)));
    wait(&first.0, |state| state.records == 2).await;
    let before = first.0.read(vec![open.as_u128()]).await.0;
    assert_eq!(before[0].1, record(open, false), "still open while its agent lives");
    end(first);

    let second = start(directory.path());
    wait(&second.0, |state| state.state == "disk").await;
    assert_eq!(*second.0.ids(), [closed.as_u128(), open.as_u128()]);
    assert_eq!(second.0.state.borrow().interrupted, 1);
    let read = second.0.read(vec![open.as_u128(), closed.as_u128(), 7]).await.0;
    assert_eq!(read.len(), 2);
    let (_, interrupted) = &read[0];
    assert_eq!((interrupted.end, &interrupted.closed_at), (Some(End::Unknown), &Some(interrupted.updated_at.clone())));
    assert_eq!(read[1].1, record(closed, true));
    end(second);

    let third = start(directory.path());
    wait(&third.0, |state| state.state == "disk").await;
    assert_eq!(third.0.state.borrow().interrupted, 0, "told once");
    end(third);
}

#[test]
fn the_oldest_closed_ones_make_room_and_the_file_stays_bounded() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join(NAME);
    let (mut file, _) = File::open(&path, 1 << 20, true).expect("opens");
    let stored = |n: u128, closed| Stored { id: n, closed, json: vec![b'x'; 10_000] };
    file.put(&[stored(1, false)]).expect("writes");
    let mut dropped = 0;
    for n in 2..500 {
        dropped += file.put(&[stored(n, true)]).expect("writes");
    }
    let (bytes, length) = file.weight();
    assert!(bytes <= 1 << 20, "{bytes}");
    assert!(length <= 4 << 20, "a file of {length} bytes for a limit of 1 MiB");
    assert_eq!(dropped as usize + file.ids().len(), 499);
    assert_eq!(file.ids()[0], 1, "the open one stays");
    assert_eq!(*file.ids().last().expect("some"), 499);
    // Only open ones are left: the oldest of them makes room.
    let open: Vec<Stored> = (1_000..1_200).map(|n| stored(n, false)).collect();
    file.put(&open).expect("writes");
    assert!(file.weight().0 <= 1 << 20);
    assert!(!file.ids().contains(&1) && file.ids().contains(&1_199));
    drop(file);
    let (file, found) = File::open(&path, 1 << 20, false).expect("opens again");
    assert_eq!((file.weight().0, found.interrupted), (bytes.min(file.weight().0), 0));
}

#[test]
fn what_is_read_at_once_is_bounded_and_goes_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut file, _) = File::open(&directory.path().join(NAME), 1 << 30, true).expect("opens");
    let all: Vec<Stored> = (0..30).map(|id| Stored { id, closed: true, json: vec![b'x'; 300_000] }).collect();
    file.put(&all).expect("writes");
    let (mut left, mut parts) = (file.ids(), 0);
    while !left.is_empty() {
        let part = file.read(&left).expect("reads");
        assert!(part.records.len() < 15 && !part.records.is_empty());
        left.drain(..part.records.len());
        assert_eq!(part.is_cut, !left.is_empty());
        parts += 1;
    }
    assert_eq!(parts, 3);
}

#[tokio::test]
async fn a_damaged_file_is_set_aside_and_not_deleted() {
    for damage in [&b"this is no database"[..], &[0xff; 70_000], b"redb"] {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(NAME);
        std::fs::write(&path, damage).expect("writes");
        let store = start(directory.path());
        wait(&store.0, |state| state.state == "disk").await;
        let to = store.0.state.borrow().set_aside.clone().expect("moved");
        assert_eq!(std::fs::read(to).expect("it is there"), damage);
        assert!(store.0.put(&record(id(1), true)));
        wait(&store.0, |state| state.records == 1).await;
        end(store);
    }
}

#[test]
fn any_overwritten_page_of_a_real_file_does_no_harm() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join(NAME);
    let (mut file, _) = File::open(&path, 1 << 20, true).expect("opens");
    let all: Vec<Stored> = (1..60).map(|n| Stored { id: n, closed: true, json: vec![b'x'; 3_000] }).collect();
    file.put(&all).expect("writes");
    drop(file);
    let whole = std::fs::read(&path).expect("reads");
    let mut aside = 0;
    for place in (0..whole.len()).step_by(4096) {
        let damaged = directory.path().join(format!("{place}/{NAME}"));
        std::fs::create_dir(damaged.parent().expect("a parent")).expect("makes");
        let mut bytes = whole.clone();
        bytes[place..(place + 512).min(whole.len())].fill(0xa5);
        std::fs::write(&damaged, bytes).expect("writes");
        // Either what was hit was not in use, or the file is set aside: never a panic, never a wrong record.
        let (mut file, found) = File::open(&damaged, 1 << 20, true).expect("opens");
        let read = file.read(&file.ids()).expect("reads").records;
        assert!(read.iter().all(|(_, json)| json.iter().all(|byte| *byte == b'x')), "page at {place}");
        assert_eq!(read.len(), if found.set_aside.is_some() { 0 } else { 59 }, "page at {place}");
        aside += usize::from(found.set_aside.is_some());
        file.put(&[Stored { id: 99, closed: true, json: Vec::new() }]).expect("writes");
        drop(file);
        std::fs::remove_dir_all(damaged.parent().expect("a parent")).expect("removes");
    }
    assert!(aside > 10, "the records' own pages were hit {aside} times only");
}

#[test]
fn damaged_files_do_not_pile_up_without_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join(NAME);
    let damage = || std::fs::write(&path, "nonsense").expect("writes");
    for _ in 0..8 {
        damage();
        file::set_aside(&path).expect("moves");
    }
    damage();
    assert!(File::open(&path, 1 << 20, true).is_err_and(|why| why.contains("damaged files lie there")));
}

#[tokio::test]
async fn a_disk_that_does_not_take_it_is_told_and_tried_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let state = directory.path().join("state");
    std::fs::write(&state, "a file where the directory is to be").expect("writes");
    let store = start(&state);
    wait(&store.0, |told| told.state == "memory" && told.reason.is_some()).await;
    assert!(store.0.put(&record(id(1), true)));
    assert!(store.0.read(vec![1]).await.0.is_empty());
    std::fs::remove_file(&state).expect("removes");
    wait(&store.0, |told| told.state == "disk" && told.records == 1).await;
    assert_eq!(store.0.state.borrow().dropped_total, 0, "it waited in memory");
    end(store);
}

#[tokio::test]
async fn a_second_agent_leaves_the_first_ones_file_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let first = start(directory.path());
    wait(&first.0, |told| told.state == "disk").await;
    let second = start(directory.path());
    wait(&second.0, |told| told.state == "memory").await;
    assert!(second.0.state.borrow().set_aside.is_none());
    end(second);
    end(first);
}

#[tokio::test]
async fn without_a_directory_nothing_is_kept() {
    let store = Store::off();
    assert!(store.put(&record(id(1), true)));
    assert!(store.ids().is_empty() && store.read(vec![1]).await.0.is_empty());
    assert_eq!(store.state.borrow().state, "off");
}

#[test]
fn a_limit_that_makes_no_sense_is_refused_with_its_key() {
    assert_eq!(Config::default().check(), Ok(()));
    assert!(Config { max_bytes: 5 }.check().is_err_and(|error| error.starts_with("store.max_bytes")));
}
