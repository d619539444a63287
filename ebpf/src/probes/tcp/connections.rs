//! From sockets as the kernel tells them to gains by peer.
//!
//! A socket's counters only grow, and its last values come when it closes; so the sum of the gains is exact, however
//! rarely one looks. What was sent before the process was looked at first is not counted.
//! Invariant: bounded by [`MOST`]; a connection over it is counted in [`Connections::untold`], not guessed.

use super::{
    address::address,
    known::{Known, Turns},
};
use crate::{
    host::clock,
    wire::{
        SOCKET_CLOSED, SOCKET_FAILED, SOCKET_MULTIPATH, SOCKET_OPEN, SOCKET_OWN_ZERO, SOCKET_PEER_ZERO,
        SOCKET_RESET_RECEIVED, SOCKET_RESET_SENT, SocketRecord,
    },
};
use snowshed_engine::model::{Nanos, Peer, Pid, TcpListener, TcpLook, TcpPeer};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Connections that are remembered between looks.
const MOST: usize = 32_768;
/// Peers of a process between two looks that are told apart.
const MOST_PEERS: usize = 1024;
/// Looks for which a connection that nobody has open is remembered: it may still be closing.
const LINGERS: u64 = 450;
/// What was answered so soon after it was heard at first may have been before.
const YOUNG: Nanos = 5_000_000_000;
/// An answer is waited for once it has been for so many microseconds: less than the shortest patience that is usual, so
/// that who gives up in time is seen to wait.
const AWAITED: u64 = 100_000;
const TCP_LISTEN: u32 = 10;

/// All targets' connections.
#[derive(Debug)]
pub(super) struct Connections {
    known: HashMap<u64, Known>,
    gains: BTreeMap<Pid, BTreeMap<Option<Peer>, TcpPeer>>,
    listeners: BTreeMap<Pid, Vec<TcpListener>>,
    /// Ports on which a target listens or listened.
    ports: BTreeSet<u16>,
    /// Who was accepted at these, all together.
    turns: BTreeMap<u16, Turns>,
    /// Processes that were looked at before: what is new of them began since then.
    looked: BTreeSet<Pid>,
    look: u64,
    /// How long a jiffy is.
    tick: Nanos,
    /// Since when it has been heard what is sent; `None`: it is not.
    heard: Option<Nanos>,
    /// Connections that there was no room for.
    pub(super) untold: u64,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            known: HashMap::new(),
            gains: BTreeMap::new(),
            listeners: BTreeMap::new(),
            ports: BTreeSet::new(),
            turns: BTreeMap::new(),
            looked: BTreeSet::new(),
            look: 0,
            tick: clock::tick(),
            heard: Some(0),
            untold: 0,
        }
    }
}

impl Connections {
    /// A look begins; `records` are what is open, and what happened meanwhile.
    pub(super) fn take(&mut self, records: &mut [(Pid, SocketRecord)]) {
        records.sort_by_key(|(_, record)| record.at);
        for (_, record) in records.iter().filter(|(_, record)| record.state == TCP_LISTEN) {
            if self.ports.len() < MOST_PEERS {
                self.ports.insert(record.ports[0]);
            }
        }
        for (pid, record) in records.iter() {
            match record.kind {
                SOCKET_OPEN if record.state == TCP_LISTEN => self.listens(*pid, record),
                SOCKET_OPEN => self.open(*pid, record),
                SOCKET_CLOSED | SOCKET_FAILED => self.closed(*pid, record),
                SOCKET_RESET_SENT => self.gain(*pid, record).resets_sent += 1,
                SOCKET_RESET_RECEIVED => self.gain(*pid, record).resets_received += 1,
                _ => {}
            }
        }
    }

    fn peer(&self, record: &SocketRecord) -> Option<Peer> {
        let peer = address(record.family, &record.peer, record.ports[1]);
        let accepted = self.ports.contains(&record.ports[0]);
        let port = (!accepted).then_some(peer.port());
        (!peer.ip().is_unspecified()).then_some(Peer { address: peer.ip(), port })
    }

