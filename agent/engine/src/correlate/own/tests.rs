//! Ownership, rule by rule, on snapshots made by hand.

use super::*;
use crate::model::{OpenRequests, Owner, Resource, SiteId, TraceId};

mod lent;

const SITE: SiteId = SiteId(7);

/// Snapshots of one process, one second apart.
struct Process {
    own: Ownership,
    ends: Ends,
    requests: Requests,
    items: Vec<Holding>,
    config: OrphanConfig,
    caps: Caps,
}

impl Process {
    fn new() -> Self {
        let (config, caps) = (OrphanConfig::default(), Caps::default());
        Self {
            own: Ownership::default(),
            ends: Ends::default(),
            requests: Requests::default(),
            items: Vec::new(),
            config,
            caps,
        }
    }

    fn open(&mut self, second: u64, kind: HoldingKind, trace: Option<u64>, connection: Option<(u64, u32)>) -> u64 {
        let key = 1_000 + self.items.len() as u64 + second * 1_000;
        let trace = trace.map(|n| TraceId(u128::from(n).to_be_bytes()));
        let join = if trace.is_some() { Join::ThreadContext } else { Join::Socket };
        let join = if trace.is_none() && connection.is_none() { Join::None } else { join };
        let owner = Owner { trace, connection, join, ..Owner::default() };
        let made = Some(second * SECOND);
        let (use_mark, exchanges, leads_to, maker) = (0, 0, 0, 0);
        self.items.push(Holding {
            key,
            number: 3,
            kind,
            site: SITE,
            owner,
            made,
            use_mark,
            exchanges,
            leads_to,
            maker,
        });
        key
    }

    fn item(&mut self, key: u64) -> &mut Holding {
        self.items.iter_mut().find(|item| item.key == key).unwrap()
    }

    fn span(&mut self, trace: u64, second: u64) {
        self.ends.span(TraceId(u128::from(trace).to_be_bytes()), (0, second * SECOND), 64);
    }

    fn report_nothing_open(&mut self, second: u64) {
        let at = second * SECOND;
        let items = Vec::new();
        let told = OpenRequests { pid: 1, at, in_flight: 0, limit: None, rejected_total: 0, complete: true, items };
        self.ends.report(&told, at);
    }

    fn snapshot(&mut self, second: u64) -> u64 {
        let (at, items) = (second * SECOND, self.items.clone());
        let told = Holdings { pid: 1, at, resource: Resource::Fds, limit: Some(512), items };
        assert!(self.own.snapshot(&told, at, (&self.ends, &self.requests), &self.config, &self.caps));
        self.own.orphaned
    }
}

#[test]
fn what_a_span_ended_is_orphaned_five_seconds_later_and_not_before() {
    let mut process = Process::new();
    process.open(10, HoldingKind::File, Some(1), None);
    process.open(10, HoldingKind::File, Some(2), None);
    process.open(10, HoldingKind::File, None, None);
    process.open(10, HoldingKind::Listener, Some(1), None);
    assert_eq!(process.snapshot(11), 0);
    process.span(1, 12);
    assert_eq!(process.snapshot(16), 0);
    assert_eq!(process.snapshot(17), 1, "one ended; the other's request goes on; the rest is nobody's or a listener");
}

#[test]
fn what_is_used_after_its_owner_ended_belongs_to_a_pool() {
    let mut process = Process::new();
    let key = process.open(10, HoldingKind::File, Some(1), None);
    process.span(1, 12);
    process.snapshot(12);
    process.item(key).use_mark = 1;
    assert_eq!(process.snapshot(14), 0);
    assert_eq!(process.snapshot(600), 0);
    assert_eq!(process.snapshot(614), 1, "unless it lies unused for ten minutes");
}

#[test]
fn a_change_that_may_have_been_before_the_end_is_no_later_use() {
    let mut process = Process::new();
    let key = process.open(10, HoldingKind::File, Some(1), None);
    process.snapshot(11);
    process.item(key).use_mark = 1;
    process.snapshot(13);
    process.span(1, 12);
    process.snapshot(14);
    assert_eq!(process.snapshot(18), 1);
}

