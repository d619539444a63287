//! What a connection waits for, from figures as the kernel gives them.

use super::*;

const SECOND: Nanos = 1_000_000_000;
/// 250 jiffies are a second.
const TICK: Nanos = SECOND / 250;

fn record(state: u16) -> FdRecord {
    FdRecord { file: 8, ino: 9, fd: 5, tail: 80, socket: [AF_INET, TCP, state, 80], ..FdRecord::default() }
}

/// Everything moved a moment ago.
fn calm(now: Nanos) -> ConnectionRecord {
    let mut peer = [0; 16];
    peer[..4].copy_from_slice(&[10, 0, 0, 1]);
    ConnectionRecord { peer, peer_port: 7, now, window: 65_535, ..ConnectionRecord::default() }
}

fn buffer(record: &FdRecord, connection: &ConnectionRecord) -> Vec<u8> {
    fn bytes<T>(value: &T) -> &[u8] {
        // SAFETY: plain data without padding.
        unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
    }
    [bytes(record), bytes(connection)].concat()
}

fn look(watch: &mut Watch, record: &FdRecord, connection: &ConnectionRecord) -> Connections {
    watch.look(1, connection.now, &buffer(record, connection))
}

#[test]
fn descriptors_are_told_with_and_without_a_connection() {
    let plain = FdRecord { fd: 3, ..FdRecord::default() };
    let mut told = buffer(&record(1), &calm(1_000 * SECOND));
    // SAFETY: plain data without padding.
    told.extend(unsafe { std::slice::from_raw_parts((&raw const plain).cast::<u8>(), size_of::<FdRecord>()) });
    let cut = &told[..told.len() - 1];
    let of = |buffer| records(buffer).map(|(record, more)| (record.fd, more.is_some())).collect::<Vec<_>>();
    assert_eq!((of(&told), of(cut)), (vec![(5, true), (3, false)], vec![(5, true)]));
}

#[test]
fn what_the_peer_closed_is_as_old_as_the_last_sign_of_it() {
    let closed = ConnectionRecord { unread: 1, since_heard: 2_500, ..calm(1_000 * SECOND) };
    let told = look(&mut Watch::new(TICK), &record(8), &closed);
    assert_eq!(told.counts, ConnectionCounts { all: 1, close_wait: 1, ..ConnectionCounts::default() });
    assert_eq!((told.troubled[0].close_wait, told.troubled[0].unread), (Some(10 * SECOND), 0), "a FIN is no data");
}

#[test]
fn a_queue_is_stuck_from_the_second_look_on_and_not_if_it_moved() {
    let mut watch = Watch::new(TICK);
    let waiting =
        |now, acknowledged| ConnectionRecord { unsent: 100, acknowledged, window: 0, since_sent: 5_000, ..calm(now) };
    let stuck = |told: Connections| told.troubled.first().and_then(|seen| seen.stuck_send);
    assert_eq!(stuck(look(&mut watch, &record(1), &waiting(1_000 * SECOND, 7))), None, "written this moment, perhaps");
    assert_eq!(stuck(look(&mut watch, &record(1), &waiting(1_001 * SECOND, 7))), Some(20 * SECOND));
    assert_eq!(stuck(look(&mut watch, &record(1), &waiting(1_002 * SECOND, 8))), None, "some of it was taken");
    // Sent again and again without an answer: what was heard last is what counts.
    let silent = |now| ConnectionRecord { unsent: 100, since_heard: 1, resent: 3, ..calm(now) };
    look(&mut watch, &record(1), &silent(2_000 * SECOND));
    assert_eq!(
        stuck(look(&mut watch, &record(1), &silent(2_009 * SECOND))),
        Some(9 * SECOND),
        "as long as it was seen"
    );
}

#[test]
fn what_nobody_reads_is_as_old_as_the_last_byte_or_the_last_reading() {
    let mut watch = Watch::new(TICK);
    let unread = |now, copied| ConnectionRecord { unread: 50, copied, ..calm(now) };
    assert_eq!(look(&mut watch, &record(1), &unread(1_000 * SECOND, 7)).counts.unread, 0);
    // More keeps coming, nothing is read.
    assert_eq!(look(&mut watch, &record(1), &unread(1_006 * SECOND, 7)).counts.unread, 1);
    assert_eq!(look(&mut watch, &record(1), &unread(1_007 * SECOND, 9)).counts.unread, 0, "it reads");
    let old = ConnectionRecord { unread: 50, since_received: 1_500, ..calm(1_008 * SECOND) };
    assert_eq!(look(&mut watch, &record(1), &old).troubled[0].unread_for, Some(6 * SECOND));
}

#[test]
fn only_what_is_open_and_empty_is_idle_and_a_duplicate_is_not_another() {
    let mut watch = Watch::new(TICK);
    let idle = ConnectionRecord { since_sent: 25_000, since_received: 5_000, ..calm(1_000 * SECOND) };
    let twice = [buffer(&record(1), &idle), buffer(&FdRecord { fd: 6, ..record(1) }, &idle)].concat();
    let told = watch.look(1, 1, &twice);
    assert_eq!(told.counts, ConnectionCounts { all: 1, idle: 1, ..ConnectionCounts::default() });
    assert_eq!((told.idle_longest, told.troubled.len()), (Some(20 * SECOND), 0));
    let busy = ConnectionRecord { since_sent: 25_000, ..calm(1_000 * SECOND) };
    assert_eq!(look(&mut watch, &record(1), &busy).counts.idle, 0);
    assert_eq!(look(&mut watch, &record(10), &idle).counts.all, 0, "who listens has no connection");
}

#[test]
fn many_connections_are_looked_at_less_often() {
    let mut watch = Watch::new(TICK);
    assert!(watch.is_due(1, SECOND));
    let one = buffer(&record(1), &calm(1_000 * SECOND));
    watch.look(1, SECOND, &one);
    assert!(watch.is_due(1, 2 * SECOND));
    for pid in 0..=u32::try_from(MANY).unwrap() {
        watch.look(pid, SECOND, &one);
    }
    assert!(!watch.is_due(1, 2 * SECOND) && watch.is_due(1, SECOND + SELDOM));
    assert!(watch.is_due(u32::MAX, 2 * SECOND), "a process that nobody has looked at");
    watch.forget(0);
    assert!(watch.is_due(1, 2 * SECOND));
}

#[test]
fn what_is_gone_is_forgotten() {
    let mut watch = Watch::new(TICK);
    let waiting = ConnectionRecord { unread: 50, ..calm(1_000 * SECOND) };
    look(&mut watch, &record(1), &waiting);
    watch.sweep(1_000 * SECOND);
    assert_eq!(watch.stood.len(), 1);
    watch.sweep(1_001 * SECOND);
    assert_eq!(watch.stood.len(), 0);
    look(&mut watch, &record(1), &waiting);
    look(&mut watch, &record(1), &calm(1_001 * SECOND));
    assert_eq!(watch.stood.len(), 0, "nothing waits there any more");
}
