//! The two ends of a pipeline: a blocking reader and a blocking writer over bounded channels.
//!
//! Invariant: between client and codec there are at most [`DEPTH`] pieces in each direction, so a slow side holds the
//! other up instead of filling memory. Both ends stop waiting as soon as the pipeline is cancelled.

use super::stage::{self, Stage};
use super::{Cancel, PipelineError, UploadError};
use bytes::{Buf, Bytes};
use std::io::{self, Read, Write};
use std::sync::{Arc, OnceLock};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// Pieces in flight in each direction.
pub(crate) const DEPTH: usize = 8;

/// The upload, as it arrives.
pub(crate) struct BodyReader {
    pieces: mpsc::Receiver<Result<Bytes, UploadError>>,
    runtime: Handle,
    cancel: Cancel,
    current: Bytes,
    failure: Arc<OnceLock<UploadError>>,
}

impl BodyReader {
    /// Reads what is sent; the end of the channel is the end of the upload.
    pub(crate) fn new(pieces: mpsc::Receiver<Result<Bytes, UploadError>>, runtime: Handle, cancel: Cancel) -> Self {
        Self { pieces, runtime, cancel, current: Bytes::new(), failure: Arc::default() }
    }

    /// Where a failed upload will say why: the demuxer only sees an I/O error.
    pub(super) fn failure(&self) -> Arc<OnceLock<UploadError>> {
        self.failure.clone()
    }
}

impl Read for BodyReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            if self.cancel.is_set() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            let next = match self.pieces.try_recv() {
                Ok(piece) => Some(piece),
                Err(mpsc::error::TryRecvError::Disconnected) => None,
                Err(mpsc::error::TryRecvError::Empty) => {
                    let arrived = self.cancel.wait(&self.runtime, self.pieces.recv());
                    arrived.ok_or(io::ErrorKind::ConnectionAborted)?
                }
            };
            match next {
                Some(Ok(piece)) => self.current = piece,
                Some(Err(error)) => {
                    let error = self.failure.get_or_init(|| error).clone();
                    return Err(io::Error::other(error));
                }
                None => return Ok(0),
            }
        }
        let length = out.len().min(self.current.len());
        self.current.copy_to_slice(&mut out[..length]);
        Ok(length)
    }
}

/// What a pipeline says to the response body. A channel that closes without `Done` or `Failed` means that the codec
/// thread died.
#[derive(Debug)]
pub(crate) enum Output {
    /// The next piece.
    Data(Piece),
    /// All of it was sent.
    Done,
    /// It ends here, and this is why.
    Failed(PipelineError),
}

/// Some of the result, in order.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// Its bytes.
    pub(crate) bytes: Bytes,
    /// What they are.
    pub(crate) kind: PieceKind,
}

/// What a piece is. Fragmented MP4 comes as one [`PieceKind::Init`], then whole fragments; other containers have no
/// boundaries that matter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum PieceKind {
    /// Bytes of a container without boundaries.
    Plain,
    /// `ftyp` and `moov`: what a player needs before any fragment.
    Init,
    /// One `moof` with its `mdat`.
    Fragment {
        /// How long its picture plays.
        seconds: f64,
        /// It begins with a key frame, so that a player can begin here.
        independent: bool,
        /// The next fragment begins with a key frame, or there is none.
        last: bool,
    },
}

/// The transcoded stream, as it is made.
#[derive(Clone)]
pub(crate) struct BodyWriter {
    pieces: mpsc::Sender<Output>,
    runtime: Handle,
    cancel: Cancel,
}

impl BodyWriter {
    /// Sends to `pieces`; waits when the client is slow.
    pub(crate) fn new(pieces: mpsc::Sender<Output>, runtime: Handle, cancel: Cancel) -> Self {
        Self { pieces, runtime, cancel }
    }

    /// The last word.
    pub(crate) fn end(self, result: Result<(), PipelineError>) {
        let last = match result {
            Ok(()) => Output::Done,
            Err(error) => Output::Failed(error),
        };
        // A client that is gone cannot be told.
        self.send(last).unwrap_or_default();
    }

    /// Sends a piece; waits while the reader is slow.
    pub(super) fn piece(&self, bytes: Bytes, kind: PieceKind) -> io::Result<()> {
        stage::made(Stage::Mux, bytes.len());
        if self.cancel.is_set() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.send(Output::Data(Piece { bytes, kind }))
    }

    fn send(&self, piece: Output) -> io::Result<()> {
        let piece = match self.pieces.try_send(piece) {
            Ok(()) => return Ok(()),
            Err(mpsc::error::TrySendError::Full(piece)) => piece,
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(io::ErrorKind::BrokenPipe.into()),
        };
        match self.cancel.wait(&self.runtime, self.pieces.send(piece)) {
            Some(Ok(())) => Ok(()),
            None | Some(Err(_)) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Write for BodyWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // An empty write still tells a codec that nobody listens any more.
        self.piece(Bytes::copy_from_slice(bytes), PieceKind::Plain)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Why;
    use super::*;

    #[test]
    fn reads_across_pieces_and_remembers_why_it_failed() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        let (tx, rx) = mpsc::channel(4);
        let broken = UploadError::Broken("reset".into());
        for piece in [Ok("ab".into()), Ok(Bytes::new()), Ok("cde".into()), Err(broken.clone())] {
            tx.try_send(piece).expect("room");
        }
        let mut reader = BodyReader::new(rx, runtime.handle().clone(), Cancel::default());
        let mut text = Vec::new();
        assert!(reader.read_to_end(&mut text).is_err());
        assert_eq!(text, b"abcde");
        assert_eq!(reader.failure().get(), Some(&broken));
    }

    #[test]
    fn a_cancelled_writer_refuses_and_a_closed_one_breaks() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        let (tx, rx) = mpsc::channel(1);
        let cancel = Cancel::default();
        let mut writer = BodyWriter::new(tx, runtime.handle().clone(), cancel.clone());
        assert_eq!(writer.write(b"x").ok(), Some(1));
        drop(rx);
        assert_eq!(writer.write(b"y").map_err(|error| error.kind()), Err(io::ErrorKind::BrokenPipe));
        cancel.set(Why::Gone);
        assert!(writer.write(b"").is_err());
    }

    /// Nobody sends and nobody reads: only the cancellation ends these waits.
    #[test]
    fn both_ends_stop_waiting_when_they_are_cancelled() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        let cancel = Cancel::default();
        let (uploading, upload) = mpsc::channel(1);
        let (full, unread) = mpsc::channel(1);
        let mut reader = BodyReader::new(upload, runtime.handle().clone(), cancel.clone());
        let mut writer = BodyWriter::new(full, runtime.handle().clone(), cancel.clone());
        assert!(writer.write(b"fills it").is_ok());
        let reads = std::thread::spawn(move || reader.read(&mut [0; 9]).map_err(|error| error.kind()));
        let writes = std::thread::spawn(move || writer.write(b"waits").map_err(|error| error.kind()));
        cancel.set(Why::Gone);
        assert_eq!(reads.join().expect("not panicked"), Err(io::ErrorKind::ConnectionAborted));
        assert_eq!(writes.join().expect("not panicked"), Err(io::ErrorKind::BrokenPipe));
        drop((uploading, unread));
    }
}
