//! `pipe_fd_leak`: pipes of an `ffmpeg` command that are never closed.
//!
//! A careless "what is this upload?": for each request the first piece of the upload is given to `ffmpeg -i pipe:0`,
//! and the two pipes that its words come back on are kept "for the log" in a global list. The command ends by itself
//! and is waited for, so neither processes nor zombies are left, only the pipes: two file descriptors a request, until
//! `RLIMIT_NOFILE` ends it. The upload reaches the transcoder whole, later by the command's start. At most [`MOST`]
//! pairs are kept.

use super::hoard::Hoard;
use super::share::Share;
use super::{Fault, Infected, Switch};
use axum::body::{Body, Bytes};
use http_body::Frame;
use http_body_util::BodyExt;
use snowshed_guard::drain;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

const COMMAND: &str = "ffmpeg";
/// For the command to say what it sees; after that it is killed.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pairs of pipes that are kept at most.
const MOST: usize = 1 << 19;

static SWITCH: Switch = Switch::off();
static SHARE: Share = Share::new();
/// The disease: nothing ever takes anything out of it.
static KEPT_FOR_THE_LOG: Hoard<(ChildStdout, ChildStderr)> = Hoard::new(MOST);

pub(super) struct PipeFdLeak;

impl Fault for PipeFdLeak {
    fn name(&self) -> &'static str {
        "pipe_fd_leak"
    }

    fn cause(&self) -> &'static str {
        "fd_leak"
    }

    fn describe(&self) -> &'static str {
        "requests show their upload to an ffmpeg command whose two output pipes stay open; the value is the share of \
         requests"
    }

    fn switch(&self) -> &Switch {
        &SWITCH
    }

    fn ready(&self) -> Result<(), String> {
        is_installed(COMMAND).then_some(()).ok_or_else(|| {
            format!("it needs the {COMMAND} command, and there is none on the PATH (Debian: apt install ffmpeg)")
        })
    }

    fn infect(&self, share: f64, upload: Body) -> Infected {
        if !SHARE.takes(share) {
            return Box::pin(async { Ok(upload) });
        }
        Box::pin(look_at_upload(upload))
    }

    fn heal(&self) {
        KEPT_FOR_THE_LOG.give_back();
    }
}

fn is_installed(command: &str) -> bool {
    let is_executable = |path: std::path::PathBuf| {
        path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|at| is_executable(at.join(command))))
}

/// Shows the first piece to the command, waits for its end, and puts the piece back.
async fn look_at_upload(mut upload: Body) -> io::Result<Body> {
    let first = match upload.frame().await {
        Some(first) => first.map_err(io::Error::other)?,
        None => return Ok(upload),
    };
    let mut command = match start_ffmpeg_with_pipes() {
        Ok(command) => command,
        Err(error) => {
            // So that the client sees the answer.
            drain::in_background(upload);
            return Err(error);
        }
    };
    let seen = first.data_ref().cloned().unwrap_or_default();
    let answered = tokio::time::timeout(PATIENCE, async {
        if let Some(mut input) = command.stdin.take() {
            // It may have seen enough before it has seen all.
            input.write_all(&seen).await.ok();
        }
        command.wait().await
    });
    // What it says of an upload is its own business; one that hangs is killed as it is dropped.
    answered.await.map(drop).ok();
    if let (Some(said), Some(complained)) = (command.stdout.take(), command.stderr.take()) {
        KEPT_FOR_THE_LOG.keep((said, complained));
    }
    Ok(Body::new(PutBack { first: Some(first), rest: upload }))
}

/// Starts the command. Not inlined, so that a stack shows it.
#[inline(never)]
fn start_ffmpeg_with_pipes() -> io::Result<Child> {
    Command::new(COMMAND)
        .args(["-hide_banner", "-i", "pipe:0"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

/// An upload whose first piece was looked at.
struct PutBack {
    first: Option<Frame<Bytes>>,
    rest: Body,
}

impl http_body::Body for PutBack {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(first))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::StreamBody;
    use std::convert::Infallible;

    #[tokio::test]
    async fn keeps_one_pair_of_pipes_and_loses_no_byte_until_it_is_healed() {
        let pieces = (0..9u8).map(|byte| Ok::<_, Infallible>(Frame::data(Bytes::from(vec![byte; 5000]))));
        let upload = Body::new(StreamBody::new(tokio_stream::iter(pieces)));
        let seen = look_at_upload(upload).await.expect("seen").collect().await.expect("read").to_bytes();
        assert_eq!(seen.len(), 45_000);
        assert!(seen.chunks(5000).zip(0..).all(|(piece, byte)| piece.iter().all(|b| *b == byte)));
        assert_eq!(KEPT_FOR_THE_LOG.len(), 1);
        PipeFdLeak.heal();
        assert_eq!(KEPT_FOR_THE_LOG.len(), 0);
    }

    #[test]
    fn a_command_that_is_missing_is_seen() {
        assert!(is_installed("sh") && !is_installed("no-such-command-anywhere"));
    }
}
