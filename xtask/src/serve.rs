//! A small HTTP service on tokio, for the tests of event loops: `/sleep` blocks the thread that serves it.
//!
//! It is a command of this binary because a test can start that, and nothing else here is compiled with tokio.

use anyhow::Context as _;
use std::time::Duration;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

/// How long `/sleep` blocks.
const STALL: Duration = Duration::from_millis(400);

/// Options.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Worker threads; without, everything runs on the main thread
    #[arg(long)]
    workers: Option<usize>,
}

/// Serves until it is ended; the first line says where.
///
/// # Errors
/// No port, or no threads.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut builder = match args.workers {
        Some(workers) => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(workers);
            builder
        }
        None => tokio::runtime::Builder::new_current_thread(),
    };
    builder.enable_all().build().context("runtime")?.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        println!("listening on {}", listener.local_addr()?.port());
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(async move {
                if let Err(error) = converse(stream).await {
                    eprintln!("{error}");
                }
            });
        }
    })
}

async fn converse(stream: TcpStream) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let blocks = line.contains("/sleep");
        while !line.trim_end().is_empty() {
            line.clear();
            stream.read_line(&mut line).await?;
        }
        if blocks {
            block_here();
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await?;
    }
}

#[inline(never)]
fn block_here() {
    std::thread::sleep(STALL);
}
