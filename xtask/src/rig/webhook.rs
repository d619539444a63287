//! A receiver of webhooks that keeps what it gets.
//!
//! Bounded: at most [`ROOM`] bodies of at most 1 MiB; one connection at a time, two seconds each.

use anyhow::Context as _;
use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

const ROOM: usize = 1024;

/// A running receiver; dropping it ends it.
#[derive(Debug)]
pub struct Webhook {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Value>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Webhook {
    /// Listens on a free port of the loopback.
    ///
    /// # Errors
    /// The kernel has no port or no thread left.
    pub fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("webhook receiver")?;
        let address = listener.local_addr().context("webhook receiver")?;
        let (received, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (own_received, own_stop) = (Arc::clone(&received), Arc::clone(&stop));
        let work = move || {
            for stream in listener.incoming() {
                if own_stop.load(Ordering::Relaxed) {
                    return;
                }
                // A sender that breaks off has sent nothing.
                let Some(body) = stream.ok().and_then(|stream| receive(stream).ok()) else { continue };
                let mut received = own_received.lock().unwrap_or_else(PoisonError::into_inner);
                if received.len() < ROOM {
                    received.push(body);
                }
            }
        };
        let thread = std::thread::Builder::new().name("webhook".into()).spawn(work).context("webhook receiver")?;
        Ok(Self { address, received, stop, thread: Some(thread) })
    }

    /// The URL to send to.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// What has arrived, oldest first.
    #[must_use]
    pub fn received(&self) -> Vec<Value> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A last connection wakes the thread; if none can be made, the thread ends with the process.
        if TcpStream::connect(self.address).is_ok()
            && let Some(thread) = self.thread.take()
        {
            thread.join().ok();
        }
    }
}

fn receive(stream: TcpStream) -> anyhow::Result<Value> {
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.by_ref().take(8 << 10).read_line(&mut line)?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse::<usize>()?.min(1 << 20);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    reader.get_mut().write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")?;
    serde_json::from_slice(&body).context("webhook body")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rig::http;

    #[test]
    fn keeps_what_is_posted() {
        let webhook = Webhook::start().unwrap();
        let body = r#"{"id":"x"}"#;
        let headers = [("content-type", "application/json")];
        let sent = http::send(webhook.address, hyper::Method::POST, "/hook", &headers, body, Duration::from_secs(2));
        assert_eq!(sent.unwrap().status, 204);
        assert_eq!(webhook.received(), [serde_json::json!({"id": "x"})]);
    }
}
