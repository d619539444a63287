//! How long a stream may take: to send, to be read, to begin, and in all.
//!
//! Beginning and end are absolute: no trickle of bytes moves them. Standing still is judged by [`Patience`], for each
//! direction by itself, and only while it is the client that is waited for.

use crate::pipeline::Why;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The flags.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    /// The longest that the client may be waited for, in either direction.
    pub(crate) idle: Duration,
    /// From a request's head to the first byte of its result.
    pub(crate) first_byte: Duration,
    /// From a request's head to the end of its result.
    pub(crate) total: Duration,
}

/// Bytes that buy a second of patience: a client that is slower than this uses up what it has.
const BYTES_A_SECOND: f64 = 1024.0;

/// What is left of the patience with one side. Waiting uses it up, bytes buy it back, up to where it began: who sends
/// nothing has all of it and no more, and who drips has hardly longer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Patience {
    left: Duration,
    most: Duration,
}

impl Patience {
    /// With so much.
    pub(super) fn new(most: Duration) -> Self {
        Self { left: most, most }
    }

    /// What is left.
    pub(super) fn left(&self) -> Duration {
        self.left
    }

    /// It was waited so long, and then so many bytes moved.
    pub(super) fn spend(&mut self, waited: Duration, bytes: usize) {
        let bought = Duration::from_secs_f64(bytes as f64 / BYTES_A_SECOND);
        self.left = self.left.saturating_sub(waited).saturating_add(bought).min(self.most);
    }
}

/// Where a stream stands against its deadlines.
#[derive(Debug)]
pub(super) struct Clocks {
    deadlines: Deadlines,
    began: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    first_byte: bool,
    reader: Patience,
    /// Since when the client has not come for more, and what it has been given last.
    waiting: Option<(Instant, usize)>,
}

impl Clocks {
    /// Of a request that began now.
    pub(super) fn start(deadlines: Deadlines) -> Self {
        let state = State { first_byte: false, reader: Patience::new(deadlines.idle), waiting: None };
        Self { deadlines, began: Instant::now(), state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The result has begun.
    pub(super) fn first_byte(&self) {
        self.lock().first_byte = true;
    }

    /// The client's side was given so many bytes; from now on it is waited for.
    pub(super) fn given(&self, bytes: usize) {
        self.lock().waiting = Some((Instant::now(), bytes));
    }

    /// The client's side asks for more.
    pub(super) fn asked(&self) {
        let mut state = self.lock();
        if let Some((since, bytes)) = state.waiting.take() {
            state.reader.spend(since.elapsed(), bytes);
        }
    }

    /// The deadline that has passed, or when to look again.
    fn look(&self, now: Instant) -> Result<Why, Instant> {
        let state = self.lock();
        let Deadlines { idle, first_byte, total } = self.deadlines;
        // While nobody waits for the reader, a wait that begins later is found before it is much too long.
        let reader = state.waiting.map_or(now + idle / 4, |(since, _)| since + state.reader.left());
        let unread = (reader, Why::ReaderIdle(idle));
        let begin = (!state.first_byte).then_some((self.began + first_byte, Why::FirstByte(first_byte)));
        let (next, why) = [Some(unread), begin, Some((self.began + total, Why::Total(total)))]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
            .unwrap_or(unread);
        if next <= now { Ok(why) } else { Err(next) }
    }

    /// Waits until one has passed.
    pub(super) async fn overdue(&self) -> Why {
        loop {
            match self.look(Instant::now()) {
                Ok(why) => return why,
                Err(next) => tokio::time::sleep_until(next).await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn patience_is_used_up_by_waiting_and_bought_back_by_bytes() {
        let mut patience = Patience::new(30 * SECOND);
        patience.spend(20 * SECOND, 5 * 1024);
        assert_eq!(patience.left(), 15 * SECOND);
        patience.spend(SECOND, 1 << 20);
        assert_eq!(patience.left(), 30 * SECOND, "never more than it began with");
        patience.spend(31 * SECOND, 0);
        assert_eq!(patience.left(), Duration::ZERO);
    }

    /// A byte a second is next to nothing: it lasts as long as silence.
    #[test]
    fn dripping_does_not_help() {
        let mut patience = Patience::new(30 * SECOND);
        let mut drops = 0;
        // A wait that is longer than what is left ends the stream.
        while patience.left() > SECOND {
            patience.spend(SECOND, 1);
            drops += 1;
        }
        assert_eq!(drops, 30);
    }

    fn clocks() -> Clocks {
        Clocks::start(Deadlines { idle: 30 * SECOND, first_byte: 60 * SECOND, total: 600 * SECOND })
    }

    #[tokio::test]
    async fn the_first_deadline_that_passes_is_told() {
        let clocks = clocks();
        let after = |seconds: u32| clocks.look(clocks.began + seconds * SECOND);
        assert!(after(59).is_err());
        assert_eq!(after(60), Ok(Why::FirstByte(60 * SECOND)));
        clocks.first_byte();
        assert!(after(599).is_err(), "a codec may take its time when nobody waits for the client");
        assert_eq!(after(600), Ok(Why::Total(600 * SECOND)));
        clocks.given(16 << 10);
        assert!(after(29).is_err());
        assert_eq!(after(31), Ok(Why::ReaderIdle(30 * SECOND)));
        clocks.asked();
        assert!(after(31).is_err());
    }
}
