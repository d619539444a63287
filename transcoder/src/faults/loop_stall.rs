//! `loop_stall`: a synchronous client on the event loop.
//!
//! Every request asks "another system" with a client from before the service was asynchronous. The thread that should
//! serve hundreds of connections sleeps in the kernel meanwhile; with as many such requests as there are event-loop
//! threads nobody is served.

use super::{Fault, Infected, Switch};
use axum::body::Body;
use std::time::{Duration, Instant};

/// One wait for the answer of a synchronous client: it polls, as such clients do.
const POLL: Duration = Duration::from_millis(20);

static SWITCH: Switch = Switch::off();

pub(super) struct LoopStall;

impl Fault for LoopStall {
    fn name(&self) -> &'static str {
        "loop_stall"
    }

    fn cause(&self) -> &'static str {
        "event_loop_stall"
    }

    fn default_value(&self) -> &'static str {
        "400"
    }

    fn describe(&self) -> &'static str {
        "every request makes a blocking call on the event-loop thread; the value is its length in milliseconds"
    }

    fn switch(&self) -> &Switch {
        &SWITCH
    }

    fn parse(&self, value: &str) -> Result<f64, String> {
        match value.parse::<u32>() {
            Ok(milliseconds @ 1..=10_000) => Ok(f64::from(milliseconds)),
            _ => Err("milliseconds from 1 to 10000".into()),
        }
    }

    fn infect(&self, value: f64, upload: Body) -> Infected {
        Box::pin(async move {
            ask_licence_server_synchronously(Duration::from_secs_f64(value / 1000.0));
            Ok(upload)
        })
    }
}

/// Stands for the old client. Not inlined, so that a stack shows it.
#[inline(never)]
fn ask_licence_server_synchronously(answer_takes: Duration) {
    let asked = Instant::now();
    while let Some(left) = answer_takes.checked_sub(asked.elapsed()).filter(|left| !left.is_zero()) {
        std::thread::sleep(left.min(POLL));
    }
}
