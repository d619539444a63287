//! The program that keeps the audit log reads no more: whoever writes to it stands still, and the others behind it.

use super::super::{
    callers::{Callers, Plan},
    score::Truth,
    shop::{Kind, Options, Shop},
    stage::{Ground, Kept, Scenario, Set, Stage},
};
use crate::process;
use anyhow::ensure;
use serde_json::json;

const TRUTH: Option<Truth> = Some(Truth { kind: "blocked_writer", place: None });

const fn one(name: &'static str, kind: Kind, stage: fn(&Ground<'_>) -> anyhow::Result<Stage>) -> Scenario {
    Scenario { name, system: kind.name(), truth: TRUTH, healthy: 50, watched: 70, alone: false, stage }
}

pub(super) const ALL: [Scenario; 4] = [
    one("stuck-audit-python", Kind::Threads, |ground| stage(ground, Kind::Threads, |plan| plan)),
    one("stuck-audit-pool", Kind::Pool, |ground| stage(ground, Kind::Pool, |plan| plan)),
    one("stuck-audit-in-waves-python", Kind::Threads, |ground| stage(ground, Kind::Threads, Plan::in_waves)),
    one("stuck-audit-in-waves-pool", Kind::Pool, |ground| stage(ground, Kind::Pool, Plan::in_waves)),
];

fn stage(ground: &Ground<'_>, kind: Kind, waves: fn(Plan) -> Plan) -> anyhow::Result<Stage> {
    let settings = json!({"work_us": 500, "audit_kb": 2, "seats": 6});
    let shop = Shop::start(ground, "shop", kind, &settings, Options::default())?;
    let plan = waves(Plan::new(shop.address));
    let part_after = if kind == Kind::Pool { 1 } else { plan.part_after };
    let callers = Callers::start(Plan { part_after, ..plan }, None)?;
    let pid = shop.pid();
    Ok(Stage::Ready(Set {
        pids: vec![pid],
        arguments: Vec::new(),
        begin: Box::new(move || {
            for child in process::children(pid)? {
                ensure!(process::signal(child, libc::SIGSTOP)?, "the log's keeper is gone");
            }
            Ok(Box::new(()) as Kept)
        }),
        kept: vec![Box::new(shop)],
        callers: Some(callers),
    }))
}
