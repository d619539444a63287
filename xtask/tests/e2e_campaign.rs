//! The campaign, reduced to one leak, one late dependency, one healthy service in three languages, and a Redis that is held
//! up by a script, side by side: each is named for what it is within its time, and the healthy one is left alone.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use std::time::Duration;
use xtask::process::{self, Spawn};

/// A service that is watched for a while before and after its fault, and as long again for a machine that is slow.
const BOUND: Duration = Duration::from_secs(400);

#[test]
fn faults_of_live_services_are_named_and_a_healthy_one_raises_nothing() -> anyhow::Result<()> {
    process::require_root("this test")?;
    let folder = tempfile::tempdir().context("test's folder")?;
    let wanted = ["theme-go", "late-prices-node", "slow-clients", "script-redis"];
    let arguments = [&["campaign", "--json", "--at-once", "4", "--scenario"], &wanted[..]].concat();
    let mut campaign = Spawn::new("campaign", env!("CARGO_BIN_EXE_xtask")).args(arguments).start(folder.path())?;
    let status = campaign.wait_end(BOUND)?;
    ensure!(status.success(), "{status}: {}", campaign.errors());
    let report: Value = serde_json::from_str(&campaign.output()).context("the campaign's report")?;
    let runs = report["runs"].as_array().context("no runs")?;
    ensure!(runs.len() == wanted.len() && runs.iter().all(|run| run["skipped"].is_null()), "{report:#}");
    for run in runs.iter().filter(|run| !run["truth"].is_null()) {
        ensure!(run["score"]["top1"] == true && run["score"]["place"] != false, "{run:#}");
    }
    // Two of three services that can export spans do.
    let spans = |run: &&Value| run["spans"].as_u64() > Some(100);
    ensure!(runs.iter().filter(spans).count() == 2, "{report:#}");
    ensure!(report["false_incidents"] == 0, "{report:#}");
    Ok(())
}
