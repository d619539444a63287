//! One stream: everything that a request holds while it is transcoded, in one owner.
//!
//! Invariant: place, memory, codec and buffers are given back together, when both the codec has ended and nobody holds
//! the [`Receiver`] any more; the thread is free for the next stream as soon as the codec has ended. Dropping the
//! receiver, a deadline and the end of the service cancel the stream, and everything that waits for it stops waiting.

use super::App;
use super::admission::Place;
use super::body::Receiver;
use super::deadlines::Clocks;
use super::limits::threads_for;
use super::stop::{Stage, Stop};
use super::transfer::{self, Transfer};
use super::upload::Upload;
use crate::pipeline::{self, BodyReader, BodyWriter, Cancel, Settings, Why};
use axum::body::Body;
use snowshed_guard::with_current_trace;
use std::io;
use std::sync::{Arc, OnceLock};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tracing::field::Empty;
use tracing::info_span;

/// What a stream is held by; gives the place back when the last that needs it is gone.
pub(super) struct Owner {
    place: Place,
    /// Its deadlines.
    pub(super) clocks: Arc<Clocks>,
    /// Ends it.
    pub(super) cancel: Cancel,
    /// What sends its result, once that is the body of an answer.
    pub(super) answer: Arc<OnceLock<Transfer>>,
}

/// Starts the codec's job and the task that feeds it and watches its deadlines.
///
/// # Errors
/// There is no thread for it.
pub(super) fn start(app: &App, mut settings: Settings, body: Body, place: Place) -> io::Result<Receiver> {
    settings.threads = app.codec_threads.unwrap_or_else(|| {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        threads_for(app.streams.taken(), cores)
    });
    let (pieces, received) = mpsc::channel(pipeline::DEPTH);
    let (made, output) = mpsc::channel(pipeline::DEPTH);
    let cancel = Cancel::taking_turns(app.rota.clone(), Handle::current());
    let clocks = Arc::new(Clocks::start(app.deadlines));
    let answer = Arc::default();
    let watched = app.metrics.watch(&pieces, &made);
    let owner = Owner { place, clocks: Arc::clone(&clocks), cancel: cancel.clone(), answer: Arc::clone(&answer) };
    let owner = Arc::new(owner);
    let reader = BodyReader::new(received, Handle::current(), cancel.clone());
    let writer = BodyWriter::new(made, Handle::current(), cancel.clone());
    let frames = app.metrics.frames.clone();
    let span = info_span!("transcode", height = settings.height, preset = settings.preset, otel.status_code = Empty);
    let held = owner.clone();
    app.pool.run(move || {
        // The thread's context for all that the codecs open and send.
        let entered = span.enter();
        let grow = |bytes| held.place.grow_to(bytes);
        let result = pipeline::run(reader, writer.clone(), settings, &held.cancel, &frames, &grow);
        if let Err(error) = &result {
            tracing::info!(%error, "ended early");
            span.record("otel.status_code", "ERROR");
        }
        writer.end(result);
        drop((entered, watched));
    })?;
    let upload = Upload {
        pieces,
        cancel: cancel.clone(),
        transfer: transfer::current().filter(Transfer::has_a_socket),
        idle: app.deadlines.idle,
        received: app.metrics.received.clone(),
    };
    let watch = Watch { cancel, clocks, answer, stop: app.stop.clone() };
    tokio::spawn(with_current_trace(watch.over(upload.pump(body))));
    Ok(Receiver::new(output, owner))
}

/// What may end a stream from outside.
struct Watch {
    cancel: Cancel,
    clocks: Arc<Clocks>,
    answer: Arc<OnceLock<Transfer>>,
    stop: Stop,
}

impl Watch {
    /// Lets the upload run until the stream is over, and ends the stream when a deadline passes or the service stops.
    async fn over(self, upload: impl Future<Output = ()>) {
        let mut upload = std::pin::pin!(upload);
        let mut uploading = true;
        let why = loop {
            tokio::select! {
                biased;
                why = self.cancel.cancelled() => break why,
                why = self.clocks.overdue() => self.cancel.set(why),
                () = self.stop.reached(Stage::Ending) => self.cancel.set(Why::Stopping),
                () = &mut upload, if uploading => uploading = false,
            }
        };
        // A client that does not read is not there to be told: its transfer can only be broken off.
        if let (Some(answer), false) = (self.answer.get(), why == Why::Gone) {
            answer.cut();
        }
        if uploading {
            upload.await;
        }
    }
}
