//! The recordings under `replay/` are what this generator makes; `RECORD=1` writes them anew.
//!
//! Each scenario is a service with one disease, or none, told second by second.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its own input has failed")]

mod support;

use snowshed_engine::model::{HoldingKind, Join, Nanos, Observation, Owner, SiteId};
use std::{collections::VecDeque, fmt::Write as _, fs, path::PathBuf};
use support::{SECOND, Service, crowd, growth, ms, resolver, shortage};

type Lines = Vec<(Nanos, Observation)>;
type Scenario = (&'static str, fn() -> Lines);
/// When a span comes, its request, and the request's begin and end.
type LateSpan = (Nanos, u64, Nanos, Nanos);

const SCENARIOS: &[Scenario] = &[
    ("fd_leak_traced", fd_leak_traced),
    ("fd_leak_untraced_connection", fd_leak_untraced_connection),
    ("loop_stall", loop_stall),
    ("healthy_pool_and_keepalive", healthy_pool_and_keepalive),
    ("slo_three_windows", slo_three_windows),
    ("breaker_limits_and_gives_back", breaker_limits_and_gives_back),
    ("dry_run", breaker_limits_and_gives_back),
    ("memory_growth", growth::memory_growth),
    ("task_leak", growth::task_leak),
    ("thread_leak", growth::thread_leak),
    ("thread_leak_new_place", growth::thread_leak_new_place),
    ("healthy_growth", growth::healthy_growth),
    ("tcp_retransmits", shortage::tcp_retransmits),
    ("lock_contention", shortage::lock_contention),
    ("cpu_throttled", shortage::cpu_throttled),
    ("cpu_saturation", shortage::cpu_saturation),
    ("accept_queue_overflow", shortage::accept_queue_overflow),
    ("disk_stall", shortage::disk_stall),
    ("nic_drops", shortage::nic_drops),
    ("downstream_slow", shortage::downstream_slow),
    ("oom_kill", shortage::oom_kill),
    ("slow_for_no_reason", shortage::slow_for_no_reason),
    ("healthy_network", shortage::healthy_network),
    ("healthy_waits", shortage::healthy_waits),
    ("traffic_surge", crowd::traffic_surge),
    ("pool_exhausted", crowd::pool_exhausted),
    ("downstream_hung", crowd::downstream_hung),
    ("few_workers_hang", crowd::few_workers_hang),
    ("full_queue_behind_a_lock", crowd::full_queue_behind_a_lock),
    ("healthy_reports", crowd::healthy_reports),
    ("frames_are_no_questions", crowd::frames_are_no_questions),
    ("healthy_crowds", crowd::healthy_crowds),
    ("deadline_overrun", crowd::deadline_overrun),
    ("healthy_uploads", crowd::healthy_uploads),
    ("blocked_writer", crowd::blocked_writer),
    ("healthy_writers", crowd::healthy_writers),
    ("dns_failure", resolver::dns_failure),
    ("healthy_names", resolver::healthy_names),
];

#[test]
fn recordings_are_what_the_generator_makes() {
    for (name, scenario) in SCENARIOS {
        let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "replay", name, "input.jsonl"].iter().collect();
        let mut text = String::new();
        for (now, observation) in scenario() {
            let line = serde_json::json!({"now": now, "observation": observation});
            writeln!(text, "{line}").unwrap();
        }
        assert!(text.len() < 300_000, "{name}: {} bytes", text.len());
        if std::env::var_os("RECORD").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &text).unwrap();
        }
        let recorded = fs::read_to_string(&path).unwrap_or_default();
        assert!(recorded == text, "{name}: the recording differs from its generator; RECORD=1 writes it anew");
    }
}

/// One request a second, two seconds long, each opening an upload and an index. From second 10 to 40 the
/// upload is forgotten; at 48 all of them are given back.
fn fd_leak_traced() -> Lines {
    let mut service = Service::start();
    let (mut forgotten, mut spans): (Vec<u64>, VecDeque<LateSpan>) = (Vec::new(), VecDeque::new());
    let mut uploads = VecDeque::new();
    for second in 2..80_u64 {
        service.at(second * SECOND);
        service.begin(second);
        uploads.push_back((
            service.hold_for(second, HoldingKind::File, 7),
            service.hold_for(second, HoldingKind::File, 8),
        ));
        service.at(second * SECOND + ms(200));
        service.report();
        if uploads.len() > 2 {
            let (upload, index) = uploads.pop_front().unwrap();
            service.give_back(index);
            if (12..42).contains(&second) {
                forgotten.push(upload)
            } else {
                service.give_back(upload)
            }
            let ended = second * SECOND + ms(200);
            let began = service.end(second - 2);
            spans.push_back((ended + 4 * SECOND, second - 2, began, ended));
        }
        service.at(second * SECOND + ms(500));
        while spans.front().is_some_and(|span| span.0 <= second * SECOND + ms(500)) {
            let (_, n, began, ended) = spans.pop_front().unwrap();
            service.span(n, began, ended, 200);
        }
        if second == 48 {
            forgotten.drain(..).for_each(|key| service.give_back(key));
        }
        service.at(second * SECOND + ms(700));
        service.report();
        service.snapshot(64);
    }
    service.lines()
}

