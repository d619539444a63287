//! The reference service, always so many uploads at once, as fast as it takes them.
//!
//! The slowest in a hundred are those of all turns together: of the sixty uploads of one turn that is the slowest of all,
//! which says more of the machine than of anything else.

use super::{
    super::{
        Setting,
        figure::Figure,
        own,
        row::{Row, Target},
    },
    sampled_down,
};
use crate::{
    load::{Load, Plan, Report},
    rig::{Transcoder, TranscoderOptions},
    video::Clip,
};
use anyhow::{Context as _, bail, ensure};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use std::{net::SocketAddr, time::Duration};

/// Uploads at once, and of each measured load.
const AT_ONCE: usize = 4;
const REQUESTS: usize = 60;
const WARM: usize = 12;

/// Throughput and tail, paired.
pub(super) fn measure(setting: &Setting) -> anyhow::Result<Vec<Row>> {
    let folder = tempfile::Builder::new().prefix("snowshed-bench-").tempdir().context("benchmark's folder")?;
    let service = Transcoder::start(folder.path(), &TranscoderOptions::default())?;
    let mut random = StdRng::seed_from_u64(2);
    let (mut speeds, mut tails, mut plain) = (Vec::new(), Vec::<[Vec<f64>; 2]>::new(), Vec::new());
    let mut down = 0;
    load(service.address(), WARM)?;
    for round in 0..setting.rounds {
        let mut runs: [Option<Report>; 2] = [None, None];
        let first = random.random_range(0..2);
        for with in [first, 1 - first] {
            runs[with] = Some(if with == 1 {
                let agent = own::watch(folder.path(), &[service.pid()])?;
                load(service.address(), WARM)?;
                let watched = load(service.address(), REQUESTS)?;
                down += u32::from(!sampled_down(&agent)?.is_empty());
                watched
            } else {
                load(service.address(), WARM)?;
                load(service.address(), REQUESTS)?
            });
        }
        let [Some(without), Some(with)] = runs else { bail!("a run is missing") };
        let speed = (without.summary.frames_per_second, with.summary.frames_per_second);
        let times = [without, with].map(|report| report.records.iter().map(|record| record.total_ms).collect());
        tails.push(times);
        let so_far: Vec<_> = tails.iter().collect();
        eprintln!(
            "transcoder {round}: {:.0} f/s, {:.0} with; p99 so far {:.0} ms, {:.0} with",
            speed.0,
            speed.1,
            slowest(&so_far, 0),
            slowest(&so_far, 1)
        );
        speeds.push(speed.1 / speed.0);
        plain.push(speed.0);
    }
    let tail = Figure::of_turns(&tails, |turns| slowest(turns, 1) / slowest(turns, 0));
    Ok(vec![
        Row::new("transcoder: pictures a second without", Figure::of(&plain), "", Target::None),
        Row::new(
            "transcoder: pictures a second, with by without",
            Figure::of(&speeds),
            "x",
            Target::SurelyAtLeast(0.98),
        ),
        Row::new("transcoder: p99, with by without", tail, "x", Target::SurelyAtMost(1.05)),
        Row::new(
            "transcoder: rounds in which probes sampled down and said so",
            Figure::share(down.into(), setting.rounds.into()),
            "",
            Target::None,
        ),
    ])
}

/// How long the slowest in a hundred uploads took of all turns together, milliseconds: without the agent (0), or with it.
fn slowest(turns: &[&[Vec<f64>; 2]], with: usize) -> f64 {
    let mut times: Vec<f64> = turns.iter().flat_map(|turn| turn[with].iter().copied()).collect();
    times.sort_by(f64::total_cmp);
    times.get((times.len() * 99).div_ceil(100).saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

fn load(address: SocketAddr, requests: usize) -> anyhow::Result<Report> {
    let plan = Plan {
        clip: Clip::Sd,
        height: Some(240),
        preset: Some("ultrafast".into()),
        // Faster than the service: it is what is measured.
        pace: 1000.0,
        rate: None,
        concurrency: Some(AT_ONCE),
        requests: Some(requests),
        length: Duration::from_secs(120),
        verify: 0,
        ..Plan::new(address)
    };
    let report = Load::start(plan)?.finish()?;
    ensure!(report.summary.good == requests, "{:?}", report.summary);
    Ok(report)
}
