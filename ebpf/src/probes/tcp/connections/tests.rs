//! Sums over looks, and who waits for whom.

use super::*;

fn record(kind: u32, at: u64, socket: u64, segments: u32) -> SocketRecord {
    let mut peer = [0; 16];
    peer[..4].copy_from_slice(&[10, 0, 0, 9]);
    let state = if kind == SOCKET_OPEN { 1 } else { 7 };
    let ports = [40_000, 443];
    SocketRecord {
        kind,
        at,
        socket,
        segments,
        resent: segments / 10,
        peer,
        ports,
        family: 2,
        state,
        ..SocketRecord::default()
    }
}

fn sum(looks: &[TcpLook]) -> (u64, u64, u32) {
    looks
        .iter()
        .flat_map(|look| &look.peers)
        .fold((0, 0, 0), |sum, one| (sum.0 + one.segments, sum.1 + one.resent, sum.2 + one.connections))
}

#[test]
fn gains_add_up_over_looks_closings_and_addresses_used_again() {
    let mut all = Connections::default();
    // What was sent before the first look is not counted.
    all.take(&mut [(7, record(SOCKET_OPEN, 1, 1, 1000))]);
    assert_eq!(sum(&all.tell(&[7], 1)), (0, 0, 1));
    all.take(&mut [(7, record(SOCKET_OPEN, 2, 1, 1100)), (7, record(SOCKET_OPEN, 2, 2, 50))]);
    assert_eq!(sum(&all.tell(&[7], 2)), (150, 15, 2));
    // Told out of order: the first closes, and its address serves another.
    all.take(&mut [
        (7, record(SOCKET_OPEN, 5, 1, 20)),
        (7, record(SOCKET_CLOSED, 4, 1, 1110)),
        (7, record(SOCKET_CLOSED, 4, 9, 30)),
    ]);
    assert_eq!(sum(&all.tell(&[7], 5)), (10 + 20 + 30, 1 + 2 + 3, 1));
    assert_eq!(sum(&all.tell(&[7], 6)), (0, 0, 0));
}

#[test]
fn who_has_just_connected_waits_as_those_before_did() {
    let mut all = Connections::default();
    all.take(&mut [(7, SocketRecord { state: TCP_LISTEN, ..record(SOCKET_OPEN, 0, 99, 0) })]);
    all.tell(&[7], 0);
    let at_port = |socket, given, owes| SocketRecord { given, owes, ..record(SOCKET_OPEN, 1, socket, 9) };
    let waiting = |looks: Vec<TcpLook>| looks[0].peers.iter().map(|peer| peer.unanswered).sum::<u32>();
    let long = u32::try_from(5_000_000_000 / clock::tick()).unwrap();
    all.take(&mut [(7, at_port(1, 3, long))]);
    assert_eq!(waiting(all.tell(&[7], 1)), 0, "one connection, three answers: nobody knows");
    let closed = |socket| (7, SocketRecord { kind: SOCKET_CLOSED, state: 7, ..at_port(socket, 5, 0) });
    all.take(&mut [closed(2), closed(3), (7, at_port(1, 3, long))]);
    assert_eq!(waiting(all.tell(&[7], 2)), 1);
}

