//! How many retransmits name the requests that wrote their bytes, between two hosts that lose 3 %.
//!
//! The truth are the sender's own sequence numbers (`TCP_REPAIR`). Right is only who names all writers and nobody else
//! and says that it is complete.

use super::{
    Figures,
    lossy::{Hosts, Score, THERE, Way, run_requests, sender},
    print_share,
};

/// Requests of one run: some dozens of their packets are lost.
const REQUESTS: u64 = 1500;
/// Unanswered at a time.
const WINDOWS: [u64; 4] = [1, 16, 64, 200];

pub(crate) fn measure(rounds: u32) {
    let folder = tempfile::tempdir().expect("a folder");
    let program = sender(folder.path());
    let mut figures = Figures::default();
    for window in WINDOWS {
        let mut sum = Score::default();
        for _ in 0..rounds.div_ceil(4) {
            let hosts = Hosts::make(0.03);
            let told = run_requests(&hosts, &program, Way::Connect(THERE[0]), REQUESTS, window);
            assert_eq!(told.lost, 0, "retransmits were lost on the way");
            let score = told.score();
            sum.events += score.events;
            sum.right += score.right;
            sum.incomplete += score.incomplete;
            sum.wrong += score.wrong;
        }
        assert!(sum.events > 0, "nothing was sent again");
        print_share(&format!("{window} in flight: named right"), sum.right, sum.events);
        figures.add(format!("{window} in flight: marked incomplete"), "", sum.incomplete as f64);
        figures.add(format!("{window} in flight: wrong"), "", sum.wrong as f64);
    }
    figures.print();
}
