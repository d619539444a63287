//! Which request made something: told by spans and connections that are made by hand.

use super::*;
use crate::model::{Caller, Owner, SiteId};

const MS: Nanos = SECOND / 1_000;

struct Process {
    requests: Requests,
    items: Vec<Holding>,
}

fn trace(n: u64) -> TraceId {
    TraceId(u128::from(n).to_be_bytes())
}

impl Process {
    fn new() -> Self {
        let mut new = Self { requests: Requests::default(), items: Vec::new() };
        // It is known to tell spans.
        new.span(1_000, 0, 1, None, true);
        new
    }

    fn hold(&mut self, key: u64, kind: HoldingKind, made: Nanos, owner: Owner, exchanges: u32) {
        let (site, made) = (SiteId(1), Some(made));
        self.items.push(Holding {
            key,
            number: 3,
            kind,
            site,
            owner,
            made,
            use_mark: 0,
            exchanges,
            leads_to: 0,
            maker: 0,
        });
    }

    /// A connection of this peer, on which so many exchanges have begun.
    fn connect(&mut self, peer: u32, made: Nanos, exchanges: u32) {
        self.items.retain(|item| item.key != u64::from(peer));
        self.hold(peer.into(), HoldingKind::TcpAccepted, made, Owner { peer, ..Owner::default() }, exchanges);
    }

    fn close(&mut self, peer: u32) {
        self.items.retain(|item| item.key != u64::from(peer));
    }

    /// Something that was made for a connection; its key.
    fn make(&mut self, peer: u32, alone: bool, made: Nanos) -> u64 {
        let key = 1_000 + self.items.len() as u64 + made;
        let owner = Owner { connection: Some((peer.into(), 0)), peer, alone, ..Owner::default() };
        self.hold(key, HoldingKind::File, made, owner, 0);
        key
    }

    fn span(&mut self, n: u64, started: Nanos, ended: Nanos, peer: Option<(u32, bool)>, serial: bool) {
        let told = Request {
            pid: None,
            service: String::new(),
            trace: trace(n),
            route: String::new(),
            started,
            ended,
            first_byte: None,
            status: None,
            failed: false,
            weight: 1.0,
            span: None,
            peer: peer.map(|(number, certain)| Caller { number, certain }),
            serial,
        };
        self.requests.span(&told, ended);
    }

    fn look(&mut self, at: Nanos) {
        self.requests.look(&self.items, at);
    }

    fn behind(&self, key: u64, at: Nanos) -> Option<(u64, u32)> {
        let number = |trace: TraceId| u64::try_from(u128::from_be_bytes(trace.0)).unwrap();
        self.requests.behind(key, at).map(|(trace, ambiguity)| (number(trace), ambiguity))
    }
}

#[test]
fn a_thread_that_works_for_one_connection_made_it_for_the_request_that_ran_there() {
    let mut process = Process::new();
    process.connect(7, SECOND, 1);
    let file = process.make(7, true, 10 * SECOND);
    let (from, to) = (10 * SECOND - MS, 10 * SECOND + MS);
    // Others run meanwhile, before and after the snapshot: they are on other connections.
    process.span(1, from, to, Some((8, true)), true);
    process.look(12 * SECOND);
    assert_eq!(process.behind(file, 12 * SECOND), None, "its own has not come yet");
    process.span(2, from, to, Some((7, true)), true);
    process.span(3, from, to, Some((9, true)), true);
    process.span(4, 8 * SECOND, 9 * SECOND, Some((7, true)), true);
    assert_eq!(process.behind(file, 12 * SECOND), Some((2, 1)));
    // What does several at once may be at work on one more.
    process.span(5, from, to, Some((7, true)), false);
    assert_eq!(process.behind(file, 12 * SECOND), Some((2, 3)));
}

#[test]
fn on_an_event_loop_each_request_that_ran_may_have_made_it() {
    let mut process = Process::new();
    let file = process.make(7, false, 10 * SECOND);
    process.span(1, 9 * SECOND, 11 * SECOND, Some((8, true)), true);
    process.span(2, 9 * SECOND, 11 * SECOND, Some((7, true)), true);
    process.span(3, 9 * SECOND, 9 * SECOND + MS, Some((8, true)), true);
    process.look(12 * SECOND);
    process.span(4, 13 * SECOND, 13 * SECOND + MS, None, true);
    assert_eq!(process.behind(file, 14 * SECOND), Some((2, 2)), "the likelier one is named, and that there are two");
}

