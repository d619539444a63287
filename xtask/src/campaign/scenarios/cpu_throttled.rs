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

pub(super) const ALL: [Scenario; 2] = [
    Scenario {
        name: "quota-python",
        system: Kind::Threads.name(),
        truth: TRUTH,
        healthy: 50,
        watched: 70,
        stage: |ground| stage(ground, Kind::Threads),
    },
    Scenario {
        name: "quota-node",
        system: Kind::Node.name(),
        truth: TRUTH,
        healthy: 50,
        watched: 70,
        stage: |ground| stage(ground, Kind::Node),
    },
];

fn stage(ground: &Ground<'_>, kind: Kind) -> anyhow::Result<Stage> {
    let group = match Group::make("cpu", ground.number.into()) {
        Ok(group) => group,
        Err(error) => return Ok(Stage::Skipped(format!("no limit of processors can be had: {error:#}"))),
    };
    group.set("cpu.cfs_period_us", "100000")?;
    group.set("cpu.cfs_quota_us", "150000")?;
    let shop = Shop::start(ground, "shop", kind, &json!({"work_us": 4000}), Options::default())?;
    group.take(shop.pid())?;
    let callers = Callers::start(Plan::new(shop.address), None)?;
    Ok(Stage::Ready(Set {
        pids: vec![shop.pid()],
        arguments: Vec::new(),
        begin: Box::new(move || {
            group.set("cpu.cfs_quota_us", "10000")?;
            Ok(Box::new(group) as Kept)
        }),
        kept: vec![Box::new(shop)],
        callers: Some(callers),
    }))
}
