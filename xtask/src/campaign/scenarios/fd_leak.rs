//! Each request leaves the file open that it has read.

use super::super::{
    score::Truth,
    shop::Kind,
    stage::{Scenario, shop},
};
use serde_json::json;

const fn one(name: &'static str, kind: Kind, place: Option<&'static str>, stage: Stager) -> Scenario {
    let truth = Some(Truth { kind: "fd_leak", place });
    Scenario { name, system: kind.name(), truth, healthy: 45, watched: 60, stage }
}

type Stager = fn(&super::super::stage::Ground<'_>) -> anyhow::Result<super::super::stage::Stage>;

pub(super) const ALL: [Scenario; 5] = [
    one("theme-python", Kind::Threads, Some("theme"), |ground| {
        shop(ground, Kind::Threads, &json!({"work_us": 500}), json!({"theme_kept": 1}))
    }),
    one("theme-go", Kind::Go, Some("theme"), |ground| {
        shop(ground, Kind::Go, &json!({"work_us": 500}), json!({"theme_kept": 1}))
    }),
    one("theme-node", Kind::Node, Some("theme"), |ground| {
        shop(ground, Kind::Node, &json!({"work_us": 500}), json!({"theme_kept": 1}))
    }),
    one("theme-asyncio", Kind::Asyncio, Some("theme"), |ground| {
        shop(ground, Kind::Asyncio, &json!({"work_us": 500}), json!({"theme_kept": 1}))
    }),
    one("theme-pool", Kind::Pool, Some("theme"), |ground| {
        shop(ground, Kind::Pool, &json!({"work_us": 500}), json!({"theme_kept": 1}))
    }),
];
