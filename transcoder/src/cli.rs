//! The command line. A value that makes no sense is named, and the exit code is 2.

use crate::faults::{self, Dose};
use clap::Parser;
use std::net::SocketAddr;
use std::time::Duration;

/// A video transcoder over HTTP: POST a video to /api/v1/transcode, get H.264 and AAC back as it is made.
#[derive(Parser)]
#[command(name = "snowshed-transcoder", version)]
pub(crate) struct Args {
    /// Where to listen (HTTP/1.1 and HTTP/2 without TLS); port 0 takes a free one and prints it
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// Send spans to this OTLP receiver (gRPC), as in http://127.0.0.1:4317
    #[arg(long, value_name = "URL")]
    pub(crate) otlp: Option<String>,
    /// Report open requests to this Snowshed agent and obey its limit, as in http://127.0.0.1:9470
    #[arg(long, value_name = "URL")]
    pub(crate) guard: Option<String>,
    // What it says comes from the faults themselves.
    #[arg(long, value_name = "NAME[=VALUE]", help = faults::names_help(), long_help = faults::help())]
    pub(crate) fault: Vec<Dose>,
    /// Streams at once, each on a thread of its own; over it, as over the next two, requests are answered 429
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) max_streams: u32,
    /// Memory for all streams together, as in 512MiB or 2GB; half of what is available if it is not given
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) memory_budget: Option<u64>,
    /// The share of the streams that one client address may have; behind a proxy all clients have one address
    #[arg(long, value_name = "RATIO", default_value = "1", value_parser = share)]
    pub(crate) client_share: f64,
    /// The longest that a client may send nothing, or read nothing, while it is waited for; 1 KiB buys a second
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub(crate) idle_timeout: Duration,
    /// From a request to the first byte of its result, as in 500ms, 60s or 5m
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = time)]
    pub(crate) first_byte_timeout: Duration,
    /// From a request to the end of its result
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = time)]
    pub(crate) total_timeout: Duration,
    /// For streams to end by themselves after SIGTERM; a second SIGTERM ends them at once
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    pub(crate) drain_timeout: Duration,
    /// End an HLS session that nobody has asked for anything for so long
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub(crate) session_idle: Duration,
    /// Segments that are kept for the viewers of an HLS session; many sessions share what all may keep
    #[arg(long, value_name = "BYTES", default_value = "16MiB", value_parser = bytes)]
    pub(crate) session_window: u64,
    /// Let anybody who can connect switch faults at /faults/NAME
    #[arg(long)]
    pub(crate) allow_fault_control: bool,
    /// Threads of the event loop
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) workers: u32,
}

/// Splits a quantity into its number and its unit.
fn quantity(text: &str) -> Option<(f64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim()))
}

/// A length of time of at least a millisecond and at most a year.
fn time(text: &str) -> Result<Duration, String> {
    let seconds = quantity(text).and_then(|(number, unit)| {
        let scale = match unit {
            "ms" => 0.001,
            "" | "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        Some(number * scale)
    });
    match seconds {
        Some(seconds) if (0.001..=31_536_000.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("expected a time as in 500ms, 30s, 5m or 1h, got {text:?}")),
    }
}

/// Bytes: at least a MiB.
fn bytes(text: &str) -> Result<u64, String> {
    let bytes = quantity(text).and_then(|(number, unit)| {
        let scale = match unit {
            "" | "B" => 1.0,
            "kB" | "KB" => 1e3,
            "MB" => 1e6,
            "GB" => 1e9,
            "KiB" => 1024.0,
            "MiB" => 1_048_576.0,
            "GiB" => 1_073_741_824.0,
            _ => return None,
        };
        Some(number * scale)
    });
    match bytes {
        Some(bytes) if (1_048_576.0..1e18).contains(&bytes) => Ok(bytes as u64),
        _ => Err(format!("expected at least 1MiB, as in 512MiB or 2GB, got {text:?}")),
    }
}

/// A share of the whole.
fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| *share > 0.0 && *share <= 1.0);
    share.ok_or_else(|| format!("expected a ratio above 0 and up to 1, got {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_with_their_units() {
        assert_eq!(time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(["30", "30s", "0.5m"].map(time), [30, 30, 30].map(|seconds| Ok(Duration::from_secs(seconds))));
        assert_eq!(time("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(["512MiB", "1GB", "2097152"].map(bytes), [Ok(512 << 20), Ok(1_000_000_000), Ok(2 << 20)]);
        assert_eq!(share("0.25"), Ok(0.25));
    }

    #[test]
    fn nonsense_is_refused() {
        for wrong in ["", "0", "-1s", "soon", "5 parsecs", "NaN", "1e9h", "999d"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "0", "1kB", "lots", "1TB", "-1MiB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
        for wrong in ["0", "1.5", "-1", "NaN", "half"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}