#[test]
fn outbound_sockets_may_idle_longer_and_accepted_ones_are_their_clients_affair() {
    let mut process = Process::new();
    process.open(10, HoldingKind::Tcp, Some(1), None);
    process.open(10, HoldingKind::TcpAccepted, Some(1), None);
    process.span(1, 12);
    assert_eq!(process.snapshot(70), 0);
    assert_eq!(process.snapshot(73), 1);
    assert_eq!(process.snapshot(7_200), 1);
}

#[test]
fn without_traces_the_connection_tells() {
    let mut process = Process::new();
    let connection = process.open(10, HoldingKind::TcpAccepted, None, None);
    process.item(connection).exchanges = 1;
    process.open(11, HoldingKind::File, None, Some((connection, 0)));
    process.snapshot(12);
    assert_eq!(process.snapshot(30), 0, "the exchange goes on");
    process.item(connection).exchanges = 3;
    process.open(31, HoldingKind::File, None, Some((connection, 1)));
    process.snapshot(31);
    assert_eq!(
        process.snapshot(36),
        0,
        "later exchanges have begun, or what looks like them: one made such a file too"
    );
    process.open(36, HoldingKind::File, None, Some((connection, 2)));
    process.snapshot(37);
    assert_eq!(process.snapshot(42), 1, "two did");

    process.items.retain(|item| item.key != connection);
    process.snapshot(43);
    assert_eq!(process.snapshot(48), 3, "the connection is gone");
}

#[test]
fn a_long_session_keeps_what_it_made_once() {
    let mut process = Process::new();
    let connection = process.open(10, HoldingKind::TcpAccepted, None, None);
    for n in 0..8 {
        process.open(10 + n, HoldingKind::Pipe, None, Some((connection, u32::try_from(n).unwrap())));
        process.items.last_mut().unwrap().site = SiteId(n + 1);
    }
    process.item(connection).exchanges = 500;
    (18..60).for_each(|second| assert_eq!(process.snapshot(second), 0, "each at another place"));
}

#[test]
fn a_file_with_a_name_may_be_in_a_cache_until_it_is_opened_again() {
    let mut process = Process::new();
    for n in 0..6 {
        process.open(10, HoldingKind::File, Some(n), None);
        (process.items.last_mut().unwrap().leads_to, process.items.last_mut().unwrap().maker) = (70 + n, 1);
        process.span(n, 11);
    }
    process.snapshot(11);
    assert_eq!(process.snapshot(3_600), 0, "six files, each opened once");
    process.open(3_601, HoldingKind::File, Some(50), None);
    (process.items.last_mut().unwrap().leads_to, process.items.last_mut().unwrap().maker) = (70, 2);
    process.span(50, 3_602);
    assert_eq!(process.snapshot(3_602), 0, "by another thread: each may have a cache of its own");
    process.items[0].maker = 0;
    assert_eq!(process.snapshot(3_603), 1, "but the first thread ended");
    process.open(3_604, HoldingKind::File, Some(51), None);
    (process.items.last_mut().unwrap().leads_to, process.items.last_mut().unwrap().maker) = (70, 2);
    assert_eq!(process.snapshot(3_610), 1, "its request goes on");
    process.span(51, 3_611);
    assert_eq!(process.snapshot(3_611), 2);
}

#[test]
fn a_pool_does_not_connect_anew_while_a_connection_lies_idle() {
    let mut process = Process::new();
    for (n, second) in [10, 10, 14, 14, 18].into_iter().enumerate() {
        process.open(second, HoldingKind::Tcp, Some(n as u64), None);
        (process.items.last_mut().unwrap().leads_to, process.items.last_mut().unwrap().maker) = (7, 1);
        process.span(n as u64, second + 1);
        process.snapshot(second + 1);
    }
    assert_eq!(process.snapshot(20), 4, "the newest may be a pool's");
    process.items[0].use_mark = 1;
    assert_eq!(process.snapshot(21), 3, "one was used again");
}

