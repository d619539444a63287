//! Which stage of the pipeline a codec thread is in: a span for each, and its ids published while it works.
//!
//! A stage is entered many times for each picture, so its span is made once and is not entered as `tracing` does it:
//! entering here is one look at the clock and the stores that publish the ids. Time is counted for the innermost stage
//! alone, and not while the thread waits for its client. Invariant: outside [`run`] nothing here does anything, and
//! nothing of a stream is left on its thread.

use snowshed_guard::context::{self, TraceContext};
use std::cell::RefCell;
use std::marker::PhantomData;
use std::time::{Duration, Instant};
use tracing::field::Empty;
use tracing::{Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// A part of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The upload to packets.
    Demux,
    /// Packets to pictures and samples.
    Decode,
    /// Pictures and samples to what the encoder takes, and to packets again.
    Encode,
    /// Packets to the result.
    Mux,
}

struct Work {
    span: Span,
    ids: Option<TraceContext>,
    busy: Duration,
    items: u64,
    bytes: u64,
}

impl Work {
    fn new(span: Span) -> Self {
        let ids = TraceContext::of(&span.context());
        Self { span, ids, busy: Duration::ZERO, items: 0, bytes: 0 }
    }
}

struct Stages {
    works: [Work; 4],
    /// What the thread published before.
    base: Option<TraceContext>,
    /// Whose time it is.
    now: Option<Stage>,
    since: Instant,
}

impl Stages {
    fn new() -> Self {
        let works = [
            info_span!("demux", busy_ms = Empty, packets = Empty, bytes = Empty),
            info_span!("decode", busy_ms = Empty, frames = Empty),
            info_span!("encode", busy_ms = Empty, packets = Empty, bytes = Empty),
            info_span!("mux", busy_ms = Empty, pieces = Empty, bytes = Empty),
        ];
        Self { works: works.map(Work::new), base: context::current(), now: None, since: Instant::now() }
    }

    fn turn(&mut self, to: Option<Stage>) -> Option<Stage> {
        let (now, from) = (Instant::now(), self.now);
        if let Some(stage) = from {
            self.works[stage as usize].busy += now - self.since;
        }
        (self.now, self.since) = (to, now);
        from
    }

    fn publish(&self) {
        context::publish(self.now.and_then(|stage| self.works[stage as usize].ids).or(self.base));
    }
}

thread_local! {
    static STAGES: RefCell<Option<Stages>> = const { RefCell::new(None) };
}

fn with<T>(what: impl FnOnce(&mut Stages) -> T) -> Option<T> {
    STAGES.with(|stages| stages.try_borrow_mut().ok()?.as_mut().map(what))
}

/// Runs a stream's work with its stages told, under the span that the thread is in.
pub(super) fn run<T>(work: impl FnOnce() -> T) -> T {
    STAGES.with(|stages| *stages.borrow_mut() = Some(Stages::new()));
    let _told = Told;
    work()
}

/// Tells what was done, also if it ended in a panic.
struct Told;

impl Drop for Told {
    fn drop(&mut self) {
        let Some(mut stages) = STAGES.with(|stages| stages.borrow_mut().take()) else { return };
        stages.turn(None);
        context::publish(stages.base);
        let items = ["packets", "frames", "packets", "pieces"];
        for (work, items) in stages.works.iter().zip(items) {
            work.span.record("busy_ms", work.busy.as_secs_f64() * 1000.0);
            work.span.record(items, work.items);
            if work.span.has_field("bytes") {
                work.span.record("bytes", work.bytes);
            }
        }
    }
}

/// The thread works on this stage until the answer is dropped.
pub(super) fn enter(stage: Stage) -> Entered {
    let before = with(|stages| {
        let before = stages.turn(Some(stage));
        stages.publish();
        before
    });
    Entered { before: before.flatten(), republish: true, _this_thread: PhantomData }
}

/// The thread waits for its client until the answer is dropped: that is nobody's time.
pub(super) fn wait() -> Entered {
    let before = with(|stages| stages.turn(None));
    Entered { before: before.flatten(), republish: false, _this_thread: PhantomData }
}

/// The stage has made one more, of so many bytes.
pub(super) fn made(stage: Stage, bytes: usize) {
    with(|stages| {
        stages.works[stage as usize].items += 1;
        stages.works[stage as usize].bytes += bytes as u64;
    });
}

/// Goes back to the stage before.
pub(super) struct Entered {
    before: Option<Stage>,
    republish: bool,
    _this_thread: PhantomData<*const ()>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        with(|stages| {
            stages.turn(self.before);
            if self.republish {
                stages.publish();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn each_stage_publishes_its_own_span_and_nothing_is_left() {
        let provider = SdkTracerProvider::builder().build();
        let subscriber = tracing_subscriber::registry()
            .with(tracing_opentelemetry::layer().with_tracer(provider.tracer("test")))
            .with(snowshed_guard::ContextLayer::default());
        tracing::subscriber::with_default(subscriber, || {
            let span = info_span!("transcode");
            let entered = span.enter();
            let base = context::current().expect("a span");
            run(|| {
                let decode = {
                    let _decode = enter(Stage::Decode);
                    let decode = context::current().expect("published");
                    {
                        let _encode = enter(Stage::Encode);
                        let encode = context::current().expect("published");
                        assert_ne!(encode.span_id, decode.span_id);
                        let _wait = wait();
                        assert_eq!(context::current(), Some(encode), "what waits is still the same work");
                    }
                    assert_eq!(context::current(), Some(decode));
                    decode
                };
                assert_eq!(decode.trace_id, base.trace_id);
                assert_ne!(decode.span_id, base.span_id);
                assert_eq!(context::current(), Some(base));
            });
            assert_eq!(context::current(), Some(base));
            let _outside = enter(Stage::Mux);
            assert_eq!(context::current(), Some(base), "outside of a stream nothing happens");
            drop(entered);
        });
    }
}
