//! `task_leak`: a task for each request that never ends.
//!
//! A careless progress page: each request starts a task that writes the stream's steps down as they come over a
//! channel. The sending end is put into a global list of subscribers and never taken out, so the channel never closes
//! and the task waits for a next step for ever, with its page of [`PAGE`] bytes. At most [`MOST`] are kept (2 GiB).

use super::hoard::{Endless, Hoard};
use super::share::Share;
use super::{Fault, Infected, Switch};
use axum::body::Body;
use tokio::sync::mpsc;

/// What a task holds.
const PAGE: usize = 1 << 20;
/// Tasks that are kept at most.
const MOST: usize = 2048;

static SWITCH: Switch = Switch::off();
static SHARE: Share = Share::new();
/// The disease: nobody ever leaves.
static SUBSCRIBERS: Hoard<(mpsc::Sender<u8>, Endless)> = Hoard::new(MOST);

pub(super) struct TaskLeak;

impl Fault for TaskLeak {
    fn name(&self) -> &'static str {
        "task_leak"
    }

    fn cause(&self) -> &'static str {
        "task_leak"
    }

    fn describe(&self) -> &'static str {
        "requests start a task of 1 MiB that waits for ever on a channel that nobody closes; the value is the share \
         of requests"
    }

    fn switch(&self) -> &Switch {
        &SWITCH
    }

    fn infect(&self, share: f64, upload: Body) -> Infected {
        if SHARE.takes(share) {
            spawn_progress_page();
        }
        Box::pin(async { Ok(upload) })
    }

    fn heal(&self) {
        SUBSCRIBERS.give_back();
    }
}

/// Not inlined, so that a stack shows it.
#[inline(never)]
fn spawn_progress_page() {
    let (step, mut steps) = mpsc::channel(1);
    // Filled with something else than zeros: those would come from the kernel untouched.
    let mut page = vec![b' '; PAGE];
    let written = async move {
        let mut at = 0;
        while let Some(step) = steps.recv().await {
            page[at % PAGE] = step;
            at += 1;
        }
    };
    SUBSCRIBERS.keep((step, Endless::spawn(written)));
}
