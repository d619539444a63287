//! The upload on its way into the demuxer: it ends when nobody wants the result any more, and may not be read without
//! end before it has shown a picture.

use super::{BodyReader, Cancel, Grow, PipelineError};
use std::fs::File;
use std::io::{self, Cursor, Read, Seek};
use std::os::fd::FromRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The largest MP4 with its index at the end.
const SPOOL_BYTES: u64 = 64 << 20;
/// Between two questions whether there is memory for more of it.
const SPOOL_STEP: u64 = 1 << 20;
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

    /// There was a picture, or the upload is bounded otherwise.
    pub(super) fn is_lifted(&self) -> bool {
        self.0.load(Ordering::Relaxed) == u64::MAX
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

    /// Copies all of it into anonymous memory; with its length. Runs on the codec's thread, as everything here.
    pub(super) fn spool(self, grow: Grow<'_>) -> Result<(File, u64), PipelineError> {
        // Bounded by itself.
        self.allowance.lift();
        spool(self, grow)
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

fn spool(upload: impl Read, grow: Grow<'_>) -> Result<(File, u64), PipelineError> {
    // SAFETY: the name is a C string; the call has no other precondition.
    let fd = unsafe { libc::memfd_create(c"upload".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(PipelineError::Spool(io::Error::last_os_error()));
    }
    // SAFETY: `fd` was just made and belongs to nobody else.
    let mut file = unsafe { File::from_raw_fd(fd) };
    let mut upload = upload.take(SPOOL_BYTES + 1);
    let mut length = 0;
    loop {
        grow(length + SPOOL_STEP)?;
        let step = io::copy(&mut (&mut upload).take(SPOOL_STEP), &mut file).map_err(PipelineError::Spool)?;
        length += step;
        if length > SPOOL_BYTES {
            return Err(PipelineError::TooLargeToSpool(SPOOL_BYTES >> 20));
        }
        if step < SPOOL_STEP {
            break;
        }
    }
    file.rewind().map_err(PipelineError::Spool)?;
    Ok((file, length))
}

#[cfg(test)]
mod tests {
    use super::super::Why;
    use super::*;
    use tokio::sync::mpsc;

    fn intake(pieces: usize, bytes: usize, cancel: &Cancel) -> Intake {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        let (tx, rx) = mpsc::channel(pieces);
        for _ in 0..pieces {
            tx.try_send(Ok(vec![1; bytes].into())).expect("room");
        }
        Intake::new(BodyReader::new(rx, runtime.handle().clone(), cancel.clone()), cancel.clone())
    }

    #[test]
    fn the_spool_is_bounded() {
        let little = |bytes| if bytes < 9 << 20 { Ok(()) } else { Err(PipelineError::NoMemory) };
        assert!(matches!(spool(io::repeat(1), &|_| Ok(())), Err(PipelineError::TooLargeToSpool(64))));
        assert!(matches!(spool(io::repeat(1), &little), Err(PipelineError::NoMemory)));
        let mut text = String::new();
        let (mut file, length) = spool(&b"abc"[..], &|_| Ok(())).expect("fits");
        file.read_to_string(&mut text).expect("rewound");
        assert_eq!((text.as_str(), length), ("abc", 3));
    }

    #[test]
    fn no_more_than_the_allowance_until_it_is_lifted() {
        let mut intake = intake(17, 1 << 20, &Cancel::default());
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
        let mut intake = intake(1, 2, &cancel).again(b"ab".to_vec());
        let mut read = Vec::new();
        intake.read_to_end(&mut read).expect("read");
        assert_eq!(read, b"ab\x01\x01");
        cancel.set(Why::Gone);
        assert!(intake.read(&mut [0]).is_err());
    }
}
