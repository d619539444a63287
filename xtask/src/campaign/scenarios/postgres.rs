//! PostgreSQL, asked by its own client: it exports no spans, and each of its connections is a process.

use super::super::{
    cgroup::Group,
    disk::Disk,
    score::Truth,
    stage::{Ground, Kept, Scenario, Set, Stage},
};
use crate::{
    process::{self, Child},
    rig::{Hosts, Postgres},
};
use std::{rc::Rc, time::Duration};

const fn one(
    name: &'static str,
    kind: Option<&'static str>,
    stage: fn(&Ground<'_>) -> anyhow::Result<Stage>,
) -> Scenario {
    Scenario { name, system: "postgres", truth: Truth::of(kind), healthy: 50, watched: 80, alone: false, stage }
}

pub(super) const ALL: [Scenario; 7] = [
    one("journal-postgres", Some("disk_stall"), |ground| journal(ground, 64 << 10)),
    one("slower-journal-postgres", Some("disk_stall"), |ground| journal(ground, 24 << 10)),
    one("lossy-postgres", Some("tcp_retransmits"), |ground| lossy(ground, 0.04)),
    one("lossier-postgres", Some("tcp_retransmits"), |ground| lossy(ground, 0.1)),
    one("quota-postgres", Some("cpu_throttled"), |ground| quota(ground, 10_000)),
    one("less-quota-postgres", Some("cpu_throttled"), |ground| quota(ground, 5_000)),
    one("vacuum-postgres", None, vacuum),
];

/// The table that is asked for items, and a change of one.
const TABLE: &str =
    "create table item (id int primary key, stock int); insert into item select n, 0 from generate_series(1, 1000) n";
const CHANGE: &str = "\\set id random(1, 1000)\nupdate item set stock = stock + 1 where id = :id;\n";
/// A computation of some milliseconds.
const SUM: &str = "select sum(n * n) from generate_series(1, 20000) n;\n";
/// An answer of 40 KB.
const LONG: &str = "select repeat('x', 40000);\n";

fn set(
    postgres: impl Into<Rc<Postgres>>,
    clients: Child,
    kept: Vec<Kept>,
    begin: impl FnOnce() -> anyhow::Result<Kept> + 'static,
) -> anyhow::Result<Stage> {
    process::wait_until("answers to pgbench", Duration::from_secs(30), || {
        Ok(clients.errors().contains("tps").then_some(()))
    })?;
    let postgres = postgres.into();
    let pids = vec![postgres.pid()];
    let kept = [Box::new(clients) as Kept, Box::new(postgres)].into_iter().chain(kept).collect();
    Ok(Stage::Ready(Set { pids, arguments: Vec::new(), begin: Box::new(begin), kept, callers: None }))
}

/// The disk that its log is written to gets slow.
fn journal(ground: &Ground<'_>, rate: u64) -> anyhow::Result<Stage> {
    let (group, disk) = match (Group::make("blkio", ground.number.into()), Disk::make(ground.folder)) {
        (Ok(group), Ok(disk)) => (group, disk),
        (Err(error), _) => return Ok(Stage::Skipped(format!("no limit of a disk's rate can be had: {error:#}"))),
        (_, Err(error)) => return Ok(Stage::Skipped(format!("no disk of its own can be had: {error:#}"))),
    };
    let postgres = Postgres::start(ground.folder, &disk.folder, None)?;
    group.take(postgres.pid())?;
    for child in process::children(postgres.pid())? {
        group.take(child)?;
    }
    postgres.tell(TABLE)?;
    let clients = postgres.ask(None, CHANGE, 4, 60)?;
    let limit = format!("{} {rate}", disk.number);
    set(postgres, clients, vec![Box::new(disk)], move || {
        group.set("blkio.throttle.write_bps_device", &limit)?;
        Ok(Box::new(group))
    })
}

/// Packets to its clients get lost.
fn lossy(ground: &Ground<'_>, lost: f64) -> anyhow::Result<Stage> {
    let hosts = Rc::new(Hosts::make(ground.number)?);
    let postgres = Postgres::start(ground.folder, ground.folder, Some((&hosts, 0)))?;
    let clients = postgres.ask(Some((&hosts, 1)), LONG, 4, 50)?;
    let on = Rc::clone(&hosts);
    set(postgres, clients, vec![Box::new(hosts)], move || {
        on.lose(1, lost)?;
        Ok(Box::new(on))
    })
}

/// Its control group may use less than it needs.
fn quota(ground: &Ground<'_>, of_100_ms: u32) -> anyhow::Result<Stage> {
    let group = match Group::of_processors(ground.number.into()) {
        Ok(group) => group,
        Err(error) => return Ok(Stage::Skipped(format!("no limit of processors can be had: {error:#}"))),
    };
    let postgres = Postgres::start(ground.folder, ground.folder, None)?;
    group.take(postgres.pid())?;
    let clients = postgres.ask(None, SUM, 4, 50)?;
    set(postgres, clients, Vec::new(), move || {
        group.slow_down(of_100_ms)?;
        Ok(Box::new(group))
    })
}

/// A table is written anew while it is asked, and everything goes to the disk.
fn vacuum(ground: &Ground<'_>) -> anyhow::Result<Stage> {
    let postgres = Rc::new(Postgres::start(ground.folder, ground.folder, None)?);
    postgres.tell(TABLE)?;
    let clients = postgres.ask(None, CHANGE, 4, 60)?;
    let server = Rc::clone(&postgres);
    set(postgres, clients, Vec::new(), move || {
        server.tell("vacuum full item")?;
        server.tell("checkpoint")?;
        Ok(Box::new(()))
    })
}
