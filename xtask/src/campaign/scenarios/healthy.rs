//! What is healthy and looks like trouble at first sight: nothing may be raised.

use super::super::{
    callers::{Callers, Plan},
    shop::{Kind, Options, Shop},
    stage::{Ground, Kept, Scenario, Set, Stage, shop, shop_in_waves, shop_with},
};
use crate::{process::Spawn, rig::interpreter};
use serde_json::json;
use std::time::Duration;

const fn one(name: &'static str, kind: Kind, stage: fn(&Ground<'_>) -> anyhow::Result<Stage>) -> Scenario {
    Scenario { name, system: kind.name(), truth: None, healthy: 45, watched: 90, alone: false, stage }
}

pub(super) const ALL: [Scenario; 35] = [
    one("wave", Kind::Go, |ground| wave(ground, Kind::Go, 40)),
    one("wave-node", Kind::Node, |ground| wave(ground, Kind::Node, 40)),
    one("wave-python", Kind::Threads, |ground| wave(ground, Kind::Threads, 40)),
    one("wave-asyncio", Kind::Asyncio, |ground| wave(ground, Kind::Asyncio, 40)),
    one("slow-clients-node", Kind::Node, |ground| slow_clients(ground, Kind::Node)),
    one("slow-clients-asyncio", Kind::Asyncio, |ground| slow_clients(ground, Kind::Asyncio)),
    one("saw-tooth-node", Kind::Node, |ground| saw_tooth(ground, Kind::Node)),
    one("saw-tooth-python", Kind::Threads, |ground| saw_tooth(ground, Kind::Threads)),
    one("slow-clients-go", Kind::Go, |ground| slow_clients(ground, Kind::Go)),
    one("slow-clients", Kind::Threads, |ground| slow_clients(ground, Kind::Threads)),
    one("slow-clients-pool", Kind::Pool, |ground| slow_clients(ground, Kind::Pool)),
    one("pool-warm-up", Kind::Node, |ground| warm_up(ground, Kind::Node)),
    one("pool-warm-up-go", Kind::Go, |ground| warm_up(ground, Kind::Go)),
    one("cron", Kind::Threads, |ground| {
        let shop = Shop::start(ground, "shop", Kind::Threads, &json!({"work_us": 1000}), Options::default())?;
        let callers = Callers::start(Plan::new(shop.address), None)?;
        let folder = ground.folder.to_path_buf();
        // Eight seconds of work on both processors, every half minute.
        let job = "import time, subprocess, sys\nburn = 'import time\\nend = time.time() + 8\\nwhile time.time() < end: pass'\n\
                   while True:\n  all = [subprocess.Popen([sys.executable, '-c', burn]) for _ in range(2)]\n\
                   \x20 [one.wait() for one in all]\n  time.sleep(22)\n";
        Ok(Stage::Ready(Set {
            pids: vec![shop.pid()],
            arguments: Vec::new(),
            begin: Box::new(move || {
                Ok(Box::new(Spawn::new("job", interpreter()).args(["-c", job]).start(&folder)?) as Kept)
            }),
            kept: vec![Box::new(shop)],
            callers: Some(callers),
        }))
    })
    .alone(),
    one("saw-tooth", Kind::Go, |ground| saw_tooth(ground, Kind::Go)),
    one("saw-tooth-asyncio", Kind::Asyncio, |ground| saw_tooth(ground, Kind::Asyncio)),
    one("saw-tooth-pool", Kind::Pool, |ground| saw_tooth(ground, Kind::Pool)),
    one("wave-pool", Kind::Pool, |ground| wave(ground, Kind::Pool, 40)),
    one("quick-wave-node", Kind::Node, |ground| wave(ground, Kind::Node, 15)),
    one("wave-and-garbage-node", Kind::Node, |ground| wave_and_garbage(ground, Kind::Node)),
    one("release-python", Kind::Threads, |ground| release(ground, Kind::Threads)),
    one("release-go", Kind::Go, |ground| release(ground, Kind::Go)),
    one("release-node", Kind::Node, |ground| release(ground, Kind::Node)),
    one("release-pool", Kind::Pool, |ground| release(ground, Kind::Pool)),
    one("wave-and-garbage-go", Kind::Go, |ground| wave_and_garbage(ground, Kind::Go)),
    one("quick-wave-go", Kind::Go, |ground| wave(ground, Kind::Go, 15)),
    one("release-asyncio", Kind::Asyncio, |ground| release(ground, Kind::Asyncio)),
    one("wave-and-garbage-python", Kind::Threads, |ground| wave_and_garbage(ground, Kind::Threads)),
    one("longer-pages-asyncio", Kind::Asyncio, |ground| {
        shop(ground, Kind::Asyncio, &json!({"work_us": 500, "page_kb": 4}), json!({"page_kb": 60}))
    }),
    one("wave-and-garbage-pool", Kind::Pool, |ground| wave_and_garbage(ground, Kind::Pool)),
    one("quick-wave-python", Kind::Threads, |ground| wave(ground, Kind::Threads, 15)),
    one("unkept-python", Kind::Threads, |ground| unkept(ground, Kind::Threads)),
    one("wave-and-garbage-asyncio", Kind::Asyncio, |ground| wave_and_garbage(ground, Kind::Asyncio)),
    one("quick-wave-pool", Kind::Pool, |ground| wave(ground, Kind::Pool, 15)),
    one("release-in-waves-go", Kind::Go, |ground| {
        shop_in_waves(ground, Kind::Go, &json!({"work_us": 1000}), json!({"work_us": 1500, "page_kb": 8}))
    }),
];

