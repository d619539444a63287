//! Each request leaves 64 KB behind for good.

use super::super::{
    score::Truth,
    shop::Kind,
    stage::{Scenario, shop},
};
use serde_json::json;

const TRUTH: Option<Truth> = Some(Truth { kind: "memory_growth", place: None });

pub(super) const ALL: [Scenario; 3] = [
    Scenario {
        name: "sessions-python",
        system: Kind::Threads.name(),
        truth: TRUTH,
        healthy: 60,
        watched: 120,
        stage: |ground| shop(ground, Kind::Threads, &json!({"work_us": 500}), json!({"session_kb": 64})),
    },
    Scenario {
        name: "sessions-go",
        system: Kind::Go.name(),
        truth: TRUTH,
        healthy: 60,
        watched: 120,
        stage: |ground| shop(ground, Kind::Go, &json!({"work_us": 500}), json!({"session_kb": 64})),
    },
    Scenario {
        name: "sessions-node",
        system: Kind::Node.name(),
        truth: TRUTH,
        healthy: 60,
        watched: 120,
        stage: |ground| shop(ground, Kind::Node, &json!({"work_us": 500}), json!({"session_kb": 64})),
    },
];
