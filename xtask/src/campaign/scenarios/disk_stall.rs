//! The disk of the journal writes slowly from now on: a loop device, held to a rate by the kernel's own limit.

use super::super::{
    callers::{Callers, Plan},
    cgroup::Group,
    disk::Disk,
    score::Truth,
    shop::{Kind, Options, Shop},
    stage::{Ground, Kept, Scenario, Set, Stage},
};
use serde_json::json;

const fn one(name: &'static str, kind: Kind, stage: fn(&Ground<'_>) -> anyhow::Result<Stage>) -> Scenario {
    let truth = Some(Truth { kind: "disk_stall", place: None });
    Scenario { name, system: kind.name(), truth, healthy: 50, watched: 70, alone: false, stage }
}

pub(super) const ALL: [Scenario; 13] = [
    one("journal-python", Kind::Threads, |ground| stage(ground, Kind::Threads, SLOW)),
    one("journal-go", Kind::Go, |ground| stage(ground, Kind::Go, SLOW)),
    one("journal-pool", Kind::Pool, |ground| stage(ground, Kind::Pool, SLOW)),
    one("journal-asyncio", Kind::Asyncio, |ground| stage(ground, Kind::Asyncio, SLOW)),
    one("slower-journal-go", Kind::Go, |ground| stage(ground, Kind::Go, SLOWER)),
    one("slower-journal-pool", Kind::Pool, |ground| stage(ground, Kind::Pool, SLOWER)),
    one("slower-journal-python", Kind::Threads, |ground| stage(ground, Kind::Threads, SLOWER)),
    one("slower-journal-asyncio", Kind::Asyncio, |ground| stage(ground, Kind::Asyncio, SLOWER)),
    one("journal-in-waves-go", Kind::Go, |ground| asked(ground, Kind::Go, SLOW, Plan::in_waves)),
    one("journal-in-waves-python", Kind::Threads, |ground| asked(ground, Kind::Threads, SLOW, Plan::in_waves)),
    one("journal-in-waves-asyncio", Kind::Asyncio, |ground| asked(ground, Kind::Asyncio, SLOW, Plan::in_waves)),
    one("journal-in-quick-waves-go", Kind::Go, |ground| asked(ground, Kind::Go, SLOW, Plan::in_quick_waves)),
    one("journal-unkept-python", Kind::Threads, |ground| asked(ground, Kind::Threads, SLOW, Plan::unkept)),
];

/// What the disk takes, bytes a second.
const SLOW: u64 = 64 << 10;
const SLOWER: u64 = 24 << 10;

fn stage(ground: &Ground<'_>, kind: Kind, rate: u64) -> anyhow::Result<Stage> {
    asked(ground, kind, rate, |plan| plan)
}

fn asked(ground: &Ground<'_>, kind: Kind, rate: u64, plan: fn(Plan) -> Plan) -> anyhow::Result<Stage> {
    let group = match Group::make("blkio", ground.number.into()) {
        Ok(group) => group,
        Err(error) => return Ok(Stage::Skipped(format!("no limit of a disk's rate can be had: {error:#}"))),
    };
    let disk = match Disk::make(ground.folder) {
        Ok(disk) => disk,
        Err(error) => return Ok(Stage::Skipped(format!("no disk of its own can be had: {error:#}"))),
    };
    let options = Options { folder: Some(&disk.folder), ..Options::default() };
    let shop = Shop::start(ground, "shop", kind, &json!({"work_us": 500, "journal_kb": 16, "seats": 4}), options)?;
    group.take(shop.pid())?;
    let callers = Callers::start(plan(Plan { callers: 4, ..Plan::new(shop.address) }), None)?;
    let limit = format!("{} {rate}", disk.number);
    Ok(Stage::Ready(Set {
        pids: vec![shop.pid()],
        arguments: Vec::new(),
        begin: Box::new(move || {
            group.set("blkio.throttle.write_bps_device", &limit)?;
            Ok(Box::new(group) as Kept)
        }),
        kept: vec![Box::new(shop), Box::new(disk)],
        callers: Some(callers),
    }))
}
