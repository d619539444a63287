//! What changed: an incident says what is different from the healthy past and from the instance before.

#![allow(clippy::unwrap_used, reason = "a test that cannot make its own input has failed")]

use snowshed_engine::{
    Engine,
    config::EngineConfig,
    model::{Level, Limit, Nanos, Observation, Pid, ProcessExit, ProcessSeen, Resource, Setup, TraceId, View},
};

const SECOND: Nanos = 1_000_000_000;
/// A rule that opens an incident at will: so nothing but the figures at hand is in the way.
const RULES: &str = r#"[{"name": "many", "every_seconds": 1, "severity": "ticket",
    "when": [{"series": "threads", "above": 100}]}]"#;

struct Run(Engine);

impl Run {
    fn new() -> Self {
        let rules = serde_json::from_str(RULES).unwrap();
        Self(Engine::new(EngineConfig { rules, ..EngineConfig::default() }))
    }

    fn see(&mut self, second: u64, observation: Observation) {
        self.0.step(second * SECOND, &observation, &mut Vec::new());
    }

    fn start(&mut self, second: u64, pid: Pid, parent: Option<Pid>, setup: Option<Setup>) {
        let (started, name) = (second * SECOND, "svc".to_owned());
        self.see(second, Observation::Process(ProcessSeen { pid, name, started, parent, instance: None }));
        if let Some(setup) = setup {
            self.see(second, Observation::Setup(setup));
        }
    }

    fn level(&mut self, second: u64, pid: Pid, resource: Resource, value: u64, limit: Option<u64>) {
        self.see(second, Observation::Level(Level { pid, resource, value, limit, at: second * SECOND }));
    }

    /// The process has too many threads from one second to another.
    fn trouble(&mut self, seconds: std::ops::Range<u64>, pid: Pid) {
        seconds.for_each(|second| self.level(second, pid, Resource::Threads, 500, None));
    }

    fn view(&self, second: u64) -> View {
        self.0.view(second * SECOND)
    }

    fn changed(&self, second: u64) -> Vec<String> {
        self.view(second).incidents[0].what_changed.clone()
    }
}

fn setup(pid: Pid, second: u64, build: &str, environment: u64, files: u64) -> Setup {
    let limits = vec![
        Limit { name: "open files".into(), value: Some(files) },
        Limit { name: "cgroup memory (bytes)".into(), value: None },
    ];
    Setup {
        pid,
        at: second * SECOND,
        build: Some(build.to_owned()),
        arguments: Some(5),
        environment: Some(environment),
        limits,
    }
}

#[test]
fn another_build_environment_and_limit_are_told_against_the_instance_before() {
    let mut run = Run::new();
    run.start(10, 1, None, Some(setup(1, 10, "aaaa", 1, 65_536)));
    run.see(100, Observation::Exit(ProcessExit { pid: 1, at: 100 * SECOND }));
    run.start(102, 2, None, Some(setup(2, 102, "bbbb", 2, 1_024)));
    run.trouble(160..170, 2);
    let before = "in the instance before it (pid 1, ended 60 s before the onset)";
    let changed = run.changed(170);
    // The rule samples once a second: the onset is known to a second.
    assert!(changed[0].starts_with("start: the process started 5"), "{changed:?}");
    let before = before.replace("60 s", if changed[1].contains("60 s") { "60 s" } else { "59 s" });
    assert_eq!(
        changed[1..],
        [
            format!("build: bbbb, aaaa {before}"),
            format!("environment: not the same as {before}"),
            format!("limit: open files 1024, 65536 {before}"),
        ]
    );
}

#[test]
fn an_instance_like_the_one_before_has_changed_nothing_but_its_start() {
    let mut run = Run::new();
    run.start(10, 1, None, Some(setup(1, 10, "aaaa", 1, 1_024)));
    run.start(20, 2, None, Some(setup(2, 20, "aaaa", 1, 1_024)));
    run.trouble(50..60, 2);
    let changed = run.changed(60);
    assert!(changed.len() == 1 && changed[0].starts_with("start: the process started"), "{changed:?}");
    // Long after its start even that is no news.
    let mut run = Run::new();
    run.start(10, 1, None, Some(setup(1, 10, "aaaa", 1, 1_024)));
    run.trouble(2_000..2_010, 1);
    assert!(run.changed(2_010).is_empty(), "{:?}", run.changed(2_010));
}

