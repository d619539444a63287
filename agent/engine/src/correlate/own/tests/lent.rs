//! What threads make that publish no trace: their creator's, as long as that works.

use super::*;

impl Process {
    /// Something that a thread made which was made for this trace and has published none itself.
    fn lend(&mut self, second: u64, trace: u64) -> u64 {
        let key = self.open(second, HoldingKind::Pipe, Some(trace), None);
        let owner = &mut self.item(key).owner;
        (owner.join, owner.lent) = (Join::Inherited, true);
        key
    }

    fn report_open(&mut self, second: u64, trace: u64) {
        let (at, trace) = (second * SECOND, TraceId(u128::from(trace).to_be_bytes()));
        let items = vec![crate::model::OpenRequest { trace, route: String::new(), since: 0 }];
        let told = OpenRequests { pid: 1, at, in_flight: 1, limit: None, rejected_total: 0, complete: true, items };
        self.ends.report(&told, at);
    }
}

#[test]
fn what_a_requests_thread_makes_is_the_requests_and_what_it_makes_later_is_nobodys() {
    let mut process = Process::new();
    process.lend(10, 1);
    process.lend(20, 1);
    assert_eq!(process.snapshot(21), 0, "nobody knows when the request ran");
    process.span(1, 12);
    assert_eq!(process.snapshot(22), 1, "what was made while it ran");
    assert_eq!(process.snapshot(3_600), 1, "a pool's thread works for others by then");
    assert_eq!(process.own.groups.iter().map(|group| group.live).sum::<u64>(), 2);
}

#[test]
fn a_report_shows_that_a_request_ran_when_its_thread_made_something() {
    let mut process = Process::new();
    process.lend(10, 1);
    process.report_open(11, 1);
    assert_eq!(process.snapshot(11), 0, "it runs");
    process.lend(12, 1);
    process.report_nothing_open(13);
    process.snapshot(13);
    assert_eq!(process.snapshot(18), 1, "the second may have been made after its end");
}
