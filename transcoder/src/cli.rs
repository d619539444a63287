//! The command line. A value that makes no sense is named, and the exit code is 2.

use crate::faults::{self, Dose};
use clap::Parser;
use std::net::SocketAddr;

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
    /// Streams at once, each on a thread of its own; over it requests are answered 429
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) max_streams: u32,
    /// Let anybody who can connect switch faults at /faults/NAME
    #[arg(long)]
    pub(crate) allow_fault_control: bool,
    /// Threads of the event loop
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) workers: u32,
}
