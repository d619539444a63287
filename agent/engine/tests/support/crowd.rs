//! Recordings of a service without spans that is asked more, or asks others over a pool: what its sockets tell.

use super::{PID, SECOND, Service, ms};
use snowshed_engine::model::{
    BlockedWrite, CpuTime, HostItem, HostLook, HostScope, HostSignal, LockKind, LockWait, Nanos, Observation, Peer,
    SiteId, TcpListener, TcpLook, TcpPeer, WriteEnd,
};

type Lines = Vec<(Nanos, Observation)>;

/// Two seconds of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Two {
    /// Its own answers, and what one takes, milliseconds.
    pub(crate) own: (u64, u64),
    /// The same of the database.
    pub(crate) others: (u64, u64),
    /// Connections to the database that are open, and those that had an answer.
    pub(crate) pool: (u32, u32),
    /// Connects to it that are refused.
    pub(crate) refused: u64,
    /// Thread-seconds of waiting for a processor, milliseconds, and the machine's pressure, hundredths.
    pub(crate) delay: (u64, u64),
    /// Threads that wait for a lock, the whole time.
    pub(crate) waiters: u32,
    /// Threads that stand in a write to a pipe, milliseconds of the two seconds added up.
    pub(crate) writing: u64,
    /// Requests that have been arriving for long, and for how many seconds the longest has.
    pub(crate) unfinished: (u32, u64),
    /// Connections that nobody has accepted.
    pub(crate) queue: u32,
    /// Connections for which there was no room, since it began.
    pub(crate) dropped: u64,
    /// Requests that have no answer, questions to the database that have none, and for how many seconds the oldest.
    pub(crate) hung: (u32, u32, u64),
    /// What the database was sent that needs no answer.
    pub(crate) unasked: u64,
}

/// Nothing out of the ordinary: thirty requests a second, each with a question to the database.
pub(crate) const CALM: Two = Two {
    own: (60, 12),
    others: (60, 8),
    pool: (8, 4),
    refused: 0,
    delay: (20, 5),
    waiters: 0,
    writing: 0,
    unfinished: (0, 0),
    queue: 0,
    dropped: 0,
    hung: (0, 0, 0),
    unasked: 0,
};

/// Tells what was seen of the two seconds that end now.
pub(crate) fn see(service: &mut Service, two: Two) {
    let (pid, at) = (PID, service.now());
    let one = |address: &str, port, (answers, each): (u64, u64), connections, active| TcpPeer {
        peer: Some(Peer { address: address.parse().unwrap(), port }),
        connections,
        segments: 4 * answers,
        data_segments: 2 * answers,
        rtt_us: Some(400),
        reads: answers,
        answers,
        answer_us: answers * each * 1_000,
        active,
        ..TcpPeer::default()
    };
    let mut database = one("10.0.0.7", Some(5432), two.others, two.pool.0, two.pool.1);
    database.failures = if two.refused > 0 { vec![(111, two.refused)] } else { Vec::new() };
    (database.awaited, database.awaited_us) = (two.hung.1, two.hung.2 * 1_000_000);
    database.unasked = two.unasked;
    let mut callers = one("10.0.1.9", None, two.own, 12, 12);
    (callers.unfinished, callers.unfinished_us) = (two.unfinished.0, two.unfinished.1 * 1_000_000);
    callers.unanswered = if two.hung.2 >= 2 { two.hung.0 } else { 0 };
    let address = "0.0.0.0:8080".parse().unwrap();
    let listener = TcpListener { address, multipath: false, queue: two.queue, limit: 128, dropped: two.dropped };
    let listeners = vec![listener];
    let peers = vec![database, callers];
    service.see(Observation::Tcp(TcpLook { pid, at, peers, listeners, ..TcpLook::default() }));
    let (over_ns, used_ns, delay_ns) = (2 * SECOND, ms(700), ms(two.delay.0));
    service.see(Observation::CpuTime(CpuTime { pid, at, over_ns, used_ns, delay_ns, throttled: None }));
    let item = HostItem { signal: HostSignal::CpuSome, place: String::new(), amount: ms(two.delay.1 * 20) };
    let (scope, since, until) = (HostScope::Machine, at - 2 * SECOND, at);
    service.see(Observation::Host(HostLook { scope, pid: None, since, until, items: vec![item] }));
    if two.writing > 0 {
        service.see(Observation::BlockedWrite(BlockedWrite {
            pid,
            at,
            wait_ns: ms(two.writing),
            longest_ns: ms(two.writing.min(1_900)),
            tid: PID + 3,
            thread: "worker".into(),
            syscall: "write".into(),
            to: WriteEnd::Pipe { reader: Some(77), name: Some("logger".into()) },
            site: SiteId(31),
        }));
    }
    if two.waiters > 0 {
        service.see(Observation::LockWait(LockWait {
            pid,
            word: 0x7f00,
            kind: LockKind::Word,
            waiters: two.waiters,
            waits: two.waiters.into(),
            wait_ns: u64::from(two.waiters) * 2 * SECOND,
            longest_ns: ms(900),
            hand_overs: 2,
            site: SiteId(21),
            thread: "worker".into(),
            holder: None,
            at,
        }));
    }
}

/// Two seconds after two seconds.
pub(crate) fn live(until: u64, mut two: impl FnMut(u64) -> Two) -> Lines {
    let mut service = Service::start();
    for second in (4..until).step_by(2) {
        service.at(second * SECOND);
        see(&mut service, two(second));
    }
    service.lines()
}

