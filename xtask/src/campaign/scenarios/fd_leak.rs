//! Each request leaves the file open that it has read; also while more and fewer callers come, or much garbage is made.

use super::super::{
    callers::Plan,
    score::Truth,
    shop::Kind,
    stage::{Ground, Scenario, Stage, shop, shop_called},
};
use serde_json::json;

const fn one(name: &'static str, kind: Kind, place: Option<&'static str>, stage: Stager) -> Scenario {
    let truth = Some(Truth { kind: "fd_leak", place });
    Scenario { name, system: kind.name(), truth, healthy: 45, watched: 60, alone: false, stage }
}

type Stager = fn(&Ground<'_>) -> anyhow::Result<Stage>;

pub(super) const ALL: [Scenario; 17] = [
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
    one("theme-in-waves-go", Kind::Go, Some("theme"), |ground| called(ground, Kind::Go, Plan::in_waves)),
    one("theme-in-waves-node", Kind::Node, Some("theme"), |ground| called(ground, Kind::Node, Plan::in_waves)),
    one("theme-in-waves-asyncio", Kind::Asyncio, Some("theme"), |ground| called(ground, Kind::Asyncio, Plan::in_waves)),
    one("theme-in-waves-python", Kind::Threads, Some("theme"), |ground| called(ground, Kind::Threads, Plan::in_waves)),
    one("theme-in-garbage-node", Kind::Node, Some("theme"), |ground| in_garbage(ground, Kind::Node)),
    one("theme-in-garbage-pool", Kind::Pool, Some("theme"), |ground| in_garbage(ground, Kind::Pool)),
    one("theme-in-garbage-go", Kind::Go, Some("theme"), |ground| in_garbage(ground, Kind::Go)),
    one("theme-in-garbage-python", Kind::Threads, Some("theme"), |ground| in_garbage(ground, Kind::Threads)),
    one("theme-in-waves-pool", Kind::Pool, Some("theme"), |ground| called(ground, Kind::Pool, Plan::in_waves)),
    one("theme-in-garbage-asyncio", Kind::Asyncio, Some("theme"), |ground| in_garbage(ground, Kind::Asyncio)),
    one("theme-unkept-go", Kind::Go, Some("theme"), |ground| called(ground, Kind::Go, Plan::unkept)),
    one("theme-in-quick-waves-node", Kind::Node, Some("theme"), |ground| {
        called(ground, Kind::Node, Plan::in_quick_waves)
    }),
];

fn called(ground: &Ground<'_>, kind: Kind, plan: fn(Plan) -> Plan) -> anyhow::Result<Stage> {
    shop_called(ground, kind, &json!({"work_us": 500}), json!({"theme_kept": 1}), plan)
}

fn in_garbage(ground: &Ground<'_>, kind: Kind) -> anyhow::Result<Stage> {
    shop(ground, kind, &json!({"work_us": 500, "report_kb": 256}), json!({"theme_kept": 1}))
}
