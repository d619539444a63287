//! The service that is asked for prices answers late, or is gone.

use super::super::{
    callers::{Callers, Plan},
    score::Truth,
    shop::{Kind, Options, Shop},
    stage::{Ground, Kept, Scenario, Set, Stage},
};
use serde_json::json;

const TRUTH: Option<Truth> = Some(Truth { kind: "downstream_slow", place: None });

const fn one(name: &'static str, kind: Kind, stage: fn(&Ground<'_>) -> anyhow::Result<Stage>) -> Scenario {
    Scenario { name, system: kind.name(), truth: TRUTH, healthy: 50, watched: 70, stage }
}

pub(super) const ALL: [Scenario; 4] = [
    one("late-prices-python", Kind::Threads, |ground| stage(ground, Kind::Threads, true)),
    one("late-prices-node", Kind::Node, |ground| stage(ground, Kind::Node, true)),
    one("late-prices-go", Kind::Go, |ground| stage(ground, Kind::Go, true)),
    one("no-prices-python", Kind::Threads, |ground| stage(ground, Kind::Threads, false)),
];

fn stage(ground: &Ground<'_>, kind: Kind, late: bool) -> anyhow::Result<Stage> {
    let prices = Shop::start(ground, "prices", Kind::Threads, &json!({"work_us": 200}), Options::default())?;
    let upstream = prices.address.to_string();
    let options = Options { upstream: Some(&upstream), ..Options::default() };
    let shop = Shop::start(ground, "shop", kind, &json!({"work_us": 500, "ask": 1}), options)?;
    let callers = Callers::start(Plan::new(shop.address), None)?;
    let pids = vec![shop.pid()];
    Ok(Stage::Ready(Set {
        pids,
        arguments: Vec::new(),
        begin: Box::new(move || {
            if late {
                prices.knob().turn(&json!({"answer_ms": 600}))?;
                return Ok(Box::new(prices) as Kept);
            }
            drop(prices);
            Ok(Box::new(()) as Kept)
        }),
        kept: vec![Box::new(shop)],
        callers: Some(callers),
    }))
}
