//! Threads that publish no trace work for whoever made them as long as that request runs, and for nobody after it.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};
use xtask::{
    process,
    rig::{Agent, AgentPorts, http, script},
};

/// Requests of each sort; five orphans of three owners are a leak.
const REQUESTS: u64 = 6;

/// The program that is told what to do.
struct Lender {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Lender {
    fn start(folder: &Path) -> anyhow::Result<Self> {
        let program = folder.join("lender");
        let flags = ["-O1", "-g", "-pthread", "-Wl,--export-dynamic-symbol=otel_thread_ctx_v1", "-o"];
        let built = Command::new("cc").args(flags).arg(&program).arg(script("lender.c")).status().context("cc")?;
        ensure!(built.success(), "cc ended with {built}");
        let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (input, output) = (child.stdin.take().context("input")?, child.stdout.take().context("output")?);
        let mut started = Self { child, input, output: BufReader::new(output) };
        ensure!(started.line()? == "ready", "it does not begin");
        Ok(started)
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    fn ask(&mut self, command: &str) -> anyhow::Result<String> {
        writeln!(self.input, "{command}")?;
        self.input.flush()?;
        self.line()
    }

    /// Serves one request; its start and end.
    fn serve(&mut self, trace: &str, what: &str) -> anyhow::Result<(String, String)> {
        ensure!(self.ask(&format!("begin {trace} {what}"))? == "made", "it made nothing");
        let times = self.ask("end")?;
        let (start, end) = times.split_once(' ').context("two times")?;
        Ok((start.to_owned(), end.to_owned()))
    }
}

impl Drop for Lender {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn tell(agent: &Agent, pid: u32, trace: &str, (start, end): &(String, String)) -> anyhow::Result<()> {
    let span = json!({"traceId": trace, "spanId": "00000000000000aa", "name": "GET /", "kind": 2,
        "startTimeUnixNano": start, "endTimeUnixNano": end});
    let attributes = json!([{"key": "process.pid", "value": {"intValue": pid.to_string()}}]);
    let call = json!({"resourceSpans": [{"resource": {"attributes": attributes}, "scopeSpans": [{"spans": [span]}]}]});
    let (method, json) = ("POST".parse().context("a method")?, [("content-type", "application/json")]);
    let reply = http::send(agent.otlp_http, method, "/v1/traces", &json, call.to_string(), Duration::from_secs(5))?;
    ensure!(reply.status == 200, "{}: {}", reply.status, reply.text());
    Ok(())
}

fn sites<'a>(record: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    record["sites"].as_array().into_iter().flatten().filter(move |site| site["kind"] == kind)
}

fn sum(record: &Value, kind: &str, count: &str) -> u64 {
    sites(record, kind).filter_map(|site| site[count].as_u64()).sum()
}

#[test]
fn a_requests_thread_leaks_for_it_and_a_pools_thread_for_nobody() -> anyhow::Result<()> {
    process::require_root("this test")?;
    let folder = tempfile::tempdir().context("test's folder")?;
    let mut lender = Lender::start(folder.path())?;
    let pid = lender.child.id();
    let agent = Agent::start(folder.path(), AgentPorts::free()?, &["--pid", &pid.to_string()])?;
    process::wait_until("where it publishes", Duration::from_secs(20), || {
        let status = agent.get("/api/v1/status")?;
        Ok((status["contexts"]["program"] == 1).then_some(()))
    })?;
    let trace = |n: u64| format!("{:032x}", 0xabc_0000 + n);
    // The request that makes the pool's thread; it has long ended when that makes its first thing.
    let times = lender.serve(&trace(0), "none")?;
    tell(&agent, pid, &trace(0), &times)?;
    for n in 1..=REQUESTS {
        for (trace, what) in [(trace(n), "own"), (trace(100 + n), "pool")] {
            let times = lender.serve(&trace, what)?;
            tell(&agent, pid, &trace, &times)?;
        }
    }
    let named = agent.wait_incident("the incident", Duration::from_secs(30), |incident| {
        incident["target"]["pid"] == pid && incident["verdict"] == "named"
    })?;
    let cause = &named["causes"][0];
    ensure!(cause["kind"] == "fd_leak" && cause["evidence"][0]["join"] == "inherited", "{named:#}");
    let record = agent.fds(pid)?;
    ensure!(sum(&record, "memfd", "orphaned") == REQUESTS, "{record:#}");
    let mut told: Vec<&str> = sites(&record, "memfd")
        .flat_map(|site| site["trace_ids"].as_array().into_iter().flatten())
        .filter_map(Value::as_str)
        .collect();
    told.sort_unstable();
    let wanted: Vec<String> = (1..=REQUESTS).map(trace).collect();
    ensure!(told == wanted, "{told:?} instead of {wanted:?}");
    ensure!(sum(&record, "eventfd", "live") == REQUESTS, "the pool made its things: {record:#}");
    ensure!(sum(&record, "eventfd", "orphaned") == 0, "the pool's things are blamed on somebody: {record:#}");
    Ok(())
}
