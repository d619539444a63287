//! Every twentieth request blocks the loop for 400 ms: in asyncio it sleeps, in Node it computes.

use super::super::{
    score::Truth,
    shop::Kind,
    stage::{Scenario, shop},
};
use serde_json::json;

pub(super) const ALL: [Scenario; 2] = [
    Scenario {
        name: "pause-asyncio",
        system: Kind::Asyncio.name(),
        truth: Some(Truth { kind: "event_loop_stall", place: Some("answer") }),
        healthy: 45,
        watched: 60,
        stage: |ground| {
            let after = json!({"pause_ms": 400, "pause_every": 20});
            shop(ground, Kind::Asyncio, &json!({"work_us": 500}), after)
        },
    },
    Scenario {
        name: "pause-node",
        system: Kind::Node.name(),
        truth: Some(Truth { kind: "event_loop_stall", place: Some("render") }),
        healthy: 45,
        watched: 60,
        stage: |ground| {
            let after = json!({"pause_ms": 400, "pause_every": 20});
            shop(ground, Kind::Node, &json!({"work_us": 500}), after)
        },
    },
];
