//! One live session: its window, who waits for it, and its life.
//!
//! Invariants: whoever waits is woken by every change and by the end, and waits for a bounded time. Of a viewer that
//! reads slowly no more than one part is held beside the window: bodies take part after part, and break off when the
//! segment is gone. The lock is held for copies of one fragment and for rendering, never across a wait.

use super::super::body::BodyError;
use super::window::Window;
use crate::pipeline::{PipelineError, Settings, Why};
use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

/// Requests that may wait at once for what a session makes next.
const WAITING: usize = 1024;
/// A full window waits so long for a viewer at most, before segments go that nobody has taken.
const HOLD: Duration = Duration::from_secs(45);

/// A session.
pub(super) struct Session {
    id: String,
    idle: Duration,
    state: Mutex<State>,
    /// Told of every change.
    changed: watch::Sender<()>,
    /// Told when a viewer has taken something.
    taken: Notify,
    /// Told when nobody waits any more.
    alone: Notify,
}

struct State {
    window: Window,
    life: Life,
    /// When somebody last asked for something or was given something.
    asked: Instant,
    /// Requests that wait.
    waiting: usize,
    /// Nobody takes anything: segments go unseen.
    sliding: bool,
    uploader_gone: bool,
}

enum Life {
    /// The codec runs.
    Running,
    /// It does not, and this is how it ended; viewers may still come.
    Ended(Result<(), Arc<BodyError>>),
    /// Nobody may come.
    Closed(Reason),
}

/// Why a session is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Nobody asked for anything.
    Idle,
    /// Somebody ended it.
    Deleted,
    /// It was over, and others needed its memory.
    Dropped,
}

/// Why a viewer got nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waited {
    /// The session is no more.
    Gone,
    /// It took too long.
    TooLong,
    /// Too many wait already.
    TooMany,
}

impl Session {
    /// A session that begins now.
    pub(super) fn new(id: String, idle: Duration, init: &Bytes, settings: &Settings) -> Self {
        let state = State {
            window: Window::new(init, settings),
            life: Life::Running,
            asked: Instant::now(),
            waiting: 0,
            sliding: false,
            uploader_gone: false,
        };
        let (changed, taken, alone) = Default::default();
        Self { id, idle, state: Mutex::new(state), changed, taken, alone }
    }

    /// How long it lives without anybody.
    pub(super) fn idle(&self) -> Duration {
        self.idle
    }

