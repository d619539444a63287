//! HTTP/2: which bytes belong to which stream, and which stream to which request.
//!
//! Frames say their stream. Which request that is, neither hyper nor h2 tells the service; but h2 hands requests over
//! in the order in which their header blocks came in, so the streams that have opened and the calls of the service
//! are matched in order. What h2 answers by itself (malformed, too large, too many) never reaches the service. It
//! sends a reset for it, or a response that ends the stream, and before it hands over the next request it has read
//! all that was there and tried to send all that it had: so the stream is struck off in time, unless the socket was
//! blocked. Hence:
//!
//! - Not blocked, the calls belong to the streams that opened first.
//! - Blocked, calls wait until there are as many of them as streams: then each stream was called, in order.
//! - If a stream is struck off while calls wait, nobody can tell whether it was one of theirs: this connection is
//!   given up, and nothing is published on it any more. The same if anything else does not fit.
//!
//! Streams that h2 ignores after it has said GOAWAY are the last ones and are never called: they harm nobody.

use super::frame::{CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, Head, Passed, RST_STREAM, SETTINGS};
use super::{Run, Slot};
use crate::context::TraceContext;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Streams that are remembered; with more open at once the connection is given up.
pub(super) const MOST: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Connection {
    inbound: Frames,
    inbound_head: Head,
    /// The stream that was opened last.
    opened: u32,
    /// Streams that have opened and belong to no call yet, in order.
    uncalled: VecDeque<u32>,
    /// Calls that belong to no stream yet, in order.
    calls: VecDeque<Arc<Slot>>,
    matched: HashMap<u32, Arc<Slot>>,
    outbound: Frames,
    outbound_head: Head,
    greeted: [bool; 2],
    blocked: bool,
}

impl Connection {
    /// The service was called. False if that cannot be.
    pub(super) fn begin(&mut self, slot: Arc<Slot>) -> bool {
        self.calls.push_back(slot);
        if self.calls.len() > self.uncalled.len() {
            return false;
        }
        if !self.blocked || self.calls.len() == self.uncalled.len() {
            for (stream, slot) in self.uncalled.drain(..self.calls.len()).zip(self.calls.drain(..)) {
                self.matched.insert(stream, slot);
            }
        }
        if self.matched.len() > MOST {
            // Reset by their clients, and so without an end of ours.
            self.matched.retain(|_, slot| !slot.is_over());
        }
        self.matched.len() <= MOST
    }

    /// These bytes came in. False if they do not fit.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let passed = self.inbound.next(bytes);
            bytes = &bytes[passed.bytes()..];
            if let Passed::Head(head, _) = passed {
                if !greets(&mut self.greeted[0], head) {
                    return false;
                }
                self.inbound_head = head;
            }
            if !matches!(passed, Passed::PartOfHead(_)) && self.inbound.is_between() && !self.came_in(self.inbound_head)
            {
                return false;
            }
        }
        true
    }

    /// A whole frame.
    fn came_in(&mut self, head: Head) -> bool {
        match head.kind {
            // Trailers are of a stream that is open already.
            HEADERS | CONTINUATION if head.has(END_HEADERS) && head.stream > self.opened => {
                self.opened = head.stream;
                self.uncalled.push_back(head.stream);
                self.uncalled.len() <= MOST
            }
            RST_STREAM => {
                // Nothing of it is sent any more, except the rest of a frame that is on its way.
                if head.stream != self.outbound_head.stream {
                    self.matched.remove(&head.stream);
                }
                true
            }
            _ => true,
        }
    }

    /// How much of these may be written at once: frames of one stream, or frames of none.
    pub(super) fn plan(&self, slices: &[&[u8]]) -> Run {
        let mut frames = self.outbound;
        let mut run = frames.is_in_payload().then(|| owner(self.outbound_head));
        // Bytes up to the last frame that belongs to the run, and all that were looked at.
        let (mut whole, mut seen) = (0, 0);
        for slice in slices {
            let mut bytes = *slice;
            while !bytes.is_empty() {
                let passed = frames.next(bytes);
                bytes = &bytes[passed.bytes()..];
                seen += passed.bytes();
                match passed {
                    Passed::Head(head, _) if run.is_some_and(|run| run != owner(head)) => return self.run(run, whole),
                    Passed::Head(head, _) => {
                        run = Some(owner(head));
                        whole = seen;
                    }
                    Passed::Payload(_) => whole = seen,
                    // It is told by the bytes that follow.
                    Passed::PartOfHead(_) => {}
                }
            }
        }
        if whole == 0 {
            // A part of a header alone, of whatever that may be.
            return Run { bytes: seen, context: None };
        }
        self.run(run, whole)
    }

    fn run(&self, owner: Option<Option<u32>>, bytes: usize) -> Run {
        let context = owner.flatten().and_then(|stream| self.context(stream));
        Run { bytes, context }
    }

    fn context(&self, stream: u32) -> Option<TraceContext> {
        self.matched.get(&stream)?.context()
    }

    /// So many of these were written. False if they do not fit.
    pub(super) fn written(&mut self, slices: &[&[u8]], mut count: usize) -> bool {
        self.blocked = false;
        for slice in slices {
            let mut bytes = &slice[..count.min(slice.len())];
            count -= bytes.len();
            while !bytes.is_empty() {
                let passed = self.outbound.next(bytes);
                bytes = &bytes[passed.bytes()..];
                if let Passed::Head(head, _) = passed {
                    if !greets(&mut self.greeted[1], head) || !self.goes_out(head) {
                        return false;
                    }
                    self.outbound_head = head;
                }
                if !matches!(passed, Passed::PartOfHead(_)) && self.outbound.is_between() {
                    self.went_out(self.outbound_head);
                }
            }
        }
        true
    }

    /// A frame begins.
    fn goes_out(&mut self, head: Head) -> bool {
        let strikes_off = head.kind == RST_STREAM || (head.kind == HEADERS && head.has(END_STREAM));
        if strikes_off && let Some(at) = self.uncalled.iter().position(|stream| *stream == head.stream) {
            self.uncalled.remove(at);
            return self.calls.is_empty();
        }
        true
    }

    /// A frame has ended.
    fn went_out(&mut self, head: Head) {
        let ends = matches!(head.kind, DATA | HEADERS) && head.has(END_STREAM);
        if head.kind == RST_STREAM || (ends && (head.kind == DATA || head.has(END_HEADERS))) {
            self.matched.remove(&head.stream);
        }
    }

    pub(super) fn blocked(&mut self) {
        self.blocked = true;
    }
}

/// Whose bytes a frame's are: a stream's, or the connection's.
fn owner(head: Head) -> Option<u32> {
    matches!(head.kind, DATA | HEADERS | CONTINUATION).then_some(head.stream)
}

/// Both sides begin with SETTINGS; anything else is not what it seems.
fn greets(greeted: &mut bool, head: Head) -> bool {
    *greeted |= head.kind == SETTINGS && head.stream == 0;
    *greeted
}