/// From now on it asks another service.
fn warm_up(ground: &Ground<'_>, kind: Kind) -> anyhow::Result<Stage> {
    let prices = Shop::start(ground, "prices", Kind::Threads, &json!({"answer_ms": 20}), Options::default())?;
    let upstream = prices.address.to_string();
    let options = Options { upstream: Some(&upstream), ..Options::default() };
    let mut stage = shop_with(ground, kind, &json!({"work_us": 500}), json!({"ask": 1}), options, |plan| plan)?;
    if let Stage::Ready(set) = &mut stage {
        set.kept.push(Box::new(prices));
    }
    Ok(stage)
}

/// It is set up anew, computes half as much again for each answer and answers at more length.
fn release(ground: &Ground<'_>, kind: Kind) -> anyhow::Result<Stage> {
    shop(ground, kind, &json!({"work_us": 1000, "page_kb": 4}), json!({"work_us": 1500, "page_kb": 8}))
}

/// Sometimes more come, sometimes fewer, again and again after so many seconds.
fn wave(ground: &Ground<'_>, kind: Kind, seconds: u64) -> anyhow::Result<Stage> {
    let plan = |plan: Plan| Plan { wave: Some(Duration::from_secs(seconds)), ..plan.in_waves() };
    shop_with(ground, kind, &json!({"work_us": 2000}), json!({}), Options::default(), plan)
}

fn wave_and_garbage(ground: &Ground<'_>, kind: Kind) -> anyhow::Result<Stage> {
    shop_in_waves(ground, kind, &json!({"work_us": 500}), json!({"report_kb": 256}))
}

/// From now on others come too, who connect for each question.
fn unkept(ground: &Ground<'_>, kind: Kind) -> anyhow::Result<Stage> {
    more_callers(ground, kind, |plan| Plan { callers: 3, ..plan.unkept() })
}

/// What each answer is made of is garbage at once.
fn saw_tooth(ground: &Ground<'_>, kind: Kind) -> anyhow::Result<Stage> {
    shop(ground, kind, &json!({"work_us": 500}), json!({"report_kb": 256}))
}

fn slow_clients(ground: &Ground<'_>, kind: Kind) -> anyhow::Result<Stage> {
    more_callers(ground, kind, |plan| Plan { callers: 10, pause: Duration::from_secs(4), ..plan })
}

fn more_callers(ground: &Ground<'_>, kind: Kind, plan: fn(Plan) -> Plan) -> anyhow::Result<Stage> {
    let shop = Shop::start(ground, "shop", kind, &json!({"work_us": 1000, "page_kb": 200}), Options::default())?;
    let address = shop.address;
    let callers = Callers::start(Plan::new(address), None)?;
    Ok(Stage::Ready(Set {
        pids: vec![shop.pid()],
        arguments: Vec::new(),
        begin: Box::new(move || Ok(Box::new(Callers::start(plan(Plan::new(address)), None)?) as Kept)),
        kept: vec![Box::new(shop)],
        callers: Some(callers),
    }))
}