#[test]
fn the_only_request_is_certain_once_no_other_can_be_untold() {
    let mut process = Process::new();
    process.connect(8, SECOND, 2);
    let file = process.make(7, false, 10 * SECOND);
    process.look(11 * SECOND);
    let (from, to) = (10 * SECOND - MS, 10 * SECOND + MS);
    process.span(1, from, to, None, true);
    process.look(12 * SECOND);
    assert_eq!(process.behind(file, 12 * SECOND), Some((1, 3)), "the other connection, or one that nobody saw");
    process.look(20 * SECOND);
    assert_eq!(process.behind(file, 20 * SECOND), Some((1, 2)), "the other connection may have been at work");
    process.span(2, 2 * SECOND, 3 * SECOND, Some((8, true)), true);
    process.look(21 * SECOND);
    assert_eq!(process.behind(file, 21 * SECOND), Some((1, 2)), "one of its two exchanges is untold");
    process.span(3, 15 * SECOND, 16 * SECOND, Some((8, true)), true);
    process.look(22 * SECOND);
    assert_eq!(process.behind(file, 22 * SECOND), Some((1, 1)), "it was at work later");
    process.connect(9, 10 * SECOND - MS, 1);
    process.look(23 * SECOND);
    assert_eq!(process.behind(file, 23 * SECOND), Some((1, 2)), "one that is found later was there");
    process.close(9);
    process.look(24 * SECOND);
    assert_eq!(process.behind(file, 33 * SECOND), Some((1, 2)), "its span may come");
    process.look(34 * SECOND);
    assert_eq!(process.behind(file, 34 * SECOND), Some((1, 1)));
}

#[test]
fn where_spans_are_sampled_no_request_is_the_only_one_unless_its_connection_says_so() {
    let mut process = Process::new();
    let (shared, own) = (process.make(7, false, 10 * SECOND), process.make(7, true, 10 * SECOND));
    process.look(12 * SECOND);
    process.span(1, 9 * SECOND, 11 * SECOND, Some((7, true)), true);
    assert_eq!(process.behind(shared, 30 * SECOND), Some((1, 1)));
    process.requests.sampled = true;
    assert_eq!((process.behind(shared, 30 * SECOND), process.behind(own, 30 * SECOND)), (Some((1, 2)), Some((1, 1))));
}

#[test]
fn a_long_request_is_found_when_it_ends_and_makes_the_short_one_uncertain() {
    let mut process = Process::new();
    process.connect(7, SECOND, 1);
    process.connect(8, SECOND, 1);
    let file = process.make(7, false, 10 * SECOND);
    process.look(13 * SECOND);
    process.span(1, 10 * SECOND - MS, 10 * SECOND + MS, Some((8, true)), true);
    process.look(30 * SECOND);
    assert_eq!(process.behind(file, 30 * SECOND), None, "the kernel names another connection");
    process.span(2, 2 * SECOND, 31 * SECOND, Some((7, true)), true);
    process.look(32 * SECOND);
    assert_eq!(process.behind(file, 32 * SECOND), Some((2, 2)));
}

#[test]
fn what_a_proxy_says_excludes_nobody_and_certain_ends_do() {
    let mut process = Process::new();
    let file = process.make(7, true, 10 * SECOND);
    process.look(12 * SECOND);
    process.span(1, 9 * SECOND, 11 * SECOND, Some((99, false)), true);
    process.look(13 * SECOND);
    assert_eq!(process.behind(file, 20 * SECOND), Some((1, 1)), "its proxy names the user's address");
    let other = process.make(7, true, 30 * SECOND);
    process.span(2, 29 * SECOND, 31 * SECOND, Some((99, true)), true);
    process.look(40 * SECOND);
    assert_eq!(process.behind(other, 40 * SECOND), None);
}

#[test]
fn memory_is_bounded_and_what_was_forgotten_makes_uncertain() {
    let mut process = Process::new();
    let file = process.make(7, true, 10 * SECOND);
    process.span(1, 9 * SECOND, 11 * SECOND, Some((7, true)), true);
    for n in 0..2 * RECENT as u64 {
        process.span(10 + n, 11 * SECOND, 12 * SECOND, Some((8, true)), true);
    }
    process.look(13 * SECOND);
    assert_eq!(process.behind(file, 13 * SECOND), None, "its span was forgotten before anybody saw the file");
    process.span(2, 9 * SECOND, 13 * SECOND, Some((7, true)), true);
    assert_eq!(process.behind(file, 14 * SECOND), Some((2, 2)), "so what comes later is not the only one");
    assert_eq!(process.requests.recent.len(), RECENT);
    for n in 0..THINGS as u64 + 10 {
        process.make(7, true, 20 * SECOND + n);
    }
    for look in 0..40 {
        process.look((30 + look) * SECOND);
    }
    assert_eq!((process.requests.things.len(), process.requests.by_time.len()), (THINGS, THINGS));
    assert_eq!(process.requests.left_out, 11);
    process.items.clear();
    process.look(80 * SECOND);
    assert!(process.requests.things.is_empty() && process.requests.by_time.is_empty());
}

#[test]
fn many_long_spans_cost_no_more_than_the_budget() {
    let mut process = Process::new();
    let first = process.make(7, false, 10 * SECOND);
    for n in 1..THINGS as u64 / 2 {
        process.make(7, false, 10 * SECOND + n);
    }
    process.look(13 * SECOND);
    for n in 0..1_000 {
        process.span(n, 9 * SECOND, 14 * SECOND, Some((7, true)), true);
    }
    assert!(process.requests.work <= BUDGET + 1_000, "{}", process.requests.work);
    assert!(process.behind(first, 14 * SECOND).is_some_and(|(_, ambiguity)| ambiguity > 100));
    process.look(15 * SECOND);
    let later = process.make(7, false, 16 * SECOND);
    process.span(5_000, 15 * SECOND, 17 * SECOND, Some((7, true)), true);
    process.look(30 * SECOND);
    assert_eq!(process.behind(later, 30 * SECOND), Some((5_000, 1)), "what is made later is not affected");
}
