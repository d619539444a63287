//! What a run of load does.

use crate::video::Clip;
use anyhow::bail;
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// A run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The service.
    pub address: SocketAddr,
    /// What is uploaded.
    pub clip: Clip,
    /// What is asked for: `fmp4`, `ts` or `hls`.
    pub format: String,
    /// Lines of the result; without, the service decides.
    pub height: Option<u32>,
    /// x264's preset; without, the service decides.
    pub preset: Option<String>,
    /// Upload speed as a multiple of the speed at which the video plays.
    pub pace: f64,
    /// Requests a second on average, whatever becomes of the earlier ones (open loop).
    pub rate: Option<f64>,
    /// At most this many at once; without a rate, always this many (closed loop), where one that is refused waits as
    /// long as it is told before the next takes its place.
    pub concurrency: Option<usize>,
    /// Ends after this many requests, if not before.
    pub requests: Option<usize>,
    /// How long requests are begun.
    pub length: Duration,
    /// How long the last ones may take after that.
    pub drain: Duration,
    /// Simulated clients, each with one HTTP/2 connection that its requests share.
    pub clients: usize,
    /// A request that takes longer has failed.
    pub timeout: Duration,
    /// Share of requests whose client goes away in the middle of the upload, 0 to 1.
    pub aborting: f64,
    /// Share of requests whose client reads the answer slowly, 0 to 1.
    pub slow: f64,
    /// Bytes a second that such a client takes.
    pub slow_rate: f64,
    /// Share of requests whose client stops sending in the middle of the upload and stays, 0 to 1.
    pub stalled: f64,
    /// How often a request answered with 429 is tried again, after the time that the answer asks for.
    pub retries: u32,
    /// Where arrivals, trace ids and shares come from.
    pub seed: u64,
    /// How many of the answers, from all over the run, are decoded at the end to see whether every picture is there.
    pub verify: usize,
    /// Where each request is written down.
    pub log: Option<PathBuf>,
}

impl Plan {
    /// The demo's load: a few live uploads a second from a handful of clients.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            clip: Clip::Fragmented,
            format: "fmp4".into(),
            height: None,
            preset: None,
            pace: 1.0,
            rate: Some(2.0),
            concurrency: None,
            requests: None,
            length: Duration::from_secs(10),
            drain: Duration::from_secs(10),
            clients: 4,
            timeout: Duration::from_secs(30),
            aborting: 0.0,
            slow: 0.0,
            slow_rate: 32_768.0,
            stalled: 0.0,
            retries: 0,
            seed: 1,
            verify: 3,
            log: None,
        }
    }

    pub(super) fn check(&self) -> anyhow::Result<()> {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        if self.rate.is_none() && self.concurrency.is_none() {
            bail!("load: give --rate, --concurrency or both");
        }
        if !self.rate.is_none_or(positive) {
            bail!("load: --rate must be a positive number");
        }
        for (name, value) in [("--pace", self.pace), ("--slow-rate", self.slow_rate)] {
            if !positive(value) {
                bail!("load: {name} must be a positive number");
            }
        }
        if self.concurrency == Some(0) || self.clients == 0 {
            bail!("load: --concurrency and --clients must be at least 1");
        }
        for (name, share) in [("--aborting", self.aborting), ("--slow", self.slow), ("--stalled", self.stalled)] {
            if !(0.0..=1.0).contains(&share) {
                bail!("load: {name} is a share and lies between 0 and 1");
            }
        }
        Ok(())
    }
}
