//! Whose bytes were sent again, between two hosts with a link that loses packets.
//!
//! Needs root, BPF, a C compiler, `ip` and `iptables`. Where these are missing the tests fail and say so.

mod lossy;
mod seen;
mod whole;

use lossy::{HERE, Hosts, PORT, THERE, THERE_MAPPED, Told, Way, run_requests, run_sized, sender};
use seen::wait;
use snowshed_engine::model::{Observation, Peer, TcpPeer};
use std::net::IpAddr;

/// So many requests at 5 % loss leave some dozens of events.
const REQUESTS: u64 = 1500;

/// Segments of one packet that the kernel takes apart: 64 KiB of at least a kilobyte each.
const MOST_SEGMENTS: u64 = 64;

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
    // The sockets' own counters say the same of how much was sent again.
    let looks = told.observations.iter().filter_map(|one| match one {
        Observation::Tcp(look) => Some(look),
        _ => None,
    });
    let peers: Vec<&TcpPeer> = looks.clone().flat_map(|look| &look.peers).collect();
    let events: u64 = told.retransmits.iter().map(|one| u64::from(one.segments)).sum();
    // Should they differ: when they began to.
    let mut from = 0;
    for look in looks {
        let within = told.retransmits.iter().filter(|one| (from..look.at).contains(&one.at));
        let counted: u64 = look.peers.iter().map(|one| one.resent).sum();
        println!("look at {}: {counted} counted, {} told", look.at, within.map(|one| one.segments).sum::<u32>());
        from = look.at;
    }
    // Besides, they count what was dropped on the way out, which a busy machine does now and then.
    let unsent = peers.iter().map(|one| one.resent).sum::<u64>().checked_sub(events);
    let limit = told.dropped_here * MOST_SEGMENTS;
    assert!(unsent.is_some_and(|unsent| unsent <= limit), "{unsent:?} more than told, at most {limit} unsent");
    assert!(peers.iter().map(|one| one.segments).sum::<u64>() > events);
    let there = Peer { address: THERE[0].parse().expect("an address"), port: Some(PORT.parse().expect("a port")) };
    assert!(peers.iter().all(|one| one.peer == Some(there)), "{peers:?}");
}

#[test]
fn a_host_that_does_not_answer_is_a_failed_connect() {
    let hosts = Hosts::make(0.0);
    let mut program = hosts.python(
        "
import socket, sys
print('ready', flush=True)
sys.stdin.readline()
try: socket.create_connection(('198.18.78.77', 81))
except OSError as error: print(error.errno, flush=True)
sys.stdin.readline()
",
    );
    assert_eq!(program.line(), "ready");
    let mut session = whole::start();
    session.add_target(program.child.id()).expect("a target");
    wait(&mut session, "the first look", |one| matches!(one, Observation::Tcp(_)).then_some(()));
    program.go_on();
    let failed = wait(&mut session, "a failed connect", |one| match one {
        Observation::Tcp(look) => look.peers.iter().find(|one| !one.failures.is_empty()).cloned(),
        _ => None,
    });
    let error: u32 = program.line().parse().expect("an errno");
    assert_eq!(error, 113, "EHOSTUNREACH");
    assert_eq!(failed.failures, [(error, 1)]);
    assert_eq!(failed.peer.map(|peer| peer.to_string()).as_deref(), Some("198.18.78.77:81"));
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

/// More writes than are told apart: what is not remembered is marked, and nobody is named in its place.
#[test]
fn more_writes_in_flight_than_are_remembered_are_marked_as_incomplete() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = sender(folder.path());
    // So much is lost that some bytes are sent again only when the timer ends, long after the next writes.
    let hosts = Hosts::make(0.3);
    let told = run_sized(&hosts, &program, Way::Connect(THERE[0]), REQUESTS, 600, 400);
    let score = told.score();
    println!("{score:?}");
    assert!(score.wrong == 0 && score.incomplete >= 1, "{score:?}");
    assert!(told.retransmits.iter().filter(|one| !one.complete).all(|one| one.trace.is_none()));
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
