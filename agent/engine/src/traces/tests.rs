//! What is kept of a trace, how it ages, and that a look at what is held costs what it must.

use super::*;
use crate::{
    model::{Holding, HoldingKind, Join, OpenRequest, Owner, PageKind, PagesAt, Resource, SiteId},
    window::SECOND,
};

fn trace(n: u64) -> TraceId {
    TraceId((u128::from(n) | 0xabcd << 64).to_be_bytes())
}

fn who(pid: Pid) -> Who<'static> {
    Who { pid, name: "service", parent: (pid != 1).then_some(1) }
}

fn held(n: u64, number: i32, made: Nanos, join: Join) -> Holding {
    let owner = Owner { trace: Some(trace(n)), join, ..Owner::default() };
    Holding {
        key: made,
        number,
        kind: HoldingKind::Pipe,
        site: SiteId(7),
        owner,
        made: Some(made),
        use_mark: 0,
        exchanges: 0,
        leads_to: 0,
        maker: 70,
    }
}

fn look(traces: &mut Traces, pid: Pid, at: Nanos, items: Vec<Holding>) {
    traces.holdings(&Holdings { pid, at, resource: Resource::Fds, limit: None, items }, at, who(pid), 1_000, |_| None);
}

fn request(n: u64, ended: Nanos) -> Request {
    Request {
        pid: Some(1),
        service: "service".into(),
        trace: trace(n),
        span: None,
        route: "GET /".into(),
        started: ended - SECOND,
        ended,
        first_byte: None,
        status: Some(200),
        failed: false,
        weight: 1.0,
        peer: None,
        serial: false,
    }
}

#[test]
fn descriptors_are_counted_across_looks_and_processes() {
    let mut traces = Traces::new(8, 8);
    look(&mut traces, 1, 10, vec![held(1, 3, 5, Join::ThreadContext), held(1, 4, 6, Join::ThreadContext)]);
    look(&mut traces, 2, 11, vec![held(1, 9, 6, Join::Inherited)]);
    // One of the two was given back, another was made since.
    look(&mut traces, 1, 20, vec![held(1, 4, 6, Join::ThreadContext), held(1, 5, 15, Join::ThreadContext)]);
    let view = traces.view(&trace(1)).unwrap();
    let own = view.descriptors[0];
    assert_eq!((own.made, own.live, own.join), (3, 2, Join::ThreadContext));
    assert_eq!((own.numbers[0], own.numbers[1], own.first_made, own.last_made), (Some(4), Some(5), 5, 15));
    let child = view.descriptors[1];
    assert_eq!((child.pid, child.made, child.live, child.join), (2, 1, 1, Join::Inherited));
    assert_eq!(view.processes.iter().map(|one| (one.pid, one.parent)).collect::<Vec<_>>(), [(1, None), (2, Some(1))]);
    assert_eq!(view.threads, [(1, 70), (2, 70)]);
    // A look without any, and an end of the child.
    look(&mut traces, 1, 30, Vec::new());
    traces.exit(2, 31);
    let view = traces.view(&trace(1)).unwrap();
    assert!(view.descriptors.iter().all(|group| group.live == 0 && group.numbers == [None; 4]), "{view:?}");
    assert_eq!(view.processes[1].exited, Some(31));
    look(&mut traces, 1, 25, vec![held(1, 4, 6, Join::ThreadContext)]);
    assert_eq!(traces.view(&trace(1)).unwrap().descriptors[0].live, 0, "an older look changes nothing");
}

#[test]
fn the_newest_are_kept_and_what_was_forgotten_does_not_come_back_with_the_next_look() {
    let mut traces = Traces::new(4, 4);
    let all = |until: u64| (1..=until).map(|n| held(n, 3, n * 10, Join::Socket)).collect::<Vec<_>>();
    look(&mut traces, 1, 1_000, all(6));
    assert_eq!((traces.kept().kept, traces.kept().evicted, traces.kept().oldest), (4, 2, Some(30)));
    look(&mut traces, 1, 2_000, all(6));
    assert_eq!(traces.kept().evicted, 2, "nothing was begun anew");
    assert!(traces.view(&trace(2)).is_none() && traces.view(&trace(3)).is_some());
    // Those that hold nothing any more make room before an older one that does.
    look(&mut traces, 1, 3_000, vec![held(3, 3, 30, Join::Socket), held(9, 4, 2_500, Join::Socket)]);
    assert!(traces.view(&trace(3)).is_some() && traces.view(&trace(9)).is_some());
    let record = traces.view(&trace(3)).unwrap();
    assert_eq!(record.descriptors[0].live, 1);
    assert_eq!((traces.joined.len(), traces.order.len()), (4, 4));
}

