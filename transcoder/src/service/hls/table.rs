//! All sessions: finding them, and bounding them together.
//!
//! Invariants: sessions whose codec runs hold a stream's place, which bounds their number, and share
//! [`RUNNING_BYTES`] evenly. Of those whose codec has ended at most [`FINISHED`] and [`FINISHED_BYTES`] are kept for
//! viewers; over either the one that ended first is let go. Both are less where the memory budget is small.

use super::session::{Reason, Session};
use crate::pipeline::Settings;
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What all sessions keep together while their codecs run, on a machine that has the memory.
const RUNNING_BYTES: usize = 256 << 20;
/// Sessions that are over and kept for viewers.
const FINISHED: usize = 64;
/// What those keep together, likewise.
const FINISHED_BYTES: usize = 64 << 20;
/// Of the memory that streams may have, sessions keep at most this part beside it; a fifth of that is for those that
/// are over.
const PART_OF_BUDGET: u64 = 4;

/// All sessions of the service.
#[derive(Clone)]
pub(crate) struct Sessions {
    held: Arc<Mutex<Held>>,
    idle: Duration,
    window: usize,
    running_bytes: usize,
    finished_bytes: usize,
}

#[derive(Default)]
struct Held {
    open: HashMap<String, Arc<Session>>,
    /// Those of them whose codec has ended, in that order.
    finished: VecDeque<Arc<Session>>,
    idle: u64,
    deleted: u64,
    dropped: u64,
}

/// What there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SessionCounts {
    /// Sessions whose codec runs.
    pub(super) running: usize,
    /// Sessions whose codec has ended.
    pub(super) finished: usize,
    /// Bytes of segments that all of them keep.
    pub(super) bytes: usize,
    /// Sessions that ended since the start because nobody asked for anything,
    pub(super) idle: u64,
    /// because somebody ended them,
    pub(super) deleted: u64,
    /// and because others needed their memory.
    pub(super) dropped: u64,
}

impl Sessions {
    /// None yet. They end when nobody asks for anything for `idle`, and keep at most `window` bytes each; `budget` is
    /// the memory of all streams.
    pub(crate) fn new(idle: Duration, window: u64, budget: u64) -> Self {
        let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let all = budget / PART_OF_BUDGET;
        Self {
            held: Arc::default(),
            idle,
            window: bytes(window),
            running_bytes: RUNNING_BYTES.min(bytes(all / 5 * 4)),
            finished_bytes: FINISHED_BYTES.min(bytes(all / 5)),
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Nothing under this lock can panic.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a session lives that nobody asks for anything.
    pub(super) fn idle(&self) -> Duration {
        self.idle
    }

    /// A new session, under a name of 122 random bits.
    pub(super) fn open(&self, init: &Bytes, settings: &Settings) -> Arc<Session> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let session = Arc::new(Session::new(id.clone(), self.idle, init, settings));
        self.held().open.insert(id, session.clone());
        session
    }

    /// The session of this name; it counts as asked for.
    pub(super) fn find(&self, id: &str) -> Option<Arc<Session>> {
        let session = self.held().open.get(id).cloned()?;
        session.touch();
        Some(session)
    }

    /// What a session whose codec runs may keep now.
    pub(super) fn share(&self) -> usize {
        let held = self.held();
        let running = held.open.len().saturating_sub(held.finished.len()).max(1);
        self.window.min(self.running_bytes / running)
    }

    /// Its codec has ended: from now on it is kept only as long as there is room.
    pub(super) fn finish(&self, session: &Arc<Session>) {
        let mut held = self.held();
        if !held.open.contains_key(session.id()) {
            return;
        }
        held.finished.push_back(session.clone());
        let mut bytes: usize = held.finished.iter().map(bytes).sum();
        while held.finished.len() > FINISHED || bytes > self.finished_bytes {
            let Some(oldest) = held.finished.pop_front() else { return };
            bytes = bytes.saturating_sub(self::bytes(&oldest));
            held.open.remove(oldest.id());
            held.dropped += 1;
            oldest.close(Reason::Dropped);
        }
    }

    /// Ends a session, if it is there.
    pub(super) fn close(&self, id: &str, reason: Reason) -> bool {
        let mut held = self.held();
        let Some(session) = held.open.remove(id) else { return false };
        held.finished.retain(|other| other.id() != id);
        match reason {
            Reason::Idle => held.idle += 1,
            Reason::Deleted => held.deleted += 1,
            Reason::Dropped => held.dropped += 1,
        }
        drop(held);
        session.close(reason);
        true
    }

    /// What there is now.
    pub(super) fn count(&self) -> SessionCounts {
        let held = self.held();
        let finished = held.finished.len();
        SessionCounts {
            running: held.open.len().saturating_sub(finished),
            finished,
            bytes: held.open.values().map(bytes).sum(),
            idle: held.idle,
            deleted: held.deleted,
            dropped: held.dropped,
        }
    }
}

fn bytes(session: &Arc<Session>) -> usize {
    session.look(|window| window.bytes())
}

#[cfg(test)]
mod tests {
    use super::super::cut::tests::settings;
    use super::*;

    fn finished(sessions: &Sessions, kept: usize) -> Arc<Session> {
        let session = sessions.open(&Bytes::new(), &settings(2.0, 2.0, 0.5));
        session.push(&vec![0; kept].into(), (0.5, true, true), kept * 8);
        session.end(Ok(()));
        sessions.finish(&session);
        session
    }

    #[test]
    fn finished_ones_are_bounded_in_number_and_the_oldest_goes() {
        let sessions = Sessions::new(Duration::from_secs(30), 1 << 20, 8 << 30);
        let first = finished(&sessions, 10);
        for _ in 0..FINISHED {
            finished(&sessions, 10);
        }
        assert!(sessions.find(first.id()).is_none());
        let counts = sessions.count();
        assert_eq!((counts.finished, counts.running, counts.bytes, counts.dropped), (FINISHED, 0, FINISHED * 10, 1));
    }

    #[test]
    fn finished_ones_are_bounded_in_bytes() {
        let sessions = Sessions::new(Duration::from_secs(30), 64 << 20, 8 << 30);
        let kept: Vec<_> = (0..5).map(|_| finished(&sessions, FINISHED_BYTES / 4)).collect();
        assert_eq!(sessions.count().bytes, FINISHED_BYTES);
        assert!(sessions.find(kept[0].id()).is_none() && sessions.find(kept[1].id()).is_some());
    }

    #[test]
    fn running_ones_share_and_a_closed_one_is_gone_for_good() {
        let sessions = Sessions::new(Duration::from_secs(30), 16 << 20, 8 << 30);
        assert_eq!(sessions.share(), 16 << 20);
        let open: Vec<_> = (0..32).map(|_| sessions.open(&Bytes::new(), &settings(2.0, 2.0, 0.5))).collect();
        assert_eq!(sessions.share(), 8 << 20);
        assert!(sessions.close(open[0].id(), Reason::Deleted) && !sessions.close(open[0].id(), Reason::Deleted));
        sessions.finish(&open[0]);
        assert_eq!((sessions.count().running, sessions.count().finished, sessions.count().deleted), (31, 0, 1));
        let poor = Sessions::new(Duration::from_secs(30), 16 << 20, 40 << 20);
        assert_eq!((poor.share(), poor.finished_bytes), (8 << 20, 2 << 20), "a quarter of the budget, in 4 : 1");
    }
}
