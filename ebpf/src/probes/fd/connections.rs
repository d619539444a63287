//! What each TCP connection waits for, from the kernel's own figures and from what did not change between two looks.
//!
//! Invariant: a time is a lower bound. The kernel keeps when data last moved, in jiffies; how long a queue has stood
//! still it does not keep, so that is remembered here from look to look, and trusted from the second look on: at a
//! single one, bytes that were written this moment look like bytes that have been waiting since the last packet.
//! Cost: some 0.5 µs in the kernel for each internet socket and look, one look in five where they are many; a hash entry for each connection with a queue or closed by its peer; none for those at rest.

use crate::{
    host::{clock, iterator},
    probes::tcp::address::address,
    wire::{ConnectionRecord, FdRecord},
};
use snowshed_engine::model::{ConnectionCounts, ConnectionSeen, Connections, Nanos, Pid, TcpState};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const TCP: u16 = 6;
/// Connections that are remembered from look to look.
const KEPT: usize = 65_536;
/// With more connections than this, their figures are read only so often: they cost more than all else of a look.
const MANY: u64 = 2_000;
pub(super) const SELDOM: Nanos = 5_000_000_000;
/// Troubled ones that are told of a process.
const TOLD: usize = 16;

/// The descriptors in a buffer, each with its connection where it has one.
pub(super) fn records(mut buffer: &[u8]) -> impl Iterator<Item = (FdRecord, Option<ConnectionRecord>)> + '_ {
    std::iter::from_fn(move || {
        let (first, rest) = buffer.split_at_checked(size_of::<FdRecord>())?;
        let record = iterator::records::<FdRecord>(first).next()?;
        let (tail, rest) = rest.split_at_checked(record.tail.into())?;
        buffer = rest;
        Some((record, iterator::records::<ConnectionRecord>(tail).next()))
    })
}

/// The addresses of an internet socket; nothing is said of a side that it has not.
pub(super) fn addresses(record: &FdRecord, connection: &ConnectionRecord) -> (SocketAddr, Option<SocketAddr>) {
    let [family, _, _, port] = record.socket;
    let peer = address(family, &connection.peer, connection.peer_port);
    (address(family, &connection.local, port), (peer.port() != 0).then_some(peer))
}

/// How a connection stood at the last look.
#[derive(Clone, Copy, Debug)]
struct Stood {
    acknowledged: u32,
    /// Since when nothing more was acknowledged of a queue that is not empty.
    unacknowledged: Option<Nanos>,
    copied: u32,
    unread: Option<Nanos>,
    closed: Option<Nanos>,
    /// The last look.
    seen: Nanos,
}

/// All connections of all targets.
#[derive(Debug)]
pub(super) struct Watch {
    /// How long a jiffy is.
    tick: Nanos,
    stood: HashMap<(u64, u64), Stood>,
    /// When each process was last looked at, and how many connections it had.
    looked: BTreeMap<Pid, (Nanos, u64)>,
}

impl Default for Watch {
    fn default() -> Self {
        Self::new(clock::tick())
    }
}

impl Watch {
    fn new(tick: Nanos) -> Self {
        Self { tick, stood: HashMap::new(), looked: BTreeMap::new() }
    }

    /// Whether a look at this process is to be one at its connections too.
    pub(super) fn is_due(&self, pid: Pid, now: Nanos) -> bool {
        let few = || self.looked.values().map(|(_, count)| count).sum::<u64>() <= MANY;
        self.looked.get(&pid).is_none_or(|(at, _)| now.saturating_sub(*at) >= SELDOM || few())
    }

    /// Forgets what has not been seen since.
    pub(super) fn sweep(&mut self, since: Nanos) {
        self.stood.retain(|_, stood| stood.seen >= since);
    }

    /// Forgets a process.
    pub(super) fn forget(&mut self, pid: Pid) {
        self.looked.remove(&pid);
    }

    /// What the connections of a process wait for; the look is remembered.
    pub(super) fn look(&mut self, pid: Pid, at: Nanos, buffer: &[u8]) -> Connections {
        let mut told = Connections { pid, at, ..Connections::default() };
        let (mut counts, mut counted) = (ConnectionCounts::default(), HashSet::new());
        for (record, connection) in records(buffer) {
            let Some(connection) = connection else { continue };
            let Some(seen) = self.connection(&record, &connection) else { continue };
            // A duplicate is the same connection.
            if !counted.insert(record.ino) {
                continue;
            }
            counts.add(&seen);
            told.idle_longest = told.idle_longest.max(seen.idle);
            if seen.trouble().is_some() {
                told.troubled.push(seen);
                if told.troubled.len() >= 4 * TOLD {
                    keep_worst(&mut told.troubled);
                }
            }
            self.remember(&record, &connection, &seen, at);
        }
        keep_worst(&mut told.troubled);
        self.looked.insert(pid, (at, counts.all));
        Connections { counts, ..told }
    }

