//! Causes that no kernel event and no span tells: a request merely takes long. No name is right, any name is wrong.

use super::super::{
    callers::Plan,
    score::{NO_NAME, Truth},
    shop::Kind,
    stage::{Ground, Scenario, Stage, shop, shop_called},
};
use serde_json::json;

const fn one(name: &'static str, kind: Kind, stage: fn(&Ground<'_>) -> anyhow::Result<Stage>) -> Scenario {
    let truth = Some(Truth { kind: NO_NAME, place: None });
    Scenario { name, system: kind.name(), truth, healthy: 50, watched: 60, alone: false, stage }
}

/// Each answer waits for so long, for no reason but that.
fn nap(ground: &Ground<'_>, kind: Kind, answer_ms: u32) -> anyhow::Result<Stage> {
    shop(ground, kind, &json!({"work_us": 500}), json!({"answer_ms": answer_ms}))
}

fn called(ground: &Ground<'_>, kind: Kind, plan: fn(Plan) -> Plan) -> anyhow::Result<Stage> {
    shop_called(ground, kind, &json!({"work_us": 500}), json!({"answer_ms": 600}), plan)
}

pub(super) const ALL: [Scenario; 13] = [
    one("nap-python", Kind::Threads, |ground| nap(ground, Kind::Threads, 600)),
    one("nap-go", Kind::Go, |ground| nap(ground, Kind::Go, 600)),
    one("nap-node", Kind::Node, |ground| nap(ground, Kind::Node, 600)),
    one("longer-nap-go", Kind::Go, |ground| nap(ground, Kind::Go, 1_500)),
    one("longer-nap-python", Kind::Threads, |ground| nap(ground, Kind::Threads, 1_500)),
    one("longer-nap-node", Kind::Node, |ground| nap(ground, Kind::Node, 1_500)),
    one("nap-in-waves-go", Kind::Go, |ground| called(ground, Kind::Go, Plan::in_waves)),
    one("nap-in-waves-node", Kind::Node, |ground| called(ground, Kind::Node, Plan::in_waves)),
    one("nap-in-waves-python", Kind::Threads, |ground| called(ground, Kind::Threads, Plan::in_waves)),
    one("nap-in-garbage-go", Kind::Go, |ground| {
        shop(ground, Kind::Go, &json!({"work_us": 500, "report_kb": 256}), json!({"answer_ms": 600}))
    }),
    one("nap-unkept-python", Kind::Threads, |ground| called(ground, Kind::Threads, Plan::unkept)),
    one("nap-unkept-go", Kind::Go, |ground| called(ground, Kind::Go, Plan::unkept)),
    one("nap-in-quick-waves-node", Kind::Node, |ground| called(ground, Kind::Node, Plan::in_quick_waves)),
];
