//! `cargo xtask load`: a run from the command line, and its figures.

use super::{Load, Plan};
use crate::{process, video::Clip};
use anyhow::{Context as _, bail};
use std::{
    net::{SocketAddr, TcpStream, ToSocketAddrs as _},
    path::PathBuf,
    time::Duration,
};

/// For the first connection, which shows that somebody listens.
const CONNECT: Duration = Duration::from_secs(3);

/// Options.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The transcoder, as in 127.0.0.1:8080 or http://127.0.0.1:8080 (HTTP/2 without TLS)
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    target: String,
    /// Requests a second, arriving at random whatever becomes of the earlier ones
    #[arg(long)]
    rate: Option<f64>,
    /// Requests at once (without --rate: always this many; who is refused waits as long as it is told)
    #[arg(long)]
    concurrency: Option<usize>,
    /// Seconds for which requests are begun
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 10.0)]
    length: f64,
    /// End after this many requests, if not before
    #[arg(long)]
    requests: Option<usize>,
    /// A request that takes longer than this many seconds has failed
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    timeout: f64,
    /// Upload speed as a multiple of the speed at which the video plays; 1000 is the network's speed
    #[arg(long, default_value_t = 1.0)]
    pace: f64,
    /// Simulated clients, one HTTP/2 connection each
    #[arg(long, default_value_t = 4)]
    clients: usize,
    /// What is uploaded
    #[arg(long, value_enum, default_value_t = Clip::Fragmented)]
    clip: Clip,
    /// What is asked for
    #[arg(long, default_value = "fmp4", value_parser = ["fmp4", "ts", "hls"])]
    format: String,
    /// Lines of the result (without: the service's default)
    #[arg(long)]
    height: Option<u32>,
    /// x264's preset (without: the service's default)
    #[arg(long)]
    preset: Option<String>,
    /// Share of requests whose client goes away in the middle
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    aborting: f64,
    /// Share of requests whose client reads the answer slowly
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    slow: f64,
    /// Bytes a second that a slow client takes
    #[arg(long, value_name = "BYTES", default_value_t = 32_768.0)]
    slow_rate: f64,
    /// Share of requests whose client stops sending in the middle of the upload and stays
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    stalled: f64,
    /// Tries again after a 429, when it says
    #[arg(long, default_value_t = 0)]
    retries: u32,
    /// Repeats a run
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Answers to decode at the end, every picture
    #[arg(long, default_value_t = 3)]
    verify: usize,
    /// Writes each request to this file, one JSON document a line
    #[arg(long)]
    log: Option<PathBuf>,
    /// Prints the summary as JSON
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// The options make no sense, nothing listens, `ffmpeg` is missing, no request was answered, or an answer is not the
/// video that was asked for.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let seconds = |option: &str, value: f64| Duration::try_from_secs_f64(value).context(option.to_owned());
    let timeout = seconds("--timeout", args.timeout)?;
    let plan = Plan {
        clip: args.clip,
        format: args.format.clone(),
        height: args.height,
        preset: args.preset.clone(),
        pace: args.pace,
        rate: args.rate,
        concurrency: args.concurrency,
        requests: args.requests,
        length: seconds("--for", args.length)?,
        timeout,
        clients: args.clients,
        aborting: args.aborting,
        slow: args.slow,
        slow_rate: args.slow_rate,
        stalled: args.stalled,
        retries: args.retries,
        seed: args.seed,
        verify: args.verify,
        log: args.log.clone(),
        // What was due at the very end may take as long as any other.
        drain: timeout + Duration::from_secs(1),
        ..Plan::new(address(&args.target)?)
    };
    TcpStream::connect_timeout(&plan.address, CONNECT)
        .with_context(|| format!("nothing listens on {} (start snowshed-transcoder there first)", args.target))?;
    let load = Load::start(plan)?;
    // Ctrl-C ends the load, not the report.
    process::end_on_interrupt();
    while !load.is_over() {
        if process::pause(Duration::from_millis(100)).is_err() {
            load.give_up();
            break;
        }
    }
    let report = load.finish()?;
    if args.json {
        let mut all = serde_json::to_value(&report.summary).context("summary")?;
        all["generator"] = serde_json::to_value(report.generator).context("summary")?;
        all["verified"] = report.verified.into();
        all["broken"] = report.broken.clone().into();
        println!("{all}");
    } else {
        print!("{}", report.summary);
        println!("generator   {}", report.generator);
        println!("verified    {} answers decoded whole, {} broken", report.verified, report.broken.len());
    }
    if let Some(broken) = report.broken.first() {
        bail!("not the video that was asked for: {broken}");
    }
    if report.summary.statuses.is_empty() {
        bail!("no request was answered");
    }
    Ok(())
}

fn address(target: &str) -> anyhow::Result<SocketAddr> {
    let host = target.strip_prefix("http://").unwrap_or(target).trim_end_matches('/');
    let mut found = host.to_socket_addrs().with_context(|| format!("--target {target}: expected http://HOST:PORT"))?;
    found.next().with_context(|| format!("--target {target}: no such host"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_urls_or_addresses() {
        for target in ["127.0.0.1:80", "http://127.0.0.1:80", "http://127.0.0.1:80/"] {
            assert_eq!(address(target).unwrap(), ([127, 0, 0, 1], 80).into());
        }
        for wrong in ["", "https://127.0.0.1:80", "127.0.0.1", "http://127.0.0.1:80/path"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }
}
