//! Three troubles that make each other worse: a cache is emptied, so that everybody asks who knows the prices; that one
//! comes after no more, and the pool of connections to it runs out; questions time out and are asked again, while what was
//! given up is still worked at. All that happens is that the cache is empty: the rest is as it always was.

use super::super::{
    callers::Plan,
    score::Truth,
    shop::{Kind, Options, Shop},
    stage::{Ground, Scenario, Stage, shop_with},
};
use serde_json::json;

const fn one(name: &'static str, kind: Kind, stage: fn(&Ground<'_>) -> anyhow::Result<Stage>) -> Scenario {
    let truth = Some(Truth { kind: "downstream_slow", place: None });
    Scenario { name, system: kind.name(), truth, healthy: 50, watched: 70, alone: false, stage }
}

pub(super) const ALL: [Scenario; 3] = [
    one("cascade-python", Kind::Threads, |ground| stage(ground, Kind::Threads)),
    one("cascade-go", Kind::Go, |ground| stage(ground, Kind::Go)),
    one("cascade-node", Kind::Node, |ground| stage(ground, Kind::Node)),
];

fn stage(ground: &Ground<'_>, kind: Kind) -> anyhow::Result<Stage> {
    // Fifty a second, one after the other.
    let prices = Shop::start(ground, "prices", Kind::Threads, &json!({"reserve_ms": 20}), Options::default())?;
    let upstream = prices.address.to_string();
    let options = Options { upstream: Some(&upstream), ..Options::default() };
    let before = json!({"work_us": 500, "ask": 1, "cached": 90, "pool": 12, "timeout_ms": 200, "retries": 2});
    let plan = |plan| Plan { callers: 16, ..plan };
    let mut stage = shop_with(ground, kind, &before, json!({"cached": 0}), options, plan)?;
    if let Stage::Ready(set) = &mut stage {
        set.kept.push(Box::new(prices));
    }
    Ok(stage)
}
