//! `lock_pileup`: a timer that piles up behind one mutex.
//!
//! A careless catalogue: one mutex, which every request takes to look its asset up, and which a timer takes every
//! [`PERIOD`] to read the catalogue again from something slow, holding it all the while. Nothing keeps a second reading
//! from starting while the first is still at it: once a reading takes longer than the period, readings queue behind
//! each other and requests behind them. Both wait on threads for blocking work, so the event loop goes on and the
//! threads grow in number. At most [`MOST`] readings wait.

use super::hoard::Endless;
use super::{Fault, Infected, Switch};
use axum::body::Body;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tracing::Span;

/// Between two readings.
const PERIOD: Duration = Duration::from_secs(5);
/// Readings that run or wait at most.
const MOST: usize = 64;
/// One wait for the slow thing.
const POLL: Duration = Duration::from_millis(20);

static SWITCH: Switch = Switch::off();
/// How often it was read, and looked at.
static CATALOGUE: Mutex<(u64, u64)> = Mutex::new((0, 0));
static READINGS: AtomicUsize = AtomicUsize::new(0);
static TIMER: Mutex<Option<Endless>> = Mutex::new(None);

pub(super) struct LockPileup;

impl Fault for LockPileup {
    fn name(&self) -> &'static str {
        "lock_pileup"
    }

    fn cause(&self) -> &'static str {
        "lock_contention"
    }

    fn describe(&self) -> &'static str {
        "a timer takes, every 5 s, the mutex that every request needs; the value is how many milliseconds it holds it"
    }

    fn switch(&self) -> &Switch {
        &SWITCH
    }

    fn default_value(&self) -> &'static str {
        "6000"
    }

    fn parse(&self, value: &str) -> Result<f64, String> {
        match value.parse::<u32>() {
            Ok(milliseconds @ 1..=60_000) => Ok(f64::from(milliseconds)),
            _ => Err("milliseconds from 1 to 60000".into()),
        }
    }

    fn begin(&self) {
        timer().get_or_insert_with(|| {
            Endless::spawn(async {
                let mut tick = tokio::time::interval(PERIOD);
                loop {
                    tick.tick().await;
                    tokio::task::spawn_blocking(refresh_catalogue);
                }
            })
        });
    }

    fn infect(&self, _milliseconds: f64, upload: Body) -> Infected {
        let span = Span::current();
        let looked_up = tokio::task::spawn_blocking(move || span.in_scope(look_up_in_catalogue));
        Box::pin(async {
            looked_up.await.map_err(io::Error::other)?;
            Ok(upload)
        })
    }

    fn heal(&self) {
        // The readings see by the switch that they need not go on.
        timer().take();
    }
}

fn timer() -> MutexGuard<'static, Option<Endless>> {
    TIMER.lock().unwrap_or_else(PoisonError::into_inner)
}

fn catalogue() -> MutexGuard<'static, (u64, u64)> {
    CATALOGUE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads the catalogue again, as slowly as the value says. Not inlined, so that a stack shows it.
#[inline(never)]
fn refresh_catalogue() {
    if READINGS.fetch_add(1, Ordering::Relaxed) < MOST {
        let mut catalogue = catalogue();
        let began = Instant::now();
        while let Some(milliseconds) = SWITCH.value() {
            let takes = Duration::from_secs_f64(milliseconds / 1000.0);
            match takes.checked_sub(began.elapsed()) {
                Some(left) if !left.is_zero() => std::thread::sleep(left.min(POLL)),
                _ => break,
            }
        }
        catalogue.0 += 1;
    }
    READINGS.fetch_sub(1, Ordering::Relaxed);
}

/// Not inlined, so that a stack shows it.
#[inline(never)]
fn look_up_in_catalogue() {
    catalogue().1 += 1;
}
