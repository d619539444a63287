//! The agent at rest: ten services that wait for work.

use super::{
    Part, Setting,
    figure::Figure,
    mill,
    own::{self, Memory},
    row::{Row, Target},
};
use crate::{
    process::{self, Child, Spawn},
    rig::interpreter,
};
use anyhow::Context as _;
use std::{fs, time::Duration};

/// The whole agent while nothing happens.
pub(super) const IDLE: Part =
    Part { name: "idle", about: "the whole agent with ten quiet targets: its cost at rest", run: measure };

/// A server that waits on epoll.
const LOOP: &str = "
import asyncio
async def main():
    server = await asyncio.start_server(lambda reader, writer: None, '127.0.0.1', 0)
    print('ready', flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
";
/// A pool of threads that wait for each other, beside a loop.
const POOL: &str = "
import threading, queue, select, os
work = queue.Queue()
for _ in range(8): threading.Thread(target=work.get, daemon=True).start()
waiter, ends = select.epoll(), os.pipe()
waiter.register(ends[0]); print('ready', flush=True); waiter.poll()
";
const PATIENCE: Duration = Duration::from_secs(30);
/// Until everything about new targets is found out.
const SETTLE: Duration = Duration::from_secs(20);

fn measure(setting: &Setting) -> anyhow::Result<Vec<Row>> {
    let folder = tempfile::Builder::new().prefix("snowshed-bench-").tempdir().context("benchmark's folder")?;
    let program = mill::compile(folder.path())?;
    let python = |name: &str, code: &str| {
        let mut child = Spawn::new(name, interpreter()).args(["-c", code]).start(folder.path())?;
        child.wait_line("ready", PATIENCE)?;
        anyhow::Ok(child)
    };
    let mut quiet = (0..5).map(|n| python(&format!("loop-{n}"), LOOP)).collect::<anyhow::Result<Vec<Child>>>()?;
    for n in 0..3 {
        quiet.push(python(&format!("pool-{n}"), POOL)?);
    }
    let mills = (0..2).map(|n| mill::Mill::start(&program, folder.path(), n, 100, 0));
    let mut mills = mills.collect::<anyhow::Result<Vec<_>>>()?;
    mills.iter_mut().try_for_each(mill::Mill::fill)?;
    let pids: Vec<u32> = quiet.iter().map(Child::pid).chain(mills.iter().map(mill::Mill::pid)).collect();
    let agent = own::watch(folder.path(), &pids)?;
    process::wait_until("the targets", PATIENCE, || {
        Ok((agent.items("/api/v1/fds")?.len() == pids.len()).then_some(()))
    })?;
    std::thread::sleep(SETTLE);
    let before = wakeups(agent.pid());
    let length = Duration::from_secs(2);
    let shares = own::shares(&agent, setting.rounds, length)?;
    let woken = (wakeups(agent.pid()) - before) as f64 / (length.as_secs_f64() * f64::from(setting.rounds));
    let memory = Memory::now(&agent)?;
    Ok(vec![
        Row::new("its share of a core with ten quiet targets, %", Figure::of(&shares), "", Target::AtMost(0.3)),
        Row::new("it wakes up, a second", Figure::exact(woken), "", Target::None),
        Row::new("its memory with its maps", Figure::exact(memory.sum() as f64 / 1e6), "MB", Target::None),
    ])
}

/// How often its threads have gone to sleep by themselves.
fn wakeups(pid: u32) -> u64 {
    let of = |tid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/task/{tid}/status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")?.trim().parse::<u64>().ok())
    };
    process::threads(pid).into_iter().filter_map(of).sum()
}
