//! Many at once: pictures a second of the service beside as many `ffmpeg` commands.
//!
//! Whoever sends the uploads needs CPU too, more for HTTP/2 than for pipes, and on this very machine. So the rate is
//! also told for the cores that were left: pictures / (time x cores - what the sender and strangers used) x cores.
//! That one is judged: clients run elsewhere.

use super::{
    Subject, ffmpeg,
    job::Job,
    service::{Service, runtime, transcode},
    table::{Row, Target},
};
use crate::process::{self, Machine};
use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use std::time::Instant;
use tokio::task::JoinSet;

/// A stretch of work and whose CPU it took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    begun: Instant,
    machine: Machine,
    own: f64,
}

/// How fast the work went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Speed {
    /// Pictures a second by the clock.
    pub(crate) raw: f64,
    /// Pictures a second if all cores had been for the work.
    pub(crate) left: f64,
    /// Cores that this process used.
    pub(crate) own: f64,
    /// Cores that neither it nor the work used.
    pub(crate) strangers: f64,
}

impl Stretch {
    /// Begins.
    ///
    /// # Errors
    /// `/proc/stat` cannot be read.
    pub(crate) fn begin() -> anyhow::Result<Self> {
        Ok(Self { machine: Machine::now()?, own: own_cpu(), begun: Instant::now() })
    }

    /// How fast `frames` were made since, for which `work` CPU seconds were used.
    ///
    /// # Errors
    /// See [`Stretch::begin`].
    pub(crate) fn end(self, frames: f64, work: f64) -> anyhow::Result<Speed> {
        let (seconds, now) = (self.begun.elapsed().as_secs_f64(), Machine::now()?);
        let own = (own_cpu() - self.own) / seconds;
        let strangers = ((now.busy - self.machine.busy - work) / seconds - own).max(0.0);
        // Never less than what the work really had.
        let share = (now.cores - own - strangers).max(work / seconds).max(1e-9) / now.cores;
        let raw = frames / seconds;
        Ok(Speed { raw, left: raw / share, own, strangers })
    }
}

/// Pictures a second, `at_once` jobs at a time.
///
/// # Errors
/// A run fails.
pub(crate) fn rows(subject: &Subject, job: Job, at_once: usize, runs: usize) -> anyhow::Result<(Vec<Row>, String)> {
    let video = job.clip.bytes()?;
    let (mut left, mut raw, mut shares) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..runs {
        let (ours, theirs) = if run % 2 == 0 {
            let ours = by_service(subject, job, &video, at_once)?;
            (ours, by_ffmpeg(job, &video, at_once)?)
        } else {
            let theirs = by_ffmpeg(job, &video, at_once)?;
            (by_service(subject, job, &video, at_once)?, theirs)
        };
        left.push((ours.left, theirs.left));
        raw.push((ours.raw, theirs.raw));
        shares.push((ours, theirs));
    }
    let ratio = |ours: f64, theirs: f64| ours / theirs;
    let name = format!("{} x {at_once} at once", job.name());
    let mean = |pick: fn(&(Speed, Speed)) -> f64| shares.iter().map(pick).sum::<f64>() / shares.len() as f64 * 100.0;
    let note = format!(
        "{name}: sending took {:.0} % of a core (to ffmpeg {:.0} %), strangers on this machine {:.0} % ({:.0} %)",
        mean(|pair| pair.0.own),
        mean(|pair| pair.1.own),
        mean(|pair| pair.0.strangers),
        mean(|pair| pair.1.strangers),
    );
    let rows = vec![
        Row::paired(format!("{name}, on cores left"), &left, "f/s", ratio, Target::AtLeast(0.9)),
        Row::paired(format!("{name}, by the clock"), &raw, "f/s", ratio, Target::None),
    ];
    Ok((rows, note))
}

fn by_service(subject: &Subject, job: Job, video: &Bytes, at_once: usize) -> anyhow::Result<Speed> {
    let places = at_once.max(64).to_string();
    let service = Service::start(subject, &["--max-streams", &places])?;
    let (address, runtime) = (service.address(), runtime()?);
    let (stretch, before) = (Stretch::begin()?, service.cpu()?);
    runtime.block_on(async {
        let mut jobs = JoinSet::new();
        for _ in 0..at_once {
            jobs.spawn(transcode(address, job, video.clone()));
        }
        while let Some(done) = jobs.join_next().await {
            done.context("a request")??;
        }
        anyhow::Ok(())
    })?;
    stretch.end((at_once as u64 * job.clip.shape().frames()) as f64, service.cpu()? - before)
}

/// The same by commands.
///
/// # Errors
/// One fails.
pub(crate) fn by_ffmpeg(job: Job, video: &Bytes, at_once: usize) -> anyhow::Result<Speed> {
    let stretch = Stretch::begin()?;
    let mut cpu = 0.0;
    std::thread::scope(|scope| {
        let jobs: Vec<_> = (0..at_once).map(|_| scope.spawn(|| ffmpeg::run(job, video))).collect();
        for job in jobs {
            cpu += job.join().map_err(|_| anyhow!("a thread panicked"))??.cpu;
        }
        anyhow::Ok(())
    })?;
    stretch.end((at_once as u64 * job.clip.shape().frames()) as f64, cpu)
}

fn own_cpu() -> f64 {
    process::clock_seconds(libc::CLOCK_PROCESS_CPUTIME_ID)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_use_is_told_apart() {
        let stretch = Stretch::begin().unwrap();
        let mut sum = 0u64;
        let begun = own_cpu();
        while own_cpu() - begun < 0.2 {
            sum = sum.wrapping_mul(3).wrapping_add(1);
        }
        let speed = stretch.end(100.0, 0.0).unwrap();
        assert!(speed.own > 0.1 && speed.left > speed.raw && speed.raw > 0.0, "{speed:?} {sum}");
    }
}
