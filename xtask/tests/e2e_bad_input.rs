//! Bad input of every kind: a clear error that names the culprit, no crash, nothing leaked.

use anyhow::{Context as _, ensure};
use hyper::Method;
use std::{io::Write as _, net::TcpStream, time::Duration};
use xtask::{
    load::{Load, Plan},
    process::{self, Spawn, loopback},
    rig::{Agent, AgentPorts, PythonServer, SLO, Transcoder, TranscoderOptions, http, snowshed},
    video::Clip,
};

const BOUND: Duration = Duration::from_secs(10);

/// The command ends with this code and says each of these words on standard error.
fn refused(arguments: &[&str], code: i32, words: &[&str]) -> anyhow::Result<()> {
    let told = snowshed(arguments, BOUND)?;
    ensure!(told.code == Some(code), "snowshed {arguments:?}: not code {code}: {told:?}");
    for word in words {
        ensure!(told.errors.contains(word), "snowshed {arguments:?}: no {word:?} in {:?}", told.errors);
    }
    ensure!(!told.errors.contains("panicked"), "{told:?}");
    Ok(())
}

#[test]
fn command_lines_that_make_no_sense() -> anyhow::Result<()> {
    process::require_root("this test")?;
    let missing = "4194303";
    refused(&["run", "--pid", missing, "--listen", "127.0.0.1:0"], 2, &[missing])?;
    refused(&["why", missing, "--for", "2s"], 2, &[missing])?;
    refused(&["run", "--enforce", "envoy", "--listen", "127.0.0.1:0"], 2, &["envoy"])?;
    let told = snowshed(&["run", "--listen", "0.0.0.0:0"], BOUND)?;
    ensure!(told.code != Some(0) && told.errors.contains("0.0.0.0"), "{told:?}");
    let told = snowshed(&["run", "--xds", "127.0.0.1:0", "--listen", "127.0.0.1:0"], BOUND)?;
    ensure!(told.code != Some(0) && told.errors.contains("xds"), "{told:?}");
    let told = snowshed(&["explain", "latest", "--agent", "http://127.0.0.1:1"], BOUND)?;
    ensure!(told.code != Some(0) && told.errors.contains("127.0.0.1:1"), "{told:?}");
    Ok(())
}

#[test]
fn an_objective_that_is_wrong_is_named_with_line_and_field() -> anyhow::Result<()> {
    process::require_root("this test")?;
    let folder = tempfile::tempdir().context("test's folder")?;
    let path = folder.path().join("slo.yaml");
    let file = path.display().to_string();
    let line_of = |text: &str, field: &str| 1 + text.lines().take_while(|line| !line.contains(field)).count();
    let wrong = SLO.replace("target: 0.95", "target: 1.7");
    std::fs::write(&path, &wrong).context("write")?;
    let place = format!("slo.yaml:{}", line_of(&wrong, "1.7"));
    let told = snowshed(&["run", "--slo", &file, "--listen", "127.0.0.1:0"], BOUND)?;
    ensure!(told.code.is_some_and(|code| code != 0), "{told:?}");
    ensure!(told.errors.contains(&place) && told.errors.contains("target"), "not {place} and target: {told:?}");
    for text in ["kind: [", "kind: SLO\nmetadata: {name: x, colour: red}\n", "\u{0}\u{1}", "- - - -"] {
        std::fs::write(&path, text).context("write")?;
        let told = snowshed(&["run", "--slo", &file, "--listen", "127.0.0.1:0"], BOUND)?;
        let clear = told.errors.contains("slo.yaml") && !told.errors.contains("panicked");
        ensure!(told.code.is_some_and(|code| code != 0) && clear, "{text:?}: {told:?}");
    }
    Ok(())
}

