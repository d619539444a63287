//! Recordings of what runs short: a disease each, and much that is healthy although a figure goes up.
//!
//! A step of two seconds says what was seen of one process in it; what it does not say is calm.

use super::{NAME, PID, ROUTE, SECOND, Service, ms, trace};
use snowshed_engine::model::{
    Blocked, CpuTime, HostItem, HostLook, HostScope, HostSignal, Join, Level, LockKind, LockWait, Nanos, Observation,
    OomKill, Peer, ProcessExit, ProcessSeen, Request, Resource, Retransmit, SiteId, Spent, Stall, TcpListener, TcpLook,
    TcpPeer, Throttled,
};
use std::net::SocketAddr;

type Lines = Vec<(Nanos, Observation)>;

/// The length of a step, seconds.
const STEP: u64 = 2;
/// The first of several processes, which tells of the machine.
const FIRST: u32 = 701;
const DATABASE: &str = "10.0.0.7:5432";
const LISTENER: &str = "0.0.0.0:8080";

/// Two seconds of a process.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    /// Requests, and how long each takes, milliseconds.
    pub(crate) requests: (u64, u64),
    pub(crate) route: &'static str,
    pub(crate) status: u16,
    /// Whether its connections are looked at.
    pub(crate) network: bool,
    /// Segments sent, and sent again.
    pub(crate) segments: (u64, u64),
    /// Connects that were refused.
    pub(crate) refused: u64,
    /// The round trip to the database, milliseconds.
    pub(crate) trip: u32,
    /// Connections that the listener dropped.
    pub(crate) dropped: u64,
    /// Whether its queue is full while it drops some.
    pub(crate) full: bool,
    /// Packets for which the ring had no room, and others that the interface dropped.
    pub(crate) ring: (u64, u64),
    /// Threads that wait for a lock, the whole time.
    pub(crate) waiters: u32,
    /// Throttled periods, of 20.
    pub(crate) throttled: u64,
    /// Thread-seconds of waiting for a processor, milliseconds.
    pub(crate) delay: u64,
    /// Share of the time that somebody on the machine waits for a processor, and for a disk; hundredths.
    pub(crate) pressure: (u64, u64),
    /// Threads that a disk keeps waiting, the whole time.
    pub(crate) blocked: u32,
}

/// Nothing out of the ordinary.
pub(crate) const CALM: Step = Step {
    requests: (4, 40),
    route: ROUTE,
    status: 200,
    network: true,
    segments: (4_000, 1),
    refused: 0,
    trip: 2,
    dropped: 0,
    full: true,
    ring: (0, 0),
    waiters: 0,
    throttled: 0,
    delay: 20,
    pressure: (5, 2),
    blocked: 0,
};

/// What all steps of one process share.
pub(crate) struct Seen {
    pid: u32,
    requests: u64,
    dropped: u64,
}

impl Seen {
    pub(crate) fn new(pid: u32) -> Self {
        Self { pid, requests: 0, dropped: 0 }
    }

    /// What was seen of the two seconds that end now.
    pub(crate) fn step(&mut self, service: &mut Service, step: Step) {
        let (pid, now) = (self.pid, service.now);
        for n in 0..step.requests.0 {
            self.requests += 1;
            // Times spread by a fifth.
            let took = ms(step.requests.1 * (90 + self.requests * 7 % 20) / 100);
            let ended = now - ms(1_800 * n / step.requests.0.max(1));
            service.see(Observation::Request(Request {
                pid: Some(pid),
                service: NAME.into(),
                trace: trace(now / SECOND * 100 + n),
                route: step.route.into(),
                started: ended.saturating_sub(took),
                ended,
                first_byte: None,
                status: Some(step.status),
                failed: step.status >= 500,
                weight: 1.0,
                span: None,
                peer: None,
                serial: false,
            }));
        }
        if step.network {
            self.network(service, step);
        }
        if step.waiters > 0 {
            let wait_ns = u64::from(step.waiters) * STEP * SECOND;
            service.see(Observation::LockWait(LockWait {
                pid,
                word: 0x7f00,
                kind: LockKind::Word,
                waiters: step.waiters,
                waits: u64::from(step.waiters),
                wait_ns,
                longest_ns: ms(1_700),
                hand_overs: 2,
                site: SiteId(21),
                thread: "worker".into(),
                holder: None,
                at: now,
            }));
        }
        let throttled = Some(Throttled { periods: step.throttled, ns: step.throttled * ms(60) });
        let (over_ns, used_ns, delay_ns) = (STEP * SECOND, ms(700), ms(step.delay));
        service.see(Observation::CpuTime(CpuTime { pid, at: now, over_ns, used_ns, delay_ns, throttled }));
        if step.blocked > 0 {
            service.see(Observation::Blocked(Blocked {
                pid,
                at: now,
                wait_ns: u64::from(step.blocked) * STEP * SECOND,
                longest_ns: ms(2_400),
                tid: pid + 3,
                thread: "spooler".into(),
                syscall: "fsync".into(),
                function: "wait_on_page_bit".into(),
                device: Some("nvme0n1".into()),
                site: SiteId(31),
            }));
        }
    }

