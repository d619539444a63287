//! Whoever writes down the stock holds its lock for 80 ms; all others wait for it.

use super::super::{
    callers::Plan,
    score::Truth,
    shop::Kind,
    stage::{Ground, Scenario, Stage, shop, shop_called},
};
use serde_json::json;

const fn one(name: &'static str, kind: Kind, stage: fn(&Ground<'_>) -> anyhow::Result<Stage>) -> Scenario {
    let truth = Some(Truth { kind: "lock_contention", place: Some("reserve") });
    Scenario { name, system: kind.name(), truth, healthy: 50, watched: 70, alone: false, stage }
}

fn stage(ground: &Ground<'_>, kind: Kind, reserve_ms: u32) -> anyhow::Result<Stage> {
    shop(ground, kind, &json!({"work_us": 1000, "seats": 6}), json!({"reserve_ms": reserve_ms}))
}

fn called(ground: &Ground<'_>, kind: Kind, plan: fn(Plan) -> Plan) -> anyhow::Result<Stage> {
    shop_called(ground, kind, &json!({"work_us": 500, "seats": 6}), json!({"reserve_ms": LONG}), plan)
}

fn in_garbage(ground: &Ground<'_>, kind: Kind) -> anyhow::Result<Stage> {
    let before = json!({"work_us": 500, "seats": 6, "report_kb": 256});
    shop(ground, kind, &before, json!({"reserve_ms": LONG}))
}

/// For how long each request holds it, in milliseconds: long, or longer still.
const LONG: u32 = 80;
const LONGER: u32 = 250;

pub(super) const ALL: [Scenario; 14] = [
    one("stock-python", Kind::Threads, |ground| stage(ground, Kind::Threads, LONG)),
    one("stock-go", Kind::Go, |ground| stage(ground, Kind::Go, LONG)),
    one("stock-pool", Kind::Pool, |ground| stage(ground, Kind::Pool, LONG)),
    one("longer-stock-python", Kind::Threads, |ground| stage(ground, Kind::Threads, LONGER)),
    one("longer-stock-pool", Kind::Pool, |ground| stage(ground, Kind::Pool, LONGER)),
    one("longer-stock-go", Kind::Go, |ground| stage(ground, Kind::Go, LONGER)),
    one("stock-in-waves-go", Kind::Go, |ground| called(ground, Kind::Go, Plan::in_waves)),
    one("stock-in-waves-python", Kind::Threads, |ground| called(ground, Kind::Threads, Plan::in_waves)),
    one("stock-in-garbage-python", Kind::Threads, |ground| in_garbage(ground, Kind::Threads)),
    one("stock-in-garbage-go", Kind::Go, |ground| in_garbage(ground, Kind::Go)),
    one("stock-in-waves-pool", Kind::Pool, |ground| called(ground, Kind::Pool, Plan::in_waves)),
    one("stock-in-garbage-pool", Kind::Pool, |ground| in_garbage(ground, Kind::Pool)),
    one("stock-unkept-go", Kind::Go, |ground| called(ground, Kind::Go, Plan::unkept)),
    one("stock-in-quick-waves-python", Kind::Threads, |ground| called(ground, Kind::Threads, Plan::in_quick_waves)),
];
