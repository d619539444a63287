//! Event loops of tokio, Java and Go as an agent sees them: healthy ones raise nothing, a blocked one is named.

use anyhow::{Context as _, ensure};
use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};
use xtask::{
    process::{self, Child, Spawn, loopback},
    rig::{Agent, AgentPorts, Language, Service, Steady, script},
};

const BOUND: Duration = Duration::from_secs(30);
/// Requests to each healthy service.
const HEALTHY: usize = 200;
/// Clients of the healthy services, each with a connection of its own.
const CLIENTS: usize = 4;
/// Clients that block: more than there are workers.
const BLOCKERS: usize = 3;

fn start(name: &str, spawn: Spawn, folder: &Path) -> anyhow::Result<(Child, SocketAddr)> {
    let mut child = spawn.start(folder)?;
    let line = child.wait_line("listening on ", BOUND)?;
    let port = line.rsplit(' ').next().and_then(|port| port.parse().ok());
    Ok((child, loopback(port.with_context(|| format!("{name}: no port in {line:?}"))?)))
}

fn ask(
    address: SocketAddr,
    path: &'static str,
    count: usize,
    over: Arc<AtomicBool>,
) -> thread::JoinHandle<anyhow::Result<()>> {
    thread::spawn(move || {
        let mut client = Steady::new(address);
        for _ in 0..count {
            if over.load(Ordering::Relaxed) {
                break;
            }
            client.ask(path)?;
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    })
}

#[test]
fn a_blocked_loop_is_named_and_healthy_ones_are_left_alone() -> anyhow::Result<()> {
    process::require_root("this test")?;
    let folder = tempfile::tempdir().context("test's folder")?;
    let tokio = |name| Spawn::new(name, env!("CARGO_BIN_EXE_xtask")).args(["serve"]);
    let java = script("services").join("Loop.java");
    // What its own threads do at the start would take both cores for seconds.
    let java = Spawn::new("java", "java").args(["-XX:TieredStopAtLevel=1", "-Xmx64m"]).args([java]);
    let loops = [
        ("current thread", start("current", tokio("current"), folder.path())?, "sleep", "clock_nanosleep"),
        (
            "workers",
            start("workers", tokio("workers").args(["--workers", "2"]), folder.path())?,
            "sleep",
            "clock_nanosleep",
        ),
        ("java", start("java", java, folder.path())?, "", "futex"),
    ];
    let go = Service::start(folder.path(), Language::Go, 0, folder.path())?;
    let mut pids: Vec<String> = loops.iter().map(|(_, (child, _), _, _)| child.pid().to_string()).collect();
    pids.push(go.pid().to_string());
    let arguments: Vec<&str> = pids.iter().flat_map(|pid| ["--pid", pid.as_str()]).collect();
    let agent = Agent::start(folder.path(), AgentPorts::free()?, &arguments)?;
    process::wait_until("the targets", BOUND, || Ok(agent.fds(go.pid()).ok()))?;

    let over = Arc::new(AtomicBool::new(false));
    let addresses = loops.iter().map(|(_, (_, address), _, _)| *address).chain([go.address()]);
    let clients: Vec<_> = addresses
        .flat_map(|address| (0..CLIENTS).map(move |_| address))
        .map(|address| ask(address, "/", HEALTHY, over.clone()))
        .collect();
    for client in clients {
        client.join().ok().context("a client panicked")??;
    }
    ensure!(agent.incidents()?.is_empty(), "healthy loops: {:#}", serde_json::Value::from(agent.incidents()?));

    let over = Arc::new(AtomicBool::new(false));
    let mut clients = Vec::new();
    for (_, (_, address), _, _) in &loops {
        clients.extend((0..BLOCKERS).map(|_| ask(*address, "/sleep", usize::MAX, over.clone())));
        clients.push(ask(*address, "/", usize::MAX, over.clone()));
    }
    for (name, (child, _), function, call) in &loops {
        let named = agent.wait_incident("the stall", BOUND, |incident| {
            let cause = &incident["causes"][0];
            let resolved = cause["site"]["frames"].as_array().is_some_and(|frames| !frames.is_empty());
            incident["target"]["pid"] == child.pid() && incident["verdict"] == "named" && resolved
        });
        let named = named.with_context(|| format!("{name}: {}", child.errors()))?;
        let cause = &named["causes"][0];
        ensure!(cause["kind"] == "event_loop_stall", "{name}: {named:#}");
        let tid = cause["thread"]["tid"].as_u64().and_then(|tid| u32::try_from(tid).ok());
        let tid = tid.with_context(|| format!("{name}: no thread: {cause:#}"))?;
        ensure!(process::threads(child.pid()).contains(&tid), "{name}: thread {tid} is not one of it: {cause:#}");
        ensure!(cause["title"].as_str().is_some_and(|title| title.contains(call)), "{name}: {cause:#}");
        ensure!(cause["site"]["frames"].to_string().contains(function), "{name}: {cause:#}");
    }
    over.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().ok().context("a client panicked")??;
    }
    Ok(())
}
