//! Each request leaves somebody waiting for news that never come: a thread in Python, a goroutine in Go.

use super::super::{
    callers::Plan,
    score::Truth,
    shop::{Kind, Options},
    stage::{Ground, Scenario, Stage, shop_with},
};
use serde_json::json;
use std::time::Duration;

const TRUTH: Option<Truth> = Some(Truth { kind: "task_leak", place: Some("watch") });

pub(super) const ALL: [Scenario; 6] = [
    Scenario {
        name: "watchers-python",
        system: Kind::Threads.name(),
        truth: TRUTH,
        healthy: 60,
        watched: 120,
        alone: false,
        stage: |ground| threads(ground, Kind::Threads, SECOND),
    },
    Scenario {
        name: "watchers-in-waves-python",
        system: Kind::Threads.name(),
        truth: TRUTH,
        healthy: 60,
        watched: 120,
        alone: false,
        stage: |ground| asked(ground, Kind::Threads, SECOND / 2, Plan::in_waves),
    },
    Scenario {
        name: "more-watchers-python",
        system: Kind::Threads.name(),
        truth: TRUTH,
        healthy: 60,
        watched: 120,
        alone: false,
        stage: |ground| threads(ground, Kind::Threads, SECOND / 3),
    },
    Scenario {
        name: "watchers-pool",
        system: Kind::Pool.name(),
        truth: TRUTH,
        healthy: 60,
        watched: 120,
        alone: false,
        stage: |ground| threads(ground, Kind::Pool, SECOND),
    },
    Scenario {
        name: "watchers-in-waves-pool",
        system: Kind::Pool.name(),
        truth: TRUTH,
        healthy: 60,
        watched: 120,
        alone: false,
        stage: |ground| asked(ground, Kind::Pool, SECOND / 2, Plan::in_waves),
    },
    Scenario {
        name: "watchers-go",
        system: Kind::Go.name(),
        truth: TRUTH,
        healthy: 60,
        watched: 120,
        alone: false,
        stage: |ground| {
            let plan = |plan| Plan { callers: 2, pause: Duration::from_millis(500), ..plan };
            let mut page = String::new();
            let plan = |told| {
                let plan: Plan = plan(told);
                page = format!("http://{}/debug/pprof/goroutine", plan.address);
                plan
            };
            let before = json!({"work_us": 500});
            let mut stage = shop_with(ground, Kind::Go, &before, json!({"watch": 1}), Options::default(), plan)?;
            if let Stage::Ready(set) = &mut stage {
                set.arguments = vec!["--scrape".into(), page];
            }
            Ok(stage)
        },
    },
];

/// One so often and caller: threads are dear.
const SECOND: u64 = 1_000;

fn threads(ground: &Ground<'_>, kind: Kind, every_ms: u64) -> anyhow::Result<Stage> {
    asked(ground, kind, every_ms, |plan| plan)
}

fn asked(ground: &Ground<'_>, kind: Kind, every_ms: u64, waves: fn(Plan) -> Plan) -> anyhow::Result<Stage> {
    let plan = |plan| waves(Plan { callers: 2, pause: Duration::from_millis(every_ms), ..plan });
    shop_with(ground, kind, &json!({"work_us": 500}), json!({"watch": 1}), Options::default(), plan)
}
