//! Packets get lost between the service and its callers, or between it and the service that it asks.

use super::super::{
    callers::{Callers, Plan},
    score::Truth,
    shop::{Kind, Options, Shop},
    stage::{Ground, Kept, Scenario, Set, Stage},
};
use crate::rig::Hosts;
use serde_json::json;
use std::rc::Rc;

const TRUTH: Option<Truth> = Some(Truth { kind: "tcp_retransmits", place: None });
/// Lost, of what comes in at the other end: some, or more.
const LOST: f64 = 0.04;
const MORE: f64 = 0.1;

const fn one(name: &'static str, kind: Kind, stage: fn(&Ground<'_>) -> anyhow::Result<Stage>) -> Scenario {
    Scenario { name, system: kind.name(), truth: TRUTH, healthy: 50, watched: 70, alone: false, stage }
}

pub(super) const ALL: [Scenario; 21] = [
    one("lossy-callers", Kind::Threads, |ground| stage(ground, Kind::Threads, false, LOST)),
    one("lossy-upstream", Kind::Go, |ground| stage(ground, Kind::Go, true, LOST)),
    one("lossy-callers-go", Kind::Go, |ground| stage(ground, Kind::Go, false, LOST)),
    one("lossy-upstream-python", Kind::Threads, |ground| stage(ground, Kind::Threads, true, LOST)),
    one("lossy-callers-node", Kind::Node, |ground| stage(ground, Kind::Node, false, LOST)),
    one("lossy-callers-asyncio", Kind::Asyncio, |ground| stage(ground, Kind::Asyncio, false, LOST)),
    one("lossy-upstream-node", Kind::Node, |ground| stage(ground, Kind::Node, true, LOST)),
    one("lossy-callers-pool", Kind::Pool, |ground| stage(ground, Kind::Pool, false, LOST)),
    one("lossy-upstream-pool", Kind::Pool, |ground| stage(ground, Kind::Pool, true, LOST)),
    one("lossier-callers-go", Kind::Go, |ground| stage(ground, Kind::Go, false, MORE)),
    one("lossier-upstream-python", Kind::Threads, |ground| stage(ground, Kind::Threads, true, MORE)),
    one("lossier-callers-node", Kind::Node, |ground| stage(ground, Kind::Node, false, MORE)),
    one("lossier-callers-asyncio", Kind::Asyncio, |ground| stage(ground, Kind::Asyncio, false, MORE)),
    one("lossier-upstream-go", Kind::Go, |ground| stage(ground, Kind::Go, true, MORE)),
    one("lossier-callers-pool", Kind::Pool, |ground| stage(ground, Kind::Pool, false, MORE)),
    one("lossier-upstream-node", Kind::Node, |ground| stage(ground, Kind::Node, true, MORE)),
    one("lossy-in-waves-go", Kind::Go, |ground| asked(ground, Kind::Go, false, LOST, Plan::in_waves)),
    one("lossy-in-waves-asyncio", Kind::Asyncio, |ground| asked(ground, Kind::Asyncio, false, LOST, Plan::in_waves)),
    one("lossy-in-waves-node", Kind::Node, |ground| asked(ground, Kind::Node, false, LOST, Plan::in_waves)),
    one("lossy-upstream-in-waves-go", Kind::Go, |ground| asked(ground, Kind::Go, true, LOST, Plan::in_waves)),
    one("lossy-upstream-in-waves-python", Kind::Threads, |ground| {
        asked(ground, Kind::Threads, true, LOST, Plan::in_waves)
    }),
];

fn stage(ground: &Ground<'_>, kind: Kind, upstream: bool, lost: f64) -> anyhow::Result<Stage> {
    asked(ground, kind, upstream, lost, |plan| plan)
}

fn asked(ground: &Ground<'_>, kind: Kind, upstream: bool, lost: f64, plan: fn(Plan) -> Plan) -> anyhow::Result<Stage> {
    let hosts = Rc::new(Hosts::make(ground.number)?);
    let at = |host| Options { hosts: Some((&hosts, host)), ..Options::default() };
    let settings = json!({"work_us": 1000, "page_kb": 40, "ask": u8::from(upstream)});
    let mut kept: Vec<Kept> = Vec::new();
    let (shop, callers) = if upstream {
        let other = Shop::start(ground, "prices", Kind::Threads, &json!({"page_kb": 40}), at(1))?;
        let address = other.address.to_string();
        let options = Options { upstream: Some(&address), ..at(0) };
        let shop = Shop::start(ground, "shop", kind, &settings, options)?;
        kept.push(Box::new(other));
        let callers = Callers::start(plan(Plan::new(shop.address)), Some(&hosts.namespace(0)?))?;
        (shop, callers)
    } else {
        let shop = Shop::start(ground, "shop", kind, &settings, at(0))?;
        let callers = Callers::start(plan(Plan::new(shop.address)), Some(&hosts.namespace(1)?))?;
        (shop, callers)
    };
    let pids = vec![shop.pid()];
    kept.push(Box::new(shop));
    kept.push(Box::new(Rc::clone(&hosts)));
    Ok(Stage::Ready(Set {
        pids,
        arguments: Vec::new(),
        begin: Box::new(move || {
            hosts.lose(1, lost)?;
            Ok(Box::new(hosts) as Kept)
        }),
        kept,
        callers: Some(callers),
    }))
}
