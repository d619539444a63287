//! The load generator against a small HTTP/2 server whose every answer is known.

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{
    convert::Infallible,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use xtask::load::{Load, Plan};

/// Bytes of each answer.
const ANSWER: usize = 64 << 10;

/// What the server has seen.
#[derive(Default)]
struct Seen {
    traces: Mutex<Vec<String>>,
    whole: AtomicUsize,
    broken_off: AtomicUsize,
    connections: AtomicUsize,
}

type Answer = fn(usize) -> (u16, Duration);

/// Serves until the test's process ends; `answer` decides by the request's number.
fn serve(answer: Answer) -> anyhow::Result<(SocketAddr, Arc<Seen>)> {
    let listener = TcpListener::bind("127.0.0.1:0").context("listen")?;
    listener.set_nonblocking(true).context("listen")?;
    let address = listener.local_addr().context("listen")?;
    let seen = Arc::<Seen>::default();
    let own = Arc::clone(&seen);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("server")?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            while let Ok((stream, _)) = listener.accept().await {
                own.connections.fetch_add(1, Ordering::Relaxed);
                let seen = Arc::clone(&own);
                let service = service_fn(move |request| handle(Arc::clone(&seen), request, answer));
                tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service));
            }
        });
    });
    Ok((address, seen))
}

async fn handle(
    seen: Arc<Seen>,
    request: Request<Incoming>,
    answer: Answer,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let parent = request.headers().get("traceparent").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let number = {
        let mut traces = seen.traces.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        traces.push(parent.split('-').nth(1).unwrap_or_default().to_owned());
        traces.len() - 1
    };
    let uploaded = request.into_body().collect().await;
    let counter = if uploaded.is_ok() { &seen.whole } else { &seen.broken_off };
    counter.fetch_add(1, Ordering::Relaxed);
    let (status, wait) = answer(number);
    tokio::time::sleep(wait).await;
    let mut response = Response::new(Full::new(Bytes::from_static(&[7; ANSWER])));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    response.headers_mut().insert("retry-after", hyper::header::HeaderValue::from_static("0"));
    Ok(response)
}

fn plan(address: SocketAddr) -> Plan {
    let length = Duration::from_secs(2);
    Plan {
        pace: 16.0,
        rate: Some(20.0),
        length,
        clients: 2,
        verify: 0,
        timeout: Duration::from_secs(10),
        ..Plan::new(address)
    }
}

#[test]
fn every_request_is_accounted_for_by_its_trace() -> anyhow::Result<()> {
    let (address, seen) = serve(|_| (200, Duration::ZERO))?;
    let report = Load::start(plan(address))?.finish()?;
    let mut told: Vec<String> = report.records.iter().map(|record| record.trace_id.clone()).collect();
    let mut traces = seen.traces.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    told.sort();
    traces.sort();
    ensure!(told == traces, "the log and the server differ");
    ensure!(report.summary.good == told.len() && told.len() > 15, "{}", report.summary);
    ensure!(seen.connections.load(Ordering::Relaxed) == 2, "each client has one connection");
    Ok(())
}

#[test]
fn a_stall_of_the_service_counts_from_when_requests_were_due() -> anyhow::Result<()> {
    // One at a time, and the first takes a second: the others wait in the client, and must not look fast.
    let (address, _) = serve(|number| (200, if number == 0 { Duration::from_secs(1) } else { Duration::ZERO }))?;
    let report = Load::start(Plan { concurrency: Some(1), pace: 80.0, ..plan(address) })?.finish()?;
    ensure!(report.records.len() > 20, "{}", report.summary);
    let late = report.records.iter().filter(|record| record.first_byte_ms > Some(500.0)).count();
    ensure!(late > 4, "only {late} of {} requests felt the stall", report.records.len());
    Ok(())
}

