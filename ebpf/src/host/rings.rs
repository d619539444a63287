//! What the kernel programs put on their rings: waiting for it, and taking it off.
//!
//! Invariant: so much at most is taken at once, so that one flood cannot keep the agent from looking.

use super::{
    iterator,
    kernel::Kernel,
    waker::{self, Waker},
};
use crate::wire::{Event, RetransmitRecord, SocketRecord, StackRecord};
use std::{os::fd::AsRawFd, time::Duration};

/// Stacks gather for so long: their ring holds more than a hundred, which is some 5,000 a second.
const GATHER: Duration = Duration::from_millis(20);

impl Kernel {
    /// Takes at most `most` rare events off the ring.
    pub(crate) fn events(&mut self, most: usize, mut each: impl FnMut(Event)) {
        for _ in 0..most {
            let Some(item) = self.events.next() else { return };
            iterator::records::<Event>(&item).for_each(&mut each);
        }
    }

    /// Takes at most `most` records of bytes sent again.
    pub(crate) fn retransmits(&mut self, most: usize, mut each: impl FnMut(RetransmitRecord)) {
        for _ in 0..most {
            let Some(item) = self.retransmits.next() else { return };
            iterator::records::<RetransmitRecord>(&item).for_each(&mut each);
        }
    }

    /// Takes at most `most` news of sockets.
    pub(crate) fn sockets(&mut self, most: usize, mut each: impl FnMut(SocketRecord)) {
        for _ in 0..most {
            let Some(item) = self.sockets.next() else { return };
            iterator::records::<SocketRecord>(&item).for_each(&mut each);
        }
    }

    /// Takes at most `most` copied stacks off the ring.
    pub(crate) fn stacks(&mut self, most: usize, mut each: impl FnMut(&StackRecord)) {
        for _ in 0..most {
            let Some(item) = self.stacks.next() else { return };
            if item.len() >= size_of::<StackRecord>() && item.as_ptr().cast::<StackRecord>().is_aligned() {
                // SAFETY: ring entries are 8-byte aligned (checked) and this large; the record is plain data.
                each(unsafe { &*item.as_ptr().cast::<StackRecord>() });
            }
        }
    }

    /// Waits until a ring has something, at most this long, or until it is woken. Stacks are let gather for a moment: under
    /// load one wake-up then takes many of them.
    pub(crate) fn wait(&self, timeout: Duration, waker: Option<&Waker>) {
        let woken = waker.map_or(waker::entry(-1), Waker::entry);
        let mut entries = [waker::entry(self.events.as_raw_fd()), waker::entry(self.stacks.as_raw_fd()), woken];
        waker::wait(&mut entries, timeout);
        match (entries.map(|entry| entry.revents != 0), waker) {
            ([_, _, true], Some(waker)) => waker.clear(),
            ([false, true, _], _) => waker::wait(&mut entries[..1], timeout.min(GATHER)),
            _ => {}
        }
    }
}
