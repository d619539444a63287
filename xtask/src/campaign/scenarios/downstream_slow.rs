//! The service that is asked for prices answers late, is gone, or stands still: then it neither answers nor refuses.

use super::super::{
    callers::{Callers, Plan},
    score::Truth,
    shop::{Kind, Options, Shop},
    stage::{Ground, Kept, Scenario, Set, Stage},
};
use serde_json::json;

const TRUTH: Option<Truth> = Some(Truth { kind: "downstream_slow", place: None });

const fn one(name: &'static str, kind: Kind, stage: fn(&Ground<'_>) -> anyhow::Result<Stage>) -> Scenario {
    Scenario { name, system: kind.name(), truth: TRUTH, healthy: 50, watched: 70, alone: false, stage }
}

/// How late the answers are, in milliseconds: much, or a quarter of a second.
const MUCH: u32 = 600;
const LITTLE: u32 = 250;

#[derive(Clone, Copy)]
enum Prices {
    /// So many milliseconds.
    Late(u32),
    Gone,
    Still,
}

pub(super) const ALL: [Scenario; 30] = [
    one("late-prices-python", Kind::Threads, |ground| stage(ground, Kind::Threads, Prices::Late(MUCH))),
    one("late-prices-node", Kind::Node, |ground| stage(ground, Kind::Node, Prices::Late(MUCH))),
    one("late-prices-go", Kind::Go, |ground| stage(ground, Kind::Go, Prices::Late(MUCH))),
    one("no-prices-python", Kind::Threads, |ground| stage(ground, Kind::Threads, Prices::Gone)),
    one("still-prices-python", Kind::Threads, |ground| stage(ground, Kind::Threads, Prices::Still)),
    one("still-prices-node", Kind::Node, |ground| stage(ground, Kind::Node, Prices::Still)),
    one("still-prices-go", Kind::Go, |ground| stage(ground, Kind::Go, Prices::Still)),
    one("late-prices-pool", Kind::Pool, |ground| stage(ground, Kind::Pool, Prices::Late(MUCH))),
    one("still-prices-pool", Kind::Pool, |ground| stage(ground, Kind::Pool, Prices::Still)),
    one("no-prices-go", Kind::Go, |ground| stage(ground, Kind::Go, Prices::Gone)),
    one("no-prices-node", Kind::Node, |ground| stage(ground, Kind::Node, Prices::Gone)),
    one("later-prices-go", Kind::Go, |ground| stage(ground, Kind::Go, Prices::Late(LITTLE))),
    one("later-prices-node", Kind::Node, |ground| stage(ground, Kind::Node, Prices::Late(LITTLE))),
    one("later-prices-python", Kind::Threads, |ground| stage(ground, Kind::Threads, Prices::Late(LITTLE))),
    one("later-prices-pool", Kind::Pool, |ground| stage(ground, Kind::Pool, Prices::Late(LITTLE))),
    one("no-prices-pool", Kind::Pool, |ground| stage(ground, Kind::Pool, Prices::Gone)),
    one("late-prices-in-waves-go", Kind::Go, |ground| in_waves(ground, Kind::Go, Prices::Late(MUCH))),
    one("no-prices-in-waves-python", Kind::Threads, |ground| in_waves(ground, Kind::Threads, Prices::Gone)),
    one("still-prices-in-waves-node", Kind::Node, |ground| in_waves(ground, Kind::Node, Prices::Still)),
    one("later-prices-in-waves-pool", Kind::Pool, |ground| in_waves(ground, Kind::Pool, Prices::Late(LITTLE))),
    one("still-prices-in-waves-go", Kind::Go, |ground| in_waves(ground, Kind::Go, Prices::Still)),
    one("later-prices-in-waves-python", Kind::Threads, |ground| in_waves(ground, Kind::Threads, Prices::Late(LITTLE))),
    one("late-prices-in-waves-node", Kind::Node, |ground| in_waves(ground, Kind::Node, Prices::Late(MUCH))),
    one("no-prices-in-waves-node", Kind::Node, |ground| in_waves(ground, Kind::Node, Prices::Gone)),
    one("late-prices-in-garbage-go", Kind::Go, |ground| in_garbage(ground, Kind::Go, Prices::Late(MUCH))),
    one("still-prices-in-garbage-node", Kind::Node, |ground| in_garbage(ground, Kind::Node, Prices::Still)),
    one("later-prices-in-garbage-python", Kind::Threads, |ground| {
        in_garbage(ground, Kind::Threads, Prices::Late(LITTLE))
    }),
    one("no-prices-in-garbage-pool", Kind::Pool, |ground| in_garbage(ground, Kind::Pool, Prices::Gone)),
    one("late-prices-unkept-python", Kind::Threads, |ground| {
        asked(ground, Kind::Threads, Prices::Late(MUCH), Plan::unkept, 0)
    }),
    one("later-prices-in-quick-waves-go", Kind::Go, |ground| {
        asked(ground, Kind::Go, Prices::Late(LITTLE), Plan::in_quick_waves, 0)
    }),
];

fn stage(ground: &Ground<'_>, kind: Kind, how: Prices) -> anyhow::Result<Stage> {
    asked(ground, kind, how, |plan| plan, 0)
}

fn in_waves(ground: &Ground<'_>, kind: Kind, how: Prices) -> anyhow::Result<Stage> {
    asked(ground, kind, how, Plan::in_waves, 0)
}

fn in_garbage(ground: &Ground<'_>, kind: Kind, how: Prices) -> anyhow::Result<Stage> {
    asked(ground, kind, how, |plan| plan, 256)
}

/// Each answer leaves so much garbage, kilobytes.
fn asked(ground: &Ground<'_>, kind: Kind, how: Prices, plan: fn(Plan) -> Plan, garbage: u32) -> anyhow::Result<Stage> {
    let prices = Shop::start(ground, "prices", Kind::Threads, &json!({"work_us": 200}), Options::default())?;
    let upstream = prices.address.to_string();
    let options = Options { upstream: Some(&upstream), ..Options::default() };
    let shop = Shop::start(ground, "shop", kind, &json!({"work_us": 500, "ask": 1, "report_kb": garbage}), options)?;
    let callers = Callers::start(plan(Plan::new(shop.address)), None)?;
    let pids = vec![shop.pid()];
    Ok(Stage::Ready(Set {
        pids,
        arguments: Vec::new(),
        begin: Box::new(move || {
            Ok(match how {
                Prices::Late(answer_ms) => {
                    prices.knob().turn(&json!({"answer_ms": answer_ms}))?;
                    Box::new(prices) as Kept
                }
                Prices::Gone => {
                    drop(prices);
                    Box::new(())
                }
                Prices::Still => {
                    prices.stand(true)?;
                    Box::new(prices)
                }
            })
        }),
        kept: vec![Box::new(shop)],
        callers: Some(callers),
    }))
}
