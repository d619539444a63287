//! A mutex that is held for long in the real transcoder: `why` shows who waits for it and where. Without the fault its
//! idle workers are no contention.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use std::time::Duration;
use xtask::{
    process::{self, Spawn},
    rig::{Transcoder, TranscoderOptions},
};

fn why(folder: &std::path::Path, pid: u32, time: &str) -> anyhow::Result<Value> {
    let arguments = ["why", &pid.to_string(), "--for", time, "--json"];
    let mut why = Spawn::new("why", process::binary("snowshed", "snowshed-agent")?).args(arguments).start(folder)?;
    why.wait_end(Duration::from_secs(60))?;
    serde_json::from_str(&why.output()).with_context(|| format!("no report: {}", why.errors()))
}

#[test]
fn a_lock_that_is_held_for_long_is_shown_and_resting_workers_are_not() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let service = Transcoder::start(folder.path(), &TranscoderOptions::default())?;
    let calm = why(folder.path(), service.pid(), "3s")?;
    let process = &calm["processes"][0]["tasks"];
    ensure!(process["locks"] == Value::Array(Vec::new()), "an idle service has locks: {calm}");
    ensure!(process["threads"].as_array().is_some_and(|groups| !groups.is_empty()), "no threads: {calm}");

    service.fault_on("lock_pileup", "6000")?;
    let sick = why(folder.path(), service.pid(), "24s")?;
    let locks = sick["processes"][0]["tasks"]["locks"].clone();
    ensure!(locks[0]["wait_seconds"].as_f64().is_some_and(|waited| waited > 1.0), "{locks}");
    ensure!(locks[0]["frames"].to_string().contains("refresh_catalogue"), "{locks}");
    Ok(())
}
