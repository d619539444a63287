//! The agent's stream of server-sent events, read on a thread of its own.
//!
//! Bounded: at most [`ROOM`] events wait to be taken; older ones give way.

use anyhow::{Context as _, bail};
use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

const ROOM: usize = 256;

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// `sample`, `incident` …
    pub kind: String,
    /// Its id, empty if there is none.
    pub id: String,
    /// Its data.
    pub data: Value,
}

/// A subscription; dropping it ends it.
#[derive(Debug)]
pub struct Events {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<VecDeque<Event>>,
    stop: AtomicBool,
    failed: Mutex<Option<String>>,
}

impl Events {
    /// Subscribes to `/api/v1/stream`.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn subscribe(agent: SocketAddr) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("event stream")?;
        let own = Arc::clone(&shared);
        let work = move || {
            if let Err(error) = runtime.block_on(follow(agent, &own)) {
                *own.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("{error:#}"));
            }
        };
        let thread = std::thread::Builder::new().name("events".into()).spawn(work).context("event stream")?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Takes what arrived since the last call.
    ///
    /// # Errors
    /// The stream broke.
    pub fn take(&self) -> anyhow::Result<Vec<Event>> {
        if let Some(error) = &*self.shared.failed.lock().unwrap_or_else(PoisonError::into_inner) {
            bail!("event stream: {error}");
        }
        Ok(self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect())
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed already.
            thread.join().ok();
        }
    }
}

async fn follow(agent: SocketAddr, shared: &Shared) -> anyhow::Result<()> {
    let stream = tokio::net::TcpStream::connect(agent).await?;
    let (mut sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(driver);
    let request = Request::get("/api/v1/stream").header("host", agent.to_string()).body(Empty::<bytes::Bytes>::new())?;
    let response = sender.send_request(request).await?;
    if response.status() != 200 {
        bail!("answered {}", response.status());
    }
    let mut body = response.into_body();
    let mut parser = Parser::default();
    while !shared.stop.load(Ordering::Relaxed) {
        // In short waits, so that the end of the subscription is noticed.
        let Ok(frame) = tokio::time::timeout(Duration::from_millis(100), body.frame()).await else { continue };
        let Some(frame) = frame else { bail!("ended by the agent") };
        let Ok(data) = frame?.into_data() else { continue };
        let mut waiting = shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for event in parser.push(&data)? {
            if waiting.len() == ROOM {
                waiting.pop_front();
            }
            waiting.push_back(event);
        }
    }
    driver.abort();
    Ok(())
}

/// Server-sent events as the HTML standard defines them, as far as the agent uses them.
#[derive(Default)]
struct Parser {
    pending: Vec<u8>,
    kind: String,
    id: String,
    data: String,
}

impl Parser {
    fn push(&mut self, bytes: &[u8]) -> anyhow::Result<Vec<Event>> {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() > 16 << 20 {
            bail!("a line over 16 MiB");
        }
        let mut events = Vec::new();
        while let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            let line = std::str::from_utf8(&line)?.trim_end_matches(['\n', '\r']);
            match line.split_once(':') {
                _ if line.is_empty() => events.extend(self.dispatch()?),
                Some(("event", value)) => self.kind = value.trim_start().to_owned(),
                Some(("id", value)) => self.id = value.trim_start().to_owned(),
                Some(("data", value)) => self.data.push_str(value.trim_start()),
                // Comments and unknown fields are to be ignored.
                _ => {}
            }
        }
        Ok(events)
    }

    fn dispatch(&mut self) -> anyhow::Result<Option<Event>> {
        let (kind, data) = (std::mem::take(&mut self.kind), std::mem::take(&mut self.data));
        if data.is_empty() {
            return Ok(None);
        }
        let data = serde_json::from_str(&data).with_context(|| format!("event {kind:?} holds {data:?}"))?;
        Ok(Some(Event { kind, id: self.id.clone(), data }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_may_arrive_in_pieces() {
        let mut parser = Parser::default();
        assert!(parser.push(b": hello\n\nevent: sample\nid: 7\nda").unwrap().is_empty());
        let events = parser.push(b"ta: {\"a\":1}\n\nevent: x\n\n").unwrap();
        let expected = Event { kind: "sample".into(), id: "7".into(), data: serde_json::json!({"a": 1}) };
        assert_eq!(events, [expected]);
        assert!(parser.push(b"data: nonsense\n\n").is_err());
    }
}
