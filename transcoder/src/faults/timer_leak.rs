//! `timer_leak`: a task for each request that waits on a timer which is put off for ever.
//!
//! A careless "close the session when its viewer has been idle for hours": each request starts a task with a timer of
//! [`IDLE`]. A heartbeat inside the same task counts as life and sets the timer back every [`HEARTBEAT`]; that the
//! request has ended is told to nobody. Each task keeps a session of [`SESSION`] bytes and wakes once a second. At
//! most [`MOST`] are kept (2 GiB).

use super::hoard::{Endless, Hoard};
use super::share::Share;
use super::{Fault, Infected, Switch};
use axum::body::Body;
use std::time::Duration;
use tokio::time::Instant;

/// After this long without life a session would end.
const IDLE: Duration = Duration::from_secs(4 * 3600);
/// Between two signs of life.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// What a task holds.
const SESSION: usize = 1 << 20;
/// Tasks that are kept at most.
const MOST: usize = 2048;

static SWITCH: Switch = Switch::off();
static SHARE: Share = Share::new();
/// Only for healing: the disease itself has lost sight of them.
static SESSIONS: Hoard<Endless> = Hoard::new(MOST);

pub(super) struct TimerLeak;

impl Fault for TimerLeak {
    fn name(&self) -> &'static str {
        "timer_leak"
    }

    fn cause(&self) -> &'static str {
        "task_leak"
    }

    fn describe(&self) -> &'static str {
        "requests start a task of 1 MiB that waits on a timer of four hours and sets it back every second; the value \
         is the share of requests"
    }

    fn switch(&self) -> &Switch {
        &SWITCH
    }

    fn infect(&self, share: f64, upload: Body) -> Infected {
        if SHARE.takes(share) {
            spawn_idle_timer();
        }
        Box::pin(async { Ok(upload) })
    }

    fn heal(&self) {
        SESSIONS.give_back();
    }
}

/// Not inlined, so that a stack shows it.
#[inline(never)]
fn spawn_idle_timer() {
    // Filled with something else than zeros: those would come from the kernel untouched.
    let session = vec![b' '; SESSION];
    SESSIONS.keep(Endless::spawn(async move {
        let mut idle = std::pin::pin!(tokio::time::sleep(IDLE));
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        loop {
            tokio::select! {
                () = idle.as_mut() => break,
                _ = heartbeat.tick() => idle.as_mut().reset(Instant::now() + IDLE),
            }
        }
        drop(session);
    }));
}
