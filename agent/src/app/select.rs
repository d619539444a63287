//! Keeps the session's targets what the selection says.

use crate::{
    failure::Failure,
    sources::{
        kernel::Kernel,
        procfs::{Selector, start_time},
    },
};
use snowshed_ebpf::SessionError;
use snowshed_engine::model::Pid;
use std::collections::HashMap;

/// Refusals remembered, so that each is told once.
const REFUSED: usize = 1024;

/// Watches the processes that were named by number.
///
/// # Errors
/// One of them does not exist, or may not be looked at.
pub(super) async fn add_named(kernel: &Kernel, pids: &[Pid]) -> Result<(), Failure> {
    for &pid in pids {
        if pid == 0 || start_time(pid).is_none() {
            return Err(Failure::usage(format!("--pid {pid}: no such process")));
        }
        kernel.add(pid).await.map_err(|error| match error {
            Some(error) => Failure::usage(format!("--pid {error}")),
            None => Failure::new(format!("--pid {pid}: the kernel source did not answer")),
        })?;
    }
    Ok(())
}

/// Looks again and again, for as long as the agent runs.
pub(super) async fn follow(mut kernel: Kernel, selector: Selector) {
    let mut watch = Watch::new(&selector.pids);
    let rescan = selector.rescan();
    let mut refused: HashMap<Pid, Option<u64>> = HashMap::new();
    loop {
        if rescan.is_some() {
            let wanted = selector.clone();
            let Ok(found) = tokio::task::spawn_blocking(move || wanted.scan()).await else { return };
            refused.retain(|pid, started| found.contains(pid) && start_time(*pid) == *started);
            let targets = kernel.targets.borrow().clone();
            for pid in found.into_iter().filter(|pid| !targets.contains(pid)) {
                if refused.contains_key(&pid) {
                    continue;
                }
                let started = start_time(pid);
                match kernel.add(pid).await {
                    Ok(()) => tracing::info!("watching pid {pid}"),
                    Err(Some(error)) => {
                        match error {
                            // It ended since it was found, and may be listed for long: until its parent has asked.
                            SessionError::NoSuchProcess(_) => tracing::debug!("not watched: {error}"),
                            _ => tracing::warn!("not watched: {error}"),
                        }
                        if refused.len() < REFUSED {
                            refused.insert(pid, started);
                        }
                    }
                    Err(None) => return,
                }
            }
        }
        watch.look();
        match rescan {
            Some(pause) => tokio::time::sleep(pause).await,
            // Who is watched changes when one ends, and when one is forked.
            None => {
                if kernel.targets.changed().await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Says when the processes that were named by number have all ended.
struct Watch {
    alive: HashMap<Pid, Option<u64>>,
    named: usize,
}

impl Watch {
    fn new(pids: &[Pid]) -> Self {
        Self { alive: pids.iter().map(|&pid| (pid, start_time(pid))).collect(), named: pids.len() }
    }

    fn look(&mut self) {
        let before = self.alive.len();
        self.alive.retain(|&pid, started| started.is_some() && start_time(pid) == *started);
        if self.named > 0 && before > 0 && self.alive.is_empty() {
            tracing::warn!(
                "every process named by --pid has ended; the agent stays up, with nothing to watch but what they left running"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_ended_is_missed() {
        let mut child = std::process::Command::new("sleep").arg("30").spawn().expect("sleep is everywhere");
        let mut watch = Watch::new(&[child.id()]);
        watch.look();
        assert_eq!(watch.alive.len(), 1);
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        watch.look();
        assert!(watch.alive.is_empty());
    }
}