    fn network(&mut self, service: &mut Service, step: Step) {
        let (pid, now) = (self.pid, service.now);
        let database: SocketAddr = DATABASE.parse().unwrap();
        self.dropped += step.dropped;
        let outgoing = TcpPeer {
            peer: Some(Peer { address: database.ip(), port: Some(database.port()) }),
            connections: 4,
            segments: step.segments.0 / 2,
            data_segments: step.segments.0 / 2,
            resent: step.segments.1,
            rtt_us: Some(step.trip * 1_000),
            failures: if step.refused > 0 { vec![(111, step.refused)] } else { Vec::new() },
            ..TcpPeer::default()
        };
        let incoming = TcpPeer {
            peer: Some(Peer { address: "10.0.1.9".parse().unwrap(), port: None }),
            connections: 9,
            segments: step.segments.0 / 2,
            data_segments: step.segments.0 / 2,
            rtt_us: Some(30_000),
            ..TcpPeer::default()
        };
        let (queue, limit, multipath) = (if step.dropped > 0 && step.full { 128 } else { 0 }, 128, false);
        let address = LISTENER.parse().unwrap();
        let listeners = vec![TcpListener { address, multipath, queue, limit, dropped: self.dropped }];
        let peers = if pid == PID { vec![outgoing, incoming] } else { vec![outgoing] };
        service.see(Observation::Tcp(TcpLook {
            pid,
            at: now,
            peers,
            listeners,
            zero_windows: None,
            window_probes: None,
        }));
        let item = |signal, amount| HostItem { signal, place: "eth0".into(), amount };
        let (since, until, scope) = (now - STEP * SECOND, now, HostScope::Network);
        let items = vec![item(HostSignal::NicRxMissed, step.ring.0), item(HostSignal::NicRxDropped, step.ring.1)];
        service.see(Observation::Host(HostLook { scope, pid: Some(pid), since, until, items }));
        if pid != PID && pid != FIRST {
            return;
        }
        let time =
            |signal, hundredths: u64| HostItem { signal, place: String::new(), amount: ms(hundredths * 10 * STEP) };
        let items = vec![time(HostSignal::CpuSome, step.pressure.0), time(HostSignal::IoSome, step.pressure.1)];
        service.see(Observation::Host(HostLook { scope: HostScope::Machine, pid: None, since, until, items }));
    }
}

/// Calm for a minute, ill for half of one, calm again.
fn ill(illness: impl Fn(&mut Service, u64) -> Step) -> Lines {
    let (mut service, mut seen) = (Service::start(), Seen::new(PID));
    for second in (4..150_u64).step_by(2) {
        service.at(second * SECOND);
        let step = if (60..90).contains(&second) { illness(&mut service, second) } else { CALM };
        seen.step(&mut service, step);
    }
    service.lines()
}

const SLOW: Step = Step { requests: (4, 900), ..CALM };

/// One in fifty segments to the database is lost.
pub(crate) fn tcp_retransmits() -> Lines {
    ill(|service, second| {
        for n in 0..2 {
            service.see(Observation::Retransmit(Retransmit {
                pid: Some(PID),
                local: "10.0.1.1:40000".parse().unwrap(),
                peer: DATABASE.parse().unwrap(),
                at: service.now,
                trace: Some(trace(second * 100 + n)),
                join: Join::Socket,
                ambiguity: 1,
                candidates: Vec::new(),
                complete: true,
                sequence: (1, 2),
                segments: 1,
            }));
        }
        Step { segments: (4_000, 74), ..SLOW }
    })
}

/// Four threads at a time wait for one mutex.
pub(crate) fn lock_contention() -> Lines {
    ill(|_, _| Step { waiters: 4, ..SLOW })
}

/// The cgroup's limit holds it back; loops and holders of locks come late because of it.
pub(crate) fn cpu_throttled() -> Lines {
    ill(|service, _| {
        let (now, since) = (service.now, service.now - ms(600));
        service.see(Observation::Stall(Stall {
            pid: PID,
            tid: PID + 1,
            thread: "tokio-runtime-w".into(),
            instance: 4,
            since,
            until: now,
            trace: None,
            join: Join::None,
            site: SiteId(11),
            on_cpu: true,
            syscall: None,
            starved: true,
            spent: Some(Spent { running: ms(150), queued: ms(450), blocked: 0 }),
        }));
        Step { throttled: 15, delay: 3_000, waiters: 3, ..SLOW }
    })
}

/// The machine has no processor for it.
pub(crate) fn cpu_saturation() -> Lines {
    ill(|_, _| Step { delay: 3_200, pressure: (85, 2), ..SLOW })
}

/// More connections come than are accepted.
pub(crate) fn accept_queue_overflow() -> Lines {
    ill(|_, _| Step { dropped: 14, ..CALM })
}

/// A disk does not answer.
pub(crate) fn disk_stall() -> Lines {
    ill(|_, _| Step { blocked: 2, pressure: (5, 80), ..SLOW })
}