#[test]
fn with_spans_a_later_exchange_is_not_yet_an_end_but_a_lost_connection_is() {
    let mut process = Process::new();
    let connection = process.open(10, HoldingKind::TcpAccepted, None, None);
    process.item(connection).exchanges = 9;
    process.open(11, HoldingKind::File, Some(5), Some((connection, 0)));
    process.span(99, 11);
    (12..40).for_each(|second| assert_eq!(process.snapshot(second), 0, "multiplexed: the span will tell"));
    process.items.retain(|item| item.key != connection);
    process.snapshot(40);
    assert_eq!(process.snapshot(45), 1);
}

#[test]
fn a_complete_report_decides_about_a_trace_before_its_connection_does() {
    let mut process = Process::new();
    let connection = process.open(10, HoldingKind::TcpAccepted, None, None);
    process.item(connection).exchanges = 1;
    process.open(11, HoldingKind::File, Some(5), Some((connection, 0)));
    process.report_nothing_open(12);
    process.snapshot(12);
    assert_eq!(process.snapshot(17), 1);
}

#[test]
fn a_child_does_not_miss_a_connection_it_never_had() {
    let mut process = Process::new();
    process.open(10, HoldingKind::Pipe, None, Some((4_711, 0)));
    process.items[0].owner.join = Join::Inherited;
    assert_eq!(process.snapshot(60), 0);
    process.items[0].owner.join = Join::Socket;
    process.own.parents.insert(4_711);
    assert_eq!(process.snapshot(70), 0, "its parent still holds the connection");
    process.own.parents.clear();
    process.snapshot(71);
    assert_eq!(process.snapshot(76), 1, "now nobody does");
}

#[test]
fn duplicated_descriptors_are_counted_each_and_given_back_once() {
    let mut process = Process::new();
    process.open(10, HoldingKind::File, Some(1), None);
    let twin = Holding { number: 4, ..process.items[0] };
    process.items.push(twin);
    process.span(1, 11);
    process.snapshot(11);
    assert_eq!(process.snapshot(17), 2);
    assert_eq!(process.own.live, 2);
    process.items.clear();
    assert_eq!(process.snapshot(18), 0);
}

#[test]
fn a_leak_is_named_at_five_orphans_of_three_owners_while_it_grows() {
    let mut process = Process::new();
    let (mut first, mut suspected) = (None, Vec::new());
    for second in 10..30 {
        process.open(second, HoldingKind::File, Some(second), None);
        process.span(second, second + 1);
        process.snapshot(second + 1);
        if !process.own.leaks.is_empty() {
            first.get_or_insert(second + 1);
        }
        let told = process.own.suspected.first();
        suspected.extend(told.map(|told| (second + 1, told.orphaned, told.onset.0 / SECOND, told.traces.len())));
    }
    assert_eq!(first, Some(20), "the fifth was made at 14, left at 15, orphaned at 20");
    assert_eq!(suspected, [(18, 5, 10, 5), (19, 6, 10, 6)], "idle for half as long, until it is known");
    let leak = &process.own.leaks[0];
    assert_eq!((leak.kind, leak.site, leak.join, leak.growing), (HoldingKind::File, SITE, Join::ThreadContext, true));
    assert_eq!(leak.onset, (10 * SECOND, 11 * SECOND));
    assert_eq!(leak.traces.last(), Some(&TraceId(24_u128.to_be_bytes())), "newest last");
    (30..90).for_each(|second| assert!(process.snapshot(second) >= 14));
    assert!(!process.own.leaks[0].growing, "held, but no longer growing: still a leak, and honest about it");
    process.items.truncate(4);
    process.snapshot(91);
    assert!(process.own.leaks.is_empty());
}

#[test]
fn many_orphans_of_one_request_are_not_yet_a_leak() {
    let mut process = Process::new();
    for second in 10..40 {
        process.open(second, HoldingKind::File, Some(second % 2), None);
        process.snapshot(second);
    }
    process.span(0, 40);
    process.span(1, 40);
    for second in 41..46 {
        process.snapshot(second);
        assert!(process.own.suspected.is_empty(), "{second}");
    }
    assert!(process.snapshot(46) >= 30);
    assert!(process.own.leaks.is_empty() && process.own.suspected.is_empty());
}

