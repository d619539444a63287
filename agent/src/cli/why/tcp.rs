//! A process's TCP connections and listeners, for a person: who they are with, and what goes wrong.

use crate::render::{
    tcp::{Listener, Peer, Record},
    text::seconds,
};

/// Peers shown that are well.
const WELL: usize = 3;
/// Peers and listeners shown that are not.
const ILL: usize = 8;

/// Bytes that wait for their reader no longer than this are not told, seconds.
const WORTH_TELLING: f64 = 0.01;

/// The lines of a process; none if it has no TCP at all.
pub(super) fn lines(tcp: &Record) -> Vec<String> {
    let mut lines = Vec::new();
    if !tcp.peers.is_empty() {
        let share = tcp.retransmitted_ratio.unwrap_or(0.0) * 100.0;
        let windows = tcp.namespace_zero_windows_total.filter(|count| *count > 0).map_or_else(String::new, |count| {
            let probes = tcp.namespace_window_probes_total.unwrap_or(0);
            format!("; its network namespace: windows shut {count} times, {probes} window probes")
        });
        lines.push(format!(
            "  peers    {} segments sent, {} again ({share:.2} %){windows}",
            tcp.segments_sent_total, tcp.segments_retransmitted_total
        ));
        let (ill, well): (Vec<&Peer>, Vec<&Peer>) = tcp.peers.iter().partition(|peer| is_ill(peer));
        let shown: Vec<&Peer> = ill.into_iter().take(ILL).chain(well.into_iter().take(WELL)).collect();
        lines.extend(shown.iter().map(|peer| format!("           {}", peer_line(peer))));
        if shown.len() < tcp.peers.len() {
            lines.push(format!("           and {} more peers, with --json", tcp.peers.len() - shown.len()));
        }
    }
    let mut listeners: Vec<&Listener> = tcp.listeners.iter().collect();
    listeners.sort_by_key(|one| std::cmp::Reverse((one.accept_queue, one.dropped_total)));
    lines.extend(listeners.iter().take(ILL).map(|one| format!("  listens  {}", listener_line(one))));
    if listeners.len() > ILL {
        lines.push(format!("           and {} more listeners, with --json", listeners.len() - ILL));
    }
    lines
}

fn is_ill(peer: &Peer) -> bool {
    peer.segments_retransmitted_total > 0
        || peer.peer_zero_windows > 0
        || peer.own_zero_windows > 0
        || peer.longest_wait_seconds.is_some_and(|longest| longest >= 1.0)
        || peer.requests_unanswered > 0
        || peer.resets_sent_total > 0
        || peer.resets_received_total > 0
        || !peer.connect_failures_total.is_empty()
}

fn peer_line(peer: &Peer) -> String {
    let mut words = vec![format!("{:<22} {} open", peer.name(), peer.connections)];
    let mut say = |is: bool, what: String| {
        if is {
            words.push(what);
        }
    };
    if let Some(rtt) = peer.rtt_seconds {
        let least = peer.least_rtt_seconds.map_or_else(String::new, |least| format!(" (at least {})", short(least)));
        say(true, format!("round trip {}{least}", short(rtt)));
    }
    if let Some(slowest) = peer.slowest_read_seconds.filter(|slowest| *slowest >= WORTH_TELLING) {
        let mean = peer.read_delay_seconds_total / peer.reads_total as f64;
        say(true, format!("read {} after it came (at most {})", short(mean), short(slowest)));
    }
    if peer.answers_total > 0 {
        let mean = peer.answer_seconds_total / peer.answers_total as f64;
        say(mean >= WORTH_TELLING, format!("answered after {} on average", short(mean)));
    }
    // What is asked this moment is no news.
    if let Some(longest) = peer.longest_wait_seconds.filter(|longest| *longest >= 1.0) {
        say(true, format!("has owed {} answers for up to {}", peer.answers_awaited, short(longest)));
    }
    say(
        peer.requests_unanswered > 0,
        format!("{} requests wait for an answer for 2 s or more", peer.requests_unanswered),
    );
    let share = peer.retransmitted_ratio.unwrap_or(0.0) * 100.0;
    let (sent, again) = (peer.segments_sent_total, peer.segments_retransmitted_total);
    say(again > 0, format!("{again} of {sent} segments sent again ({share:.1} %)"));
    let probes = match peer.window_probes_unanswered {
        0 => String::new(),
        count => format!(" ({count} probes without an answer)"),
    };
    say(peer.peer_zero_windows > 0, format!("{} blocked: the peer does not read{probes}", peer.peer_zero_windows));
    say(peer.own_zero_windows > 0, format!("{} blocked: this process does not read", peer.own_zero_windows));
    say(peer.resets_sent_total > 0, format!("{} resets sent", peer.resets_sent_total));
    say(peer.resets_received_total > 0, format!("{} resets received", peer.resets_received_total));
    for (error, count) in &peer.connect_failures_total {
        say(true, format!("{count} connects failed: {}", error.replace('_', " ")));
    }
    say(peer.multipath_connections > 0, format!("{} multipath (first part only)", peer.multipath_connections));
    words.join(", ")
}

fn listener_line(one: &Listener) -> String {
    let protocol = if one.multipath { " by multipath TCP" } else { "" };
    let full = if one.accept_queue > one.backlog { ", full: connections are dropped" } else { "" };
    let dropped = if one.dropped_total > 0 {
        format!("; dropped {} since it was made", one.dropped_total)
    } else {
        String::new()
    };
    format!(
        "on {}{protocol}: {} wait to be accepted, backlog {}{full}{dropped}",
        one.address, one.accept_queue, one.backlog
    )
}

/// Round trips are often shorter than what people time.
fn short(time: f64) -> String {
    match time {
        ..0.001 => format!("{:.0} µs", time * 1e6),
        ..1.0 => format!("{:.1} ms", time * 1e3),
        _ => seconds(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tcp::tests::view;

    #[test]
    fn what_goes_wrong_is_said_in_words() {
        let text = lines(&Record::from(&view())).join("\n");
        for part in [
            "250 segments sent, 5 again (2.00 %); its network namespace: windows shut 1 times",
            "10.0.0.9:443           2 open, round trip 1.5 ms (at least 900 µs), read 5.0 ms after it came (at most 12.0 ms)",
            "has owed 2 answers for up to 6",
            "5 of 200 segments sent again (2.5 %), 1 blocked: the peer does not read (3 probes without an answer), 4 resets received",
            "2 connects failed: ECONNREFUSED",
            "connects failed: given up",
            "1 blocked: this process does not read, 1 multipath",
            "on 0.0.0.0:80 by multipath TCP: 3 wait to be accepted, backlog 2, full: connections are dropped; dropped 7",
        ] {
            assert!(text.contains(part), "{part:?} in\n{text}");
        }
        assert!(lines(&Record::default()).is_empty());
    }
}
