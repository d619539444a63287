//! Redis, asked by a client library: it exports no spans.

use super::super::{
    callers::{Callers, Client, Plan},
    cgroup::Group,
    disk::Disk,
    score::Truth,
    stage::{Ground, Kept, Scenario, Set, Stage},
};
use crate::rig::Redis;
use std::{net::SocketAddr, time::Duration};

const fn one(
    name: &'static str,
    kind: Option<&'static str>,
    watched: u64,
    stage: fn(&Ground<'_>) -> anyhow::Result<Stage>,
) -> Scenario {
    Scenario { name, system: "redis", truth: Truth::of(kind), healthy: 60, watched, alone: false, stage }
}

pub(super) const ALL: [Scenario; 10] = [
    one("script-redis", Some("event_loop_stall"), 60, |ground| also(ground, SCRIPT, 1, Duration::from_secs(1))),
    one("longer-script-redis", Some("event_loop_stall"), 60, |ground| {
        also(ground, LONG_SCRIPT, 1, Duration::from_secs(4))
    }),
    one("scripts-redis", Some("event_loop_stall"), 60, |ground| also(ground, SCRIPT, 2, Duration::from_secs(2))),
    one("keys-redis", Some("memory_growth"), 120, |ground| also(ground, NEW_KEYS, 2, Duration::from_millis(40))),
    one("journal-redis", Some("disk_stall"), 70, |ground| journal(ground, 8 << 10)),
    one("slower-journal-redis", Some("disk_stall"), 70, |ground| journal(ground, 4 << 10)),
    one("limit-redis", Some("oom_kill"), 60, limit),
    one("quota-redis", Some("cpu_throttled"), 70, |ground| quota(ground, 10_000)),
    one("less-quota-redis", Some("cpu_throttled"), 70, |ground| quota(ground, 5_000)),
    one("snapshots-redis", None, 70, |ground| also(ground, SNAPSHOT, 1, Duration::from_secs(10))),
];

/// What a caller of Redis asks.
struct Asks {
    address: SocketAddr,
    connection: Option<redis::Connection>,
    command: fn(u64) -> redis::Cmd,
}

impl Asks {
    fn boxed(address: SocketAddr, command: fn(u64) -> redis::Cmd) -> Box<dyn Client> {
        Box::new(Self { address, connection: None, command })
    }

    fn exchange(&mut self, n: u64) -> redis::RedisResult<()> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let client = redis::Client::open(format!("redis://{}/", self.address))?;
                let made = client.get_connection_with_timeout(Duration::from_secs(10))?;
                made.set_read_timeout(Some(Duration::from_secs(10)))?;
                none.insert(made)
            }
        };
        (self.command)(n).exec(connection)
    }
}

impl Client for Asks {
    fn ask(&mut self, n: u64) -> bool {
        let answered = self.exchange(n).is_ok();
        if !answered {
            self.connection = None;
        }
        answered
    }

    fn part(&mut self) {
        self.connection = None;
    }
}

type By = fn(SocketAddr) -> Box<dyn Client>;

/// What is written and read all the time: a hundred items.
const ITEMS: By = |address| {
    Asks::boxed(address, |n| {
        let key = format!("item:{}", n % 100);
        if n.is_multiple_of(2) { redis::Cmd::set(key, "x".repeat(1024)) } else { redis::Cmd::get(key) }
    })
};

/// A script that computes for 400 ms, or for one and a half seconds; meanwhile nobody else is served.
const SCRIPT: By = |address| Asks::boxed(address, |_| script(400));
const LONG_SCRIPT: By = |address| Asks::boxed(address, |_| script(1_500));

fn script(ms: u32) -> redis::Cmd {
    let text = "local function now() local t = redis.call('TIME') return t[1] * 1000000 + t[2] end \
                local begun = now() while now() - begun < tonumber(ARGV[1]) * 1000 do end return 1";
    redis::cmd("EVAL").arg(text).arg(0).arg(ms).to_owned()
}

/// A script of some milliseconds.
const SUM: By = |address| {
    Asks::boxed(address, |_| {
        let text = "local sum = 0 for n = 1, 600000 do sum = sum + n * n end return sum";
        redis::cmd("EVAL").arg(text).arg(0).to_owned()
    })
};

