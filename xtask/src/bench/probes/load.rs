//! The agent under load: ten processes that hold 100,000 descriptors, and 200,000 descriptors a second that come and go.
//!
//! Events are counted by those who make them, and every one that comes and every one that goes is one. What the agent
//! says is held against `/proc/PID/fd` while the process stands still. The agent has no budget here, so that every hook is
//! on whatever that costs the processes.
//! Cost: some three minutes.

use super::{
    Part, Setting,
    figure::Figure,
    mill::{self, Mill},
    own::{self, Memory},
    row::{Row, Target},
};
use crate::{
    process,
    rig::{Agent, http},
};
use anyhow::{Context as _, bail, ensure};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, Instant},
};

/// The whole agent while descriptors come and go, and while very many are held.
pub(super) const LOAD: Part = Part {
    name: "load",
    about: "the whole agent at 200,000 descriptors a second, and with 100,000 held: its cost, losses, and what it says",
    run: measure,
};

const PROCESSES: u32 = 10;
const EVENTS: u32 = 200_000;
const HELD: u32 = 100_000;
/// Held by each process while the rate is measured.
const FEW: u32 = 200;
/// Descriptors of one page of the agent's answer.
const PAGE: usize = 500;
const PATIENCE: Duration = Duration::from_secs(60);
/// Until names are found, allowances are used up and looks have found their pace.
const SETTLE: Duration = Duration::from_secs(12);

fn measure(setting: &Setting) -> anyhow::Result<Vec<Row>> {
    let mut rows = at_rate(setting)?;
    rows.extend(with_many(setting)?);
    Ok(rows)
}

struct Scene {
    mills: Vec<Mill>,
    agent: Agent,
    _folder: tempfile::TempDir,
}

/// Ten processes, watched from before they hold anything.
fn scene(held: u32) -> anyhow::Result<Scene> {
    let folder = tempfile::Builder::new().prefix("snowshed-bench-").tempdir().context("benchmark's folder")?;
    let program = mill::compile(folder.path())?;
    let start = |number| Mill::start(&program, folder.path(), number, held / PROCESSES, EVENTS / PROCESSES);
    let mut mills = (0..PROCESSES).map(start).collect::<anyhow::Result<Vec<_>>>()?;
    let pids: Vec<u32> = mills.iter().map(Mill::pid).collect();
    let agent = own::watch_all(folder.path(), &pids)?;
    process::wait_until("the targets", PATIENCE, || {
        let known = agent.items("/api/v1/fds")?;
        Ok((known.len() == pids.len() && known.iter().all(|one| one["live"].as_u64() > Some(0))).then_some(()))
    })?;
    mills.iter_mut().try_for_each(Mill::fill)?;
    Ok(Scene { mills, agent, _folder: folder })
}

/// How fast descriptors come and go over some time.
struct Turning(Instant, u64);

impl Turning {
    fn begin(mills: &[Mill]) -> Self {
        Self(Instant::now(), mills.iter().map(Mill::turned).sum())
    }

    fn rate(self, mills: &[Mill]) -> f64 {
        (mills.iter().map(Mill::turned).sum::<u64>() - self.1) as f64 / self.0.elapsed().as_secs_f64()
    }
}

fn at_rate(setting: &Setting) -> anyhow::Result<Vec<Row>> {
    let Scene { mut mills, agent, _folder } = scene(FEW * PROCESSES)?;
    mills.iter_mut().try_for_each(Mill::turn)?;
    std::thread::sleep(SETTLE);
    let turning = Turning::begin(&mills);
    let shares = own::shares(&agent, setting.rounds, Duration::from_secs(1))?;
    let rate = turning.rate(&mills);
    let exact = exact(&mills, &agent, 3 * setting.rounds)?;
    Ok(vec![
        Row::new(
            "descriptors made and closed a second",
            Figure::exact(rate),
            "",
            Target::AtLeast(0.98 * f64::from(EVENTS)),
        ),
        Row::new("the agent's share of a core at that rate, %", Figure::of(&shares), "", Target::AtMost(5.0)),
        Row::new("lost at that rate", Figure::exact(lost(&agent)?), "", Target::AtMost(0.0)),
        Row::new("views equal to /proc at random stops", exact, "", Target::AtLeast(1.0)),
    ])
}

