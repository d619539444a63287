//! Joint rules: several figures of one target that are bad only together.

#![allow(clippy::unwrap_used, reason = "a test that cannot make its own input has failed")]

use snowshed_engine::{
    Engine,
    config::EngineConfig,
    model::{
        Holding, HoldingKind, Holdings, Incident, Join, Level, Nanos, Observation, Output, Owner, ProcessSeen,
        Resource, RuleState, RuleView, Severity, SiteId, TraceId, TriggerKind, Verdict, View,
    },
};

const SECOND: Nanos = 1_000_000_000;
const MIB: u64 = 1 << 20;
const PID: u32 = 7;

/// The rules of the seed's probe, as JSON.
const RULES: &str = r#"[
    {"name": "warn", "every_seconds": 5, "severity": "ticket",
     "when": [{"series": "fds", "above": 3000}, {"series": "memory", "above": 104857600}]},
    {"name": "critical", "every_seconds": 5, "samples": 3, "severity": "page",
     "when": [{"series": "fds", "above": 3000}, {"series": "memory", "above": 104857600},
              {"series": "collections", "per_second_above": 1}]},
    {"name": "stuck", "every_seconds": 5, "severity": "page",
     "when": [{"series": "fds", "above": 5000}, {"series": "memory", "above": 209715200}]}
]"#;

struct Run {
    engine: Engine,
    told: Vec<(Nanos, Incident)>,
}

impl Run {
    fn new(rules: &str) -> Self {
        let rules = serde_json::from_str(rules).unwrap();
        let config = EngineConfig { rules, ..EngineConfig::default() };
        assert_eq!(config.check(), Ok(()));
        let mut run = Self { engine: Engine::new(config), told: Vec::new() };
        let name = "svc".to_owned();
        run.see(0, Observation::Process(ProcessSeen { pid: PID, name, started: 0, parent: None, instance: None }));
        run
    }

    fn see(&mut self, now: Nanos, observation: Observation) {
        let mut out = Vec::new();
        self.engine.step(now, &observation, &mut out);
        self.told.extend(out.into_iter().filter_map(|output| match output {
            Output::Incident(incident) => Some((now, *incident)),
            _ => None,
        }));
    }

    fn level(&mut self, second: u64, resource: Resource, value: u64) {
        let at = second * SECOND;
        self.see(at, Observation::Level(Level { pid: PID, resource, value, limit: Some(1 << 40), at }));
    }

    /// One second after the other, with descriptors, memory and, where they are told, collections in all.
    fn seconds(&mut self, range: std::ops::Range<u64>, of: impl Fn(u64) -> (u64, u64, Option<u64>)) {
        for second in range {
            let (fds, memory, collections) = of(second);
            self.level(second, Resource::Fds, fds);
            if let Some(collections) = collections {
                self.level(second, Resource::HeapInUse, memory);
                self.level(second, Resource::Collections, collections);
            } else {
                self.level(second, Resource::RssAnon, memory);
            }
        }
    }

    fn view(&self, second: u64) -> View {
        self.engine.view(second * SECOND)
    }

    fn rule(&self, second: u64, name: &str) -> RuleView {
        self.view(second).targets[0].rules.iter().find(|rule| rule.name == name).unwrap().clone()
    }
}

#[test]
fn neither_figure_alone_opens_anything_and_both_together_do() {
    let mut run = Run::new(RULES);
    run.seconds(1..40, |_| (4_000, 60 * MIB, Some(7)));
    run.seconds(40..80, |_| (400, 150 * MIB, Some(7)));
    assert!(run.told.is_empty(), "{:?}", run.told);
    assert_eq!(run.rule(79, "warn").state, RuleState::Quiet);
    run.seconds(80..90, |_| (3_001, 101 * MIB, Some(7)));
    let (at, first) = &run.told[0];
    assert!((80..=86).contains(&(at / SECOND)), "{at}");
    assert_eq!((first.trigger.kind, first.severity), (TriggerKind::JointRule, Severity::Ticket));
    assert_eq!(first.trigger.detail, "warn: fds 3001 fds (above 3000 fds) and memory 150 MiB (above 100 MiB)");
    assert_eq!(first.verdict, Verdict::Unknown, "no cause is known");
    run.seconds(90..130, |_| (900, 101 * MIB, Some(7)));
    assert!(run.told.last().unwrap().1.closed.is_some());
    assert_eq!(run.view(129).incidents.len(), 1);
}

