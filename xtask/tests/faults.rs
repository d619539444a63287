//! The signatures of faults on the real service, shortly: what is declared to grow does, and a healthy service is flat.

use anyhow::{Context as _, ensure};
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use xtask::{
    faults::{Conditions, Dose, Measure, Run, observe},
    rig::{Transcoder, TranscoderOptions},
};

/// One at a time: two services under load would be each other's noise.
static ALONE: Mutex<()> = Mutex::new(());

/// Watches a fault, or none, for some seconds.
fn run(fault: Option<&str>, seconds: u64) -> anyhow::Result<Run> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::Builder::new().prefix("snowshed-faults-").tempdir().context("folder")?;
    let conditions = Conditions {
        health: Duration::from_millis(2000),
        length: Duration::from_secs(seconds),
        // Far away: this is about the way there.
        descriptors: 4096,
        ..Conditions::new(folder.path())
    };
    let declared =
        fault.map(|name| Transcoder::start(folder.path(), &TranscoderOptions::default())?.fault(name)).transpose()?;
    observe(declared.map(Dose::from).as_ref(), &conditions, |_| {})
}

#[test]
fn a_healthy_service_is_alive_and_flat() -> anyhow::Result<()> {
    let run = run(None, 4)?;
    ensure!(run.surprise().is_none() && run.death.is_none(), "{:?}: {:?}", run.surprise(), run.changes);
    ensure!(run.growing().is_empty(), "{:?}", run.changes);
    ensure!(run.load.as_ref().is_some_and(|load| load.good > 10) && run.verified > 0, "{:?}", run.load);
    Ok(())
}

#[test]
fn a_leak_of_files_shows_in_the_descriptors_alone() -> anyhow::Result<()> {
    let run = run(Some("tempfile_fd_leak"), 4)?;
    ensure!(run.surprise().is_none(), "{:?}: {:?}", run.surprise(), run.changes);
    ensure!(run.change(Measure::Fds).grows && run.change(Measure::Fds).per_second > 4.0, "{:?}", run.changes);
    ensure!(!run.change(Measure::Tasks).grows && !run.change(Measure::Threads).grows, "{:?}", run.changes);
    let deleted = run.samples.last().and_then(|sample| sample.fds.get("deleted file")).copied();
    ensure!(deleted > Some(40), "{:?}", run.samples.last());
    Ok(())
}

#[test]
fn a_leak_of_tasks_shows_in_the_tasks_and_not_in_the_descriptors() -> anyhow::Result<()> {
    let run = run(Some("task_leak"), 6)?;
    ensure!(run.surprise().is_none(), "{:?}: {:?}", run.surprise(), run.changes);
    ensure!(run.change(Measure::Tasks).grows && run.change(Measure::Tasks).per_second > 1.0, "{:?}", run.changes);
    ensure!(!run.change(Measure::Fds).grows && !run.change(Measure::Threads).grows, "{:?}", run.changes);
    Ok(())
}
