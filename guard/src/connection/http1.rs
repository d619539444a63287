//! HTTP/1.1: responses leave in the order of their requests, one after the other.
//!
//! hyper takes a pipelined request only when the response before it has been handed over whole, but that may still lie
//! in its buffer when the socket takes no more; a write could then hold the end of one and the beginning of the next.
//! So after a request that begins over such a rest, nothing is published until a write has taken all that there was.
//! When a response is over and gone, what follows (an answer of hyper's own to a broken request) is nobody's.

use super::Slot;
use crate::context::TraceContext;
use std::sync::Arc;

#[derive(Debug, Default)]
pub(super) struct Connection {
    current: Option<Arc<Slot>>,
    /// Something was offered and not taken.
    rest: bool,
    /// The rest is of another request than `current`.
    mixed: bool,
}

impl Connection {
    pub(super) fn begin(&mut self, slot: Arc<Slot>) {
        self.mixed = self.rest;
        self.current = Some(slot);
    }

    pub(super) fn context(&self) -> Option<TraceContext> {
        self.current.as_ref().filter(|_| !self.mixed)?.context()
    }

    pub(super) fn written(&mut self, all: bool) {
        self.rest = !all;
        if all {
            self.mixed = false;
            self.flushed();
        }
    }

    pub(super) fn flushed(&mut self) {
        if !self.rest && self.current.as_ref().is_some_and(|slot| slot.is_over()) {
            self.current = None;
        }
    }
}
