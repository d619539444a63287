//! What the probes hand over of one process: everything that it holds, once a second, and what happened in between.
//!
//! A request makes three descriptors, which stay a second or two; half of the processes publish the trace of their
//! threads, of the others the connection is known. Once a request bytes are sent again, now and then with several writers
//! to choose from; pages come in, locks are waited for, loops stall. One process leaks: of every minute, for twenty
//! seconds, a pipe every twentieth of a second.
//! An event is one thing told that was not so before: a descriptor that came, went or was used, a segment sent again, a
//! site with its pages, a peer, a wait, a loop, a level. What stays as it is counts for nothing, and is told all the same.

use crate::{
    random::Random,
    spans::{SECOND, Served},
};
use snowshed_engine::model::{
    CpuTime, Holding, HoldingKind, Holdings, Join, Level, LockKind, LockWait, LoopInstance, LoopTime, Nanos,
    Observation, Owner, PageKind, Pages, PagesAt, Peer, Pid, Resource, Retransmit, SiteId, Stall, TcpLook, TcpPeer,
    ThreadGroup, Threads, TraceId, WaitCall,
};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const CONNECTIONS: u32 = 200;
const PEERS: u32 = 40;
const LOOPS: u32 = 8;
const KINDS: [HoldingKind; 5] =
    [HoldingKind::File, HoldingKind::Pipe, HoldingKind::Tcp, HoldingKind::Eventfd, HoldingKind::Unix];
/// Where what is leaked is made.
const LEAK: u64 = 999;
/// Traces that a segment's bytes may be of.
const WRITERS: usize = 8;

/// One descriptor, and when it is closed.
#[derive(Clone, Copy, Debug)]
struct Open {
    item: Holding,
    until: Nanos,
    told: bool,
}

/// One process.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    leaks: bool,
    /// Its threads publish the trace that they work for.
    publishes: bool,
    open: Vec<Open>,
    keys: u64,
    /// Requests on each connection.
    exchanges: Vec<u32>,
    pages: Vec<PagesAt>,
    recent: [TraceId; WRITERS],
    requests: u64,
    /// When it last leaked.
    leaked: Nanos,
}

impl Process {
    pub(crate) fn new(pid: Pid, leaks: bool) -> Self {
        Self {
            pid,
            leaks,
            publishes: pid.is_multiple_of(2),
            open: Vec::new(),
            keys: u64::from(pid) << 40,
            exchanges: vec![0; CONNECTIONS as usize + 1],
            pages: Vec::new(),
            recent: [TraceId([1; 16]); WRITERS],
            requests: 0,
            leaked: 0,
        }
    }

    fn connection(&self, number: u32) -> u64 {
        u64::from(self.pid) << 32 | u64::from(number)
    }

    fn owner(&self, of: &Served) -> Owner {
        let exchange = self.exchanges[of.connection as usize].saturating_sub(1);
        let connection = Some((self.connection(of.connection), exchange));
        let (trace, join) = if self.publishes { (Some(of.trace), Join::ThreadContext) } else { (None, Join::Socket) };
        Owner { trace, connection, join, peer: of.connection, ..Owner::default() }
    }

    fn make(&mut self, kind: HoldingKind, site: u64, owner: Owner, made: Nanos, until: Nanos) {
        self.keys += 1;
        let item = Holding {
            key: self.keys,
            number: (self.keys % 50_000) as i32,
            kind,
            site: SiteId(site),
            owner,
            made: Some(made),
            use_mark: 0,
            exchanges: 0,
            leads_to: if matches!(kind, HoldingKind::File | HoldingKind::Tcp) { 1 + self.keys % 500 } else { 0 },
            maker: self.pid + (self.keys % 64) as u32,
        };
        self.open.push(Open { item, until, told: false });
    }

