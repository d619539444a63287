//! What the service holds, seen from outside and in its own words: it must come back to where it was.

use super::{
    service::Service,
    table::{Row, Target},
};
use crate::{process, rig::http};
use anyhow::{Context as _, bail};
use std::{
    fmt,
    time::{Duration, Instant},
};

/// How much more than before is none: a connection of a probe, a timer's task, a thread that looks once a minute.
const FDS: f64 = 2.0;
const THREADS: f64 = 2.0;
const TASKS: f64 = 2.0;
/// Heap that allocators, tables and histograms grow by once, in megabytes.
const HEAP: f64 = 2.0;

/// A look at it.
#[derive(Clone, Copy, Debug)]
pub struct Level {
    /// Open descriptors.
    pub fds: f64,
    /// Threads.
    pub threads: f64,
    /// Tasks alive in its event loop.
    pub tasks: f64,
    /// Heap in use, megabytes.
    pub heap: f64,
    /// Resident memory, megabytes.
    pub resident: f64,
    /// Streams in progress.
    pub streams: f64,
}

impl Level {
    /// Looks.
    ///
    /// # Errors
    /// It is gone, or does not answer.
    pub(crate) fn of(service: &Service) -> anyhow::Result<Self> {
        let pid = service.pid();
        let page = Page::get(service)?;
        Ok(Self {
            fds: process::descriptors(pid).context("the service is gone")?.len() as f64,
            threads: process::threads(pid).len() as f64,
            tasks: page.value("transcoder_tasks")?,
            heap: page.value("transcoder_heap_in_use_bytes")? / 1e6,
            resident: process::resident(pid).context("the service is gone")? as f64 / 1e6,
            streams: page.value("transcoder_streams")?,
        })
    }

    /// Whether it holds no more than before, within the tolerances.
    #[must_use]
    pub fn is_back_to(&self, before: &Self) -> bool {
        self.streams == 0.0 && self.above(before).iter().all(|(_, above, tolerance)| above <= tolerance)
    }

    /// What it holds above that: name, how much, and how much is none.
    fn above(&self, before: &Self) -> [(&'static str, f64, f64); 4] {
        [
            ("fds", self.fds - before.fds, FDS),
            ("threads", self.threads - before.threads, THREADS),
            ("tasks", self.tasks - before.tasks, TASKS),
            ("heap, MB", self.heap - before.heap, HEAP),
        ]
    }

    /// The same as lines of the card.
    pub(crate) fn rows(&self, before: &Self, when: &str) -> Vec<Row> {
        let above = self.above(before).into_iter();
        above
            .map(|(name, above, tolerance)| {
                Row::value(format!("{when}: {name} more"), above, "", Target::AtMost(tolerance))
            })
            .collect()
    }

    /// Waits until it holds no more than before; the last look, and how long it took.
    ///
    /// # Errors
    /// It is gone.
    pub(crate) fn settled(service: &Service, before: &Self, bound: Duration) -> anyhow::Result<(Self, Duration)> {
        let begun = Instant::now();
        loop {
            let level = Self::of(service)?;
            if level.is_back_to(before) || begun.elapsed() > bound {
                return Ok((level, begun.elapsed()));
            }
            process::pause(Duration::from_millis(250))?;
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fds, threads, tasks, heap, resident, streams } = self;
        write!(
            f,
            "{fds} fds, {threads} threads, {tasks} tasks, heap {heap:.2} MB, resident {resident:.0} MB, {streams} streams"
        )
    }
}

/// The service's metrics.
pub(crate) struct Page(String);

impl Page {
    /// Asks for them.
    pub(crate) fn get(service: &Service) -> anyhow::Result<Self> {
        let reply = http::get(service.address(), "/metrics")?;
        if reply.status != 200 {
            bail!("/metrics: {}", reply.status);
        }
        Ok(Self(reply.text()))
    }

    /// The value of a metric without labels.
    pub(crate) fn value(&self, name: &str) -> anyhow::Result<f64> {
        let line = self.0.lines().find(|line| line.split(' ').next() == Some(name));
        let value = line.and_then(|line| line.rsplit(' ').next()).with_context(|| format!("no metric {name}"))?;
        value.parse().with_context(|| format!("{name} is {value:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_too_many_is_not_back() {
        let before = Level { fds: 12.0, threads: 3.0, tasks: 2.0, heap: 1.0, resident: 30.0, streams: 0.0 };
        assert!(before.is_back_to(&before));
        assert!(Level { resident: 900.0, fds: 9.0, ..before }.is_back_to(&before), "memory alone is no leak");
        for wrong in [
            Level { fds: 15.0, ..before },
            Level { threads: 6.0, ..before },
            Level { tasks: 5.0, ..before },
            Level { heap: 3.5, ..before },
            Level { streams: 1.0, ..before },
        ] {
            assert!(!wrong.is_back_to(&before), "{wrong}");
        }
    }

    #[test]
    fn metrics_are_found_by_their_whole_name() {
        let page = Page("# HELP a b\ntranscoder_streams_max 64\ntranscoder_streams 3\n".into());
        assert_eq!(page.value("transcoder_streams").unwrap(), 3.0);
        assert!(page.value("transcoder").is_err());
    }
}
