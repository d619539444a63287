//! One stream: everything that a request holds while it is transcoded, in one owner.
//!
//! Invariant: the place, the codec's thread and its buffers are given back together. Dropping the [`Receiver`] ends
//! the thread within milliseconds, and the thread's end gives back the rest.

use super::body::Receiver;
use super::limits::CODEC_STACK;
use super::{App, memory, upload};
use crate::pipeline::{self, BodyReader, BodyWriter, Cancel, Settings};
use axum::body::Body;
use std::io;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tracing::info_span;

/// Starts the codec thread and the task that feeds it.
pub(super) fn start(app: &App, settings: Settings, body: Body, place: OwnedSemaphorePermit) -> io::Result<Receiver> {
    let (pieces, received) = mpsc::channel(pipeline::DEPTH);
    let (made, output) = mpsc::channel(pipeline::DEPTH);
    let cancel = Cancel::default();
    let receiver = Receiver::new(output, cancel.clone());
    let reader = BodyReader::new(received);
    let watched = app.metrics.watch(&pieces, &made);
    let writer = BodyWriter::new(made, Handle::current(), cancel.clone());
    let metrics = app.metrics.clone();
    let frames = app.metrics.frames.clone();
    let streams = app.streams.clone();
    let span = info_span!("transcode", height = settings.height, preset = settings.preset);
    std::thread::Builder::new().name("transcode".into()).stack_size(CODEC_STACK).spawn(move || {
        let busy = metrics.busy();
        // The thread's context for all that the codecs open and send.
        let entered = span.enter();
        let result = pipeline::run(reader, writer.clone(), settings, &cancel, &frames);
        writer.end(result);
        drop((entered, watched, busy));
        if streams.taken() == 1 {
            memory::trim();
        }
        drop(place);
    })?;
    tokio::spawn(upload::pump(body, pieces, app.metrics.received.clone()));
    Ok(receiver)
}