    /// A request was served: what it made, and what befell it. Answers how many events are told by that at once.
    pub(crate) fn served(&mut self, random: &mut Random, of: &Served, out: &mut Vec<Observation>) -> u64 {
        self.requests += 1;
        self.exchanges[of.connection as usize] += 1;
        let owner = self.owner(of);
        for _ in 0..3 {
            let kind = KINDS[random.below(5) as usize];
            let made = of.started + random.below(of.ended - of.started);
            // One in five came about without a stack.
            let site = random.below(50).saturating_sub(10);
            self.make(kind, site, owner, made, of.ended + SECOND + random.below(SECOND));
        }
        if self.leaks && of.ended / SECOND % 60 < 20 && of.ended >= self.leaked + SECOND / 20 {
            self.leak(owner, of.ended - 1);
        }
        self.recent[(self.requests % WRITERS as u64) as usize] = of.trace;
        let several = random.per_mille(100);
        out.push(Observation::Retransmit(Retransmit {
            pid: Some(self.pid),
            local: address(self.pid, 8080),
            peer: address(1000 + random.below(PEERS.into()) as u32, 40_000),
            at: of.ended,
            trace: Some(of.trace),
            join: owner.join,
            ambiguity: if several { WRITERS as u32 } else { 1 },
            candidates: if several { self.recent.to_vec() } else { Vec::new() },
            complete: true,
            sequence: (0, 1448),
            segments: 1,
        }));
        if random.per_mille(990) {
            let trace = Some(of.trace).filter(|_| self.publishes);
            self.pages.push(PagesAt { site: SiteId(100 + random.below(40)), bytes: 262_144, trace, join: owner.join });
        }
        let mut told = 1;
        if random.per_mille(500) {
            told += 1;
            out.push(Observation::LockWait(self.lock(random, of.ended)));
        }
        if random.per_mille(5) {
            told += 1;
            out.push(Observation::Stall(self.stall(random, of)));
        }
        told
    }

    fn lock(&self, random: &mut Random, at: Nanos) -> LockWait {
        let word = random.below(16);
        LockWait {
            pid: self.pid,
            word,
            kind: LockKind::Word,
            waiters: 2,
            waits: 3,
            wait_ns: 200_000,
            longest_ns: 100_000,
            hand_overs: 1,
            site: SiteId(200 + word),
            thread: "worker".to_owned(),
            holder: None,
            at,
        }
    }

    fn stall(&self, random: &mut Random, of: &Served) -> Stall {
        Stall {
            pid: self.pid,
            tid: self.pid + random.below(LOOPS.into()) as Pid,
            thread: "runtime".to_owned(),
            instance: 5,
            since: of.ended - 160_000_000,
            until: of.ended,
            trace: Some(of.trace),
            join: Join::ThreadContext,
            site: SiteId(300 + random.below(5)),
            on_cpu: true,
            syscall: None,
            starved: false,
            spent: None,
        }
    }

    /// What is told once a second. Answers how many events that is.
    pub(crate) fn look(&mut self, random: &mut Random, now: Nanos, out: &mut Vec<Observation>) -> u64 {
        if now / (SECOND / 10) % 10 != u64::from(self.pid) % 10 {
            return 0;
        }
        let (pid, at) = (self.pid, now);
        let mut told = self.descriptors(now, out);
        told += self.pages.len() as u64;
        let sites = std::mem::take(&mut self.pages);
        let bytes = sites.iter().map(|site| site.bytes).sum();
        out.push(Observation::Pages(Pages {
            pid,
            kind: PageKind::Anon,
            since: now - SECOND,
            until: now,
            bytes,
            sites,
        }));
        told += self.loops(random, now, out);
        let (over_ns, used_ns) = (SECOND, SECOND / 4);
        out.push(Observation::CpuTime(CpuTime { pid, at, over_ns, used_ns, delay_ns: SECOND / 100, throttled: None }));
        let levels = [(Resource::RssAnon, 200 << 20), (Resource::Threads, 64), (Resource::AddressSpace, 1 << 32)];
        for (resource, value) in levels {
            let value = value + random.below(value / 16);
            out.push(Observation::Level(Level { pid, resource, value, limit: None, at }));
        }
        out.push(Observation::Threads(self.threads(now)));
        told + 4 + 20
    }

