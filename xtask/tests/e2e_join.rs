//! How many of the files that requests leave open are told under their own trace, and how many under another one, where
//! nothing but the connection joins them: services in Python, Node and Go that export spans by OpenTelemetry's SDK and publish
//! no thread context, asked over HTTP/1.1 by several clients. The file's name says whose it is.
//!
//! Of requests that one event loop or one pool of threads is at work on in the same moment nobody could say whose a file is:
//! there the clients take turns at first, and then they do not, and what is told as certain must still be right.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use std::{
    collections::HashMap,
    fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};
use xtask::{
    process,
    rig::{Agent, AgentPorts, Language, Service, Steady},
};

/// Clients of each service.
const CLIENTS: usize = 6;
/// Questions of each in turns, or without where each connection has a thread of its own; and of each without turns.
const QUESTIONS: [usize; 2] = [100, 50];
/// Between an answer and the next question, on average.
const PAUSE: Duration = Duration::from_millis(60);
/// Between two turns: spans of two requests lie so far apart.
const TURN: Duration = Duration::from_millis(8);
/// Of what is told as certain at least so much must be right, and so much of all must be told as certain and right.
const PRECISION: f64 = 0.99;
const RECALL: f64 = 0.95;

/// Traces of one service, and whether its clients take turns.
#[derive(Clone, Copy, Debug)]
struct Round {
    row: usize,
    part: usize,
    turns: bool,
}

impl Round {
    fn trace(self, client: usize, n: usize) -> String {
        format!("{:032x}", ((0xcafe_0000 + self.row * 0x1000 + self.part * 0x100 + client) << 16) + n + 1)
    }

    fn traces(self) -> Vec<String> {
        let of = |client| (0..QUESTIONS[self.part]).map(move |n| self.trace(client, n));
        (0..CLIENTS).flat_map(of).collect()
    }

    /// Half of the clients keep their connections.
    fn ask(self, service: &Service) -> Vec<thread::JoinHandle<anyhow::Result<Steady>>> {
        let (address, turn) = (service.address(), Arc::new(Mutex::new(())));
        let client = |client: usize| {
            let turn = Arc::clone(&turn);
            thread::spawn(move || -> anyhow::Result<Steady> {
                let mut steady = Steady::new(address);
                for n in 0..QUESTIONS[self.part] {
                    let own = self.trace(client, n);
                    let held = self.turns.then(|| turn.lock().unwrap_or_else(PoisonError::into_inner));
                    let status = steady.ask_within(&own, &format!("/keep/{own}"))?;
                    ensure!(status == 200, "/keep: {status}");
                    if held.is_some() {
                        thread::sleep(TURN);
                    }
                    drop(held);
                    if client % 2 == 1 {
                        steady.part();
                    }
                    // Not in step with the others.
                    let uneven = (n * 31 + client * 17) % 10;
                    thread::sleep(PAUSE / 2 + PAUSE / 10 * u32::try_from(uneven)?);
                }
                Ok(steady)
            })
        };
        (0..CLIENTS).map(client).collect()
    }
}

/// Whose each open descriptor is, by the name of its file.
fn truth(pid: u32, folder: &Path) -> anyhow::Result<HashMap<i64, String>> {
    let mut all = HashMap::new();
    for one in process::descriptors(pid)? {
        let name = fs::read_link(format!("/proc/{pid}/fd/{}", one.number));
        let own = name.ok().and_then(|name| Some(name.strip_prefix(folder).ok()?.to_str()?.to_owned()));
        all.extend(own.map(|own| (i64::from(one.number), own)));
    }
    Ok(all)
}

