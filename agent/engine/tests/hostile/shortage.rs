//! Locks, processors, disks, connections and counters that are anything.

use super::Random;
use snowshed_engine::model::{
    Blocked, BlockedWrite, CpuTime, DnsLook, Holder, HostItem, HostLook, HostScope, HostSignal, LockKind, LockWait,
    Nanos, Observation, OomKill, Peer, Resolver, SiteId, TcpListener, TcpLook, TcpPeer, Throttled, WriteEnd,
};
use std::net::{IpAddr, Ipv4Addr};

impl Random {
    fn small(&mut self) -> u32 {
        u32::try_from(self.below(1 << 20)).unwrap()
    }

    fn address(&mut self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + u32::try_from(self.below(90)).unwrap()))
    }

    pub(super) fn shortage(&mut self, pid: u32, at: Nanos) -> Observation {
        match self.below(8) {
            0 => Observation::LockWait(LockWait {
                pid,
                word: self.below(90),
                kind: LockKind::Word,
                waiters: self.small(),
                waits: self.next(),
                wait_ns: if self.chance(5) { self.next() } else { 9_000_000_000 },
                longest_ns: self.next(),
                hand_overs: self.next(),
                site: SiteId(self.below(4)),
                thread: self.text(),
                holder: self.chance(2).then(|| Holder { tid: 1, thread: self.text(), site: SiteId(0) }),
                at,
            }),
            1 => Observation::CpuTime(CpuTime {
                pid,
                at,
                over_ns: if self.chance(5) { self.next() } else { 1_000_000_000 },
                used_ns: self.amount(),
                delay_ns: self.next() >> 20,
                throttled: self.chance(2).then(|| Throttled { periods: self.amount(), ns: self.next() }),
            }),
            2 => Observation::Blocked(Blocked {
                pid,
                at,
                wait_ns: self.next() >> 20,
                longest_ns: self.next(),
                tid: self.small(),
                thread: self.text(),
                syscall: self.text(),
                function: self.text(),
                device: self.chance(2).then(|| format!("sd{}", self.below(99))),
                site: SiteId(self.below(3)),
            }),
            3 => self.connections(pid, at),
            5 => self.names(pid, at),
            6 => self.write(pid, at),
            4 => {
                let all = [
                    HostSignal::NicRxMissed,
                    HostSignal::NicTxDropped,
                    HostSignal::ListenOverflows,
                    HostSignal::SoftnetDropped,
                    HostSignal::CpuSome,
                    HostSignal::IoSome,
                ];
                let item = |signal| HostItem { signal, place: format!("e{}", self.below(99)), amount: self.amount() };
                let items = all.map(item).to_vec();
                let scope = [HostScope::Machine, HostScope::Network][usize::try_from(self.below(2)).unwrap()];
                let pid = (scope == HostScope::Network).then_some(pid);
                Observation::Host(HostLook { scope, pid, since: self.time(at), until: at, items })
            }
            _ => Observation::OomKill(OomKill { pid, at }),
        }
    }

    fn names(&mut self, pid: u32, at: Nanos) -> Observation {
        let one = |random: &mut Self| Resolver {
            address: random.address(),
            asked: random.amount(),
            answered: random.amount(),
            unreachable: random.amount(),
            failed: random.next(),
            unknown: random.next(),
            answer_us: random.amount(),
        };
        let resolvers = (0..self.below(50)).map(|_| one(self)).collect();
        Observation::Dns(DnsLook { pid, since: self.time(at), until: at, resolvers })
    }

    fn write(&mut self, pid: u32, at: Nanos) -> Observation {
        let to = match self.below(3) {
            0 => WriteEnd::Pipe { reader: self.chance(2).then(|| self.small()), name: Some(self.text()) },
            1 => WriteEnd::Socket { peer: self.chance(2).then(|| (self.address(), 80).into()) },
            _ => WriteEnd::Unknown,
        };
        Observation::BlockedWrite(BlockedWrite {
            pid,
            at,
            wait_ns: self.next() >> 20,
            longest_ns: self.next(),
            tid: self.small(),
            thread: self.text(),
            syscall: self.text(),
            to,
            site: SiteId(self.below(3)),
        })
    }

    fn connections(&mut self, pid: u32, at: Nanos) -> Observation {
        let peer = |random: &mut Self| TcpPeer {
            peer: Some(Peer { address: random.address(), port: random.chance(2).then_some(1) }),
            connections: random.small(),
            data_segments: random.amount(),
            resent: random.amount(),
            rtt_us: random.chance(2).then(|| random.small()),
            reads: random.amount(),
            read_delay_us: random.amount(),
            answers: random.amount(),
            answer_us: random.amount(),
            active: random.small(),
            unanswered: random.small(),
            awaited: random.small(),
            awaited_us: random.amount(),
            unasked: random.amount(),
            unfinished: random.small(),
            unfinished_us: random.amount(),
            failures: vec![(random.small() % 200, random.amount())],
            ..TcpPeer::default()
        };
        let peers = (0..3).map(|_| peer(self)).collect();
        let address = (self.address(), 80).into();
        let (limit, dropped) = (self.small(), self.amount());
        let listeners = vec![TcpListener { address, multipath: false, queue: self.small(), limit, dropped }];
        Observation::Tcp(TcpLook { pid, at, peers, listeners, zero_windows: None, window_probes: None })
    }
}