fn with_many(setting: &Setting) -> anyhow::Result<Vec<Row>> {
    let Scene { mut mills, agent, _folder } = scene(HELD)?;
    process::wait_until("the agent to see them", PATIENCE, || Ok((live(&agent)? >= u64::from(HELD)).then_some(())))?;
    std::thread::sleep(SETTLE);
    let shares = own::shares(&agent, setting.rounds, Duration::from_secs(1))?;
    let mut memory = Vec::new();
    for _ in 0..setting.rounds {
        memory.push(Memory::now(&agent)?);
        std::thread::sleep(Duration::from_millis(250));
    }
    mills.iter_mut().try_for_each(Mill::turn)?;
    std::thread::sleep(SETTLE);
    let turning = Turning::begin(&mills);
    let busy = own::shares(&agent, setting.rounds, Duration::from_secs(1))?;
    let rate = turning.rate(&mills);
    let exact = exact(&mills, &agent, PROCESSES)?;
    for _ in 0..setting.rounds {
        memory.push(Memory::now(&agent)?);
    }
    let most = |of: fn(&Memory) -> u64| Figure::exact(memory.iter().map(of).max().unwrap_or(0) as f64 / 1e6);
    let held = Figure::exact(live(&agent)? as f64);
    Ok(vec![
        Row::new("descriptors held in ten processes", held, "", Target::AtLeast(f64::from(HELD))),
        Row::new("its memory with them and its maps, at most", most(|all| all.sum()), "MB", Target::AtMost(40.0)),
        Row::new("of that resident, without the rings", most(|all| all.resident), "MB", Target::None),
        Row::new("of that maps, rings and programs", most(|all| all.kernel), "MB", Target::None),
        Row::new("its share of a core with them at rest, %", Figure::of(&shares), "", Target::AtMost(5.0)),
        Row::new(
            "made and closed a second besides",
            Figure::exact(rate),
            "",
            Target::AtLeast(0.98 * f64::from(EVENTS)),
        ),
        Row::new("its share of a core with both, %", Figure::of(&busy), "", Target::AtMost(5.0)),
        Row::new("lost with both", Figure::exact(lost(&agent)?), "", Target::AtMost(0.0)),
        Row::new("views equal to /proc at random stops with both", exact, "", Target::AtLeast(1.0)),
    ])
}

fn live(agent: &Agent) -> anyhow::Result<u64> {
    Ok(agent.items("/api/v1/fds")?.iter().filter_map(|one| one["live"].as_u64()).sum())
}

/// All that the agent knows to have lost, also for want of room.
fn lost(agent: &Agent) -> anyhow::Result<f64> {
    Ok(own::lost(agent)? + agent.metric("snowshed_engine_lost_total", "")?.unwrap_or(0.0))
}

/// Stops a process at random moments and compares; how often the agent told exactly what is open.
fn exact(mills: &[Mill], agent: &Agent, stops: u32) -> anyhow::Result<Figure> {
    let mut random = StdRng::seed_from_u64(7);
    let mut equal = 0;
    for stop in 0..stops {
        let pid = mills[random.random_range(0..mills.len())].pid();
        std::thread::sleep(Duration::from_micros(random.random_range(0..50_000)));
        ensure!(process::signal(pid, libc::SIGSTOP)?, "a mill is gone");
        process::wait_until("a mill to stop", PATIENCE, || Ok(is_stopped(pid).then_some(())))?;
        let (told, truth) = (told(agent, pid)?, truth(pid)?);
        if told == truth {
            equal += 1;
        } else {
            let only = |one: &BTreeSet<i32>, other| one.difference(other).take(5).copied().collect::<Vec<_>>();
            eprintln!("stop {stop}: only told {:?}, only true {:?}", only(&told, &truth), only(&truth, &told));
        }
        process::signal(pid, libc::SIGCONT)?;
    }
    Ok(Figure::exact(f64::from(equal) / f64::from(stops)))
}

fn is_stopped(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
}

fn truth(pid: u32) -> anyhow::Result<BTreeSet<i32>> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).context("the truth")?;
    entries.map(|entry| entry?.file_name().to_string_lossy().parse().context("the truth")).collect()
}

/// Every descriptor that the agent tells of a process, page by page. It may be busy for a moment.
fn told(agent: &Agent, pid: u32) -> anyhow::Result<BTreeSet<i32>> {
    let (mut all, mut cursor) = (BTreeSet::new(), String::new());
    loop {
        let path = format!("/api/v1/fds/{pid}?limit={PAGE}{cursor}");
        let page = process::wait_until("the agent's answer", PATIENCE, || {
            let reply = http::get(agent.listen, &path)?;
            match reply.status {
                200 => Ok(Some(reply.json()?)),
                503 => Ok(None),
                status => bail!("GET {path}: {status} {}", reply.text()),
            }
        })?;
        let numbers = page["items"].as_array().context("no items")?.iter().filter_map(|item| item["fd"].as_i64());
        all.extend(numbers.filter_map(|number| i32::try_from(number).ok()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(all),
        }
    }
}
