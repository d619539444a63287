//! The reference streaming service: it transcodes video as it arrives, and can be given diseases by switch.
//!
//! Exit codes: 0 after SIGTERM or SIGINT, 2 for a command line that cannot be followed (a port in use, an unknown
//! fault, a bad URL), 1 for anything else.

mod cli;
mod faults;
mod pipeline;
mod service;
mod telemetry;

use anyhow::Context;
use clap::Parser;
use cli::Args;
use pipeline::Rota;
use service::admission::{Limits, Streams};
use service::deadlines::Deadlines;
use service::hls::Sessions;
use service::pool::Pool;
use service::stop::Stop;
use service::{App, Metrics, budget};
use snowshed_guard::{Guard, GuardConfig, LimitLayer};
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;
use telemetry::{Identity, Telemetry};
use tokio::signal::unix::{SignalKind, signal};

/// For tasks that are still blocked when everything else has ended.
const LAST_TASKS: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    let args = Args::parse();
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("snowshed-transcoder: {error:#}");
            ExitCode::from(if error.is::<Refused>() { 2 } else { 1 })
        }
    }
}

/// The command line cannot be followed as it is.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(String);

/// Marks an error as one of the command line.
fn refused(what: impl std::fmt::Display) -> impl FnOnce(anyhow::Error) -> anyhow::Error {
    move |error| Refused(format!("{what}: {error:#}")).into()
}

fn run(args: Args) -> anyhow::Result<()> {
    service::memory::configure();
    ffmpeg_next::init().context("ffmpeg")?;
    // What is wrong with an upload is told to the client that sent it, not to the log.
    ffmpeg_next::log::set_level(ffmpeg_next::log::Level::Quiet);
    let identity = Identity::of_this_process();
    let telemetry = Telemetry::start(&identity, args.otlp.as_deref()).map_err(refused("telemetry"))?;
    let guard = match &args.guard {
        None => None,
        Some(agent_url) => {
            let Identity { service, instance_id } = identity;
            let config = GuardConfig { agent_url: agent_url.clone(), service, instance_id };
            Some(Guard::start(config).map_err(anyhow::Error::from).map_err(refused("--guard"))?)
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(args.workers as usize)
        .thread_name("event-loop")
        .enable_all()
        .build()
        .context("event loop")?;
    let served = runtime.block_on(serve(args, guard.as_ref().map(Guard::layer).unwrap_or_default()));
    runtime.shutdown_timeout(LAST_TASKS);
    drop(guard);
    telemetry.finish();
    served
}

async fn serve(args: Args, guard: LimitLayer) -> anyhow::Result<()> {
    let listener = service::server::listen(args.listen)
        .map_err(anyhow::Error::from)
        .map_err(refused(format_args!("--listen {}", args.listen)))?;
    let address = listener.local_addr().context("listening address")?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let limits = Limits {
        streams: args.max_streams,
        memory: args.memory_budget.unwrap_or_else(budget::of_this_machine),
        client_share: args.client_share,
    };
    let sessions = Sessions::new(args.session_idle, args.session_window, limits.memory);
    let app = App {
        metrics: Metrics::new(sessions.clone()),
        streams: Streams::new(limits),
        pool: Pool::new(args.max_streams),
        codec_threads: args.codec_threads.0,
        rota: Rota::of_this_machine(),
        deadlines: Deadlines {
            idle: args.idle_timeout,
            first_byte: args.first_byte_timeout,
            total: args.total_timeout,
        },
        stop: Stop::new(),
        sessions,
        port: address.port(),
    };
    faults::listening_on(address);
    for dose in args.fault {
        dose.give();
    }
    let router = service::router(app.clone(), guard, args.allow_fault_control);
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on http://{address}").and_then(|()| stdout.flush()).context("standard output")?;
    let asked = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    service::server::serve(listener, router, app, args.drain_timeout, asked).await;
    Ok(())
}
