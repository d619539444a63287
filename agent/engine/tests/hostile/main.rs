//! Anything may come in: the engine never panics, never says a figure that is none, and stays within its
//! bounds. The facts are random but seeded, so a failure can be repeated.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its own input has failed")]

mod growth;
mod shortage;

use snowshed_engine::{
    Engine,
    config::{Caps, EngineConfig},
    model::{
        Acted, ActuatorKind, Call, CallKind, Caller, Holding, HoldingKind, Holdings, Incident, Join, Level,
        LoopInstance, LoopTime, Lost, Nanos, Observation, OpenRequest, OpenRequests, Output, Owner, ProcessExit,
        ProcessSeen, Request, Resource, Retransmit, SiteId, SpanId, Spent, Stall, TraceId, View, WaitCall,
    },
    slo,
};

const SLO: &str = "apiVersion: openslo/v1
kind: SLO
metadata: {name: n}
spec:
  service: s
  indicator: {spec: {ratioMetric: {good: {metricSource: {type: snowshed, spec: {duration: '<= 1s'}}},
    total: {metricSource: {type: snowshed, spec: {}}}}}}
  timeWindow: [{duration: 30d, isRolling: true}]
  budgetingMethod: Occurrences
  objectives: [{target: 0.9}]
";

const KINDS: [HoldingKind; 6] = [
    HoldingKind::File,
    HoldingKind::Tcp,
    HoldingKind::TcpAccepted,
    HoldingKind::Pipe,
    HoldingKind::Listener,
    HoldingKind::Anon,
];

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }

    /// Mostly near `now`, sometimes anything.
    fn time(&mut self, now: Nanos) -> Nanos {
        match self.below(20) {
            0 => 0,
            1 => u64::MAX,
            2 => self.next(),
            3 => now.saturating_add(self.below(100_000_000_000)),
            _ => now.saturating_sub(self.below(20_000_000_000)),
        }
    }

    fn amount(&mut self) -> u64 {
        if self.chance(10) { self.next() } else { self.below(2_000) }
    }

    fn pid(&mut self) -> u32 {
        u32::try_from(if self.chance(20) { self.below(1 << 22) } else { self.below(6) }).unwrap()
    }

    fn trace(&mut self) -> TraceId {
        TraceId(u128::from(self.below(40)).to_be_bytes())
    }

    fn join(&mut self) -> Join {
        [Join::ThreadContext, Join::Socket, Join::Inherited, Join::Window, Join::None]
            [usize::try_from(self.below(5)).unwrap()]
    }

    fn peer(&mut self) -> u32 {
        u32::try_from(self.below(40)).unwrap()
    }

    fn holding(&mut self, now: Nanos) -> Holding {
        let trace = self.chance(2).then(|| self.trace());
        let connection = self.chance(2).then(|| (self.below(60), u32::try_from(self.below(4)).unwrap()));
        let join = self.join();
        let owner = Owner { trace, connection, join, lent: self.chance(3), peer: self.peer(), alone: self.chance(2) };
        Holding {
            key: self.below(400),
            number: i32::try_from(self.below(4_000)).unwrap() - 10,
            kind: KINDS[usize::try_from(self.below(6)).unwrap()],
            site: SiteId(self.below(30)),
            owner,
            made: self.chance(3).then(|| self.time(now)),
            use_mark: self.below(3),
            exchanges: u32::try_from(self.below(5)).unwrap(),
            leads_to: self.below(3),
            maker: u32::try_from(self.below(3)).unwrap(),
        }
    }

    fn span(&mut self) -> SpanId {
        SpanId(self.below(500).to_be_bytes())
    }

    fn text(&mut self) -> String {
        [
            "s",
            "",
            "pid 4",
            "a\u{0}b",
            "ü",
            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        ][usize::try_from(self.below(6)).unwrap()]
        .to_owned()
    }

    fn observation(&mut self, now: Nanos) -> Observation {
        let (pid, at) = (self.pid(), self.time(now));
        match self.below(19) {
            0 => {
                Observation::Process(ProcessSeen { pid, name: self.text(), started: at, parent: None, instance: None })
            }
            1 if self.chance(8) => Observation::Exit(ProcessExit { pid, at }),
            2 => Observation::Request(Request {
                pid: self.chance(2).then_some(pid),
                service: self.text(),
                trace: self.trace(),
                span: self.chance(2).then(|| self.span()),
                route: self.text(),
                started: self.time(now),
                ended: at,
                first_byte: self.chance(2).then(|| self.time(now)),
                status: self.chance(2).then(|| u16::try_from(self.below(65_536)).unwrap()),
                failed: self.chance(2),
                weight: [1.0, 0.0, -1.0, f64::NAN, f64::INFINITY, 1e300][usize::try_from(self.below(6)).unwrap()],
                peer: self.chance(2).then(|| self.peer()).map(|number| Caller { number, certain: self.chance(2) }),
                serial: self.chance(2),
            }),
            3 => {
                let open = |random: &mut Self| OpenRequest { trace: random.trace(), route: random.text(), since: 0 };
                Observation::OpenRequests(OpenRequests {
                    pid,
                    at,
                    in_flight: u32::try_from(self.amount() >> 33).unwrap(),
                    limit: None,
                    rejected_total: self.amount(),
                    complete: self.chance(2),
                    items: (0..self.below(5)).map(|_| open(self)).collect(),
                })
            }
            4 | 5 => Observation::Holdings(Holdings {
                pid,
                at,
                resource: Resource::Fds,
                limit: self.chance(2).then(|| self.amount()),
                items: (0..self.below(150)).map(|_| self.holding(now)).collect(),
            }),
            6 => Observation::Level(Level { pid, resource: Resource::Fds, value: self.amount(), limit: None, at }),
            7 => Observation::LoopTime(LoopTime {
                pid,
                tid: self.pid(),
                instance: -1,
                waits: self.amount(),
                wait_ns: self.amount(),
                busy_ns: self.amount(),
                at,
            }),
            8 => Observation::Stall(Stall {
                pid,
                tid: self.pid(),
                thread: self.text(),
                instance: 0,
                since: self.time(now),
                until: at,
                trace: self.chance(2).then(|| self.trace()),
                join: self.join(),
                site: SiteId(self.below(5)),
                on_cpu: self.chance(2),
                syscall: self.chance(2).then(|| self.text()),
                starved: self.chance(2),
                spent: self.chance(2).then(|| Spent {
                    running: self.amount(),
                    queued: self.amount(),
                    blocked: self.amount(),
                }),
            }),
            10 => Observation::LoopInstance(LoopInstance {
                pid,
                call: WaitCall::Epoll,
                instance: -1,
                tid: self.chance(2).then(|| self.pid()),
                threads: 1,
                waits: self.amount(),
                wait_ns: self.amount(),
                busy_ns: self.chance(2).then(|| self.amount()),
                events: self.chance(2).then(|| self.amount()),
                full: self.amount(),
                batch: 1,
                starved_ns: self.amount(),
                mixed: false,
                at,
            }),
            9 => Observation::Acted(Acted {
                actuator: ActuatorKind::Guard,
                pid,
                limit: self.chance(2).then_some(3),
                error: self.chance(2).then(|| self.text()),
                at,
            }),
            17 => Observation::Call(Call {
                pid: self.chance(2).then_some(pid),
                trace: self.trace(),
                span: self.chance(2).then(|| self.span()),
                kind: CallKind::Rpc,
                peer: format!("peer {}", self.below(100)),
                started: self.time(now),
                ended: at,
                failed: self.chance(2),
                weight: [1.0, 0.0, -1.0, f64::NAN, f64::INFINITY, 1e300][usize::try_from(self.below(6)).unwrap()],
            }),
            12 => self.level(pid, at),
            13 => self.pages(pid, at),
            14 => self.tasks(pid, at),
            15..=16 => self.shortage(pid, at),
            11 => Observation::Retransmit(Retransmit {
                pid: Some(pid),
                local: "127.0.0.1:1".parse().unwrap(),
                peer: "[::1]:2".parse().unwrap(),
                at,
                trace: self.chance(2).then(|| self.trace()),
                join: self.join(),
                ambiguity: 0,
                candidates: (0..self.below(20)).map(|_| self.trace()).collect(),
                complete: false,
                sequence: (0, 0),
                segments: u32::MAX,
            }),
            _ => Observation::Lost(Lost { probe: format!("p{}", self.below(500)), events: self.amount(), at }),
        }
    }
}

