//! The name of the service that is asked for prices is not resolved any more: the resolver is silent, gone, or does not
//! want to know.

use super::super::{
    callers::{Callers, Plan},
    score::Truth,
    shop::{Kind, Options, Shop},
    stage::{Ground, Kept, Scenario, Set, Stage},
};
use crate::rig::{Hosts, Names, names};
use serde_json::json;
use std::rc::Rc;

const TRUTH: Option<Truth> = Some(Truth { kind: "dns_failure", place: None });

/// What becomes of the resolver.
#[derive(Clone, Copy)]
enum End {
    Silent,
    Gone,
    Refuses,
}

const fn one(name: &'static str, kind: Kind, stage: fn(&Ground<'_>) -> anyhow::Result<Stage>) -> Scenario {
    Scenario { name, system: kind.name(), truth: TRUTH, healthy: 50, watched: 90, alone: false, stage }
}

pub(super) const ALL: [Scenario; 20] = [
    one("no-names-python", Kind::Threads, |ground| stage(ground, Kind::Threads, End::Silent)),
    one("no-names-go", Kind::Go, |ground| stage(ground, Kind::Go, End::Gone)),
    one("no-names-node", Kind::Node, |ground| stage(ground, Kind::Node, End::Refuses)),
    one("gone-names-python", Kind::Threads, |ground| stage(ground, Kind::Threads, End::Gone)),
    one("refused-names-go", Kind::Go, |ground| stage(ground, Kind::Go, End::Refuses)),
    one("no-names-pool", Kind::Pool, |ground| stage(ground, Kind::Pool, End::Silent)),
    one("refused-names-python", Kind::Threads, |ground| stage(ground, Kind::Threads, End::Refuses)),
    one("gone-names-node", Kind::Node, |ground| stage(ground, Kind::Node, End::Gone)),
    one("silent-names-go", Kind::Go, |ground| stage(ground, Kind::Go, End::Silent)),
    one("silent-names-node", Kind::Node, |ground| stage(ground, Kind::Node, End::Silent)),
    one("gone-names-pool", Kind::Pool, |ground| stage(ground, Kind::Pool, End::Gone)),
    one("refused-names-pool", Kind::Pool, |ground| stage(ground, Kind::Pool, End::Refuses)),
    one("names-in-waves-go", Kind::Go, |ground| asked(ground, Kind::Go, End::Gone, Plan::in_waves)),
    one("names-in-waves-python", Kind::Threads, |ground| asked(ground, Kind::Threads, End::Silent, Plan::in_waves)),
    one("names-in-waves-node", Kind::Node, |ground| asked(ground, Kind::Node, End::Refuses, Plan::in_waves)),
    one("names-in-waves-pool", Kind::Pool, |ground| asked(ground, Kind::Pool, End::Gone, Plan::in_waves)),
    one("refused-names-in-waves-go", Kind::Go, |ground| asked(ground, Kind::Go, End::Refuses, Plan::in_waves)),
    one("silent-names-in-waves-node", Kind::Node, |ground| asked(ground, Kind::Node, End::Silent, Plan::in_waves)),
    one("silent-names-in-waves-go", Kind::Go, |ground| asked(ground, Kind::Go, End::Silent, Plan::in_waves)),
    one("gone-names-unkept-python", Kind::Threads, |ground| asked(ground, Kind::Threads, End::Gone, Plan::unkept)),
];

fn stage(ground: &Ground<'_>, kind: Kind, end: End) -> anyhow::Result<Stage> {
    asked(ground, kind, end, |plan| plan)
}

fn asked(ground: &Ground<'_>, kind: Kind, end: End, plan: fn(Plan) -> Plan) -> anyhow::Result<Stage> {
    let hosts = Rc::new(Hosts::make(ground.number)?);
    let resolver = Names::start(&hosts, 1, ground.folder, true)?;
    let at = |host| Options { hosts: Some((&hosts, host)), ..Options::default() };
    let prices = Shop::start(ground, "prices", Kind::Threads, &json!({"work_us": 200}), at(1))?;
    let upstream = format!("{}:{}", names::NAME, prices.address.port());
    let options = Options { upstream: Some(&upstream), resolver: Some(&hosts.addresses[1]), ..at(0) };
    let settings = json!({"work_us": 500, "ask": 1, "fresh": 1});
    let shop = Shop::start(ground, "shop", kind, &settings, options)?;
    let callers = Callers::start(plan(Plan::new(shop.address)), Some(&hosts.namespace(0)?))?;
    let (folder, on) = (ground.folder.to_owned(), Rc::clone(&hosts));
    Ok(Stage::Ready(Set {
        pids: vec![shop.pid()],
        arguments: Vec::new(),
        begin: Box::new(move || {
            Ok(match end {
                End::Silent => {
                    resolver.fall_silent()?;
                    Box::new(resolver) as Kept
                }
                End::Gone => {
                    drop(resolver);
                    Box::new(()) as Kept
                }
                End::Refuses => {
                    drop(resolver);
                    Box::new(Names::start(&on, 1, &folder, false)?) as Kept
                }
            })
        }),
        kept: vec![Box::new(shop), Box::new(prices), Box::new(hosts)],
        callers: Some(callers),
    }))
}