/// A crowd comes: ten times as many requests, for which there is no processor.
pub(crate) const CROWD: Two =
    Two { own: (600, 240), others: (600, 8), pool: (24, 24), delay: (3_200, 80), waiters: 3, ..CALM };
/// Of the pool one connection is left.
pub(crate) const ONE_LEFT: Two = Two { own: (56, 420), others: (240, 8), pool: (8, 1), waiters: 6, ..CALM };

/// Calm for a minute and a half, the other for half a minute, and calm again.
fn ill(other: Two) -> Lines {
    live(180, |second| if (90..120).contains(&second) { other } else { CALM })
}

/// From second 90 to 120 a crowd comes.
pub(crate) fn traffic_surge() -> Lines {
    ill(CROWD)
}

/// From second 90 to 120 the pool has one connection; each request asks four times.
pub(crate) fn pool_exhausted() -> Lines {
    live(180, |second| {
        let each = Two { others: (240, 8), ..CALM };
        if (90..120).contains(&second) { ONE_LEFT } else { each }
    })
}

/// Nothing is answered by the database or by who asks it; for so many seconds.
pub(crate) fn hung(seconds: u64) -> Two {
    Two { own: (0, 0), others: (0, 0), pool: (8, 0), hung: (12, 8, seconds), ..CALM }
}

/// From second 90 to 120 the database stands still: it takes what it is asked, and neither answers nor refuses.
pub(crate) fn downstream_hung() -> Lines {
    live(180, |second| if (90..120).contains(&second) { hung(second - 88) } else { CALM })
}

/// Two workers, of whom nobody waits for long but a few always wait to be accepted. From second 90 to 120 the database stands
/// still, and with it both of them: that is all that is seen of those who wait.
pub(crate) fn few_workers_hang() -> Lines {
    live(180, |second| match second {
        90..120 => Two { hung: (2, 2, second - 88), queue: 4, ..hung(0) },
        _ => Two { queue: 2, ..CALM },
    })
}

/// From second 90 to 130 a lock is held for long, and nobody accepts: the queue overflows before the lock can be named.
pub(crate) fn full_queue_behind_a_lock() -> Lines {
    live(200, |second| match second {
        90..130 => Two { own: (2, 900), others: (2, 8), waiters: 7, queue: 128, dropped: (second - 88) * 3, ..CALM },
        130.. => Two { dropped: 120, ..CALM },
        _ => CALM,
    })
}

/// One long report at a time in a service of few workers, the others served as ever; and a long wait for news while nobody
/// asks for anything else.
pub(crate) fn healthy_reports() -> Lines {
    live(300, |second| match second {
        60..130 => Two { queue: 2, hung: (1, 0, second - 58), ..CALM },
        200..260 => Two { own: (0, 0), others: (0, 0), pool: (8, 0), hung: (1, 0, second - 198), ..CALM },
        _ => Two { queue: 2, ..CALM },
    })
}

/// Each answer of the database is acknowledged by a frame that needs none, so between requests its connections seem to
/// wait. From second 120 to 160 a lock holds the requests up, and these connections rest for longer.
pub(crate) fn frames_are_no_questions() -> Lines {
    live(220, |second| match second {
        120..160 => Two { own: (60, 480), waiters: 6, hung: (0, 8, second - 118), unasked: 40, ..CALM },
        _ => Two { hung: (0, 1, 1), unasked: 40, ..CALM },
    })
}

/// A crowd that is carried well, a batch that uses the whole pool and disturbs nobody, and callers that ask again
/// whoever is slow: it was slow before they did.
pub(crate) fn healthy_crowds() -> Lines {
    live(300, |second| match second {
        60..120 => Two { own: (600, 14), others: (600, 8), pool: (24, 20), ..CALM },
        160..200 => Two { others: (240, 8), pool: (8, 1), ..CALM },
        _ => CALM,
    })
}

/// From second 90 to 120 nobody reads the pipe into which a log is written; who writes holds the log's lock.
pub(crate) fn blocked_writer() -> Lines {
    ill(Two { own: (2, 1_500), others: (2, 8), pool: (8, 1), waiters: 7, writing: 2_000, ..CALM })
}

/// Clients that read slowly: threads stand in writes all day, more of them for a while.
pub(crate) fn healthy_writers() -> Lines {
    live(240, |second| {
        let writing = if (120..160).contains(&second) { 7_000 } else { 3_000 };
        Two { own: (60, 300), writing, ..CALM }
    })
}

/// From second 90 on eight senders let their requests trickle in; when the first of them counts, the others wait for a
/// thread that accepts them. They are gone at 140.
pub(crate) fn deadline_overrun() -> Lines {
    live(200, |second| match second {
        90..98 => Two { own: (4, 40), others: (4, 8), queue: 6, ..CALM },
        98..140 => Two { own: (2, 40), others: (2, 8), queue: 12, unfinished: (8, second - 90), ..CALM },
        _ => Two { queue: 0, ..CALM },
    })
}

/// Long uploads, a few more than usual for a while, and others that are answered as ever.
pub(crate) fn healthy_uploads() -> Lines {
    live(240, |second| {
        let many = if (120..160).contains(&second) { 5 } else { 2 };
        Two { unfinished: (many, 60), ..CALM }
    })
}