fn check_incident(incident: &Incident) {
    assert!(incident.causes.len() <= 8 && incident.actions.len() <= 64, "{incident:?}");
    for cause in &incident.causes {
        assert!((0.0..=1.0).contains(&cause.confidence), "{cause:?}");
        assert!(cause.traces.len() <= 16);
        assert!(
            cause.evidence.iter().all(|evidence| evidence.before.is_finite() && evidence.after.is_finite()),
            "{cause:?}"
        );
        assert!(cause.forecast.is_none_or(|told| told.eta_seconds.0.is_finite() && told.eta_seconds.1.is_finite()));
    }
}

fn check_view(view: &View, caps: &Caps) {
    assert!(view.targets.len() <= caps.targets);
    let closed = view.incidents.iter().filter(|incident| incident.closed.is_some()).count();
    assert!(closed <= caps.closed_incidents);
    let most = caps.closed_incidents + caps.targets + 32;
    assert!(view.incidents.len() <= most, "one open incident per target, and those of the last minute's dead");
    let peers = view.downstream.iter().flat_map(|one| &one.peers);
    assert!(peers.clone().all(|peer| peer.calls.is_finite() && peer.failed <= peer.calls), "{:?}", view.downstream);
    assert!(view.downstream.iter().all(|one| one.peers.len() <= 33) && view.downstream.len() <= caps.targets);
    assert!(view.lost.len() <= 64 + 8);
    view.incidents.iter().for_each(check_incident);
    for target in &view.targets {
        if !target.fds.sites.is_empty() {
            assert_eq!(target.fds.sites.iter().map(|site| site.live).sum::<u64>(), target.fds.live);
        }
        assert!(target.fds.orphaned <= target.fds.live.max(1));
        assert!(
            target
                .loops
                .iter()
                .all(|looped| (0.0..=1.0).contains(&looped.busy_ratio) && looped.waits_per_second.is_finite())
        );
        assert!(target.latency_seconds.is_none_or(|(p50, p99)| p50.is_finite() && p99.is_finite()));
        assert!(target.fds.eta_seconds.is_none_or(|(low, high)| low.is_finite() && high.is_finite()));
    }
    for slo in &view.slos {
        assert!(slo.ratio.is_none_or(f64::is_finite) && slo.budget_used.is_none_or(f64::is_finite), "{slo:?}");
    }
}