#[test]
fn three_samples_with_frequent_collections_are_critical_and_two_are_not() {
    let often = |second: u64| (3_500, 120 * MIB, Some(2 * second));
    let mut run = Run::new(RULES);
    // Sampled at 0, 5, 10, 15, 20: the first that knows anything has nothing to compare with.
    run.seconds(1..20, often);
    run.seconds(20..26, |_| (100, 120 * MIB, Some(30)));
    assert!(run.told.iter().all(|(_, incident)| incident.severity == Severity::Ticket), "{:?}", run.told);
    let mut run = Run::new(RULES);
    run.seconds(1..30, often);
    let (at, worst) = run.told.iter().find(|(_, incident)| incident.severity == Severity::Page).unwrap();
    assert!((15..=22).contains(&(at / SECOND)), "{at}");
    let said = "critical: fds 3500 fds (above 3000 fds) and memory 120 MiB (above 100 MiB) and collections 2 \
        collections/s (above 1 collections/s), in 3 samples 5 s apart";
    assert!(worst.trigger.detail.starts_with(said), "{}", worst.trigger.detail);
    let mut run = Run::new(RULES);
    run.seconds(1..60, |second| (3_500, 120 * MIB, Some(second / 2)));
    assert!(run.told.iter().all(|(_, incident)| incident.severity == Severity::Ticket), "one in two seconds is usual");
}

#[test]
fn much_more_of_both_is_stuck_in_one_sample() {
    let mut run = Run::new(RULES);
    run.seconds(1..12, |_| (5_001, 201 * MIB, None));
    let (at, first) = &run.told[0];
    assert!(*at <= 6 * SECOND && first.severity == Severity::Page, "{at} {first:?}");
    assert!(first.trigger.detail.starts_with("stuck: fds 5001 fds"), "{}", first.trigger.detail);
}

#[test]
fn a_figure_that_nobody_tells_makes_the_rule_unknown_and_the_incident_says_so() {
    let mut run = Run::new(RULES);
    run.seconds(1..40, |_| (3_500, 120 * MIB, None));
    let critical = run.rule(39, "critical");
    assert_eq!((critical.state, critical.samples), (RuleState::Unknown, 0));
    assert_eq!(critical.unknown, ["nobody tells collections of this target"]);
    assert_eq!(run.rule(39, "warn").state, RuleState::Holds);
    let incident = &run.view(39).incidents[0];
    assert_eq!(incident.severity, Severity::Ticket);
    let said = "; whether critical holds is not known: nobody tells collections of this target";
    assert!(incident.trigger.detail.ends_with(said), "{}", incident.trigger.detail);
    // What is known and within its bounds says enough; what is not known is still told.
    run.seconds(40..60, |_| (10, 120 * MIB, None));
    let critical = run.rule(59, "critical");
    assert_eq!((critical.state, critical.unknown.len()), (RuleState::Quiet, 1));
    // Silence is not the last value.
    run.seconds(60..61, |_| (3_500, 120 * MIB, None));
    (61..110).for_each(|second| run.level(second, Resource::RssAnon, 120 * MIB));
    let warn = run.rule(109, "warn");
    assert_eq!((warn.state, warn.unknown), (RuleState::Unknown, vec!["nobody tells fds of this target".to_owned()]));
}

#[test]
fn a_rise_is_measured_over_its_whole_window() {
    let rising = r#"[{"name": "rise", "every_seconds": 5, "severity": "ticket", "when": [
        {"series": "memory", "rises_by": 104857600, "within_seconds": 60}, {"series": "fds", "above": 10}]}]"#;
    let mut run = Run::new(rising);
    run.seconds(1..30, |second| (20, second * 20 * MIB, None));
    assert!(run.told.is_empty(), "a start is no growth");
    assert_eq!(run.rule(29, "rise").state, RuleState::Unknown);
    assert!(
        run.rule(29, "rise").unknown[0].starts_with("memory has been followed for 2"),
        "{:?}",
        run.rule(29, "rise")
    );
    let mut run = Run::new(rising);
    let level = |second: u64| 600 + second.saturating_sub(150) * 2;
    run.seconds(1..200, |second| (20, level(second) * MIB, None));
    assert!(run.told.is_empty(), "98 MiB in a minute");
    run.seconds(200..220, |second| (20, level(second) * MIB, None));
    let (at, first) = &run.told[0];
    assert!((200..=211).contains(&(at / SECOND)), "{at}");
    assert!(first.trigger.detail.contains("up by more than 100 MiB in 60 s"), "{}", first.trigger.detail);
}