    /// The leak: nobody closes these before the minute is over.
    fn leak(&mut self, owner: Owner, made: Nanos) {
        self.leaked = made;
        self.make(HoldingKind::Pipe, LEAK, owner, made, (made / (60 * SECOND) + 1) * 60 * SECOND);
    }

    fn descriptors(&mut self, now: Nanos, out: &mut Vec<Observation>) -> u64 {
        let mut told = 0;
        self.open.retain(|one| {
            let stays = one.until > now;
            told += u64::from(one.told && !stays);
            stays
        });
        for one in &mut self.open {
            let is_used = one.told && one.item.site != SiteId(LEAK);
            one.item.use_mark += u64::from(is_used);
            told += u64::from(is_used || !one.told);
            one.told = true;
        }
        let connection = |number: u32| Holding {
            key: self.connection(number),
            number: number as i32,
            kind: HoldingKind::TcpAccepted,
            site: SiteId(1),
            owner: Owner { peer: number, ..Owner::default() },
            made: Some(SECOND),
            use_mark: self.exchanges[number as usize].into(),
            exchanges: self.exchanges[number as usize],
            leads_to: number.into(),
            maker: self.pid,
        };
        let connections = (1..=CONNECTIONS).map(connection);
        let items = connections.chain(self.open.iter().map(|one| one.item)).collect();
        let (pid, resource) = (self.pid, Resource::Fds);
        out.push(Observation::Holdings(Holdings { pid, at: now, resource, limit: Some(65_536), items }));
        told
    }

    fn loops(&self, random: &mut Random, now: Nanos, out: &mut Vec<Observation>) -> u64 {
        let (pid, at) = (self.pid, now);
        for number in 0..LOOPS {
            let (tid, waits, wait_ns) = (pid + number, 500, SECOND / 2);
            out.push(Observation::LoopTime(LoopTime {
                pid,
                tid,
                instance: 5,
                waits,
                wait_ns,
                busy_ns: SECOND / 2,
                at,
            }));
        }
        out.push(Observation::LoopInstance(LoopInstance {
            pid,
            call: WaitCall::Epoll,
            instance: 5,
            tid: None,
            threads: LOOPS,
            waits: 4_000,
            wait_ns: 4 * SECOND,
            busy_ns: Some(4 * SECOND),
            events: Some(6_000),
            full: 0,
            batch: 1024,
            starved_ns: 0,
            mixed: false,
            at,
        }));
        let peer = |number: u32| TcpPeer {
            peer: Some(Peer {
                address: IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + number)),
                port: number.is_multiple_of(2).then_some(5432),
            }),
            connections: 5,
            segments: 1_000,
            data_segments: 800,
            resent: 2,
            rtt_us: Some(300 + random.below(100) as u32),
            least_rtt_us: Some(200),
            reads: 400,
            read_delay_us: 90_000,
            slowest_read_us: 4_000,
            answers: 300,
            answer_us: 3_000_000,
            ..TcpPeer::default()
        };
        let peers: Vec<TcpPeer> = (0..PEERS).map(peer).collect();
        out.push(Observation::Tcp(TcpLook { pid, at, peers, ..TcpLook::default() }));
        u64::from(LOOPS + 1 + PEERS)
    }

    fn threads(&self, now: Nanos) -> Threads {
        let group = |number: u64| ThreadGroup {
            name: format!("worker-{number}"),
            site: SiteId(400 + number),
            live: 3,
            sampled: 0,
            running: 1,
            oldest: SECOND,
            newest: 2 * SECOND,
            cpu_ns: SECOND / 20,
            traces: Vec::new(),
            join: Join::None,
        };
        Threads { pid: self.pid, at: now, groups: (0..20).map(group).collect(), left_out: 0 }
    }
}

fn address(host: u32, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + host)), port)
}
