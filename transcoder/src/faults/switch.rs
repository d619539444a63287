//! Whether a fault is on, and with which value.
//!
//! Invariant: [`any_is_on`] is one relaxed load, and all that a healthy request pays for each look.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many are on.
static ON: AtomicUsize = AtomicUsize::new(0);

/// Whether there is anything to look at.
pub(super) fn any_is_on() -> bool {
    ON.load(Ordering::Relaxed) != 0
}

/// A fault's value while it is on, and as it was written.
pub(crate) struct Switch(Mutex<Option<(f64, String)>>);

impl Switch {
    /// As every fault begins.
    pub(super) const fn off() -> Self {
        Self(Mutex::new(None))
    }

    /// Switches it on with a value, or off.
    pub(super) fn set(&self, value: Option<(f64, String)>) {
        let mut held = self.lock();
        match (held.is_some(), value.is_some()) {
            (false, true) => ON.fetch_add(1, Ordering::Relaxed),
            (true, false) => ON.fetch_sub(1, Ordering::Relaxed),
            _ => 0,
        };
        *held = value;
    }

    /// The value, if it is on.
    pub(super) fn value(&self) -> Option<f64> {
        self.lock().as_ref().map(|(value, _)| *value)
    }

    /// The value as it was written, if it is on.
    pub(super) fn text(&self) -> Option<String> {
        self.lock().as_ref().map(|(_, text)| text.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Option<(f64, String)>> {
        // Nothing under this lock can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