/// The ring of the interface overflows; what is lost is sent again.
pub(crate) fn nic_drops() -> Lines {
    ill(|_, _| Step { ring: (900, 0), segments: (4_000, 90), ..SLOW })
}

/// The database refuses connections, and requests fail.
pub(crate) fn downstream_slow() -> Lines {
    ill(|_, _| Step { refused: 12, status: 503, requests: (4, 10), ..CALM })
}

/// Requests are slow, and nothing that is seen says why.
pub(crate) fn slow_for_no_reason() -> Lines {
    let (mut service, mut seen) = (Service::start(), Seen::new(PID));
    for second in (4..200_u64).step_by(2) {
        service.at(second * SECOND);
        seen.step(&mut service, if (60..120).contains(&second) { SLOW } else { CALM });
    }
    service.lines()
}

/// Its memory doubles in seconds, its cgroup's limit ends it; its successor lives.
pub(crate) fn oom_kill() -> Lines {
    let mut service = Service::start();
    const MIB: u64 = 1 << 20;
    for second in (4..90_u64).step_by(2) {
        service.at(second * SECOND);
        let (at, pid) = (service.now, if second < 72 { PID } else { PID + 9 });
        let own = if (64..72).contains(&second) { 480 * MIB } else { 200 * MIB };
        let mut level =
            |resource, value, limit| service.see(Observation::Level(Level { pid, resource, value, limit, at }));
        level(Resource::HostMemory, 9_000 * MIB, Some(16_000 * MIB));
        level(Resource::CgroupMemory, own + 20 * MIB, Some(512 * MIB));
        level(Resource::RssAnon, own, None);
        match second {
            68 => service.see(Observation::OomKill(OomKill { pid, at })),
            70 => {
                service.see(Observation::Exit(ProcessExit { pid, at }));
                let (name, parent, instance) = (NAME.into(), None, None);
                service.see(Observation::Process(ProcessSeen { pid: PID + 9, name, started: at, parent, instance }));
            }
            _ => {}
        }
    }
    service.at(140 * SECOND);
    service.report();
    service.lines()
}

/// Three processes whose connections are well.
pub(crate) fn healthy_network() -> Lines {
    healthy(&[
        // As many losses as a wide network has, and a burst of them.
        &|second| Step { segments: (4_000, if (80..84).contains(&second) { 200 } else { 12 + second % 5 }), ..CALM },
        // A wave of traffic; requests take twice as long at its top.
        &|second| {
            let wave = (60..120).contains(&second);
            let (segments, requests) = if wave { ((24_000, 90), (8, 85)) } else { (CALM.segments, CALM.requests) };
            Step { segments, requests, delay: if wave { 300 } else { 20 }, ..CALM }
        },
        // Packets of unknown protocols, all the time; connections dropped while it started; a database restart.
        &|second| {
            let dropped = if second == 4 { 40 } else { 0 };
            let refused = if (90..93).contains(&second) { 6 } else { 0 };
            Step { ring: (0, 60), dropped, refused, ..CALM }
        },
    ])
}

const QUIET: Step = Step { network: false, ..CALM };

/// Four processes that wait now and then, and are well.
pub(crate) fn healthy_waits() -> Lines {
    healthy(&[
        // A burst of work: throttled, and slow, for six seconds.
        &|second| {
            let burst = (80..86).contains(&second);
            Step {
                throttled: if burst { 18 } else { 1 },
                delay: if burst { 2_500 } else { 40 },
                requests: (2, if burst { 500 } else { 40 }),
                ..QUIET
            }
        },
        // A lock that is held for four seconds, and a pool whose idle threads queue for a mutex from then on.
        &|second| Step {
            waiters: if (60..64).contains(&second) {
                6
            } else if second > 90 {
                7
            } else {
                0
            },
            ..QUIET
        },
        // A start: throttled and slow for half a minute.
        &|second| {
            let start = second < 34;
            Step { throttled: if start { 19 } else { 0 }, requests: (2, if start { 700 } else { 50 }), ..QUIET }
        },
        // A backup that nobody waits for, and a heavier route that is used from then on.
        &|second| {
            let backup = second >= 70;
            let (route, requests) = if backup { ("GET /archive", (2, 900)) } else { (ROUTE, (2, 40)) };
            Step {
                blocked: u32::from(backup) * 2,
                route,
                requests,
                pressure: (5, if backup { 60 } else { 2 }),
                ..QUIET
            }
        },
    ])
}

fn healthy(processes: &[&dyn Fn(u64) -> Step]) -> Lines {
    let mut service = Service::start();
    let mut seen: Vec<Seen> = (0..processes.len()).map(|n| Seen::new(FIRST + u32::try_from(n).unwrap())).collect();
    for second in (4..130_u64).step_by(2) {
        service.at(second * SECOND);
        for (seen, process) in seen.iter_mut().zip(processes) {
            let step = process(second);
            seen.step(&mut service, Step { requests: (step.requests.0.min(2), step.requests.1), ..step });
        }
    }
    service.lines()
}