/// No traces, no reports: a foreign server with a connection per client. Half of the clients keep theirs
/// for several exchanges. From second 10 each exchange forgets a file.
fn fd_leak_untraced_connection() -> Lines {
    let mut service = Service::start();
    let mut kept: Option<u64> = None;
    for second in 2..32_u64 {
        service.at(second * SECOND);
        let connection = match kept {
            Some(key) => key,
            None => service.hold(HoldingKind::TcpAccepted, SiteId(0), Owner::default()),
        };
        let exchange = if kept.is_some() { service.exchange(connection) } else { 0 };
        let owner =
            Owner { trace: None, connection: Some((connection, exchange)), join: Join::Socket, ..Owner::default() };
        let file = service.hold(HoldingKind::File, SiteId(0), owner);
        service.at(second * SECOND + ms(300));
        service.snapshot(256);
        service.at(second * SECOND + ms(600));
        if second < 10 {
            service.give_back(file);
        }
        // Connections serve one exchange, or four.
        kept = if second % 8 < 4 { Some(connection) } else { None };
        if kept.is_none() {
            service.give_back(connection);
        }
    }
    service.lines()
}

/// From second 15 to 35 every request blocks the loop for 400 ms; each stall is looked at twice.
fn loop_stall() -> Lines {
    let mut service = Service::start();
    for second in 2..60_u64 {
        service.at(second * SECOND);
        if (15..35).contains(&second) {
            let since = second * SECOND;
            service.at(since + ms(250));
            service.stall(since, second, false);
            service.at(since + ms(400));
            service.stall(since, second, second % 2 == 0);
        }
        service.at(second * SECOND + ms(900));
        service.span(second, second * SECOND, second * SECOND + ms(450), 200);
        service.loop_time(if (15..35).contains(&second) { ms(450) } else { ms(50) });
        service.report();
    }
    service.lines()
}

/// Everything that looks like a leak to a trend and is none: a pool that is filled lazily, a bounded cache
/// of open files, a log opened by a request, keep-alive connections; then the traffic stops.
fn healthy_pool_and_keepalive() -> Lines {
    let mut service = Service::start();
    let (mut pool, mut cache, mut clients): (Vec<u64>, VecDeque<(u64, u64)>, Vec<u64>) =
        (Vec::new(), VecDeque::new(), Vec::new());
    let mut log = None;
    for second in 2..60_u64 {
        service.at(second * SECOND);
        service.begin(second);
        if second % 6 == 0 && clients.len() < 8 {
            clients.push(service.hold(HoldingKind::TcpAccepted, SiteId(1), Owner::default()));
        } else if let Some(client) = clients.first().copied() {
            service.exchange(client);
        }
        match log {
            None => log = Some(service.hold_for(second, HoldingKind::File, 2)),
            Some(key) => service.touch(key),
        }
        if second % 5 == 0 && pool.len() < 6 {
            pool.push(service.hold_for(second, HoldingKind::Tcp, 3));
        } else if !pool.is_empty() {
            service.touch(pool[usize::try_from(second).unwrap() % pool.len().min(2)]);
        }
        // Popular files are read again and again; the cache keeps the ten used last.
        let wanted = [0, 1, 0, 2, 1, 3, 0, 4, 2, 1, 5, 0][usize::try_from(second).unwrap() % 12] + second / 20;
        if let Some(place) = cache.iter().position(|(name, _)| *name == wanted) {
            let hit = cache.remove(place).unwrap();
            service.touch(hit.1);
            cache.push_back(hit);
        } else {
            cache.push_back((wanted, service.hold_for(second, HoldingKind::File, 4)));
            if cache.len() > 10 {
                let (_, evicted) = cache.pop_front().unwrap();
                service.give_back(evicted);
            }
        }
        let scratch = service.hold_for(second, HoldingKind::File, 5);
        service.at(second * SECOND + ms(400));
        service.report();
        if second % 2 == 0 {
            service.snapshot(64);
        }
        service.at(second * SECOND + ms(600));
        service.give_back(scratch);
        let began = service.end(second);
        service.span(second, began, second * SECOND + ms(600), 200);
        service.report();
    }
    for second in (60..180_u64).step_by(5) {
        service.at(second * SECOND);
        service.report();
        service.snapshot(64);
    }
    service.lines()
}

/// One request a second. Windows of 15 s: good, good, bad, silent, bad, bad (burning), good, good, good.
fn slo_three_windows() -> Lines {
    let mut service = Service::start();
    let windows = ["good", "good", "bad", "silent", "bad", "bad", "bad", "good", "good", "good"];
    let mut number = 0;
    for (place, kind) in windows.iter().enumerate() {
        for second in 0..15_u64 {
            let began = (place as u64 + 1) * 15 * SECOND + second * SECOND + ms(100);
            number += 1;
            let late = if *kind == "bad" && second % 3 != 0 { ms(1_800) } else { ms(80) };
            service.at(began);
            if *kind != "silent" {
                // Told as it ends, never later than the window's delay allows.
                service.span(number, began.saturating_sub(late), began, 200);
            } else if second == 7 {
                service.span(number, began.saturating_sub(ms(3_000)), began, 200);
            }
        }
    }
    service.at(200 * SECOND);
    service.loop_time(ms(10));
    service.lines()
}

/// Eleven requests in progress as a rule. The loop stalls from second 40 to 60; the service confirms the
/// limit 300 ms after it can have been told.
fn breaker_limits_and_gives_back() -> Lines {
    let mut service = Service::start();
    for second in 2..100_u64 {
        service.at(second * SECOND);
        let stalled = (40..60).contains(&second);
        service.load(if second % 4 == 0 { 11 } else { 9 }, None);
        if stalled {
            let since = second * SECOND;
            service.at(since + ms(400));
            service.stall(since, second, true);
        }
        service.at(second * SECOND + ms(700));
        service.loop_time(if stalled { ms(600) } else { ms(100) });
        service.report();
        if second == 45 {
            service.acted(Some(4));
        }
    }
    service.lines()
}
