//! `GET /api/v1/stream`: live samples and incidents, as server-sent events.
//!
//! Invariant: bounded in every direction. At most 32 readers; the last 15 minutes are kept (but never
//! more than 4 MiB) for those who connect or come back with `Last-Event-ID`; a reader that cannot keep up
//! misses events, which is counted, and nobody waits for it. Ids rise over restarts.
//! Cost: each event is rendered once, whatever the number of readers.

use super::Sources;
use crate::{metrics::Tally, problem::Problem};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{
        IntoResponse, Response,
        sse::{Event as SseEvent, KeepAlive, Sse},
    },
};
use futures_util::stream;
use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};

/// Readers at the same time.
pub(super) const READERS: usize = 32;
/// Events that a slow reader may lag behind.
const LAG: usize = 256;
/// Events kept for readers who connect: 15 minutes of samples.
const KEPT: usize = 900;
/// The most that the kept events may weigh, bytes.
const KEPT_BYTES: usize = 4 * 1024 * 1024;

/// An event on the wire.
#[derive(Debug)]
pub(crate) struct Event {
    id: u64,
    kind: &'static str,
    json: String,
}

/// Where events are published and read.
#[derive(Debug)]
pub(crate) struct Hub {
    state: Mutex<Kept>,
    seats: Arc<Semaphore>,
}

/// Events as they are published.
type Live = broadcast::Receiver<Arc<Event>>;

#[derive(Debug)]
struct Kept {
    next: u64,
    bytes: usize,
    events: VecDeque<Arc<Event>>,
    /// `None` once the agent is ending: readers then come to their end.
    live: Option<broadcast::Sender<Arc<Event>>>,
}

impl Hub {
    /// A hub without events.
    pub(crate) fn new() -> Self {
        // Milliseconds rise faster than events are made, so ids rise over restarts as well.
        let first = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_millis());
        let kept = Kept {
            next: u64::try_from(first).unwrap_or(1),
            bytes: 0,
            events: VecDeque::new(),
            live: Some(broadcast::channel(LAG).0),
        };
        Self { state: Mutex::new(kept), seats: Arc::new(Semaphore::new(READERS)) }
    }

    /// Publishes a sample or an incident.
    pub(crate) fn publish(&self, kind: &'static str, json: String) {
        let mut kept = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let event = Arc::new(Event { id: kept.next, kind, json });
        kept.next += 1;
        kept.bytes += event.json.len();
        kept.events.push_back(Arc::clone(&event));
        while kept.events.len() > KEPT || kept.bytes > KEPT_BYTES {
            let Some(oldest) = kept.events.pop_front() else { break };
            kept.bytes -= oldest.json.len();
        }
        if let Some(live) = &kept.live {
            // An error only says that nobody reads.
            drop(live.send(event));
        }
    }

    /// Ends all streams.
    pub(crate) fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).live = None;
    }

    /// Readers now.
    pub(super) fn readers(&self) -> usize {
        READERS - self.seats.available_permits()
    }

    /// What was missed and what is to come, without gap or overlap. Whoever connects for the first time
    /// gets the samples (incidents are read from their list); whoever comes back, everything since.
    fn subscribe(&self, last: Option<u64>) -> Option<(VecDeque<Arc<Event>>, Live)> {
        let kept = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let live = kept.live.as_ref()?.subscribe();
        let wanted = |event: &&Arc<Event>| last.map_or(event.kind == "sample", |last| event.id > last);
        Some((kept.events.iter().filter(wanted).cloned().collect(), live))
    }
}

struct Reader {
    missed: VecDeque<Arc<Event>>,
    live: Live,
    tally: Tally,
    _seat: OwnedSemaphorePermit,
}

impl Reader {
    async fn next(&mut self) -> Option<Arc<Event>> {
        if let Some(event) = self.missed.pop_front() {
            return Some(event);
        }
        loop {
            match self.live.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(events)) => {
                    self.tally.stream_lagged.with_label_values::<&str>(&[]).inc_by(events);
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

/// Opens a stream.
pub(super) async fn get(State(sources): State<Sources>, headers: HeaderMap) -> Response {
    let unavailable = |detail: &str| Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).into_response();
    let Ok(seat) = Arc::clone(&sources.hub.seats).try_acquire_owned() else {
        return unavailable("all 32 streams are taken");
    };
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
    let Some((missed, live)) = sources.hub.subscribe(last) else {
        return unavailable("the agent is ending");
    };
    let reader = Reader { missed, live, tally: sources.tally.clone(), _seat: seat };
    let events = stream::unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        let sse = SseEvent::default().id(event.id.to_string()).event(event.kind).data(&event.json);
        Some((Ok::<_, Infallible>(sse), reader))
    });
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub() -> Hub {
        Hub::new()
    }

    fn kinds(events: &VecDeque<Arc<Event>>) -> Vec<&'static str> {
        events.iter().map(|event| event.kind).collect()
    }

    #[test]
    fn whoever_connects_gets_samples_and_whoever_comes_back_gets_everything_since() {
        let hub = hub();
        for kind in ["sample", "incident", "sample", "incident"] {
            hub.publish(kind, "{}".into());
        }
        let (first, _) = hub.subscribe(None).expect("open");
        assert_eq!(kinds(&first), ["sample", "sample"]);
        let (since, _) = hub.subscribe(Some(first[0].id)).expect("open");
        assert_eq!(kinds(&since), ["incident", "sample", "incident"]);
    }

    #[test]
    fn what_is_kept_is_bounded_by_number_and_weight() {
        let hub = hub();
        (0..KEPT + 50).for_each(|_| hub.publish("sample", "{}".into()));
        assert_eq!(hub.subscribe(None).expect("open").0.len(), KEPT);
        (0..8).for_each(|_| hub.publish("sample", "x".repeat(1024 * 1024)));
        assert!(hub.subscribe(None).expect("open").0.len() <= 4);
    }

    #[tokio::test]
    async fn closing_ends_the_readers() {
        let hub = hub();
        let (_, mut live) = hub.subscribe(None).expect("open");
        hub.close();
        assert!(matches!(live.recv().await, Err(broadcast::error::RecvError::Closed)));
        assert!(hub.subscribe(None).is_none());
    }
}