#[test]
fn an_agent_bears_with_what_comes_and_goes() -> anyhow::Result<()> {
    process::require_root("this test")?;
    let folder = tempfile::tempdir().context("test's folder")?;
    let server = PythonServer::start(folder.path(), false)?;
    let mut brief = Spawn::new("brief", "sleep").args(["600"]).start(folder.path())?;
    let pids = [server.pid().to_string(), brief.pid().to_string()];
    let ports = AgentPorts::free()?;
    let agent = Agent::start(folder.path(), ports, &["--pid", &pids[0], "--pid", &pids[1]])?;
    let listed = |pid: &str| agent.metric("snowshed_target_fds", &format!("pid=\"{pid}\""));
    process::wait_until("both targets", BOUND, || {
        Ok((listed(&pids[0])?.is_some() && listed(&pids[1])?.is_some()).then_some(()))
    })?;
    brief.kill()?;
    process::wait_until("the ended target to go", BOUND, || Ok(listed(&pids[1])?.is_none().then_some(())))?;
    ensure!(listed(&pids[0])?.is_some(), "the other target went too");

    // A second agent on the same ports: the API's is fatal, those for spans are not.
    let api = agent.listen.to_string();
    refused(&["run", "--pid", &pids[0], "--listen", &api], 1, &[&api])?;
    let grpc = format!("127.0.0.1:{}", ports.otlp_grpc);
    let mut second = Spawn::new("second", process::binary("snowshed", "snowshed-agent")?);
    second = second.args([
        "run",
        "--pid",
        &pids[0],
        "--listen",
        "127.0.0.1:0",
        "--otlp-grpc",
        &grpc,
        "--otlp-http",
        "127.0.0.1:0",
    ]);
    let mut second = second.start(folder.path())?;
    second.wait_line("{", BOUND)?;
    ensure!(second.errors().contains(&grpc), "no warning about {grpc}: {}", second.errors());
    drop(second);

    // Garbage at every door, many times over; the agent answers, and keeps no descriptor of it.
    let settled = || process::descriptors(agent.pid()).map(|open| open.len()).context("agent's descriptors");
    let before = settled()?;
    let spans = agent.otlp_http;
    let post = |path: &str, kind: &str, body: Vec<u8>, at| {
        http::send(at, Method::POST, path, &[("content-type", kind)], body, BOUND)
    };
    for round in 0..20u8 {
        let noise: Vec<u8> = (0..400u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8 ^ round).collect();
        let reply = post("/v1/traces", "application/x-protobuf", noise.clone(), spans)?;
        ensure!(reply.status == 400, "noise as protobuf: {}", reply.status);
        let reply = post("/v1/traces", "application/json", b"{\"resourceSpans\": 7".to_vec(), spans)?;
        ensure!(reply.status == 400, "broken JSON: {}", reply.status);
        let reply = post("/v1/traces", "text/plain", b"hello".to_vec(), spans)?;
        ensure!(reply.status == 415, "text: {}", reply.status);
        let reply = post("/api/v1/guard", "application/json", noise.clone(), agent.listen)?;
        ensure!(reply.status == 400 && reply.content_type.contains("problem+json"), "guard: {reply:?}");
        let reply = http::get(agent.listen, "/api/v1/incidents?limit=nonsense")?;
        ensure!(reply.status == 400 && reply.text().contains("limit"), "list: {reply:?}");
        let mut raw = TcpStream::connect(loopback(ports.otlp_grpc)).context("gRPC port")?;
        // It may hang up before all is sent.
        raw.write_all(&noise).ok();
    }
    let reply = post("/v1/traces", "application/x-protobuf", vec![0x0a; 5 << 20], spans);
    ensure!(reply.as_ref().map_or(true, |reply| reply.status == 413), "5 MiB of spans: {reply:?}");
    let reply =
        http::send(agent.listen, Method::GET, "/api/v1/status", &[("origin", "http://evil.example")], "", BOUND)?;
    ensure!(reply.status == 403, "a foreign page may read: {}", reply.status);
    process::wait_until("the agent's descriptors to settle", BOUND, || Ok((settled()? <= before + 1).then_some(())))?;
    ensure!(http::get(agent.listen, "/healthz")?.status == 200, "not healthy afterwards");
    Ok(())
}

#[test]
fn videos_that_are_none() -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("test's folder")?;
    let mut service = Transcoder::start(folder.path(), &TranscoderOptions::default())?;
    let post = |kind: &str, body: bytes::Bytes| {
        let headers = [("content-type", kind), ("x-output-format", "fmp4")];
        http::send(service.address(), Method::POST, "/api/v1/transcode", &headers, body, BOUND)
    };
    let open = || process::descriptors(service.pid()).map(|open| open.len()).context("service's descriptors");
    ensure!(post("video/mp4", Clip::Fragmented.bytes()?)?.status == 200, "a good video is refused");
    let before = open()?;
    let threads = process::threads(service.pid()).len();
    for _ in 0..5 {
        ensure!(post("video/mp4", Clip::Broken.bytes()?)?.status == 422, "a broken video");
        ensure!(post("video/mp4", bytes::Bytes::new())?.status == 422, "an empty video");
        ensure!(post("text/plain", "hello".into())?.status == 415, "no video at all");
    }
    process::wait_until("descriptors and threads to settle", BOUND, || {
        Ok((open()? <= before + 1 && process::threads(service.pid()).len() <= threads + 1).then_some(()))
    })?;
    ensure!(post("video/mp4", Clip::IndexLast.bytes()?)?.status == 200, "a good video is refused afterwards");
    ensure!(service.child().ended()?.is_none(), "the service ended");

    // The other clips through the load generator, decoded again.
    for clip in [Clip::Transport, Clip::Silent] {
        let plan = Plan {
            clip,
            pace: 8.0,
            rate: None,
            concurrency: Some(2),
            length: Duration::from_secs(3),
            verify: 1,
            ..Plan::new(service.address())
        };
        let report = Load::start(plan)?.finish()?;
        ensure!(
            report.summary.good > 3 && report.summary.good == report.summary.requests,
            "{clip:?}: {}",
            report.summary
        );
        ensure!(report.verified == 1 && report.broken.is_empty(), "{clip:?}: {:?}", report.broken);
    }
    Ok(())
}
