//! A pool of eight that is asked more, or less, and what looks like one.

use super::*;
use std::net::{IpAddr, Ipv4Addr};

fn peer(port: u16) -> Peer {
    Peer { address: IpAddr::V4(Ipv4Addr::LOCALHOST), port: Some(port) }
}

/// Two seconds: open connections, those in use, answers, and what one takes, milliseconds.
type Two = (u32, u32, u64, u64);

/// Takes looks; whether the pool was used up in each.
fn looks(pools: &mut Pools, from: u64, count: u64, (connections, active, answers, each): Two) -> Vec<Option<bool>> {
    let one = TcpPeer { connections, active, answers, answer_us: answers * each * 1_000, ..TcpPeer::default() };
    (0..count).map(|n| pools.take(peer(1), &one, 2 * SECOND, (from + n) * 2 * SECOND)).collect()
}

/// Of a pool that is well the two seconds of `usual`, and then those of `then`: whether it is used up.
fn becomes(usual: Two, then: Two) -> bool {
    let mut pools = Pools::default();
    assert!(looks(&mut pools, 1, 30, usual).iter().all(|full| *full != Some(true)), "{usual:?} is usual");
    looks(&mut pools, 31, 6, then).last().copied().flatten().unwrap()
}

const WELL: Two = (8, 5, 100, 20);

#[test]
fn a_pool_is_used_up_where_what_is_in_use_is_always_in_use() {
    assert!(becomes(WELL, (8, 8, 760, 20)), "more is asked than eight can carry");
    assert!(becomes(WELL, (1, 1, 92, 20)), "of one connection");
    assert!(becomes(WELL, (8, 1, 92, 20)), "seven are never used");
    assert!(!becomes(WELL, (8, 8, 400, 20)), "half of it");
    assert!(!becomes(WELL, (8, 1, 40, 20)), "little is asked");
}

#[test]
fn a_connection_is_in_use_until_the_last_byte_of_its_answer() {
    let mut pools = Pools::default();
    looks(&mut pools, 1, 30, WELL);
    // An answer begins after 20 ms and ends after 40: one connection carries 24 of them a second, and no more.
    let one = TcpPeer { connections: 1, active: 1, answers: 48, answer_us: 960_000, ..TcpPeer::default() };
    let used = TcpPeer { in_use_us: 1_920_000, ..one.clone() };
    let mut last = |one: &TcpPeer, from: u64| {
        (0..6).map(|n| pools.take(peer(1), one, 2 * SECOND, (from + n) * 2 * SECOND)).last().unwrap()
    };
    assert_eq!((last(&one, 31), last(&used, 37)), (Some(false), Some(true)));
}

#[test]
fn late_answers_and_several_questions_at_a_time_are_no_such_thing() {
    assert!(!becomes(WELL, (8, 8, 190, 80)), "late");
    assert!(!becomes((1, 1, 20, 20), (1, 1, 400, 5)), "one connection that carries several questions");
    assert!(!becomes((3, 3, 20, 250), (3, 3, 21, 270)), "waited at all along");
    assert!(!becomes(WELL, (2, 90, 90, 20)), "a connection for each question");
}

#[test]
fn what_is_told_of_it_names_the_peer_and_what_is_usual() {
    let mut pools = Pools::default();
    looks(&mut pools, 1, 30, WELL);
    looks(&mut pools, 31, 6, (8, 8, 760, 20));
    let (found, full) = pools.full(60 * SECOND).unwrap();
    assert_eq!((found, full.connections, full.active), (peer(1), 8, 8));
    assert!(full.busy.0 > 0.9 && (full.busy.1 - 0.2).abs() < 1e-9, "{full:?}");
    assert!((full.rate.0 - 380.0).abs() < 1.0 && (full.rate.1 - 50.0).abs() < 1e-9, "{full:?}");
    assert!(pools.full(80 * SECOND).is_none(), "it was over then");
}

#[test]
fn peers_and_odd_figures_are_bounded() {
    let mut pools = Pools::default();
    for port in 0..500 {
        let odd = TcpPeer { connections: 1, active: 1, answers: u64::MAX, answer_us: u64::MAX, ..TcpPeer::default() };
        let at = u64::from(port) * SECOND;
        assert_ne!(pools.take(peer(port), &odd, u64::MAX, at), Some(true));
        assert_eq!(pools.take(peer(port), &odd, 0, at), None);
    }
    assert_eq!(pools.0.len(), PEERS);
}
