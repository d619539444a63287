//! Looks at a process that may never answer: memory behind a page fault that the process itself is to serve
//! (`userfaultfd`), or behind a file system of its own (FUSE), holds up whoever reads it.
//!
//! Invariant: nobody waits for a target for longer than [`WAIT`]. A look that takes longer goes on by itself; until it is
//! back, what was known stays and the process is not looked at again.
//! Cost: a thread for each look, for as long as it takes; nothing for a process that has not run since its last.

use super::Publisher;
use crate::host::clock;
use snowshed_engine::model::{Nanos, Pid};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

/// The first look is waited for a little longer: whoever names a process wants to know.
const WAIT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_millis(50));
/// How often one that is away is asked for.
const AGAIN: Nanos = 200_000_000;
/// How often one that sleeps is asked whether it still does.
const SLEEP: Nanos = 1_000_000_000;
/// After this long it is said.
const LONG: Nanos = 2_000_000_000;
/// Looks that are away at the same time.
const MOST_AWAY: usize = 32;

/// A process that is looked at.
#[derive(Debug)]
pub(crate) struct Followed {
    pid: Pid,
    known: Publisher,
    away: Option<(Receiver<Publisher>, Nanos)>,
    due: Nanos,
    /// When the last look began.
    looked: Nanos,
}

/// How many looks are away.
#[derive(Clone, Debug, Default)]
pub(crate) struct Away(Arc<AtomicUsize>);

/// One of them.
pub(crate) struct Ticket(Away);

impl Away {
    pub(crate) fn ticket(&self) -> Option<Ticket> {
        if self.0.fetch_add(1, Ordering::Relaxed) >= MOST_AWAY {
            self.0.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Ticket(self.clone()))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Followed {
    /// Looked at for the first time.
    pub(crate) fn begin(pid: Pid, away: &Away) -> Self {
        let now = clock::now();
        let mut followed = Self { pid, known: Publisher::new(now), away: None, due: now, looked: now };
        followed.look(now, WAIT.0, away);
        followed
    }

    /// The child of one that is known.
    pub(crate) fn forked(&self, pid: Pid) -> Self {
        let now = clock::now();
        let known = self.known.forked(now);
        Self { pid, due: known.due(), known, away: None, looked: now }
    }

    /// What is known of it.
    pub(crate) fn known(&self) -> &Publisher {
        &self.known
    }

    /// When it wants to be looked at.
    pub(crate) fn due(&self) -> Nanos {
        self.due
    }

    /// When it was last looked at; `None` while a look is away.
    pub(crate) fn looked(&self) -> Option<Nanos> {
        self.away.is_none().then_some(self.looked)
    }

    /// It has not run since: what only it can change is as it was.
    pub(crate) fn let_sleep(&mut self, now: Nanos) {
        self.due = now + SLEEP;
    }

    /// Why what it publishes is not read.
    pub(crate) fn trouble(&self) -> Option<String> {
        let away =
            self.away.as_ref().map(|(_, since)| clock::now().saturating_sub(*since)).filter(|away| *away >= LONG);
        match away {
            Some(away) => Some(format!("its memory has not answered for {} s", away / 1_000_000_000)),
            None => self.known.trouble(),
        }
    }

    /// Looks; true: something of it is news.
    pub(crate) fn follow(&mut self, now: Nanos, away: &Away) -> bool {
        self.look(now, WAIT.1, away)
    }

    fn look(&mut self, now: Nanos, wait: Duration, away: &Away) -> bool {
        self.due = now + AGAIN;
        // One that has been away is only asked for.
        let wait = if self.away.is_some() { Duration::ZERO } else { wait };
        if self.away.is_none() {
            let Some(ticket) = away.ticket() else { return false };
            let (pid, mut publisher) = (self.pid, self.known.clone());
            let (give, take) = mpsc::sync_channel(1);
            let spawned = thread::Builder::new().name("publishers".to_owned()).spawn(move || {
                publisher.look(pid, now);
                // Nobody waits for it any more where the process has ended, or executed another program.
                drop(give.send(publisher));
                drop(ticket);
            });
            if spawned.is_err() {
                return false;
            }
            self.away = Some((take, now));
            self.looked = now;
        }
        let Some((take, _)) = &self.away else { return false };
        match take.recv_timeout(wait) {
            Ok(publisher) => {
                let news = self.known.differs(&publisher);
                (self.known, self.away) = (publisher, None);
                self.due = self.known.due();
                news
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => {
                self.away = None;
                false
            }
        }
    }
}
