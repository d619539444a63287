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

pub(super) const ALL: [Scenario; 2] = [
    one("stuck-audit-python", Kind::Threads, |ground| stage(ground, Kind::Threads)),
    one("stuck-audit-pool", Kind::Pool, |ground| stage(ground, Kind::Pool)),
];

fn stage(ground: &Ground<'_>, kind: Kind) -> anyhow::Result<Stage> {
    let settings = json!({"work_us": 500, "audit_kb": 2, "seats": 6});
    let shop = Shop::start(ground, "shop", kind, &settings, Options::default())?;
    let part_after = u64::from(kind == Kind::Pool);
    let callers = Callers::start(Plan { part_after, ..Plan::new(shop.address) }, None)?;
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
