//! Whose the delay is, and that nothing grows without end.

use super::*;
use crate::model::CallKind;

const MS: Nanos = SECOND / 1_000;

fn call(trace: u128, peer: &str, span: (Nanos, Nanos), failed: bool) -> Call {
    Call {
        pid: Some(1),
        trace: TraceId(trace.to_be_bytes()),
        span: None,
        kind: CallKind::Http,
        peer: peer.to_owned(),
        started: span.0,
        ended: span.1,
        failed,
        weight: 1.0,
    }
}

/// A request that begins at `started` and lasts so many milliseconds.
fn request(calls: &mut Calls, trace: u128, started: Nanos, ms: u64, judged: (Option<bool>, bool)) {
    let ended = started + ms * MS;
    let told = Request {
        pid: Some(1),
        service: "s".into(),
        trace: TraceId(trace.to_be_bytes()),
        span: None,
        route: "GET /".into(),
        started,
        ended,
        first_byte: None,
        status: None,
        failed: judged.1,
        weight: 1.0,
        peer: None,
        serial: false,
    };
    calls.request(&told, ended, judged, ended);
}

/// Twenty healthy requests of 50 ms, 10 ms of which lie in calls to each of two peers at once.
fn usual() -> Calls {
    let mut calls = Calls::new();
    for n in 0..20_u64 {
        let at = n * SECOND;
        for peer in ["a", "b"] {
            calls.call(&call(n.into(), peer, (at + 5 * MS, at + 15 * MS), false), at + 15 * MS);
        }
        request(&mut calls, n.into(), at, 50, (Some(false), false));
    }
    calls.settle(30 * SECOND);
    calls
}

#[test]
fn the_delay_belongs_to_those_whose_calls_got_longer() {
    let mut calls = usual();
    for n in 0..10_u64 {
        let (trace, at) = (u128::from(100 + n), 40 * SECOND + n * SECOND);
        calls.call(&call(trace, "a", (at + 5 * MS, at + 15 * MS), false), at + 15 * MS);
        // Two calls at once are not twice as long; one that outlives its request counts until its end.
        calls.call(&call(trace, "b", (at + 5 * MS, at + 905 * MS), false), at + 905 * MS);
        calls.call(&call(trace, "b", (at + 5 * MS, at + 5_000 * MS), false), at + 5_000 * MS);
        request(&mut calls, trace, at, 1_000, (Some(true), false));
    }
    assert_eq!(calls.behind(false, 40 * SECOND, 41 * SECOND), None, "too few yet");
    calls.settle(60 * SECOND);
    let found = calls.behind(false, 40 * SECOND, 60 * SECOND).unwrap();
    assert_eq!((found.peer.as_str(), found.count, found.traces.len()), ("b", 10, TOLD));
    assert!((found.before - 0.01).abs() < 1e-3 && (found.after - 0.995).abs() < 1e-3, "{found:?}");
    assert!(found.share > 0.99 && (found.delay - 0.95).abs() < 1e-3, "{found:?}");
    assert_eq!(calls.behind(true, 40 * SECOND, 60 * SECOND), None, "none failed");
}

#[test]
fn a_delay_outside_of_the_calls_belongs_to_nobody() {
    let mut calls = usual();
    for n in 0..10_u64 {
        let (trace, at) = (u128::from(100 + n), 40 * SECOND + n * SECOND);
        calls.call(&call(trace, "a", (at + 905 * MS, at + 935 * MS), false), at + 935 * MS);
        request(&mut calls, trace, at, 1_000, (Some(true), false));
    }
    calls.settle(60 * SECOND);
    assert_eq!(calls.behind(false, 40 * SECOND, 60 * SECOND), None);
}

#[test]
fn requests_that_fail_with_their_calls_tell_whose() {
    let mut calls = usual();
    for n in 0..10_u64 {
        let (trace, at) = (u128::from(100 + n), 40 * SECOND + n * SECOND);
        // The span of the request comes first.
        request(&mut calls, trace, at, 10, (Some(false), true));
        calls.call(&call(trace, "b", (at, at + 5 * MS), n > 1), at + 5 * MS);
    }
    calls.settle(60 * SECOND);
    let found = calls.behind(true, 40 * SECOND, 60 * SECOND).unwrap();
    assert_eq!((found.peer.as_str(), found.count, found.fails), ("b", 10, true));
    assert!((found.share - 0.8).abs() < 1e-9 && found.before < 1e-9, "{found:?}");
}

#[test]
fn everything_is_bounded_and_odd_times_do_no_harm() {
    let mut calls = Calls::new();
    for n in 0..5_000_u64 {
        for peer in 0..20 {
            let name = format!("peer {}\n", n + peer);
            calls.call(&call(n.into(), &name, (u64::MAX - n, n), true), n);
        }
        if n % 3 == 0 {
            request(&mut calls, n.into(), n, 0, (Some(n % 2 == 0), n % 5 == 0));
        }
    }
    assert!(calls.open.len() <= OPEN && calls.due.len() <= OPEN);
    assert_eq!(
        (calls.peers.len(), calls.peers[PEERS - 1].as_str(), calls.peers[0].as_str()),
        (PEERS, "others", "peer 0?")
    );
    assert!(calls.open.values().all(|open| open.calls.len() <= CALLS));
    calls.settle(u64::MAX);
    assert!(calls.behind(true, 0, u64::MAX).is_none_or(|found| found.share.is_finite()));
}