    fn gain(&mut self, pid: Pid, record: &SocketRecord) -> &mut TcpPeer {
        let peer = self.peer(record);
        let gains = self.gains.entry(pid).or_default();
        let peer = peer.filter(|_| gains.len() < MOST_PEERS || gains.contains_key(&peer));
        gains.entry(peer).or_insert_with(|| TcpPeer { peer, ..TcpPeer::default() })
    }

    fn listens(&mut self, pid: Pid, record: &SocketRecord) {
        let listeners = self.listeners.entry(pid).or_default();
        let listener = TcpListener {
            address: address(record.family, &record.local, record.ports[0]),
            multipath: record.flags & SOCKET_MULTIPATH != 0,
            queue: record.queue,
            limit: record.limit,
            dropped: record.drops.into(),
        };
        // A descriptor that was duplicated shows the same socket twice.
        if !listeners.contains(&listener) {
            listeners.push(listener);
        }
    }

    fn add(&mut self, pid: Pid, record: &SocketRecord, before: &SocketRecord) {
        let tick = self.tick;
        let gain = self.gain(pid, record);
        gain.segments += u64::from(record.segments.wrapping_sub(before.segments));
        gain.data_segments += u64::from(record.data_segments.wrapping_sub(before.data_segments));
        gain.resent += u64::from(record.resent.wrapping_sub(before.resent));
        gain.reads += u64::from(record.reads.wrapping_sub(before.reads));
        let micros = |ticks: u64| ticks.saturating_mul(tick) / 1000;
        gain.read_delay_us += micros(record.read_delay.wrapping_sub(before.read_delay));
        let slowest = u32::try_from(micros(record.slowest_read.into())).unwrap_or(u32::MAX);
        gain.slowest_read_us = gain.slowest_read_us.max(slowest);
        // Between its answer and the next question a client thinks, and a pool rests: those times say nothing.
        let (answers, time) = if gain.peer.is_some_and(|peer| peer.port.is_some()) {
            gain.in_use_us += micros(record.had_whole.wrapping_sub(before.had_whole));
            gain.unasked += u64::from(record.unasked.wrapping_sub(before.unasked));
            (record.had.wrapping_sub(before.had), record.had_time.wrapping_sub(before.had_time))
        } else {
            (record.given.wrapping_sub(before.given), record.given_time.wrapping_sub(before.given_time))
        };
        gain.active += u32::from(answers > 0);
        gain.answers += u64::from(answers);
        gain.answer_us += micros(time);
        if self.ports.contains(&record.ports[0]) {
            self.turns.entry(record.ports[0]).or_default().add(record, before);
        }
    }

    fn open(&mut self, pid: Pid, record: &SocketRecord) {
        let look = self.look;
        if let Some(known) = self.known.get_mut(&record.socket)
            && same(&known.last, record)
        {
            let before = known.last;
            known.renew(record);
            known.look = look;
            // Of a socket that parent and child hold only one is counted; it changes hands when one of them ends.
            if !self.looked.contains(&known.pid) {
                known.pid = pid;
            }
            let pid = known.pid;
            self.add(pid, record, &before);
            return;
        }
        let before = if self.looked.contains(&pid) { SocketRecord::default() } else { *record };
        self.add(pid, record, &before);
        if self.known.len() < MOST || self.known.contains_key(&record.socket) {
            let mut known = Known::new(pid, *record, look);
            if self.heard.is_none_or(|heard| record.at < heard.saturating_add(YOUNG)) {
                known.doubt();
            }
            self.known.insert(record.socket, known);
        } else {
            self.untold += 1;
        }
    }

    fn closed(&mut self, pid: Pid, record: &SocketRecord) {
        if record.state == TCP_LISTEN {
            return;
        }
        match self.known.remove(&record.socket) {
            Some(known) if same(&known.last, record) => self.add(known.pid, record, &known.last),
            // It began and ended between two looks.
            _ if self.looked.contains(&pid) => self.add(pid, record, &SocketRecord::default()),
            _ => {}
        }
        if record.kind == SOCKET_FAILED {
            let failures = &mut self.gain(pid, record).failures;
            match failures.iter_mut().find(|(error, _)| *error == record.error) {
                Some((_, count)) => *count += 1,
                None => failures.push((record.error, 1)),
            }
        }
    }