#[test]
fn as_long_as_nobody_hears_what_is_sent_nobody_waits() {
    let second = |number: u64| number * 1_000_000_000;
    let told = |heard: Option<Nanos>, again: Option<Nanos>| {
        let mut all = Connections::default();
        let listening = SocketRecord { state: TCP_LISTEN, ..record(SOCKET_OPEN, 0, 99, 0) };
        let at = |seconds, reads, owes: u64| SocketRecord {
            at: second(seconds),
            given: 400,
            reads,
            owes: u32::try_from(second(owes) / clock::tick()).unwrap(),
            ..record(SOCKET_OPEN, 0, 1, 9)
        };
        all.take(&mut [(7, listening), (7, at(20, 400, 0))]);
        all.tell(&[7], second(20));
        all.hear(heard);
        let (mut waits, mut arrives) = (0, 0);
        // A question every two seconds, and no answer is heard.
        for n in 1..=10_u32 {
            if n == 4 {
                all.hear(again);
            }
            let seconds = 20 + 2 * u64::from(n);
            all.take(&mut [(7, at(seconds, 400 + n, 2 * u64::from(n) - 1))]);
            for peer in all.tell(&[7], second(seconds)).remove(0).peers {
                waits += peer.unanswered;
                arrives += peer.unfinished;
            }
        }
        (waits, arrives)
    };
    assert!(told(Some(0), Some(0)).0 > 5 && told(Some(0), Some(0)).1 > 2, "{:?}", told(Some(0), Some(0)));
    assert_eq!(told(None, None), (0, 0));
    // Again heard, only what looks have seen since counts: after two seconds, and after six.
    assert_eq!(told(None, Some(second(27))), (6, 4));
}

#[test]
fn a_socket_of_two_processes_counts_once_and_is_handed_on() {
    let mut all = Connections::default();
    all.tell(&[7, 8], 0);
    all.take(&mut [(7, record(SOCKET_OPEN, 1, 1, 10)), (8, record(SOCKET_OPEN, 1, 1, 10))]);
    assert_eq!(sum(&all.tell(&[7, 8], 1)), (10, 1, 1));
    all.forget(7);
    all.take(&mut [(8, record(SOCKET_OPEN, 2, 1, 30))]);
    let looks = all.tell(&[8], 2);
    assert_eq!((looks[0].pid, sum(&looks)), (8, (20, 2, 1)));
}

#[test]
fn answers_are_those_of_whoever_was_asked() {
    let mut all = Connections::default();
    all.tell(&[7], 0);
    all.tick = 4_000_000;
    let connected = SocketRecord { given: 9, given_time: 99, had: 2, had_time: 3, ..record(SOCKET_OPEN, 1, 1, 9) };
    let listening = SocketRecord { state: TCP_LISTEN, ports: [80, 0], ..record(SOCKET_OPEN, 1, 2, 0) };
    let accepted = SocketRecord { ports: [80, 5000], given: 5, given_time: 10, had: 4, ..record(SOCKET_OPEN, 2, 3, 9) };
    all.take(&mut [(7, listening), (7, connected), (7, accepted)]);
    let look = all.tell(&[7], 1).remove(0);
    let told: Vec<_> = look.peers.iter().map(|one| (one.answers, one.answer_us)).collect();
    assert_eq!(told, [(5, 40_000), (2, 12_000)]);
}

#[test]
fn failures_resets_and_listeners_are_told() {
    let mut all = Connections::default();
    all.tell(&[7], 0);
    let failed = SocketRecord { error: 111, state: 2, ..record(SOCKET_FAILED, 1, 1, 1) };
    let listening = SocketRecord {
        state: TCP_LISTEN,
        queue: 3,
        limit: 2,
        drops: 4,
        ports: [80, 0],
        ..record(SOCKET_OPEN, 1, 2, 0)
    };
    let accepted = SocketRecord { ports: [80, 5000], ..record(SOCKET_RESET_SENT, 2, 3, 0) };
    all.take(&mut [(7, failed), (7, failed), (7, accepted), (7, listening), (7, listening)]);
    let look = all.tell(&[7], 1).remove(0);
    assert_eq!((look.listeners.len(), look.listeners[0].queue, look.listeners[0].dropped), (1, 3, 4));
    let ports: Vec<Option<u16>> = look.peers.iter().map(|one| one.peer.and_then(|peer| peer.port)).collect();
    assert_eq!(ports, [None, Some(443)]);
    assert_eq!((look.peers[0].resets_sent, look.peers[1].failures.as_slice()), (1, [(111, 2)].as_slice()));
}
