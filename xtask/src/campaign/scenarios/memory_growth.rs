//! Each request leaves 64 KB behind for good, or 256 KB.

use super::super::{
    callers::Plan,
    score::Truth,
    shop::Kind,
    stage::{Ground, Scenario, Stage, shop, shop_called},
};
use serde_json::json;

const TRUTH: Option<Truth> = Some(Truth { kind: "memory_growth", place: Some("remember") });

const fn one(name: &'static str, kind: Kind, stage: fn(&Ground<'_>) -> anyhow::Result<Stage>) -> Scenario {
    Scenario { name, system: kind.name(), truth: TRUTH, healthy: 60, watched: 120, alone: false, stage }
}

fn stage(ground: &Ground<'_>, kind: Kind, session_kb: u32) -> anyhow::Result<Stage> {
    shop(ground, kind, &json!({"work_us": 500}), json!({"session_kb": session_kb}))
}

fn called(ground: &Ground<'_>, kind: Kind, session_kb: u32, plan: fn(Plan) -> Plan) -> anyhow::Result<Stage> {
    shop_called(ground, kind, &json!({"work_us": 500}), json!({"session_kb": session_kb}), plan)
}

fn in_garbage(ground: &Ground<'_>, kind: Kind) -> anyhow::Result<Stage> {
    let before = json!({"work_us": 500, "report_kb": 256});
    shop(ground, kind, &before, json!({"report_kb": 256, "session_kb": MORE_KB}))
}

const KB: u32 = 64;
const MORE_KB: u32 = 256;

pub(super) const ALL: [Scenario; 21] = [
    one("sessions-python", Kind::Threads, |ground| stage(ground, Kind::Threads, KB)),
    one("sessions-go", Kind::Go, |ground| stage(ground, Kind::Go, KB)),
    one("sessions-node", Kind::Node, |ground| stage(ground, Kind::Node, KB)),
    one("sessions-asyncio", Kind::Asyncio, |ground| stage(ground, Kind::Asyncio, KB)),
    one("sessions-pool", Kind::Pool, |ground| stage(ground, Kind::Pool, KB)),
    one("larger-sessions-node", Kind::Node, |ground| stage(ground, Kind::Node, MORE_KB)),
    one("larger-sessions-pool", Kind::Pool, |ground| stage(ground, Kind::Pool, MORE_KB)),
    one("larger-sessions-asyncio", Kind::Asyncio, |ground| stage(ground, Kind::Asyncio, MORE_KB)),
    one("larger-sessions-python", Kind::Threads, |ground| stage(ground, Kind::Threads, MORE_KB)),
    one("sessions-in-waves-python", Kind::Threads, |ground| called(ground, Kind::Threads, KB, Plan::in_waves)),
    one("sessions-in-waves-go", Kind::Go, |ground| called(ground, Kind::Go, KB, Plan::in_waves)),
    one("sessions-in-waves-node", Kind::Node, |ground| called(ground, Kind::Node, KB, Plan::in_waves)),
    one("sessions-in-waves-asyncio", Kind::Asyncio, |ground| called(ground, Kind::Asyncio, KB, Plan::in_waves)),
    one("sessions-in-waves-pool", Kind::Pool, |ground| called(ground, Kind::Pool, KB, Plan::in_waves)),
    one("sessions-in-garbage-go", Kind::Go, |ground| in_garbage(ground, Kind::Go)),
    one("sessions-in-garbage-node", Kind::Node, |ground| in_garbage(ground, Kind::Node)),
    one("sessions-in-garbage-python", Kind::Threads, |ground| in_garbage(ground, Kind::Threads)),
    one("sessions-unkept-python", Kind::Threads, |ground| called(ground, Kind::Threads, KB, Plan::unkept)),
    one("sessions-in-quick-waves-go", Kind::Go, |ground| called(ground, Kind::Go, KB, Plan::in_quick_waves)),
    one("larger-sessions-in-waves-node", Kind::Node, |ground| called(ground, Kind::Node, MORE_KB, Plan::in_waves)),
    one("sessions-in-garbage-asyncio", Kind::Asyncio, |ground| in_garbage(ground, Kind::Asyncio)),
];