#[test]
fn what_is_not_known_is_not_compared() {
    let mut run = Run::new();
    let unknown = |pid, second| Setup {
        build: None,
        arguments: None,
        environment: None,
        limits: Vec::new(),
        ..setup(pid, second, "", 0, 0)
    };
    run.start(10, 1, None, Some(unknown(1, 10)));
    run.start(20, 2, None, Some(setup(2, 20, "bbbb", 2, 64)));
    run.trouble(50..60, 2);
    assert_eq!(run.changed(60).len(), 1, "{:?}", run.changed(60));
}

#[test]
fn a_forked_worker_runs_with_what_its_parent_does_until_it_executes_something() {
    let mut run = Run::new();
    run.start(10, 1, None, Some(setup(1, 10, "aaaa", 1, 64)));
    run.start(20, 2, Some(1), None);
    run.trouble(50..60, 2);
    assert_eq!(run.changed(60).len(), 1, "{:?}", run.changed(60));
    let mut run = Run::new();
    run.start(10, 1, None, Some(setup(1, 10, "aaaa", 1, 64)));
    run.see(40, Observation::Setup(setup(1, 40, "bbbb", 1, 64)));
    run.trouble(50..60, 1);
    let changed = run.changed(60);
    assert!(changed.iter().any(|line| line.starts_with("build: bbbb, aaaa before its last exec (")), "{changed:?}");
}

#[test]
fn a_limit_that_is_moved_while_it_runs_is_told_only_near_the_onset() {
    let mut run = Run::new();
    run.start(10, 1, None, None);
    run.level(11, 1, Resource::Fds, 5, Some(65_536));
    run.level(1_000, 1, Resource::Fds, 5, Some(4_096));
    run.level(1_900, 1, Resource::Fds, 5, Some(1_024));
    run.level(1_901, 1, Resource::Fds, 5, None);
    run.trouble(2_000..2_010, 1);
    let changed = run.changed(2_010);
    assert_eq!(changed.len(), 1, "{changed:?}");
    assert!(changed[0].starts_with("limit: open files 1024, 4096 before it was changed while it ran ("), "{changed:?}");
}

#[test]
fn a_new_mix_of_traffic_is_told_with_its_shares() {
    let mut run = Run::new();
    run.start(1, 1, None, None);
    let ask = |run: &mut Run, second: u64, route: &str, count: u64| {
        for n in 0..count {
            let trace = TraceId(u128::from(second * 1_000 + n).to_be_bytes());
            let ended = second * SECOND;
            let text = format!(
                r#"{{"type": "request", "pid": 1, "service": "svc", "trace": "{trace}", "route": "{route}",
                    "started": {}, "ended": {ended}, "failed": false, "weight": 1.0}}"#,
                ended - 1_000_000
            );
            run.see(second, serde_json::from_str(&text).unwrap());
        }
    };
    for second in 1_100..1_300 {
        ask(&mut run, second, "GET /light", if second < 1_250 { 9 } else { 1 });
        ask(
            &mut run,
            second,
            "GET /heavy\u{1b}[2J".replace('\u{1b}', "\\u001b").as_str(),
            if second < 1_250 { 1 } else { 9 },
        );
        if second >= 1_250 {
            run.trouble(second..second + 1, 1);
        }
    }
    let changed = run.changed(1_300);
    let told = "traffic: GET /heavy?[2J is 90 % of the requests since the onset, 10 % before";
    assert!(changed.iter().any(|line| line == told), "{changed:?}");
    assert!(changed.iter().all(|line| !line.contains("requests a second")), "there are as many: {changed:?}");
}
