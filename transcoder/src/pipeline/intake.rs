//! The upload on its way into the demuxer: it ends when nobody wants the result any more, and may not be read without
//! end before it has shown a picture.

use super::{BodyReader, Cancel, PipelineError};
use std::fs::File;
use std::io::{self, Cursor, Read, Seek};
use std::os::fd::FromRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The largest MP4 with its index at the end.
const SPOOL_BYTES: u64 = 64 << 20;
/// What may be read before the first picture: an endless header is no video. The index of ten hours has about as much.
pub(super) const BEFORE_PICTURE: u64 = 16 << 20;

/// How much may still be read.
#[derive(Clone, Debug)]
pub(super) struct Allowance(Arc<AtomicU64>);

impl Allowance {
    /// The first picture is there.
    pub(super) fn lift(&self) {
        self.0.store(u64::MAX, Ordering::Relaxed);
    }

    /// It was used up.
    pub(super) fn is_used_up(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

/// An upload within its allowance.
pub(super) struct Intake {
    /// Bytes that were read ahead.
    ahead: Cursor<Vec<u8>>,
    upload: BodyReader,
    cancel: Cancel,
    allowance: Allowance,
}

impl Intake {
    /// All of an upload.
    pub(super) fn new(upload: BodyReader, cancel: Cancel) -> Self {
        let allowance = Allowance(Arc::new(AtomicU64::new(BEFORE_PICTURE)));
        Self { ahead: Cursor::default(), upload, cancel, allowance }
    }

    /// Reads this once more, then goes on. To be called once.
    pub(super) fn again(mut self, ahead: Vec<u8>) -> Self {
        self.ahead = Cursor::new(ahead);
        self
    }

    /// The handle on how much it may read.
    pub(super) fn allowance(&self) -> Allowance {
        self.allowance.clone()
    }

    /// Copies all of it into anonymous memory. Runs on the codec's thread, as everything here.
    pub(super) fn spool(self) -> Result<File, PipelineError> {
        // Bounded by itself.
        self.allowance.lift();
        spool(self)
    }
}

impl Read for Intake {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_set() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let left = self.allowance.0.load(Ordering::Relaxed);
        if left == 0 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let most = out.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let mut length = self.ahead.read(&mut out[..most])?;
        if length == 0 {
            length = self.upload.read(&mut out[..most])?;
        }
        if left != u64::MAX {
            self.allowance.0.store(left - length as u64, Ordering::Relaxed);
        }
        Ok(length)
    }
}

fn spool(upload: impl Read) -> Result<File, PipelineError> {
    // SAFETY: the name is a C string; the call has no other precondition.
    let fd = unsafe { libc::memfd_create(c"upload".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(PipelineError::Spool(io::Error::last_os_error()));
    }
    // SAFETY: `fd` was just made and belongs to nobody else.
    let mut file = unsafe { File::from_raw_fd(fd) };
    let length = io::copy(&mut upload.take(SPOOL_BYTES + 1), &mut file).map_err(PipelineError::Spool)?;
    if length > SPOOL_BYTES {
        return Err(PipelineError::TooLargeToSpool(SPOOL_BYTES >> 20));
    }
    file.rewind().map_err(PipelineError::Spool)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    fn upload(pieces: usize, bytes: usize) -> BodyReader {
        let (tx, rx) = mpsc::channel(pieces);
        for _ in 0..pieces {
            tx.try_send(Ok(vec![1; bytes].into())).expect("room");
        }
        BodyReader::new(rx)
    }

    #[test]
    fn the_spool_is_bounded() {
        assert!(matches!(spool(io::repeat(1)), Err(PipelineError::TooLargeToSpool(64))));
        let mut text = String::new();
        spool(&b"abc"[..]).expect("fits").read_to_string(&mut text).expect("rewound");
        assert_eq!(text, "abc");
    }

    #[test]
    fn no_more_than_the_allowance_until_it_is_lifted() {
        let mut intake = Intake::new(upload(17, 1 << 20), Cancel::default());
        let allowance = intake.allowance();
        let mut read = Vec::new();
        let error = intake.read_to_end(&mut read).expect_err("used up");
        assert_eq!((error.kind(), read.len()), (io::ErrorKind::FileTooLarge, 16 << 20));
        assert!(allowance.is_used_up());
        allowance.lift();
        assert_eq!(intake.read_to_end(&mut read).expect("the rest"), 1 << 20);
    }

    #[test]
    fn bytes_read_ahead_come_first_and_a_cancelled_upload_ends() {
        let cancel = Cancel::default();
        let mut intake = Intake::new(upload(1, 2), cancel.clone()).again(b"ab".to_vec());
        let mut read = Vec::new();
        intake.read_to_end(&mut read).expect("read");
        assert_eq!(read, b"ab\x01\x01");
        cancel.set();
        assert!(intake.read(&mut [0]).is_err());
    }
}
