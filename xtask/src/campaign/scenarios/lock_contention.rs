//! Whoever writes down the stock holds its lock for 80 ms; all others wait for it.

use super::super::{
    score::Truth,
    shop::Kind,
    stage::{Scenario, shop},
};
use serde_json::json;

pub(super) const ALL: [Scenario; 2] = [
    Scenario {
        name: "stock-python",
        system: Kind::Threads.name(),
        truth: Some(Truth { kind: "lock_contention", place: None }),
        healthy: 50,
        watched: 70,
        stage: |ground| shop(ground, Kind::Threads, &json!({"work_us": 1000}), json!({"reserve_ms": 80})),
    },
    Scenario {
        name: "stock-go",
        system: Kind::Go.name(),
        truth: Some(Truth { kind: "lock_contention", place: None }),
        healthy: 50,
        watched: 70,
        stage: |ground| shop(ground, Kind::Go, &json!({"work_us": 1000}), json!({"reserve_ms": 80})),
    },
];