#[test]
fn a_cache_that_still_fills_is_no_leak_because_it_is_read_again() {
    let mut process = Process::new();
    let mut keys = Vec::new();
    for second in 10..50 {
        keys.push(process.open(second, HoldingKind::File, Some(second), None));
        process.span(second, second + 1);
        for key in keys.iter().step_by(3) {
            process.item(*key).use_mark += second % 2;
        }
        process.snapshot(second + 1);
        let leaks = [&process.own.leaks, &process.own.suspected];
        assert!(leaks.iter().all(|leaks| leaks.is_empty()), "second {second}: {leaks:?}");
    }
    assert!(process.own.orphaned >= 20, "or it shows nothing: {}", process.own.orphaned);
}

#[test]
fn things_without_a_sampled_site_join_their_kinds_main_site() {
    let mut process = Process::new();
    for second in 10..30 {
        process.open(second, HoldingKind::File, Some(second), None);
        if second % 4 != 0 {
            process.items.last_mut().unwrap().site = SiteId(0);
        }
        process.span(second, second + 1);
        process.snapshot(second + 1);
    }
    assert_eq!(process.own.leaks.len(), 1);
    assert_eq!((process.own.leaks[0].site, process.own.leaks[0].orphaned), (SITE, process.own.orphaned));
}

#[test]
fn what_is_too_much_is_counted_and_not_judged() {
    let mut process = Process::new();
    process.caps.holdings = 10;
    for n in 0..25 {
        process.open(n, HoldingKind::File, None, Some((1, 0)));
    }
    assert_eq!(process.snapshot(60), 0, "a connection that was not followed is not gone");
    assert_eq!((process.own.live, process.own.unfollowed), (25, 15));
    assert_eq!(process.own.groups.iter().map(|group| group.live).sum::<u64>(), 25);
}

#[test]
fn a_snapshot_costs_in_proportion_to_what_is_held() {
    let work = |count: u64| {
        let mut process = Process::new();
        for n in 0..count {
            process.open(n % 50, HoldingKind::File, Some(n), Some((1, 0)));
        }
        for (n, item) in process.items.iter_mut().enumerate() {
            (item.key, item.site) = (n as u64, SiteId(n as u64 % 40));
        }
        process.snapshot(60);
        let before = process.own.work;
        process.snapshot(61);
        process.own.work - before
    };
    let (half, whole) = (work(10_000), work(20_000));
    assert!(half >= 10_000, "{half} look-ups: nothing was counted");
    assert!(whole <= 2 * half + 10, "{half} look-ups for 10,000, {whole} for 20,000");
}

#[test]
fn only_what_has_an_owner_takes_room_and_gives_it_back() {
    let mut process = Process::new();
    for n in 0..2_000_u64 {
        let key = process.open(n % 7, HoldingKind::File, (n % 2 == 0).then_some(n), None);
        process.item(key).key = n;
    }
    process.snapshot(10);
    assert_eq!((process.own.held.len(), process.own.past.len()), (1_000, 0));
    assert!(size_of::<(u64, Held)>() <= 40, "a hundred thousand of them are four megabytes");
    process.item(4).use_mark = 1;
    process.span(6, 11);
    process.snapshot(12);
    assert_eq!(process.own.past.len(), 2, "one was used, the owner of another ended");
    process.items.retain(|item| item.key < 8);
    process.snapshot(13);
    assert_eq!((process.own.held.len(), process.own.past.len()), (4, 2));
    assert!(process.own.held.capacity() < 500, "{}", process.own.held.capacity());
    process.items.clear();
    process.open(13, HoldingKind::File, None, None);
    process.snapshot(14);
    assert_eq!((process.own.held.len(), process.own.past.len()), (0, 0));
}

#[test]
fn groups_are_bounded() {
    let mut process = Process::new();
    process.caps.groups = 16;
    for n in 0..500 {
        process.open(10, HoldingKind::File, None, None);
        process.items.last_mut().unwrap().site = SiteId(n + 1);
    }
    process.snapshot(11);
    assert!(process.own.groups.iter().count() <= 17, "and one for the unknown site");
    assert_eq!(process.own.groups.iter().map(|group| group.live).sum::<u64>(), 500);
    assert!(process.own.groups.folded >= 400);
}
