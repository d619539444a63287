//! A small deterministic service, seen as the engine would see it: opens and gives back files, serves
//! requests on connections, reports, sends spans late, stalls. Its lines are what the recordings hold.

#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot make its own input has failed")]

pub(crate) mod crowd;
pub(crate) mod growth;
pub(crate) mod random;
pub(crate) mod resolver;
pub(crate) mod shortage;

use snowshed_engine::{
    Engine,
    config::EngineConfig,
    model::{
        Acted, ActuatorKind, CauseKind, Holding, HoldingKind, Holdings, Join, LoopTime, Nanos, Observation,
        OpenRequest, OpenRequests, Owner, ProcessSeen, Request, Resource, SiteId, Stall, TraceId,
    },
};

/// One second.
pub(crate) const SECOND: Nanos = 1_000_000_000;
/// The service's process.
pub(crate) const PID: u32 = 4_242;
/// Its name.
pub(crate) const NAME: &str = "transcoder";
/// Its route.
pub(crate) const ROUTE: &str = "POST /api/v1/transcode";

/// Milliseconds as the engine counts time.
#[must_use]
pub(crate) const fn ms(count: u64) -> Nanos {
    count * (SECOND / 1_000)
}

/// The trace id of request number `n`.
#[must_use]
pub(crate) fn trace(n: u64) -> TraceId {
    TraceId((u128::from(n) | 0xabcd << 64).to_be_bytes())
}

/// The service, and what was observed of it so far.
#[derive(Debug)]
pub(crate) struct Service {
    now: Nanos,
    next_key: u64,
    held: Vec<Holding>,
    open: Vec<(u64, Nanos)>,
    lines: Vec<(Nanos, Observation)>,
    limit: Option<u32>,
    others_in_flight: u32,
}

impl Service {
    /// Found at second 1, with a listener, an epoll instance and a log.
    #[must_use]
    pub(crate) fn start() -> Self {
        let (held, open, lines) = (Vec::new(), Vec::new(), Vec::new());
        let mut service = Self { now: SECOND, next_key: 100, held, open, lines, limit: None, others_in_flight: 0 };
        service.see(Observation::Process(ProcessSeen {
            pid: PID,
            name: NAME.into(),
            started: SECOND / 2,
            parent: None,
            instance: None,
        }));
        for kind in [HoldingKind::Listener, HoldingKind::Epoll, HoldingKind::File] {
            service.hold(kind, SiteId(0), Owner::default());
            service.held.last_mut().unwrap().made = None;
        }
        service
    }

    /// Everything observed, in order.
    #[must_use]
    pub(crate) fn lines(self) -> Vec<(Nanos, Observation)> {
        self.lines
    }

    /// What the clock says.
    pub(crate) fn now(&self) -> Nanos {
        self.now
    }

    /// Moves the clock.
    pub(crate) fn at(&mut self, now: Nanos) {
        assert!(now >= self.now, "the clock of a recording goes forward");
        self.now = now;
    }

    /// Something is observed.
    pub(crate) fn see(&mut self, observation: Observation) {
        self.lines.push((self.now, observation));
    }

    /// Something is made.
    pub(crate) fn hold(&mut self, kind: HoldingKind, site: SiteId, owner: Owner) -> u64 {
        self.next_key += 1;
        let (key, number) = (self.next_key, i32::try_from(self.held.len()).unwrap() + 3);
        let exchanges = u32::from(kind == HoldingKind::TcpAccepted);
        let made = Some(self.now);
        let bare = Holding { key, number, kind, site, owner, made, use_mark: 0, exchanges, leads_to: 0, maker: 0 };
        self.held.push(bare);
        key
    }

    /// Something is made for request `n`.
    pub(crate) fn hold_for(&mut self, n: u64, kind: HoldingKind, site: u64) -> u64 {
        self.hold(
            kind,
            SiteId(site),
            Owner { trace: Some(trace(n)), connection: None, join: Join::ThreadContext, ..Owner::default() },
        )
    }

    /// Something is used.
    pub(crate) fn touch(&mut self, key: u64) {
        self.held.iter_mut().find(|item| item.key == key).unwrap().use_mark += 1;
    }

    /// A connection begins its next exchange; tells its number.
    pub(crate) fn exchange(&mut self, key: u64) -> u32 {
        let connection = self.held.iter_mut().find(|item| item.key == key).unwrap();
        connection.use_mark += 1;
        connection.exchanges += 1;
        connection.exchanges - 1
    }

    /// Something is given back.
    pub(crate) fn give_back(&mut self, key: u64) {
        self.held.retain(|item| item.key != key);
    }

    /// The probe looks at what is held.
    pub(crate) fn snapshot(&mut self, limit: u64) {
        let items = self.held.clone();
        self.see(Observation::Holdings(Holdings {
            pid: PID,
            at: self.now,
            resource: Resource::Fds,
            limit: Some(limit),
            items,
        }));
    }

