//! The service suddenly needs more memory than its control group has; the kernel kills it.

use super::super::{
    callers::{Callers, Plan},
    cgroup::Group,
    score::Truth,
    shop::{Kind, Options, Shop},
    stage::{Ground, Kept, Scenario, Set, Stage},
};
use serde_json::json;

const fn one(name: &'static str, kind: Kind, stage: fn(&Ground<'_>) -> anyhow::Result<Stage>) -> Scenario {
    let truth = Some(Truth { kind: "oom_kill", place: None });
    Scenario { name, system: kind.name(), truth, healthy: 45, watched: 40, alone: false, stage }
}

pub(super) const ALL: [Scenario; 6] = [
    one("memory-limit", Kind::Threads, |ground| stage(ground, Kind::Threads)),
    one("memory-limit-go", Kind::Go, |ground| stage(ground, Kind::Go)),
    one("memory-limit-node", Kind::Node, |ground| stage(ground, Kind::Node)),
    one("memory-limit-pool", Kind::Pool, |ground| stage(ground, Kind::Pool)),
    one("memory-limit-asyncio", Kind::Asyncio, |ground| stage(ground, Kind::Asyncio)),
    one("memory-limit-in-waves-go", Kind::Go, |ground| called(ground, Kind::Go, Plan::in_waves)),
];

fn stage(ground: &Ground<'_>, kind: Kind) -> anyhow::Result<Stage> {
    called(ground, kind, |plan| plan)
}

fn called(ground: &Ground<'_>, kind: Kind, plan: fn(Plan) -> Plan) -> anyhow::Result<Stage> {
    let group = match Group::make("memory", ground.number.into()) {
        Ok(group) => group,
        Err(error) => return Ok(Stage::Skipped(format!("no limit of memory can be had: {error:#}"))),
    };
    group.set("memory.limit_in_bytes", &(160 << 20).to_string())?;
    let shop = Shop::start(ground, "shop", kind, &json!({"work_us": 500}), Options::default())?;
    group.take(shop.pid())?;
    let callers = Callers::start(plan(Plan::new(shop.address)), None)?;
    let knob = shop.knob();
    Ok(Stage::Ready(Set {
        pids: vec![shop.pid()],
        arguments: Vec::new(),
        begin: Box::new(move || {
            knob.turn(&json!({"session_kb": 1024}))?;
            Ok(Box::new(group) as Kept)
        }),
        kept: vec![Box::new(shop)],
        callers: Some(callers),
    }))
}
