//! Every twentieth request blocks the loop for 400 ms, or every sixtieth for 1.2 s: in asyncio it sleeps, in Node it computes.

use super::super::{
    callers::Plan,
    score::Truth,
    shop::Kind,
    stage::{Ground, Scenario, Stage, shop, shop_called, shop_in_waves},
};
use serde_json::json;

const fn one(name: &'static str, kind: Kind, place: &'static str, stage: Stager) -> Scenario {
    let truth = Some(Truth { kind: "event_loop_stall", place: Some(place) });
    Scenario { name, system: kind.name(), truth, healthy: 45, watched: 60, alone: false, stage }
}

type Stager = fn(&Ground<'_>) -> anyhow::Result<Stage>;

pub(super) const ALL: [Scenario; 13] = [
    one("pause-asyncio", Kind::Asyncio, "answer", |ground| stage(ground, Kind::Asyncio, 400, 20)),
    one("pause-node", Kind::Node, "render", |ground| stage(ground, Kind::Node, 400, 20)),
    one("longer-pause-asyncio", Kind::Asyncio, "answer", |ground| stage(ground, Kind::Asyncio, 1_200, 60)),
    one("longer-pause-node", Kind::Node, "render", |ground| stage(ground, Kind::Node, 1_200, 60)),
    one("pause-in-waves-node", Kind::Node, "render", |ground| called(ground, Kind::Node, Plan::in_waves)),
    one("pause-in-waves-asyncio", Kind::Asyncio, "answer", |ground| called(ground, Kind::Asyncio, Plan::in_waves)),
    one("longer-pause-in-waves-asyncio", Kind::Asyncio, "answer", |ground| longer_in_waves(ground, Kind::Asyncio)),
    one("longer-pause-in-waves-node", Kind::Node, "render", |ground| longer_in_waves(ground, Kind::Node)),
    // What elsewhere is nobody's fault is one here: who sleeps in a loop holds up all others.
    one("nap-in-waves-asyncio", Kind::Asyncio, "answer", |ground| {
        shop_in_waves(ground, Kind::Asyncio, &json!({"work_us": 500}), json!({"answer_ms": 600}))
    }),
    one("pause-in-garbage-asyncio", Kind::Asyncio, "answer", |ground| in_garbage(ground, Kind::Asyncio)),
    one("pause-in-garbage-node", Kind::Node, "render", |ground| in_garbage(ground, Kind::Node)),
    one("pause-unkept-node", Kind::Node, "render", |ground| called(ground, Kind::Node, Plan::unkept)),
    one("pause-in-quick-waves-asyncio", Kind::Asyncio, "answer", |ground| {
        called(ground, Kind::Asyncio, Plan::in_quick_waves)
    }),
];

fn called(ground: &Ground<'_>, kind: Kind, plan: fn(Plan) -> Plan) -> anyhow::Result<Stage> {
    shop_called(ground, kind, &json!({"work_us": 500}), json!({"pause_ms": 400, "pause_every": 20}), plan)
}

fn longer_in_waves(ground: &Ground<'_>, kind: Kind) -> anyhow::Result<Stage> {
    shop_in_waves(ground, kind, &json!({"work_us": 500}), json!({"pause_ms": 1_200, "pause_every": 60}))
}

fn in_garbage(ground: &Ground<'_>, kind: Kind) -> anyhow::Result<Stage> {
    let before = json!({"work_us": 500, "report_kb": 256});
    shop(ground, kind, &before, json!({"pause_ms": 400, "pause_every": 20}))
}

fn stage(ground: &Ground<'_>, kind: Kind, pause_ms: u32, every: u32) -> anyhow::Result<Stage> {
    shop(ground, kind, &json!({"work_us": 500}), json!({"pause_ms": pause_ms, "pause_every": every}))
}
