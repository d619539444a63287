//! What leaks slowly: minutes before it is used up, so that a forecast is worth something. The run lasts until then.

use super::super::{
    callers::{Callers, Plan},
    cgroup::Group,
    score::Truth,
    shop::{Kind, Options, Shop},
    stage::{Ground, Kept, Scenario, Set, Stage, shop_with},
};
use anyhow::{Context as _, ensure};
use serde_json::json;
use std::{fs, time::Duration};

/// Descriptors that the shop may have.
const FILES: u64 = 400;
/// Memory that its control group may have, and the part of it that is little.
const MEMORY: u64 = 320 << 20;
const FEW: u64 = 32;

const fn one(
    name: &'static str,
    kind: Kind,
    truth: &'static str,
    stage: fn(&Ground<'_>) -> anyhow::Result<Stage>,
) -> Scenario {
    Scenario {
        name,
        system: kind.name(),
        truth: Truth::of(Some(truth)),
        healthy: 60,
        watched: 600,
        alone: false,
        stage,
    }
}

pub(super) const ALL: [Scenario; 10] = [
    one("slow-theme-python", Kind::Threads, "fd_leak", |ground| files(ground, Kind::Threads)),
    one("slow-theme-go", Kind::Go, "fd_leak", |ground| files(ground, Kind::Go)),
    one("slow-sessions-go", Kind::Go, "memory_growth", |ground| memory(ground, Kind::Go)),
    one("slow-sessions-node", Kind::Node, "memory_growth", |ground| memory(ground, Kind::Node)),
    one("slow-theme-node", Kind::Node, "fd_leak", |ground| files(ground, Kind::Node)),
    one("slow-theme-pool", Kind::Pool, "fd_leak", |ground| files(ground, Kind::Pool)),
    one("slow-sessions-python", Kind::Threads, "memory_growth", |ground| memory(ground, Kind::Threads)),
    one("slow-sessions-asyncio", Kind::Asyncio, "memory_growth", |ground| memory(ground, Kind::Asyncio)),
    one("slow-theme-asyncio", Kind::Asyncio, "fd_leak", |ground| files(ground, Kind::Asyncio)),
    one("slow-sessions-pool", Kind::Pool, "memory_growth", |ground| memory(ground, Kind::Pool)),
];

/// About one file a second.
fn files(ground: &Ground<'_>, kind: Kind) -> anyhow::Result<Stage> {
    let plan = |plan| Plan { callers: 1, pause: Duration::from_millis(800), ..plan };
    let after = json!({"theme_kept": 1});
    let stage = shop_with(ground, kind, &json!({"work_us": 500}), after, Options::default(), plan)?;
    let Stage::Ready(set) = stage else { return Ok(stage) };
    let pid = *set.pids.first().context("no shop")?;
    let limit = libc::rlimit { rlim_cur: FILES, rlim_max: FILES };
    // SAFETY: a limit of a process that this scenario has started; the old one is not asked for.
    let done = unsafe {
        libc::prlimit(libc::pid_t::try_from(pid)?, libc::RLIMIT_NOFILE, &raw const limit, std::ptr::null_mut())
    };
    ensure!(done == 0, "the limit of descriptors: {}", std::io::Error::last_os_error());
    // A request needs a connection and a file to end well, and gives both back where it does not.
    let is_used_up = move || Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64 + 3 >= FILES);
    Ok(Stage::Lasting(set, Box::new(is_used_up)))
}

/// Some 700 KB a second.
fn memory(ground: &Ground<'_>, kind: Kind) -> anyhow::Result<Stage> {
    let group = match Group::make("memory", ground.number.into()) {
        Ok(group) => group,
        Err(error) => return Ok(Stage::Skipped(format!("no limit of memory can be had: {error:#}"))),
    };
    group.set("memory.limit_in_bytes", &MEMORY.to_string())?;
    let start = || Shop::start(ground, "shop", kind, &json!({"work_us": 500}), Options::default());
    let shop = group.around(start)?;
    let plan = Plan { callers: 1, pause: Duration::from_millis(300), ..Plan::new(shop.address) };
    let callers = Callers::start(plan, None)?;
    let (pid, knob) = (shop.pid(), shop.knob());
    let (usage, kinds) = (group.file("memory.usage_in_bytes"), group.file("memory.stat"));
    let set = Set {
        pids: vec![pid],
        arguments: Vec::new(),
        begin: Box::new(move || {
            knob.turn(&json!({"session_kb": 224}))?;
            Ok(Box::new(()) as Kept)
        }),
        kept: vec![Box::new(shop), Box::new(group)],
        callers: Some(callers),
    };
    // Where the kernel takes back pages of files, which count as used too, and has nearly none left: on what is left of
    // them the shop runs.
    let is_used_up = move || {
        let used: u64 = fs::read_to_string(&usage)?.trim().parse()?;
        let kinds = fs::read_to_string(&kinds)?;
        let of = |name: &str| kinds.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        let files = of("total_active_file ").unwrap_or(0) + of("total_inactive_file ").unwrap_or(0);
        let is_short = used + (1 << 20) >= MEMORY && files <= MEMORY / FEW;
        Ok(is_short || !fs::exists(format!("/proc/{pid}/fd"))?)
    };
    Ok(Stage::Lasting(set, Box::new(is_used_up)))
}
