//! `tempfile_fd_leak`: temporary files that are never closed.
//!
//! A careless implementation spools each upload to disk, with side files for sound, picture and index, and keeps the
//! handles "for later" in a global list. The first byte of the answer waits for the whole upload, and every request
//! leaves four file descriptors behind, until `RLIMIT_NOFILE` ends it. The files are unlinked from the start, so the
//! disk space is held by the descriptors alone. At most [`MOST`] are kept.

use super::hoard::Hoard;
use super::share::Share;
use super::{Fault, Infected, Switch};
use axum::body::Body;
use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt;
use snowshed_guard::drain;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Bytes that are read back at once.
const PIECE: usize = 64 << 10;

/// What each request opens.
const FILES: [&str; 4] = ["upload", "sound", "picture", "index"];

/// Files that are kept at most.
const MOST: usize = 1 << 20;

static SWITCH: Switch = Switch::off();
static SHARE: Share = Share::new();
/// The disease: nothing ever takes anything out of it.
static KEPT_FOR_LATER: Hoard<Arc<File>> = Hoard::new(MOST);

pub(super) struct TempfileFdLeak;

impl Fault for TempfileFdLeak {
    fn name(&self) -> &'static str {
        "tempfile_fd_leak"
    }

    fn cause(&self) -> &'static str {
        "fd_leak"
    }

    fn describe(&self) -> &'static str {
        "requests spool their upload to unlinked temporary files that stay open; the value is the share of requests"
    }

    fn switch(&self) -> &Switch {
        &SWITCH
    }

    fn infect(&self, share: f64, upload: Body) -> Infected {
        if !SHARE.takes(share) {
            return Box::pin(async { Ok(upload) });
        }
        Box::pin(spool_upload(upload))
    }

    fn heal(&self) {
        KEPT_FOR_LATER.give_back();
    }
}

/// The whole upload goes to disk first; then it is read from there.
async fn spool_upload(mut upload: Body) -> io::Result<Body> {
    let file = match open_upload_spool_files() {
        Ok(file) => file,
        Err(error) => {
            // So that the client sees the answer.
            drain::in_background(upload);
            return Err(error);
        }
    };
    let mut length = 0;
    while let Some(frame) = upload.frame().await {
        if let Ok(piece) = frame.map_err(io::Error::other)?.into_data() {
            (&*file).write_all(&piece)?;
            length += piece.len() as u64;
        }
    }
    Ok(Body::new(Spooled { file, at: 0, length }))
}

/// Opens the files and forgets them. Not inlined, so that a stack shows it.
#[inline(never)]
fn open_upload_spool_files() -> io::Result<Arc<File>> {
    let mut files = Vec::with_capacity(FILES.len());
    // Hidden from the optimiser, which would unroll the loop: one line of code should be one place in the binary.
    for _file in std::hint::black_box(&FILES[..]) {
        files.push(Arc::new(tempfile::tempfile()?));
    }
    let upload = files.first().cloned().ok_or(io::ErrorKind::NotFound)?;
    files.into_iter().for_each(|file| KEPT_FOR_LATER.keep(file));
    Ok(upload)
}

/// The upload, read back.
struct Spooled {
    file: Arc<File>,
    at: u64,
    length: u64,
}

impl http_body::Body for Spooled {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let mut piece = vec![0; PIECE];
        let read = match self.file.read_at(&mut piece, self.at) {
            Ok(0) => return Poll::Ready(None),
            Ok(read) => read,
            Err(error) => return Poll::Ready(Some(Err(error))),
        };
        self.at += read as u64;
        piece.truncate(read);
        Poll::Ready(Some(Ok(Frame::data(piece.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.at >= self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    #[tokio::test]
    async fn leaks_four_files_and_loses_no_byte_until_it_is_healed() {
        let pieces = (0..40u8).map(|byte| Ok::<_, Infallible>(Frame::data(Bytes::from(vec![byte; 5000]))));
        let upload = Body::new(http_body_util::StreamBody::new(tokio_stream::iter(pieces)));
        let spooled = spool_upload(upload).await.expect("spooled").collect().await.expect("read back").to_bytes();
        assert_eq!(spooled.len(), 200_000);
        assert!(spooled.chunks(5000).zip(0..).all(|(piece, byte)| piece.iter().all(|b| *b == byte)));
        assert_eq!(KEPT_FOR_LATER.len(), 4);
        TempfileFdLeak.heal();
        assert_eq!(KEPT_FOR_LATER.len(), 0);
    }
}
