//! Two workers accept by themselves; each answer takes longer, and more connect than fit into the queue of eight.

use super::super::{
    callers::Plan,
    score::Truth,
    shop::{Kind, Options},
    stage::{Scenario, shop_with},
};
use serde_json::json;
use std::time::Duration;

pub(super) const ALL: [Scenario; 1] = [Scenario {
    name: "short-queue",
    system: Kind::Pool.name(),
    truth: Some(Truth { kind: "accept_queue_overflow", place: None }),
    healthy: 50,
    watched: 70,
    alone: false,
    stage: |ground| {
        let plan = |plan| Plan { callers: 30, pause: Duration::from_millis(600), part_after: 1, ..plan };
        let (before, after) = (json!({"work_us": 500}), json!({"answer_ms": 250}));
        shop_with(ground, Kind::Pool, &before, after, Options::default(), plan)
    },
}];