#[test]
fn random_facts_never_break_it() {
    let (mut opened, mut acted) = (0_u32, 0_u32);
    for seed in 1..=6_u64 {
        let caps = Caps {
            targets: 5,
            holdings: 100,
            ended_traces: 10,
            groups: 12,
            closed_incidents: 8,
            traces: 6,
            bare_traces: 3,
        };
        let enforce = if seed % 2 == 0 { vec![ActuatorKind::Guard] } else { Vec::new() };
        let slos = slo::parse(SLO, "slo").unwrap();
        let mut engine = Engine::new(EngineConfig {
            seed,
            enforce: enforce.clone(),
            caps: caps.clone(),
            slos,
            ..EngineConfig::default()
        });
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let (mut now, mut out) = (100_000_000_000_u64, Vec::new());
        for step in 0..8_000_u32 {
            now += random.below(300_000_000);
            // Time also goes backwards; at the very end it runs out.
            let told = match step {
                7_990.. => u64::MAX - u64::from(step % 3),
                _ if random.chance(50) => now.saturating_sub(random.next()),
                _ => now,
            };
            let observation = random.observation(now);
            engine.step(told, &observation, &mut out);
            if random.chance(4) {
                engine.tick(engine.next_deadline(), &mut out);
            }
            assert!(out.len() <= 64, "{} outputs for one fact", out.len());
            for output in out.drain(..) {
                match output {
                    Output::Incident(incident) => {
                        check_incident(&incident);
                        opened += 1;
                    }
                    Output::Act(act) => {
                        assert!(!enforce.is_empty() && !act.reason.is_empty());
                        acted += 1;
                    }
                    Output::Ask(_) => {}
                }
            }
            if step % 100 == 0 {
                check_view(&engine.view(told), &caps);
            }
        }
        check_view(&engine.view(u64::MAX), &caps);
    }
    assert!(opened > 50 && acted > 5, "{opened} incidents, {acted} acts: the facts are too tame to show anything");
}

#[test]
fn absurd_settings_never_break_it() {
    let config = r#"{"orphans":{"after_seconds":0,"count":0,"owners":0,"socket_after_seconds":18446744073709551615},
        "stalls":{"window_seconds":0,"count":0,"each_ms":0,"single_ms":0},
        "growth":{"least_bytes":0,"least_tasks":0,"after_calm_seconds":0,"calm_seconds":0,"from_start_seconds":0,
        "steady":-1e300,"open_below_seconds":-1e300},
        "signs":{"past_seconds":0,"alone_seconds":0,"suffering_seconds":0,"resent_ratio":-1e300,"lock_waiters":0,
        "throttled_ratio":1e308,"cpu_delay_ratio":-1,"blocked_threads":0,"accept_drops_per_second":0,
        "nic_drops_per_second":0,"failed_connects_per_second":-0.0,"round_trip_seconds":0,"slow_ratio":0,"failed_ratio":0,"dns_failed_ratio":-1,"dns_answer_seconds":0,"blocked_writers":0,
        "unfinished_requests":0,"unaccepted":-1e300,"arrivals_per_second":0,"pool_full_ratio":0},"exhaustion":{"gate":-1e300,"fit_seconds":18446744073709551615,"open_below_seconds":1e308},
        "slo":{"min_requests":0,"windows":0,"delay_ms":18446744073709551615},
        "breaker":{"factor":1e300,"min_limit":0,"step_factor":-5.0,"step_ms":[9,1],"expires_seconds":0,"settle_seconds":0},
        "caps":{"targets":0,"holdings":0,"ended_traces":0,"groups":0,"closed_incidents":0,"traces":0,"bare_traces":0},"enforce":["guard"]}"#;
    for targets in [0, 3] {
        let mut config: EngineConfig = serde_json::from_str(config).unwrap();
        config.caps.targets = targets;
        config.slos = slo::parse(SLO, "slo").unwrap();
        let (caps, mut engine) = (config.caps.clone(), Engine::new(config));
        let (mut random, mut now, mut out) = (Random(99), 1_000_000_000, Vec::new());
        for _ in 0..4_000 {
            now += random.below(300_000_000);
            let observation = random.observation(now);
            engine.step(now, &observation, &mut out);
            out.clear();
        }
        check_view(&engine.view(now), &caps);
    }
    assert!(serde_json::from_str::<EngineConfig>(r#"{"brakes":{}}"#).is_err(), "unknown settings are refused");
}