    /// What one connection waits for; `None` if it is none.
    pub(super) fn connection(&self, record: &FdRecord, connection: &ConnectionRecord) -> Option<ConnectionSeen> {
        let [family, protocol, state, _] = record.socket;
        let state = TcpState::from_kernel(state)?;
        if !matches!(family, AF_INET | AF_INET6) || protocol != TCP || state == TcpState::Listen {
            return None;
        }
        let (local, peer) = addresses(record, connection);
        let peer = peer?;
        // Without the time there are no figures: this kernel lacks one of them.
        let now = Some(connection.now).filter(|now| *now > 0)?;
        let ago = |jiffies: u32| Nanos::from(jiffies) * self.tick;
        let stood = self.stood.get(&(record.file, record.ino));
        let since = |then: Option<Nanos>| then.map_or(0, |then| now.saturating_sub(then));
        let half_closed =
            matches!(state, TcpState::CloseWait | TcpState::LastAck | TcpState::Closing | TcpState::TimeWait);
        // The peer's FIN takes a number and cannot be read.
        let unread = connection.unread.saturating_sub(u32::from(half_closed));
        // An unread sum beyond what a window can hold is a queue that was read between two loads.
        let is_queue = |bytes: u32| bytes > 0 && bytes < 1 << 31;
        let (unread, unsent) = (if is_queue(unread) { unread } else { 0 }, connection.unsent);
        let open = matches!(state, TcpState::Established | TcpState::CloseWait);
        let standing = stood.filter(|stood| stood.acknowledged == connection.acknowledged);
        let still = ago(connection.since_sent.max(connection.since_heard));
        let moved = ago(connection.since_sent.min(connection.since_received));
        Some(ConnectionSeen {
            number: i32::try_from(record.fd).unwrap_or(i32::MAX),
            local,
            peer,
            state,
            unsent: if is_queue(unsent) { unsent } else { 0 },
            unread,
            window: connection.window,
            resent: connection.resent,
            // Nothing was heard of the peer since; what it sends after its FIN are acknowledgements.
            close_wait: (state == TcpState::CloseWait)
                .then(|| ago(connection.since_heard).max(since(stood.and_then(|stood| stood.closed)))),
            // Either nothing was sent for want of room, or nothing was heard in answer.
            stuck_send: (is_queue(unsent) && state != TcpState::SynSent)
                .then(|| standing.and_then(|stood| stood.unacknowledged).map(|then| still.max(since(Some(then)))))
                .flatten(),
            unread_for: (unread > 0 && open).then(|| {
                let same = stood.filter(|stood| stood.copied == connection.copied);
                // The last byte received is the last to be read: it has lain there since.
                ago(connection.since_received).max(since(same.and_then(|stood| stood.unread)))
            }),
            idle: (state == TcpState::Established && unread == 0 && unsent == 0).then_some(moved),
        })
    }

    fn remember(&mut self, record: &FdRecord, connection: &ConnectionRecord, seen: &ConnectionSeen, at: Nanos) {
        let closed = seen.state == TcpState::CloseWait;
        let (key, now) = ((record.file, record.ino), connection.now);
        if seen.unsent == 0 && seen.unread == 0 && !closed {
            // How it stood before says nothing about a later queue.
            if !self.stood.is_empty() {
                self.stood.remove(&key);
            }
            return;
        }
        let before = self.stood.get(&key).copied();
        if before.is_none() && self.stood.len() >= KEPT {
            return;
        }
        let since = |is: bool, same: bool, then: Option<Nanos>| is.then(|| then.filter(|_| same).unwrap_or(now));
        let same = |of: fn(&Stood) -> u32, now: u32| before.is_some_and(|stood| of(&stood) == now);
        let stood = Stood {
            acknowledged: connection.acknowledged,
            unacknowledged: since(
                seen.unsent > 0,
                same(|stood| stood.acknowledged, connection.acknowledged),
                before.and_then(|stood| stood.unacknowledged),
            ),
            copied: connection.copied,
            unread: since(
                seen.unread > 0,
                same(|stood| stood.copied, connection.copied),
                before.and_then(|stood| stood.unread),
            ),
            closed: since(closed, true, before.and_then(|stood| stood.closed)),
            seen: at,
        };
        self.stood.insert(key, stood);
    }
}

fn keep_worst(troubled: &mut Vec<ConnectionSeen>) {
    troubled.sort_by_key(|seen| std::cmp::Reverse(seen.trouble()));
    troubled.truncate(TOLD);
}

#[cfg(test)]
#[path = "connections_tests.rs"]
mod tests;
