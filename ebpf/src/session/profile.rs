//! Where a whole process computes, for as long as somebody asks: its threads on their own processor clocks.
//!
//! Bounded: so many threads and places. Cost: nothing for others; for the process one stack (about 2 µs) a sample.

use super::Session;
use crate::{
    host::{clock, sampler::Sampling},
    probes::SAMPLED,
};
use snowshed_engine::model::{Nanos, Pid, SiteId};
use std::collections::{BTreeMap, HashMap};

/// Threads that are sampled.
const MOST_THREADS: usize = 512;
/// Places that are told apart; what else comes has none.
const MOST_SITES: usize = 4096;
/// How often new threads are looked for.
const FOLLOW: Nanos = 500_000_000;

/// Why a process cannot be sampled.
#[derive(Debug, thiserror::Error)]
#[error("its threads cannot be sampled: {0}")]
pub struct SamplingError(String);

/// A process that is sampled; [`Session::end_cpu`] ends it, and so does the end of the session.
#[derive(Debug)]
pub struct CpuSampling {
    pid: Pid,
    hertz: u64,
    /// By thread, by its id in the initial pid namespace.
    threads: HashMap<u32, Sampling>,
    due: Nanos,
}

/// Stacks that were met, by place.
#[derive(Debug, Default)]
pub(super) struct Met(BTreeMap<SiteId, u64>);

impl Met {
    /// A stack of a thread that is sampled came.
    pub(super) fn add(&mut self, site: SiteId) {
        let site = if self.0.len() < MOST_SITES || self.0.contains_key(&site) { site } else { SiteId(0) };
        *self.0.entry(site).or_default() += 1;
    }
}

impl Session {
    /// Begins to sample all threads of a watched process, each so many times a second of its processor time.
    ///
    /// # Errors
    /// There are no kernel programs, or the kernel lets none of its threads be sampled.
    pub fn sample_cpu(&mut self, pid: Pid, hertz: u64) -> Result<CpuSampling, SamplingError> {
        let mut sampling = CpuSampling { pid, hertz, threads: HashMap::new(), due: 0 };
        self.met = Some(Met::default());
        match self.sample_threads(&mut sampling) {
            Err(why) if sampling.threads.is_empty() => Err(SamplingError(why)),
            _ => Ok(sampling),
        }
    }

    /// Samples the threads that are new, now and then; to be called after each poll.
    pub fn follow_cpu(&mut self, sampling: &mut CpuSampling) {
        if clock::now() >= sampling.due {
            // A thread that may not be sampled, or is gone, is missing; the others are there.
            self.sample_threads(sampling).ok();
        }
    }

    /// Ends it: samples by place, 0 for what has none.
    pub fn end_cpu(&mut self, sampling: CpuSampling) -> BTreeMap<SiteId, u64> {
        if let Some(kernel) = &mut self.kernel {
            for one in sampling.threads.into_values() {
                // Of a thread that has ended nothing is left to end.
                kernel.end_sampling(SAMPLED, one).ok();
            }
        }
        self.met.take().map(|met| met.0).unwrap_or_default()
    }

    fn sample_threads(&mut self, sampling: &mut CpuSampling) -> Result<(), String> {
        sampling.due = clock::now() + FOLLOW;
        let threads = self.threads(sampling.pid).map_err(|error| error.to_string())?;
        let level = self.level;
        let Some(kernel) = &mut self.kernel else { return Err("no kernel programs".to_owned()) };
        let mut refused = Ok(());
        let alive: Vec<u32> = threads.iter().map(|thread| thread.host[0]).collect();
        sampling.threads.retain(|host, _| alive.contains(host));
        for thread in &threads {
            if sampling.threads.len() >= MOST_THREADS || sampling.threads.contains_key(&thread.host[0]) {
                continue;
            }
            match kernel.sample(SAMPLED, thread.numbers[level], sampling.hertz) {
                Ok(one) => drop(sampling.threads.insert(thread.host[0], one)),
                Err(error) => refused = Err(error.to_string()),
            }
        }
        refused
    }
}
