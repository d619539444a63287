//! Whose bytes were sent again, between two hosts with a link that loses packets.
//!
//! Needs root, BPF, a C compiler, `ip` and `iptables`. Where these are missing the tests fail and say so.

mod lossy;

use lossy::{HERE, Hosts, THERE, THERE_MAPPED, Told, Way, run_requests, sender};
use std::net::IpAddr;

/// So many requests at 5 % loss leave some dozens of events.
const REQUESTS: u64 = 1500;

fn assert_addresses(told: &Told, local: &str, peer: &str) {
    let (local, peer): (IpAddr, IpAddr) = (local.parse().expect("an address"), peer.parse().expect("an address"));
    for one in &told.retransmits {
        assert_eq!((one.pid, one.local.ip(), one.peer.ip()), (Some(told.pid), local, peer), "{one:?}");
    }
}

/// Retransmits are named; nobody is named who did not write the bytes.
fn assert_named(told: &Told) {
    let score = told.score();
    println!("{score:?}");
    assert_eq!((score.wrong, told.lost), (0, 0), "{score:?}");
    assert!(score.events >= 8, "too little was lost to say anything: {score:?}");
    assert!(score.right as f64 >= 0.9 * score.events as f64, "{score:?}");
}

#[test]
fn a_retransmit_names_the_requests_that_wrote_the_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = sender(folder.path());
    let hosts = Hosts::make(0.05);
    let told = run_requests(&hosts, &program, Way::Connect(THERE[0]), REQUESTS, 48);
    assert_named(&told);
    assert_addresses(&told, HERE[0], THERE[0]);
}

#[test]
fn two_hundred_requests_in_flight_are_named_right_or_not_at_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = sender(folder.path());
    let hosts = Hosts::make(0.05);
    let told = run_requests(&hosts, &program, Way::Connect(THERE[0]), REQUESTS, 200);
    let score = told.score();
    println!("{score:?}");
    assert_eq!(score.wrong, 0, "{score:?}");
    assert!(score.events >= 8 && score.right as f64 >= 0.8 * score.events as f64, "{score:?}");
}

#[test]
fn addresses_are_right_for_ipv6_and_for_ipv4_in_ipv6() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = sender(folder.path());
    let hosts = Hosts::make(0.05);
    let six = run_requests(&hosts, &program, Way::Connect(THERE[1]), REQUESTS / 2, 16);
    assert_named(&six);
    assert_addresses(&six, HERE[1], THERE[1]);
    let mapped = run_requests(&hosts, &program, Way::Connect(THERE_MAPPED), REQUESTS / 2, 16);
    assert_named(&mapped);
    assert_addresses(&mapped, HERE[0], THERE[0]);
}

#[test]
fn plain_clients_of_multipath_listeners_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = sender(folder.path());
    let hosts = Hosts::make(0.05);
    let plain = run_requests(&hosts, &program, Way::Listener, REQUESTS / 2, 16);
    assert_named(&plain);
    assert_addresses(&plain, HERE[0], THERE[0]);
}