#[test]
fn a_span_before_or_after_the_events_is_part_of_the_trace() {
    let mut traces = Traces::new(4, 2);
    traces.request(&request(1, 5 * SECOND), 5 * SECOND);
    look(&mut traces, 1, 6 * SECOND, vec![held(1, 3, 4 * SECOND + 1, Join::Socket)]);
    look(&mut traces, 1, 7 * SECOND, vec![held(2, 3, 7 * SECOND, Join::Socket)]);
    let items = vec![OpenRequest { trace: trace(2), route: "GET /open".into(), since: 6 * SECOND }];
    let report = OpenRequests { pid: 1, at: 0, in_flight: 1, limit: None, rejected_total: 0, complete: true, items };
    traces.open_requests(&report, 8 * SECOND, "service");
    traces.open_requests(&report, 9 * SECOND, "service");
    let view = traces.view(&trace(2)).unwrap();
    assert_eq!((view.requests.len(), view.requests[0].ended), (1, None));
    traces.request(&request(2, 9 * SECOND), 9 * SECOND);
    traces.open_requests(&report, 10 * SECOND, "service");
    let view = traces.view(&trace(2)).unwrap();
    assert_eq!((view.requests.len(), view.requests[0].ended), (1, Some(9 * SECOND)));
    let view = traces.view(&trace(1)).unwrap();
    assert_eq!((view.requests.len(), view.descriptors.len(), view.first), (1, 1, 4 * SECOND));
    // Spans alone: bounded in their own table, which takes no room from the others.
    (10..20).for_each(|n| traces.request(&request(n, n * SECOND), n * SECOND));
    assert!(traces.view(&trace(10)).is_none() && traces.view(&trace(19)).is_some());
    assert_eq!((traces.kept().kept, traces.kept().evicted, traces.bare.len(), traces.joined.len()), (2, 0, 2, 2));
}

#[test]
fn stalls_segments_and_pages_are_folded_and_say_how_sure_they_are() {
    let mut traces = Traces::new(4, 4);
    let stall = |until| Stall {
        pid: 1,
        tid: 71,
        thread: "worker".into(),
        instance: 4,
        since: 10,
        until,
        trace: Some(trace(1)),
        join: Join::ThreadContext,
        site: SiteId(9),
        on_cpu: false,
        syscall: Some("futex".into()),
        starved: true,
        spent: None,
    };
    traces.stall(&stall(20), 20, who(1));
    traces.stall(&stall(30), 30, who(1));
    let again = |trace_id, candidates: Vec<TraceId>, ambiguity| Retransmit {
        pid: Some(1),
        local: "127.0.0.1:1".parse().unwrap(),
        peer: "127.0.0.1:2".parse().unwrap(),
        at: 40,
        trace: trace_id,
        join: Join::Socket,
        ambiguity,
        candidates,
        complete: true,
        sequence: (0, 0),
        segments: 2,
    };
    traces.retransmit(&again(Some(trace(1)), Vec::new(), 1), 40, Some(who(1)));
    traces.retransmit(&again(None, vec![trace(1), trace(2)], 2), 41, Some(who(1)));
    let pages = |bytes| Pages {
        pid: 1,
        kind: PageKind::Anon,
        since: 0,
        until: 50,
        bytes,
        sites: vec![PagesAt { site: SiteId(3), bytes, trace: Some(trace(1)), join: Join::Window }],
    };
    traces.pages(&pages(100), 50, who(1));
    traces.pages(&pages(50), 60, who(1));
    let view = traces.view(&trace(1)).unwrap();
    assert_eq!((view.stalls.len(), view.stalls[0].until), (1, 30));
    let sent = view.retransmits[0];
    assert_eq!((sent.segments, sent.ambiguity, sent.first, sent.last), (4, 2, 40, 41));
    assert_eq!(traces.view(&trace(2)).unwrap().retransmits[0].segments, 2);
    assert_eq!((view.growth[0].bytes, view.growth[0].seen, view.last), (150, 60, 60));
}

#[test]
fn one_record_is_bounded_and_counts_what_it_leaves_out() {
    let mut traces = Traces::new(2, 2);
    let many = (0..500).map(|n| Holding { site: SiteId(n), maker: n as u32, ..held(1, 3, 5 + n, Join::Socket) });
    look(&mut traces, 1, 1_000, many.collect());
    (0..100).for_each(|pid| traces.pages(&Pages { pid, ..pages_of(pid) }, 50, who(pid)));
    (0..100).for_each(|_| traces.request(&request(1, SECOND), SECOND));
    let view = traces.view(&trace(1)).unwrap();
    let lists = [view.descriptors.len(), view.processes.len(), view.threads.len(), view.requests.len()];
    assert_eq!(lists, [16, 8, 16, 4]);
    assert!(view.left_out > 500, "{}", view.left_out);
    let mut none = Traces::new(0, 0);
    none.request(&request(1, SECOND), SECOND);
    look(&mut none, 1, 10, vec![held(1, 3, 5, Join::Socket)]);
    assert!(none.view(&trace(1)).is_none());
}

fn pages_of(pid: Pid) -> Pages {
    let sites = vec![PagesAt { site: SiteId(u64::from(pid)), bytes: 1, trace: Some(trace(1)), join: Join::Window }];
    Pages { pid, kind: PageKind::Anon, since: 0, until: 50, bytes: 1, sites }
}

#[test]
fn what_may_not_go_is_looked_at_once_and_what_comes_to_hold_nothing_is_found_at_the_next_look() {
    let mut traces = Traces::new(4, 4);
    (1..=4).for_each(|n| look(&mut traces, n as Pid, 10, vec![held(n, 3, n, Join::ThreadContext)]));
    // All of them hold something: the oldest go.
    look(&mut traces, 5, 11, vec![held(5, 3, 5, Join::ThreadContext)]);
    look(&mut traces, 6, 12, vec![held(6, 3, 6, Join::ThreadContext)]);
    assert!(traces.view(&trace(1)).is_none() && traces.view(&trace(2)).is_none());
    assert_eq!(traces.kept().evicted, 2);
    // The youngest of them gives back what it held, and goes before those that are older.
    look(&mut traces, 6, 13, Vec::new());
    look(&mut traces, 7, 14, vec![held(7, 3, 7, Join::ThreadContext)]);
    assert!(traces.view(&trace(6)).is_none() && traces.view(&trace(3)).is_some());
    assert!([4, 5, 7].iter().all(|n| traces.view(&trace(*n)).is_some()));
}