    /// Its name, which nobody can guess.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock leaves it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.send_replace(());
    }

    /// Looks at the window.
    pub(super) fn look<T>(&self, look: impl FnOnce(&mut Window) -> T) -> T {
        look(&mut self.state().window)
    }

    /// Somebody is there.
    pub(super) fn touch(&self) {
        self.state().asked = Instant::now();
    }

    /// A viewer was given a part.
    pub(super) fn give(&self, number: u64, part: usize) -> Option<Bytes> {
        let mut state = self.state();
        let bytes = state.window.part(number, part)?;
        state.window.taken(number, part);
        (state.asked, state.sliding) = (Instant::now(), false);
        drop(state);
        self.taken.notify_one();
        Some(bytes)
    }

    /// Waits until `look` finds something: at most three target durations.
    pub(super) async fn wait<T>(&self, mut look: impl FnMut(&mut Window) -> Option<T>) -> Result<T, Waited> {
        let mut changed = self.changed.subscribe();
        let target = self.look(|window| window.target());
        let until = Instant::now() + Duration::from_secs(target.saturating_mul(3));
        let mut place = None;
        loop {
            {
                let mut state = self.state();
                if let Life::Closed(_) = state.life {
                    return Err(Waited::Gone);
                }
                if let Some(found) = look(&mut state.window) {
                    return Ok(found);
                }
                if place.is_none() {
                    if state.waiting >= WAITING {
                        return Err(Waited::TooMany);
                    }
                    state.waiting += 1;
                    place = Some(Place(self));
                }
            }
            match timeout_at(until, changed.changed()).await {
                Ok(Ok(())) => {}
                // The sender lives in this session.
                Ok(Err(_)) => return Err(Waited::Gone),
                Err(_) => return Err(Waited::TooLong),
            }
        }
    }

    /// Makes room for a fragment: waits for a viewer while the window is full of what nobody has taken. The limit that
    /// it fits into.
    pub(super) async fn room(&self, incoming: usize, limit: impl Fn() -> usize) -> usize {
        let until = Instant::now() + self.idle.min(HOLD);
        loop {
            {
                let limit = limit();
                let mut state = self.state();
                state.sliding |= Instant::now() >= until;
                let sliding = state.sliding;
                if state.window.make_room(incoming, limit, sliding) {
                    return limit;
                }
            }
            // Out of time: the next look slides.
            timeout_at(until, self.taken.notified()).await.unwrap_or_default();
        }
    }

    /// Adds a fragment.
    pub(super) fn push(&self, bytes: &Bytes, (seconds, independent, last): (f64, bool, bool), limit: usize) {
        self.change(|state| state.window.push(bytes, seconds, independent, last, limit));
    }

    /// Waits until a viewer who follows has the last part, at most a target duration: players that learn of the end
    /// while parts before it are still to be fetched may never ask for those. Nobody is waited for who was not there.
    pub(super) async fn followed(&self) {
        let target = Duration::from_secs(self.look(|window| window.target()));
        let until = Instant::now() + target;
        loop {
            {
                let state = self.state();
                if state.window.is_taken() || (state.waiting == 0 && state.asked.elapsed() > target) {
                    return;
                }
            }
            if timeout_at(until, self.taken.notified()).await.is_err() {
                return;
            }
        }
    }

    /// The codec has ended: what is there is all.
    pub(super) fn end(&self, how: Result<(), BodyError>) {
        let how = how.map_err(Arc::new);
        self.change(|state| {
            state.window.end();
            if let Life::Running = state.life {
                state.life = Life::Ended(how);
            }
        });
    }

    /// Ends it for everybody and lets everything go.
    pub(super) fn close(&self, reason: Reason) {
        self.change(|state| {
            state.life = Life::Closed(reason);
            state.window.clear();
        });
    }

    /// Whoever uploads is no longer there.
    pub(super) fn uploader_gone(&self) {
        self.change(|state| state.uploader_gone = true);
    }

    /// Waits for the codec's end; why it was not a good one.
    pub(super) async fn ended(&self) -> Result<(), Arc<BodyError>> {
        let ended = |why| Err(Arc::new(BodyError::Pipeline(PipelineError::Ended(why))));
        let mut changed = self.changed.subscribe();
        loop {
            match &self.state().life {
                Life::Running => {}
                Life::Ended(how) => return how.clone(),
                Life::Closed(Reason::Idle) => return ended(Why::ReaderIdle(self.idle)),
                Life::Closed(Reason::Deleted | Reason::Dropped) => return ended(Why::Gone),
            }
            if changed.changed().await.is_err() {
                return ended(Why::Gone);
            }
        }
    }

    /// Waits until nothing of it is wanted: nobody has asked for long enough, or it was closed.
    pub(super) async fn unwanted(&self) {
        let mut changed = self.changed.subscribe();
        loop {
            let until = {
                let state = self.state();
                let until = state.asked + self.idle;
                match state.life {
                    Life::Closed(_) => return,
                    _ if state.waiting > 0 => None,
                    _ if Instant::now() >= until => return,
                    _ => Some(until),
                }
            };
            let timer = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = timer => {}
                () = self.alone.notified() => {}
                told = changed.changed() => if told.is_err() { return },
            }
        }
    }

    /// Waits until nobody uploads.
    pub(super) async fn abandoned(&self) {
        let mut changed = self.changed.subscribe();
        while !self.state().uploader_gone {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }
}

/// A request that waits.
struct Place<'a>(&'a Session);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.waiting -= 1;
        // The idle time begins again.
        state.asked = Instant::now();
        if state.waiting == 0 {
            self.0.alone.notify_one();
        }
    }
}
