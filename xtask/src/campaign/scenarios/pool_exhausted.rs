//! The pool of connections to the service that is asked for prices is given one connection instead of twenty, or two.

use super::super::{
    callers::Plan,
    score::Truth,
    shop::{Kind, Options, Shop},
    stage::{Ground, Scenario, Stage, shop_with},
};
use serde_json::json;

const TRUTH: Option<Truth> = Some(Truth { kind: "pool_exhausted", place: None });

const fn one(name: &'static str, kind: Kind, stage: fn(&Ground<'_>) -> anyhow::Result<Stage>) -> Scenario {
    Scenario { name, system: kind.name(), truth: TRUTH, healthy: 50, watched: 70, alone: false, stage }
}

pub(super) const ALL: [Scenario; 8] = [
    one("small-pool-python", Kind::Threads, |ground| stage(ground, Kind::Threads, 1)),
    one("small-pool-go", Kind::Go, |ground| stage(ground, Kind::Go, 1)),
    one("pool-of-two-go", Kind::Go, |ground| stage(ground, Kind::Go, 2)),
    one("pool-of-two-python", Kind::Threads, |ground| stage(ground, Kind::Threads, 2)),
    one("small-pool-in-waves-go", Kind::Go, |ground| asked(ground, Kind::Go, 1, Plan::in_waves)),
    one("small-pool-in-waves-python", Kind::Threads, |ground| asked(ground, Kind::Threads, 1, Plan::in_waves)),
    one("pool-of-two-in-waves-go", Kind::Go, |ground| asked(ground, Kind::Go, 2, Plan::in_waves)),
    one("pool-of-two-unkept-python", Kind::Threads, |ground| asked(ground, Kind::Threads, 2, Plan::unkept)),
];

fn stage(ground: &Ground<'_>, kind: Kind, pool: u32) -> anyhow::Result<Stage> {
    asked(ground, kind, pool, |plan| plan)
}

fn asked(ground: &Ground<'_>, kind: Kind, pool: u32, waves: fn(Plan) -> Plan) -> anyhow::Result<Stage> {
    let settings = json!({"work_us": 200, "answer_ms": 40});
    let prices = Shop::start(ground, "prices", Kind::Threads, &settings, Options::default())?;
    let upstream = prices.address.to_string();
    let options = Options { upstream: Some(&upstream), ..Options::default() };
    let before = json!({"work_us": 500, "ask": 1, "pool": 20});
    let plan = |plan| waves(Plan { callers: 10, ..plan });
    let mut stage = shop_with(ground, kind, &before, json!({"pool": pool}), options, plan)?;
    if let Stage::Ready(set) = &mut stage {
        set.kept.push(Box::new(prices));
    }
    Ok(stage)
}
