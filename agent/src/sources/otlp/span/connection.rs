//! On which connection a request came: the attributes of server spans, in their present names and those before.
//!
//! Source: OpenTelemetry semantic conventions, "HTTP spans" and "General network connection attributes", 1.21 and later
//! (`network.*`, `client.*`), before that `net.sock.peer.*`, `net.peer.*` and `http.flavor`. Invariant: what makes no
//! sense is nobody; `client.*`, which a proxy may have set, is never certain.

use super::Attributes;
use snowshed_engine::model::Caller;
use std::net::{IpAddr, SocketAddr};

/// Names of address and port, and whether they are the connection's own end: the surest first.
const NAMES: [(&str, &str, bool); 5] = [
    ("network.peer.address", "network.peer.port", true),
    ("net.sock.peer.addr", "net.sock.peer.port", true),
    ("net.peer.ip", "net.peer.port", true),
    ("client.address", "client.port", false),
    ("net.peer.name", "net.peer.port", false),
];

/// Who is at the other end.
pub(super) fn peer(attributes: Attributes<'_>) -> Option<Caller> {
    NAMES.iter().find_map(|(address, port, certain)| {
        let address: IpAddr = unbracketed(attributes.text(&[address])?).parse().ok()?;
        let port = attributes.int(&[port]).and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0)?;
        Some(Caller { number: snowshed_ebpf::peer_number(SocketAddr::new(address, port)), certain: *certain })
    })
}

/// Without its brackets, and without the interface that a link-local address may name.
fn unbracketed(address: &str) -> &str {
    let address = address.trim_start_matches('[').trim_end_matches(']');
    address.split('%').next().unwrap_or_default()
}

/// HTTP/1: one request at a time. Whoever does not say so may do several at once.
pub(super) fn is_serial(attributes: Attributes<'_>) -> bool {
    let version = attributes.text(&["network.protocol.version", "http.flavor"]);
    version.is_some_and(|version| matches!(version.trim_start_matches("HTTP/"), "1.0" | "1.1"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::otlp::attributes::{Pair, Value};

    fn attributes<'a>(pairs: &[(&'a str, &'a str)]) -> Vec<Pair<'a>> {
        pairs.iter().map(|(key, text)| (*key, Value::Text(text))).collect()
    }

    #[test]
    fn names_of_all_times_tell_the_same_peer() {
        let wanted = snowshed_ebpf::peer_number("10.0.0.7:4711".parse().unwrap());
        for (address, port, certain) in NAMES {
            for form in ["10.0.0.7", "::ffff:10.0.0.7", "[::ffff:10.0.0.7]"] {
                let told = peer(Attributes(&attributes(&[(address, form), (port, "4711")])));
                assert_eq!(told, Some(Caller { number: wanted, certain }), "{address} {form}");
            }
        }
    }

    #[test]
    fn the_connections_own_end_is_preferred_to_what_a_proxy_says() {
        let both = [("client.address", "192.0.2.1"), ("client.port", "1"), ("network.peer.address", "10.0.0.7")];
        let told = peer(Attributes(&attributes(&[&both[..], &[("network.peer.port", "4711")]].concat()))).unwrap();
        assert!(told.certain);
        assert_eq!(told.number, snowshed_ebpf::peer_number("10.0.0.7:4711".parse().unwrap()));
        assert!(!peer(Attributes(&attributes(&both))).unwrap().certain, "an address without a port is no connection");
    }

    #[test]
    fn nonsense_is_nobody() {
        let long = "9".repeat(10_000);
        for (address, port) in
            [("example.org", "80"), ("10.0.0.7", "0"), ("10.0.0.7", "65536"), ("", "80"), (&long, &long)]
        {
            assert_eq!(
                peer(Attributes(&attributes(&[("network.peer.address", address), ("network.peer.port", port)]))),
                None
            );
        }
    }

    #[test]
    fn only_what_says_that_it_is_http_1_is_serial() {
        let serial = |key, value| is_serial(Attributes(&attributes(&[(key, value)])));
        assert!(
            serial("network.protocol.version", "1.1")
                && serial("http.flavor", "1.0")
                && serial("http.flavor", "HTTP/1.1")
        );
        assert!(
            !serial("network.protocol.version", "2") && !serial("http.flavor", "2.0") && !is_serial(Attributes(&[]))
        );
    }
}
