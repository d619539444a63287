//! The limit of the service's control group is lowered below what it needs.

use super::super::{
    callers::{Callers, Plan},
    cgroup::Group,
    score::Truth,
    shop::{Kind, Options, Shop},
    stage::{Ground, Kept, Scenario, Set, Stage},
};
use serde_json::json;

const TRUTH: Option<Truth> = Some(Truth { kind: "cpu_throttled", place: None });

const fn one(name: &'static str, kind: Kind, stage: fn(&Ground<'_>) -> anyhow::Result<Stage>) -> Scenario {
    Scenario { name, system: kind.name(), truth: TRUTH, healthy: 50, watched: 70, alone: false, stage }
}

pub(super) const ALL: [Scenario; 17] = [
    one("quota-python", Kind::Threads, |ground| stage(ground, Kind::Threads, LITTLE)),
    one("quota-node", Kind::Node, |ground| stage(ground, Kind::Node, LITTLE)),
    one("quota-go", Kind::Go, |ground| stage(ground, Kind::Go, LITTLE)),
    one("quota-pool", Kind::Pool, |ground| stage(ground, Kind::Pool, LITTLE)),
    one("quota-asyncio", Kind::Asyncio, |ground| stage(ground, Kind::Asyncio, LITTLE)),
    one("less-quota-node", Kind::Node, |ground| stage(ground, Kind::Node, LESS)),
    one("less-quota-go", Kind::Go, |ground| stage(ground, Kind::Go, LESS)),
    one("less-quota-pool", Kind::Pool, |ground| stage(ground, Kind::Pool, LESS)),
    one("less-quota-python", Kind::Threads, |ground| stage(ground, Kind::Threads, LESS)),
    one("less-quota-asyncio", Kind::Asyncio, |ground| stage(ground, Kind::Asyncio, LESS)),
    one("quota-in-waves-go", Kind::Go, |ground| asked(ground, Kind::Go, LITTLE, Plan::in_waves)),
    one("quota-in-waves-python", Kind::Threads, |ground| asked(ground, Kind::Threads, LITTLE, Plan::in_waves)),
    one("quota-in-waves-node", Kind::Node, |ground| asked(ground, Kind::Node, LITTLE, Plan::in_waves)),
    one("quota-in-waves-asyncio", Kind::Asyncio, |ground| asked(ground, Kind::Asyncio, LITTLE, Plan::in_waves)),
    one("quota-in-waves-pool", Kind::Pool, |ground| asked(ground, Kind::Pool, LITTLE, Plan::in_waves)),
    one("quota-unkept-node", Kind::Node, |ground| asked(ground, Kind::Node, LITTLE, Plan::unkept)),
    one("quota-in-quick-waves-go", Kind::Go, |ground| asked(ground, Kind::Go, LITTLE, Plan::in_quick_waves)),
];

/// What is left of each tenth of a second, microseconds.
const LITTLE: u32 = 10_000;
const LESS: u32 = 5_000;

fn stage(ground: &Ground<'_>, kind: Kind, quota: u32) -> anyhow::Result<Stage> {
    asked(ground, kind, quota, |plan| plan)
}

fn asked(ground: &Ground<'_>, kind: Kind, quota: u32, plan: fn(Plan) -> Plan) -> anyhow::Result<Stage> {
    let group = match Group::of_processors(ground.number.into()) {
        Ok(group) => group,
        Err(error) => return Ok(Stage::Skipped(format!("no limit of processors can be had: {error:#}"))),
    };
    let shop = Shop::start(ground, "shop", kind, &json!({"work_us": 4000}), Options::default())?;
    group.take(shop.pid())?;
    let callers = Callers::start(plan(Plan::new(shop.address)), None)?;
    Ok(Stage::Ready(Set {
        pids: vec![shop.pid()],
        arguments: Vec::new(),
        begin: Box::new(move || {
            group.slow_down(quota)?;
            Ok(Box::new(group) as Kept)
        }),
        kept: vec![Box::new(shop)],
        callers: Some(callers),
    }))
}