#[test]
fn a_429_is_tried_again_only_where_that_is_asked_for() -> anyhow::Result<()> {
    let answer: Answer = |number| (if number % 2 == 0 { 429 } else { 200 }, Duration::ZERO);
    let (address, _) = serve(answer)?;
    let once = Load::start(Plan { concurrency: Some(1), rate: None, ..plan(address) })?.finish()?;
    ensure!(once.summary.statuses.get(&429).is_some_and(|times| *times > 1), "{}", once.summary);
    ensure!(once.records.iter().all(|record| record.attempts == 1), "tried again unasked");
    let (address, _) = serve(answer)?;
    let again = Load::start(Plan { concurrency: Some(1), rate: None, retries: 1, ..plan(address) })?.finish()?;
    ensure!(again.summary.statuses.keys().eq([&200]), "{}", again.summary);
    ensure!(again.records.iter().all(|record| record.attempts == 2), "not tried again");
    Ok(())
}

#[test]
fn clients_that_go_away_break_off_their_uploads() -> anyhow::Result<()> {
    let (address, seen) = serve(|_| (200, Duration::ZERO))?;
    let report = Load::start(Plan { pace: 4.0, aborting: 0.5, ..plan(address) })?.finish()?;
    let summary = &report.summary;
    ensure!(summary.aborted > 3 && summary.good > 3, "{summary}");
    ensure!(summary.aborted + summary.good == summary.requests, "{summary}");
    xtask::process::wait_until("the server to notice", Duration::from_secs(5), || {
        Ok((seen.broken_off.load(Ordering::Relaxed) == summary.aborted).then_some(()))
    })?;
    ensure!(seen.whole.load(Ordering::Relaxed) == summary.good, "{summary}");
    Ok(())
}

#[test]
fn clients_that_stop_sending_stay_and_are_told_apart() -> anyhow::Result<()> {
    let (address, seen) = serve(|_| (200, Duration::ZERO))?;
    // The server waits for the rest for ever, so each ends with the client's own time.
    let timeout = Duration::from_secs(1);
    let report = Load::start(Plan { stalled: 0.5, timeout, ..plan(address) })?.finish()?;
    let summary = &report.summary;
    ensure!(summary.stalled > 3 && summary.stalled_unended == summary.stalled, "{summary}");
    ensure!(summary.good > 3 && summary.errors.is_empty(), "{summary}");
    ensure!(summary.good + summary.stalled == summary.requests, "{summary}");
    xtask::process::wait_until("the server to notice", Duration::from_secs(5), || {
        Ok((seen.broken_off.load(Ordering::Relaxed) == summary.stalled).then_some(()))
    })?;
    Ok(())
}

#[test]
fn slow_clients_take_no_more_than_their_share() -> anyhow::Result<()> {
    let (address, _) = serve(|_| (200, Duration::ZERO))?;
    let slow_rate = ANSWER as f64 * 2.0;
    let report = Load::start(Plan { slow: 0.5, slow_rate, ..plan(address) })?.finish()?;
    let (slow, quick): (Vec<_>, Vec<_>) = report.records.iter().partition(|record| record.slow);
    ensure!(slow.len() > 3 && quick.len() > 3, "{}", report.summary);
    ensure!(report.summary.good == report.records.len(), "{}", report.summary);
    let read = |record: &xtask::load::Record| record.total_ms - record.first_byte_ms.unwrap_or(f64::NAN);
    ensure!(slow.iter().all(|record| read(record) > 400.0), "{:?}", report.records);
    ensure!(quick.iter().any(|record| read(record) < 400.0), "{:?}", report.records);
    Ok(())
}

#[test]
fn a_run_ends_after_so_many_requests() -> anyhow::Result<()> {
    let (address, seen) = serve(|_| (200, Duration::ZERO))?;
    let report = Load::start(Plan { requests: Some(7), ..plan(address) })?.finish()?;
    ensure!(report.records.len() == 7 && seen.whole.load(Ordering::Relaxed) == 7, "{}", report.summary);
    Ok(())
}

#[test]
fn a_service_that_is_not_there_is_an_error_of_every_request() -> anyhow::Result<()> {
    let [port] = xtask::process::free_ports()?;
    let report =
        Load::start(Plan { length: Duration::from_secs(1), ..plan(xtask::process::loopback(port)) })?.finish()?;
    ensure!(report.summary.good == 0 && report.summary.requests > 5, "{}", report.summary);
    ensure!(
        report.records.iter().all(|record| record.error.is_some() && record.status.is_none()),
        "{}",
        report.summary
    );
    Ok(())
}