    /// What is held, as if another process held it.
    pub(crate) fn snapshot_of(&mut self, pid: u32) {
        let (at, items) = (self.now, self.held.clone());
        self.see(Observation::Holdings(Holdings { pid, at, resource: Resource::Fds, limit: Some(100_000), items }));
    }

    /// A child process holds `count` pipe ends, made for a connection of this one.
    pub(crate) fn lend(&mut self, pid: u32, connection: u64, count: u64) {
        let owner = Owner { trace: None, connection: Some((connection, 0)), join: Join::Socket, ..Owner::default() };
        let item = |key| Holding {
            key,
            number: 3,
            kind: HoldingKind::Pipe,
            site: SiteId(0),
            owner,
            made: Some(2 * SECOND),
            use_mark: 0,
            exchanges: 0,
            leads_to: 0,
            maker: 0,
        };
        let items = (1..=count).map(item).collect();
        let (at, resource) = (self.now, Resource::Fds);
        self.see(Observation::Holdings(Holdings { pid, at, resource, limit: None, items }));
    }

    /// Request `n` begins.
    pub(crate) fn begin(&mut self, n: u64) {
        self.open.push((n, self.now));
    }

    /// Request `n` ends; its span comes `late`, which the caller's clock must have reached.
    pub(crate) fn end(&mut self, n: u64) -> Nanos {
        let place = self.open.iter().position(|(open, _)| *open == n).unwrap();
        self.open.remove(place).1
    }

    /// The span of a request.
    pub(crate) fn span(&mut self, n: u64, started: Nanos, ended: Nanos, status: u16) {
        self.see(Observation::Request(Request {
            pid: Some(PID),
            service: NAME.into(),
            trace: trace(n),
            span: None,
            route: ROUTE.into(),
            started,
            ended,
            first_byte: None,
            status: Some(status),
            failed: status >= 500,
            weight: 1.0,
            peer: None,
            serial: false,
        }));
    }

    /// So many requests are in progress besides those begun one by one, under this limit.
    pub(crate) fn load(&mut self, others: u32, limit: Option<u32>) {
        (self.others_in_flight, self.limit) = (others, limit);
    }

    /// The service's own report.
    pub(crate) fn report(&mut self) {
        let route = || ROUTE.to_owned();
        let items = self.open.iter().map(|(n, since)| OpenRequest { trace: trace(*n), route: route(), since: *since });
        let items: Vec<OpenRequest> = items.collect();
        let in_flight = u32::try_from(items.len()).unwrap() + self.others_in_flight;
        let complete = self.others_in_flight == 0;
        let (at, limit) = (self.now, self.limit);
        self.see(Observation::OpenRequests(OpenRequests {
            pid: PID,
            at,
            in_flight,
            limit,
            rejected_total: 0,
            complete,
            items,
        }));
    }

    /// An actuator confirms a limit.
    pub(crate) fn acted(&mut self, limit: Option<u32>) {
        let (actuator, at) = (ActuatorKind::Guard, self.now);
        self.see(Observation::Acted(Acted { actuator, pid: PID, limit, error: None, at }));
    }

    /// The event loop has been stuck since `since`, working for request `n`.
    pub(crate) fn stall(&mut self, since: Nanos, n: u64, starved: bool) {
        self.see(Observation::Stall(Stall {
            pid: PID,
            tid: PID + 1,
            thread: "tokio-runtime-w".into(),
            instance: 4,
            since,
            until: self.now,
            trace: Some(trace(n)),
            join: Join::ThreadContext,
            site: SiteId(11),
            on_cpu: false,
            syscall: Some("clock_nanosleep".into()),
            starved,
            spent: None,
        }));
    }

    /// How the event loop spent the last second.
    pub(crate) fn loop_time(&mut self, busy_ns: Nanos) {
        let (wait_ns, at) = (SECOND - busy_ns, self.now);
        self.see(Observation::LoopTime(LoopTime {
            pid: PID,
            tid: PID + 1,
            instance: 4,
            waits: 40,
            wait_ns,
            busy_ns,
            at,
        }));
    }
}

/// What is suspected of a target, each time that it is another cause: when, and which; looked at every second.
pub(crate) fn suspected(lines: &[(Nanos, Observation)]) -> Vec<(Nanos, CauseKind)> {
    let (mut engine, mut out, mut looked) = (Engine::new(EngineConfig::default()), Vec::new(), 0);
    let (mut told, mut last) = (Vec::new(), None);
    for (now, observation) in lines {
        engine.step(*now, observation, &mut out);
        if now / SECOND == looked {
            continue;
        }
        looked = now / SECOND;
        let view = engine.view(*now);
        let kind = view.targets.iter().find_map(|target| Some(target.suspected.as_ref()?.causes.first()?.kind));
        if kind != last {
            told.extend(kind.map(|kind| (*now, kind)));
            last = kind;
        }
    }
    told
}
