//! Many more callers come than the service was ever asked by.

use super::super::{
    callers::{Callers, Plan},
    score::Truth,
    shop::{Kind, Options, Shop},
    stage::{Ground, Kept, Scenario, Set, Stage},
};
use serde_json::json;
use std::time::Duration;

const TRUTH: Option<Truth> = Some(Truth { kind: "traffic_surge", place: None });

const fn one(name: &'static str, kind: Kind, stage: fn(&Ground<'_>) -> anyhow::Result<Stage>) -> Scenario {
    Scenario { name, system: kind.name(), truth: TRUTH, healthy: 50, watched: 70, alone: false, stage }
}

pub(super) const ALL: [Scenario; 9] = [
    one("crowd-python", Kind::Threads, |ground| stage(ground, Kind::Threads, 4_000, MANY)),
    one("crowd-go", Kind::Go, |ground| stage(ground, Kind::Go, 12_000, MANY)),
    one("crowd-node", Kind::Node, |ground| stage(ground, Kind::Node, 4_000, MANY)),
    one("crowd-asyncio", Kind::Asyncio, |ground| stage(ground, Kind::Asyncio, 4_000, MANY)),
    one("crowd-pool", Kind::Pool, |ground| stage(ground, Kind::Pool, 8_000, MANY)),
    one("larger-crowd-go", Kind::Go, |ground| stage(ground, Kind::Go, 8_000, 2 * MANY)).alone(),
    one("larger-crowd-python", Kind::Threads, |ground| stage(ground, Kind::Threads, 3_000, 2 * MANY)).alone(),
    one("larger-crowd-node", Kind::Node, |ground| stage(ground, Kind::Node, 3_000, 2 * MANY)).alone(),
    one("larger-crowd-asyncio", Kind::Asyncio, |ground| stage(ground, Kind::Asyncio, 3_000, 2 * MANY)).alone(),
];

/// How many callers come.
const MANY: usize = 40;

fn stage(ground: &Ground<'_>, kind: Kind, work_us: u64, more: usize) -> anyhow::Result<Stage> {
    let shop = Shop::start(ground, "shop", kind, &json!({"work_us": work_us}), Options::default())?;
    let address = shop.address;
    let callers = Callers::start(Plan { callers: 3, ..Plan::new(address) }, None)?;
    Ok(Stage::Ready(Set {
        pids: vec![shop.pid()],
        arguments: Vec::new(),
        begin: Box::new(move || {
            let plan = Plan { callers: more, pause: Duration::from_millis(50), ..Plan::new(address) };
            Ok(Box::new(Callers::start(plan, None)?) as Kept)
        }),
        kept: vec![Box::new(shop)],
        callers: Some(callers),
    }))
}
