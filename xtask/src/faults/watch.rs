//! Watching a service from outside: one thread asks `/livez`, another `/metrics`, each on new connections.
//!
//! Invariant: a question that is not answered holds up nobody but its own thread. Cost: eight requests a second.

use crate::{load::Record, rig::http};
use anyhow::Context as _;
use hyper::Method;
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Between two questions, and between two samples.
pub(super) const EVERY: Duration = Duration::from_millis(250);
/// For an answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// What is older than this is not known any more.
const STALE: Duration = Duration::from_millis(1500);

/// The last answer to a question, and when it came.
#[derive(Clone, Copy, Debug)]
struct Answer {
    value: f64,
    came: Instant,
}

#[derive(Debug)]
struct Answers {
    last: Option<Answer>,
    /// Since when nothing came.
    silent_since: Instant,
}

/// Asks one question again and again; dropping it ends it.
#[derive(Debug)]
pub(super) struct Asker {
    answers: Arc<Mutex<Answers>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Asker {
    /// Milliseconds that `/livez` takes.
    pub(super) fn livez(address: SocketAddr) -> anyhow::Result<Self> {
        Self::start("livez", move || {
            let asked = Instant::now();
            let reply = http::send(address, Method::GET, "/livez", &[], "", PATIENCE).ok()?;
            (reply.status == 200).then(|| asked.elapsed().as_secs_f64() * 1e3)
        })
    }

    /// Tasks of the event loop.
    pub(super) fn tasks(address: SocketAddr) -> anyhow::Result<Self> {
        Self::start("metrics", move || {
            let page = http::send(address, Method::GET, "/metrics", &[], "", PATIENCE).ok()?.text();
            let line = page.lines().find_map(|line| line.strip_prefix("transcoder_tasks "))?;
            line.trim().parse().ok()
        })
    }

    fn start(name: &str, ask: impl Fn() -> Option<f64> + Send + 'static) -> anyhow::Result<Self> {
        let answers = Arc::new(Mutex::new(Answers { last: None, silent_since: Instant::now() }));
        let stop = Arc::new(AtomicBool::new(false));
        let (own_answers, own_stop) = (Arc::clone(&answers), Arc::clone(&stop));
        let work = move || {
            while !own_stop.load(Ordering::Relaxed) {
                let begun = Instant::now();
                if let Some(value) = ask() {
                    let now = Instant::now();
                    let mut answers = own_answers.lock().unwrap_or_else(PoisonError::into_inner);
                    *answers = Answers { last: Some(Answer { value, came: now }), silent_since: now };
                }
                std::thread::sleep(EVERY.saturating_sub(begun.elapsed()));
            }
        };
        let thread = std::thread::Builder::new().name(name.into()).spawn(work).context("watch the service")?;
        Ok(Self { answers, stop, thread: Some(thread) })
    }

    /// The last answer, while it is fresh.
    pub(super) fn fresh(&self) -> Option<f64> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.last.filter(|answer| answer.came.elapsed() < STALE).map(|answer| answer.value)
    }

    /// How long nothing has come.
    pub(super) fn silence(&self) -> Duration {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).silent_since.elapsed()
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed already.
            thread.join().ok();
        }
    }
}

/// What a `/livez` took, as one who waits sees it: the last answer, or the silence once that is longer than usual.
pub(super) fn felt(livez: &Asker) -> f64 {
    let silence = livez.silence().saturating_sub(EVERY).as_secs_f64() * 1e3;
    livez.fresh().unwrap_or(0.0).max(silence)
}

/// The median first byte of the requests that ended since `from` (seconds since 1970), milliseconds.
pub(super) fn first_byte(records: &[Record], from: f64) -> Option<f64> {
    let recent = records.iter().rev().take_while(|record| record.ended >= from).filter(|record| !record.aborted);
    let waited = recent.filter_map(|record| match record.status {
        Some(_) => record.first_byte_ms,
        None => Some(record.total_ms),
    });
    let mut waited: Vec<f64> = waited.collect();
    waited.sort_by(f64::total_cmp);
    waited.get(waited.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_are_of_answers_and_of_those_who_waited_in_vain() {
        let served = Record { status: Some(200), first_byte_ms: Some(90.0), ended: 10.0, ..Record::default() };
        let refused = Record { status: Some(429), ended: 10.0, total_ms: 1.0, ..Record::default() };
        let in_vain = Record { error: Some("timeout".into()), ended: 10.0, total_ms: 5000.0, ..Record::default() };
        let left = Record { aborted: true, ended: 10.0, total_ms: 7.0, ..Record::default() };
        assert_eq!(first_byte(&[left.clone(), refused.clone(), served.clone()], 9.0), Some(90.0));
        assert_eq!(first_byte(&[served.clone(), in_vain.clone(), in_vain], 9.0), Some(5000.0));
        assert_eq!(first_byte(&[left, refused], 9.0), None);
        assert_eq!(first_byte(&[served], 11.0), None);
    }

    #[test]
    fn an_asker_knows_its_last_answer_and_ends() {
        let asker = Asker::start("test", || Some(7.0)).unwrap();
        crate::process::wait_until("an answer", Duration::from_secs(5), || Ok(asker.fresh())).unwrap();
        assert!(asker.fresh() == Some(7.0) && asker.silence() < STALE);
        drop(asker);
        let mute = Asker::start("test", || None).unwrap();
        assert_eq!(mute.fresh(), None);
        assert!(felt(&mute) >= 0.0);
    }
}
