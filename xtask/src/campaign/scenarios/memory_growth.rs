//! Each request leaves 64 KB behind for good.

use super::super::{
    score::Truth,
    shop::Kind,
    stage::{Ground, Scenario, Stage, shop},
};
use serde_json::json;

const TRUTH: Option<Truth> = Some(Truth { kind: "memory_growth", place: Some("remember") });

const fn one(name: &'static str, kind: Kind, stage: fn(&Ground<'_>) -> anyhow::Result<Stage>) -> Scenario {
    Scenario { name, system: kind.name(), truth: TRUTH, healthy: 60, watched: 120, stage }
}

fn stage(ground: &Ground<'_>, kind: Kind) -> anyhow::Result<Stage> {
    shop(ground, kind, &json!({"work_us": 500}), json!({"session_kb": 64}))
}

pub(super) const ALL: [Scenario; 5] = [
    one("sessions-python", Kind::Threads, |ground| stage(ground, Kind::Threads)),
    one("sessions-go", Kind::Go, |ground| stage(ground, Kind::Go)),
    one("sessions-node", Kind::Node, |ground| stage(ground, Kind::Node)),
    one("sessions-asyncio", Kind::Asyncio, |ground| stage(ground, Kind::Asyncio)),
    one("sessions-pool", Kind::Pool, |ground| stage(ground, Kind::Pool)),
];
