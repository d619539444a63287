//! A minute of the load that killed the service of the story, and a thousand clients that go away: nothing wrong is
//! sent, nothing crashes, and nothing is left behind. How fast that goes, `cargo xtask bench soak` measures.

use anyhow::ensure;
use std::time::Duration;
use xtask::bench::{Aborts, Phase, Soak, Subject, aborts, soak};

/// For pools to let go of what is idle.
const SETTLE: Duration = Duration::from_secs(90);
const MOST_BYTES: u64 = 1_500_000_000;

#[test]
fn the_load_of_the_story_is_served_or_refused_and_nothing_stays() -> anyhow::Result<()> {
    let plan = Soak {
        subject: Subject::default(),
        crowd: Duration::from_secs(30),
        rush: Duration::from_secs(30),
        concurrency: 500,
        rate: 500.0,
        settle: SETTLE,
        verify: 10,
    };
    let outcome = soak(&plan)?;
    println!("{outcome}");
    ensure!(outcome.phases.len() == 2, "a phase is missing");
    for phase in &outcome.phases {
        check(phase)?;
    }
    ensure!(outcome.after.is_back_to(&outcome.before), "before {}, after {}", outcome.before, outcome.after);
    ensure!(outcome.clean_end, "it did not end well");
    Ok(())
}

fn check(phase: &Phase) -> anyhow::Result<()> {
    let (name, summary) = (&phase.name, &phase.report.summary);
    ensure!(summary.good > 0 && summary.aborted > 0, "{name}: too little happened: {summary}");
    ensure!(summary.refused > 0, "{name}: more was asked for than can be served, and nothing was refused: {summary}");
    // Other statuses, a 429 that does not say when to come again, resets and time-outs.
    ensure!(phase.failed() == 0, "{name}: requests failed: {summary}");
    ensure!(phase.report.verified > 0 && phase.report.broken.is_empty(), "{name}: {:?}", phase.report.broken);
    ensure!(phase.watched.resident < MOST_BYTES, "{name}: {:?}", phase.watched);
    ensure!(phase.watched.unhealthy < phase.watched.asked, "{name}: never healthy: {:?}", phase.watched);
    Ok(())
}

#[test]
fn a_thousand_clients_that_go_away_leave_nothing_behind() -> anyhow::Result<()> {
    let outcome = aborts(&Aborts { subject: Subject::default(), requests: 1000, settle: SETTLE })?;
    println!("{outcome}");
    let requests: usize = outcome.batches.iter().map(|batch| batch.requests).sum();
    let aborted: usize = outcome.batches.iter().map(|batch| batch.aborted).sum();
    ensure!(requests == 1000 && aborted > 300, "{requests} requests, {aborted} given up");
    for batch in &outcome.batches {
        ensure!(batch.errors.is_empty(), "requests failed: {batch}");
    }
    let [first, last] = &outcome.levels;
    ensure!(last.is_back_to(first), "after the first batch {first}, after the last {last}");
    ensure!(outcome.clean_end, "it did not end well");
    Ok(())
}