/// Keys that nobody deletes.
const NEW_KEYS: By = |address| {
    Asks::boxed(address, move |_| {
        let key: u64 = rand::random();
        redis::Cmd::set(format!("session:{key}"), "x".repeat(100 << 10))
    })
};

/// A snapshot, by a process of its own.
const SNAPSHOT: By = |address| Asks::boxed(address, |_| redis::cmd("BGSAVE"));

fn set(redis: Redis, kept: Vec<Kept>, begin: impl FnOnce() -> anyhow::Result<Kept> + 'static) -> anyhow::Result<Stage> {
    asked(ITEMS, redis, kept, begin)
}

fn asked(
    client: By,
    redis: Redis,
    kept: Vec<Kept>,
    begin: impl FnOnce() -> anyhow::Result<Kept> + 'static,
) -> anyhow::Result<Stage> {
    let callers = Callers::start(Plan { client, ..Plan::new(redis.address) }, None)?;
    let pids = vec![redis.pid()];
    let kept = std::iter::once(Box::new(redis) as Kept).chain(kept).collect();
    Ok(Stage::Ready(Set { pids, arguments: Vec::new(), begin: Box::new(begin), kept, callers: Some(callers) }))
}

/// Others come, who ask for something else.
fn more(address: SocketAddr, client: By, callers: usize, pause: Duration) -> anyhow::Result<Kept> {
    Ok(Box::new(Callers::start(Plan { callers, pause, client, ..Plan::new(address) }, None)?))
}

fn also(ground: &Ground<'_>, client: By, callers: usize, pause: Duration) -> anyhow::Result<Stage> {
    let redis = Redis::start(ground.folder, ground.folder, &[])?;
    let address = redis.address;
    set(redis, Vec::new(), move || more(address, client, callers, pause))
}

/// It writes down each change before it answers, and the disk gets slow.
fn journal(ground: &Ground<'_>, rate: u64) -> anyhow::Result<Stage> {
    let (group, disk) = match (Group::make("blkio", ground.number.into()), Disk::make(ground.folder)) {
        (Ok(group), Ok(disk)) => (group, disk),
        (Err(error), _) => return Ok(Stage::Skipped(format!("no limit of a disk's rate can be had: {error:#}"))),
        (_, Err(error)) => return Ok(Stage::Skipped(format!("no disk of its own can be had: {error:#}"))),
    };
    let arguments = ["--appendonly", "yes", "--appendfsync", "always"];
    let redis = Redis::start(ground.folder, &disk.folder, &arguments)?;
    group.take(redis.pid())?;
    // It writes some 30 KB a second.
    let limit = format!("{} {rate}", disk.number);
    set(redis, vec![Box::new(disk)], move || {
        group.set("blkio.throttle.write_bps_device", &limit)?;
        Ok(Box::new(group))
    })
}

/// It keeps more than its control group may have.
fn limit(ground: &Ground<'_>) -> anyhow::Result<Stage> {
    let group = match Group::make("memory", ground.number.into()) {
        Ok(group) => group,
        Err(error) => return Ok(Stage::Skipped(format!("no limit of memory can be had: {error:#}"))),
    };
    group.set("memory.limit_in_bytes", &(160 << 20).to_string())?;
    let redis = Redis::start(ground.folder, ground.folder, &[])?;
    group.take(redis.pid())?;
    let address = redis.address;
    set(redis, Vec::new(), move || {
        let others = more(address, NEW_KEYS, 8, Duration::from_millis(10))?;
        Ok(Box::new((others, group)))
    })
}

/// Its control group may use less than it needs.
fn quota(ground: &Ground<'_>, of_100_ms: u32) -> anyhow::Result<Stage> {
    let group = match Group::of_processors(ground.number.into()) {
        Ok(group) => group,
        Err(error) => return Ok(Stage::Skipped(format!("no limit of processors can be had: {error:#}"))),
    };
    let redis = Redis::start(ground.folder, ground.folder, &[])?;
    group.take(redis.pid())?;
    asked(SUM, redis, Vec::new(), move || {
        group.slow_down(of_100_ms)?;
        Ok(Box::new(group))
    })
}