#[test]
fn a_rule_is_for_the_targets_that_it_names() {
    let rules = |target: &str| {
        format!(
            r#"[{{"name": "a", "targets": ["{target}"], "severity": "info", "when": [{{"series": "fds", "above": 5}}]}}]"#
        )
    };
    for (target, told) in [("svc", true), ("other", false)] {
        let mut run = Run::new(&rules(target));
        run.seconds(1..20, |_| (100, MIB, None));
        assert_eq!(!run.told.is_empty(), told, "{target}");
        assert_eq!(run.view(19).targets[0].rules.is_empty(), !told);
    }
}

#[test]
fn the_cause_explains_the_rule_and_carries_its_figures() {
    let rules = r#"[{"name": "both", "every_seconds": 1, "severity": "ticket",
        "when": [{"series": "fds", "above": 3}, {"series": "memory", "above": 1}]}]"#;
    let mut run = Run::new(rules);
    let mut items: Vec<Holding> = Vec::new();
    for second in 1..60_u64 {
        let at = second * SECOND;
        run.level(second, Resource::RssAnon, 50 * MIB);
        let trace = TraceId(u128::from(second).to_be_bytes());
        let owner = Owner { trace: Some(trace), connection: None, join: Join::ThreadContext, ..Owner::default() };
        items.push(Holding {
            key: second,
            number: i32::try_from(second).unwrap(),
            kind: HoldingKind::File,
            site: SiteId(9),
            owner,
            made: Some(at),
            use_mark: 0,
            exchanges: 0,
            leads_to: 0,
            maker: 0,
        });
        run.see(at, request(trace, at));
        let items = items.clone();
        run.see(at, Observation::Holdings(Holdings { pid: PID, at, resource: Resource::Fds, limit: None, items }));
    }
    let incident = &run.view(59).incidents[0];
    assert_eq!((incident.trigger.kind, incident.verdict), (TriggerKind::JointRule, Verdict::Named), "{incident:?}");
    let cause = &incident.causes[0];
    assert_eq!((cause.site, format!("{:?}", cause.kind).as_str()), (SiteId(9), "FdLeak"));
    let signals: Vec<&str> = cause.evidence.iter().map(|found| found.signal.as_str()).collect();
    assert!(signals.contains(&"rule.fds") && signals.contains(&"rule.memory"), "{signals:?}");
}

fn request(trace: TraceId, at: Nanos) -> Observation {
    let text = format!(
        r#"{{"type": "request", "pid": {PID}, "service": "svc", "trace": "{trace}", "route": "GET /", "started": {},
            "ended": {at}, "failed": false, "weight": 1.0}}"#,
        at - SECOND / 10
    );
    serde_json::from_str(&text).unwrap()
}

#[test]
fn the_longest_configuration_costs_little_and_hostile_figures_do_no_harm() {
    let when = r#"{"series": "fds", "rises_by": 1, "within_seconds": 120}"#;
    let when = [when; 8].join(",");
    let rule = |n: usize| format!(r#"{{"name": "r{n}", "every_seconds": 1, "severity": "info", "when": [{when}]}}"#);
    let rules: Vec<String> = (0..32).map(rule).collect();
    let mut run = Run::new(&format!("[{}]", rules.join(",")));
    for second in 1..600_u64 {
        run.level(second, Resource::Fds, if second % 2 == 0 { u64::MAX } else { 0 });
    }
    run.see(
        Nanos::MAX,
        Observation::Level(Level { pid: PID, resource: Resource::Fds, value: 5, limit: None, at: Nanos::MAX }),
    );
    assert_eq!(run.view(600).targets[0].rules.len(), 32);
}