/// Of the files of these traces: told with certainty under their own, under another, and under several.
fn score(agent: &Agent, pid: u32, traces: &[String], truth: &HashMap<i64, String>) -> anyhow::Result<[usize; 3]> {
    let mut score = [0; 3];
    for own in traces {
        let Ok(record) = agent.get(&format!("/api/v1/traces/{own}")) else { continue };
        let groups = record["descriptors"].as_array().context("descriptors")?;
        for group in groups.iter().filter(|group| group["pid"] == pid && group["kind"] == "file") {
            ensure!(group["join"] == "socket", "{group:#}");
            for number in group["fds"].as_array().into_iter().flatten().filter_map(Value::as_i64) {
                let Some(right) = truth.get(&number).map(|whose| whose == own) else { continue };
                score[if group["ambiguity"] != 1 { 2 } else { usize::from(!right) }] += 1;
            }
        }
    }
    Ok(score)
}

#[test]
fn files_are_told_under_the_trace_of_the_request_on_their_connection() -> anyhow::Result<()> {
    process::require_root("this test")?;
    let folder = tempfile::tempdir().context("test's folder")?;
    let (kept, ports) = (folder.path().canonicalize()?.join("kept"), AgentPorts::free()?);
    fs::create_dir(&kept)?;
    let settings = folder.path().join("snowshed.toml");
    fs::write(&settings, "[engine.caps]\ntraces = 8192\n")?;
    let (mut services, mut rounds) = (Vec::new(), Vec::new());
    for (row, language) in Language::ALL.into_iter().enumerate() {
        let own = folder.path().join(language.name());
        fs::create_dir(&own)?;
        services.push((language, Service::start_traced(&own, language, 0, &kept, &ports.otlp_http_url())?));
        let alone = language == Language::PythonThreads;
        rounds.push([Round { row, part: 0, turns: !alone }, Round { row, part: 1, turns: false }]);
    }
    for trace in rounds.iter().flatten().flat_map(|round| round.traces()) {
        fs::write(kept.join(trace), "")?;
    }
    let pids: Vec<String> = services.iter().map(|(_, service)| service.pid().to_string()).collect();
    let arguments = ["--config", settings.to_str().context("a path")?].into_iter();
    let arguments: Vec<&str> = arguments.chain(pids.iter().flat_map(|pid| ["--pid", pid.as_str()])).collect();
    let agent = Agent::start(folder.path(), ports, &arguments)?;
    for (_, service) in &services {
        process::wait_until("the target", Duration::from_secs(20), || Ok(agent.fds(service.pid()).ok()))?;
    }
    let mut connections = Vec::new();
    for part in 0..2 {
        let both = services.iter().zip(&rounds);
        let clients: Vec<_> = both.flat_map(|((_, service), rounds)| rounds[part].ask(service)).collect();
        for client in clients {
            connections.push(client.join().ok().context("a client panicked")??);
        }
    }
    for ((language, service), rounds) in services.iter().zip(&rounds) {
        let (pid, truth) = (service.pid(), truth(service.pid(), &kept)?);
        for round in rounds {
            let traces = round.traces();
            let open = truth.values().filter(|whose| traces.contains(whose)).count();
            ensure!(open == traces.len(), "{}: {open} files are open", language.name());
            let mut last = [0; 3];
            let told = process::wait_until("the files under their traces", Duration::from_secs(45), || {
                last = score(&agent, pid, &traces, &truth)?;
                let enough = if round.part == 0 { last[0] as f64 } else { last.iter().sum::<usize>() as f64 };
                Ok((enough >= RECALL * traces.len() as f64).then_some(()))
            });
            let [right, wrong, several] = last;
            println!(
                "{}, {}: of {} files {right} under their own trace, {wrong} under another, {several} under several: \
                 precision {:.4}, recall {:.4}",
                language.name(),
                if round.turns { "in turns" } else { "without turns" },
                traces.len(),
                right as f64 / (right + wrong).max(1) as f64,
                right as f64 / traces.len() as f64
            );
            told.with_context(|| language.name().to_owned())?;
            ensure!(right as f64 >= PRECISION * (right + wrong) as f64, "{}: {wrong} are wrong", language.name());
        }
    }
    Ok(())
}
