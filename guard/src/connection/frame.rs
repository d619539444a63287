//! HTTP/2 frame headers, as they pass (RFC 9113, 4.1): three bytes of length, type, flags, stream.
//!
//! Payloads are counted and not looked at. A length is at most 16 MiB by its form, so it needs no trust.

/// Bytes of a frame header.
const HEAD: usize = 9;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const CONTINUATION: u8 = 9;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// A frame header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Head {
    fn parse(bytes: [u8; HEAD]) -> Self {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = bytes;
        Self {
            length: u32::from_be_bytes([0, l0, l1, l2]) as usize,
            kind,
            flags,
            // The highest bit is reserved and to be ignored.
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & (u32::MAX >> 1),
        }
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// What happens while bytes pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// So many bytes of a header that is not whole yet.
    PartOfHead(usize),
    /// A header is whole, with so many more bytes.
    Head(Head, usize),
    /// So many bytes of the payload of the frame that was told last.
    Payload(usize),
}

impl Passed {
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::PartOfHead(bytes) | Self::Head(_, bytes) | Self::Payload(bytes) => bytes,
        }
    }
}

/// Where in the frames a direction is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Frames {
    head: [u8; HEAD],
    have: usize,
    /// Of the payload.
    left: usize,
}

impl Frames {
    /// Takes what comes next of these bytes, of which there is one at least.
    pub(super) fn next(&mut self, bytes: &[u8]) -> Passed {
        if self.left > 0 {
            let taken = self.left.min(bytes.len());
            self.left -= taken;
            return Passed::Payload(taken);
        }
        let taken = (HEAD - self.have).min(bytes.len());
        self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
        self.have += taken;
        if self.have < HEAD {
            return Passed::PartOfHead(taken);
        }
        self.have = 0;
        let head = Head::parse(self.head);
        self.left = head.length;
        Passed::Head(head, taken)
    }

    /// More of the payload of the frame that was told last is to come.
    pub(super) fn is_in_payload(&self) -> bool {
        self.left > 0
    }

    /// The frame that was told last has passed whole.
    pub(super) fn is_between(&self) -> bool {
        self.left == 0 && self.have == 0
    }
}