    /// Whether it is heard what is sent.
    pub(super) fn hears(&self) -> bool {
        self.heard.is_some()
    }

    /// From now on it is heard what is sent, or not any more: whose turn it was before is not known then.
    pub(super) fn hear(&mut self, heard: Option<Nanos>) {
        self.heard = heard;
        self.known.values_mut().for_each(Known::doubt);
    }

    /// The look ends: what was added since the last one, and how it is now.
    pub(super) fn tell(&mut self, pids: &[Pid], now: Nanos) -> Vec<TcpLook> {
        let (look, tick) = (self.look, self.tick);
        let open = self.known.values().filter(|known| known.look == look);
        let others = |known: &Known| self.turns.get(&known.last.ports[0]).copied().unwrap_or_default();
        // Whoever is not heard to answer seems to owe an answer for ever.
        let heard = self.heard.unwrap_or(Nanos::MAX);
        let arrives = |known: &Known| known.arrives().filter(|_| self.hears());
        let waits = |known: &Known| self.hears() && known.waits(tick, others(known), heard);
        let open = open.map(|known| (known.pid, known.last, arrives(known), waits(known)));
        for (pid, record, arrives, waits) in open.collect::<Vec<_>>() {
            let rtt = (record.srtt != 0).then_some(record.srtt / 8);
            let least = (record.least_rtt != u32::MAX && record.srtt != 0).then_some(record.least_rtt);
            let gain = self.gain(pid, &record);
            gain.connections += 1;
            let owed = u64::from(record.owed).saturating_mul(tick);
            let owed = if record.at.saturating_sub(owed) >= heard { owed / 1_000 } else { 0 };
            if gain.peer.is_some_and(|peer| peer.port.is_some()) && owed >= AWAITED {
                gain.awaited += 1;
                gain.awaited_us = gain.awaited_us.max(owed);
            }
            if gain.peer.is_some_and(|peer| peer.port.is_none()) {
                gain.unanswered += u32::from(waits);
                gain.unfinished += u32::from(arrives.is_some());
                gain.unfinished_us = gain.unfinished_us.max(arrives.unwrap_or(0) / 1_000);
            }
            gain.multipath += u32::from(record.flags & SOCKET_MULTIPATH != 0);
            gain.peer_zero += u32::from(record.flags & SOCKET_PEER_ZERO != 0);
            gain.own_zero += u32::from(record.flags & SOCKET_OWN_ZERO != 0);
            gain.probes += record.probes;
            gain.rtt_us = gain.rtt_us.max(rtt);
            gain.least_rtt_us = match (gain.least_rtt_us, least) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        self.known.retain(|_, known| look - known.look <= LINGERS);
        self.look += 1;
        let mut gains = std::mem::take(&mut self.gains);
        let mut listeners = std::mem::take(&mut self.listeners);
        self.looked.extend(pids);
        let told = |pid: &Pid| TcpLook {
            pid: *pid,
            at: now,
            peers: gains.remove(pid).unwrap_or_default().into_values().collect(),
            listeners: listeners.remove(pid).unwrap_or_default(),
            ..TcpLook::default()
        };
        pids.iter().map(told).collect()
    }

    pub(super) fn forget(&mut self, pid: Pid) {
        self.looked.remove(&pid);
        self.gains.remove(&pid);
    }
}

/// Whether two records are of one connection: addresses of sockets are used again.
fn same(before: &SocketRecord, now: &SocketRecord) -> bool {
    // The own port is the one that stays; a record of a later moment never has sent less.
    before.ports == now.ports && before.peer == now.peer && now.segments.wrapping_sub(before.segments) < 1 << 31
}

#[cfg(test)]
mod tests;
